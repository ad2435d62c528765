//! Snapshots: text files beside their cases.
//!
//! Ensures that a difference is shown as a diff, and that `MESHWRIGHT_ACCEPT=1` is the only way to write one.

use super::folder::shown;
use std::fs;
use std::path::Path;

/// Compares with the file, or writes it when asked to accept. Gives what differs.
pub fn compare(path: &Path, now: &str) -> Result<(), String> {
    let old = fs::read_to_string(path).ok();
    if old.as_deref() == Some(now) {
        return Ok(());
    }
    if std::env::var_os("MESHWRIGHT_ACCEPT").is_some() {
        fs::write(path, now).expect("a snapshot");
        return Ok(());
    }
    let old = old.unwrap_or_default();
    let diff = similar::TextDiff::from_lines(old.as_str(), now);
    let (before, after) = (format!("{} (snapshot)", shown(path)), format!("{} (now)", shown(path)));
    Err(diff.unified_diff().context_radius(3).header(&before, &after).to_string())
}

/// Fails with all that differs, at once.
pub fn all_equal(differences: &[String]) {
    assert!(differences.is_empty(), "\n{}\nMESHWRIGHT_ACCEPT=1 makes what is there now the snapshots", differences.join("\n"));
}
