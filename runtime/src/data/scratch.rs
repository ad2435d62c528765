//! A folder for one test's files, removed afterwards; only built for tests.

use std::fs;
use std::path::PathBuf;

/// A fresh folder under the system's one for temporary files.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder; names must differ between tests, which run side by side.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("meshwright-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, with the folders on the way.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
