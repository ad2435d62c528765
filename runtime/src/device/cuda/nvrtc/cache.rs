//! Compiled kernels on disk: a file for each source, architecture, version and options.
//!
//! Requires: a folder that can be written; if not, the reason is told and everything is compiled each time. Ensures: what is read was written
//! whole and for this very key: entries are put in place by renaming, and a damaged one counts as none.

use super::usage::Usage;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

/// The first line of an entry; it changes when entries of before would be read wrongly.
const FORMAT: &str = "meshwright kernels 1";

/// A folder of compiled kernels.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

/// Where a user's compiled kernels are: `$XDG_CACHE_HOME` or `~/.cache`, then `meshwright/kernels`; none if neither is known.
pub fn folder(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("meshwright").join("kernels"))
}

/// What names an entry.
pub(super) fn key(version: (u32, u32), options: &[String], text: &str) -> String {
    let of = format!("{FORMAT}\nNVRTC {}.{}\n{}\n\n{text}", version.0, version.1, options.join("\n"));
    digest(&[of.as_bytes()])
}

fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Cache {
    /// In this folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Cache {
        Cache(folder)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Entries and their bytes.
    ///
    /// # Errors
    /// The folder exists and cannot be read.
    pub fn size(&self) -> Result<(usize, u64), String> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            Err(why) => return Err(why.to_string()),
        };
        let sizes: Vec<u64> = entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|entry| entry.len()).collect();
        Ok((sizes.len(), sizes.iter().sum()))
    }

    /// An entry; none if there is none, or it is not whole.
    pub(super) fn read(&self, key: &str) -> Option<(Vec<u8>, Vec<Usage>)> {
        let bytes = fs::read(self.0.join(key)).ok()?;
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let (head, code) = (&bytes[..end], &bytes[end + 2..]);
        let (check, rest) = std::str::from_utf8(head).ok()?.split_once('\n')?;
        if check != digest(&[key.as_bytes(), rest.as_bytes(), code]) {
            return None;
        }
        let mut lines = rest.lines();
        let usage = (lines.next()? == FORMAT).then(|| lines.map(Usage::parse).collect::<Option<Vec<_>>>()).flatten()?;
        Some((code.to_vec(), usage))
    }

    /// Keeps an entry.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(super) fn write(&self, key: &str, code: &[u8], usage: &[Usage]) -> Result<(), String> {
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        let rest = std::iter::once(FORMAT.to_string()).chain(usage.iter().map(Usage::to_string)).collect::<Vec<_>>().join("\n");
        let head = format!("{}\n{rest}\n\n", digest(&[key.as_bytes(), rest.as_bytes(), code]));
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let beside = self.0.join(format!("{key}.{}-{number}", std::process::id()));
        let all = || {
            fs::create_dir_all(&self.0)?;
            fs::write(&beside, [head.as_bytes(), code].concat())?;
            fs::rename(&beside, self.0.join(key))
        };
        all().map_err(|why| {
            // What is left of it does no harm: its name is no key.
            let _ = fs::remove_file(&beside);
            format!("{} cannot be written: {why}", self.0.display())
        })
    }
}
