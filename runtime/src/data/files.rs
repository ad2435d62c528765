//! From file patterns to a sorted list of files.
//!
//! Ensures: the list depends on the files' names only (sorted by name, each once), so a folder gives the same data on every machine.

use crate::error::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file that a pattern matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the spec's folder, with `/`: equal on every machine.
    pub name: String,
}

/// All files that match any of the patterns, sorted by name; each pattern must match one at least.
pub fn find(setting: &str, folder: &Path, patterns: &[String]) -> Result<Vec<Found>, Error> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let before = found.len();
        let mut matched = 0;
        for path in matches(setting, folder, pattern)? {
            let name = name_of(folder, &path);
            matched += 1;
            found.entry(name).or_insert(path);
        }
        if matched == 0 && found.len() == before {
            let resolved = folder.join(pattern).display().to_string();
            return Err(Error::NoFiles { setting: setting.to_owned(), pattern: pattern.clone(), resolved });
        }
    }
    Ok(found.into_iter().map(|(name, path)| Found { path, name }).collect())
}

fn matches(setting: &str, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    // The folder's own name may hold brackets or stars: they are no patterns. An absolute pattern replaces the folder.
    let whole = Path::new(&glob::Pattern::escape(&folder.to_string_lossy())).join(pattern);
    let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let paths = glob::glob_with(&whole.to_string_lossy(), options).map_err(|error| {
        let before = whole.to_string_lossy().len() - pattern.len();
        let at = error.pos.saturating_sub(before);
        Error::Pattern { setting: setting.to_owned(), pattern: pattern.to_owned(), at, why: error.msg.to_owned() }
    })?;
    let mut list = Vec::new();
    for path in paths {
        let path = path.map_err(|error| unreadable(setting, error.path(), error.error()))?;
        if path.is_file() {
            list.push(path);
        }
    }
    Ok(list)
}

fn name_of(folder: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    relative.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The whole of a file.
pub fn read(setting: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|why| unreadable(setting, path, &why))
}

/// The error of a file that the system refuses.
pub fn unreadable(setting: &str, path: &Path, why: &std::io::Error) -> Error {
    Error::Unreadable { setting: setting.to_owned(), path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scratch::Folder;

    fn names(folder: &Folder, patterns: &[&str]) -> Result<Vec<String>, Error> {
        let patterns: Vec<String> = patterns.iter().map(|p| p.to_string()).collect();
        Ok(find("data.train", &folder.path("spec [1]"), &patterns)?.into_iter().map(|f| f.name).collect())
    }

    #[test]
    fn sorted_once_and_without_hidden_files() {
        let folder = Folder::new("files");
        for name in ["b.rs", "a/z.rs", "a/b/c.rs", ".hidden/x.rs", "a/.y.rs", "n.txt", "../beside/k.rs"] {
            folder.write(&format!("spec [1]/{name}"), "x");
        }
        assert_eq!(names(&folder, &["**/*.rs", "b.rs"]).unwrap(), ["a/b/c.rs", "a/z.rs", "b.rs"]);
        assert_eq!(names(&folder, &["../beside/*.rs"]).unwrap(), ["../beside/k.rs"]);
        assert_eq!(names(&folder, &["*.rs"]).unwrap(), ["b.rs"]);
    }

    #[test]
    fn every_pattern_must_match() {
        let folder = Folder::new("files-none");
        folder.write("spec [1]/b.rs", "x");
        let error = names(&folder, &["*.rs", "*.py"]).unwrap_err();
        assert_eq!((error.code(), error.setting()), ("data::missing", Some("data.train")));
        assert!(error.message().contains("spec [1]/*.py"), "{error}");
        let error = names(&folder, &["a**b"]).unwrap_err();
        assert_eq!(error.code(), "data::pattern");
    }
}
