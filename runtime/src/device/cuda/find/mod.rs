//! Where CUDA's libraries are: a pure search over what a [`Machine`] says of its variables, folders and loader.
//!
//! Requires: nothing; CUDA may be missing. Ensures: the first place in this order wins: `MESHWRIGHT_CUDA`, the system's loader, `CUDA_HOME` and
//! `CUDA_PATH`, conda, Python's wheels, `/usr/local/cuda*`, system folders. What was looked at is told, for `meshwright doctor`.
//!
//! cudarc looks for libraries by name only, so it misses Python's wheels, which is where most machines with a GPU have them. A library that
//! was loaded by its path is found again by its name (`dlopen` compares sonames), so [`preload`] is all that cudarc needs.

mod places;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// A library of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// The driver's interface, which comes with the driver.
    Driver,
    /// The compiler of CUDA C.
    Nvrtc,
    /// Matrix products.
    CublasLt,
    /// Collectives between GPUs.
    Nccl,
}

impl Library {
    /// All of them.
    pub const ALL: [Library; 4] = [Library::Driver, Library::Nvrtc, Library::CublasLt, Library::Nccl];

    /// What people call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Library::Driver => "CUDA driver",
            Library::Nvrtc => "NVRTC",
            Library::CublasLt => "cuBLASLt",
            Library::Nccl => "NCCL",
        }
    }

    /// The files that will do, the best one first. Of NVRTC the older one, whose machine code older drivers take too; of cuBLASLt what cudarc's
    /// bindings are for.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Library::Driver => &["libcuda.so.1"],
            Library::Nvrtc => &["libnvrtc.so.12", "libnvrtc.so.13"],
            Library::CublasLt => &["libcublasLt.so.12"],
            Library::Nccl => &["libnccl.so.2"],
        }
    }

    /// What to do where it is missing.
    #[must_use]
    pub fn install(self) -> &'static str {
        match self {
            Library::Driver => "install NVIDIA's driver (Debian: `apt install nvidia-driver`, containers: `--gpus all`)",
            Library::Nvrtc => "`pip install nvidia-cuda-nvrtc-cu12`, or the CUDA toolkit 12",
            Library::CublasLt => "`pip install nvidia-cublas-cu12`, or the CUDA toolkit 12 (nothing uses it yet)",
            Library::Nccl => "`pip install nvidia-nccl-cu12` (nothing uses it yet)",
        }
    }
}

/// What a machine says of itself.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The names in a folder, sorted; none if there is no such folder.
    pub list: &'a dyn Fn(&Path) -> Vec<String>,
    /// Whether the system's loader finds a library by its name.
    pub loadable: &'a dyn Fn(&str) -> bool,
}

impl Machine<'static> {
    /// This one.
    #[must_use]
    pub fn here() -> Machine<'static> {
        Machine { variable: &variable, list: &list, loadable: &loadable }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn list(folder: &Path) -> Vec<String> {
    // A folder that cannot be read holds nothing that could be loaded.
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn loadable(name: &str) -> bool {
    open(Path::new(name)).is_ok()
}

/// A library that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What to load: a path, or a name for the system's loader.
    pub path: PathBuf,
    /// Who led there: `the system's loader`, `CUDA_HOME`, `a Python wheel`, ….
    pub by: &'static str,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The library, where it was found.
    pub found: Option<Found>,
    /// What was looked at before, in order.
    pub tried: Vec<String>,
}

/// Looks for a library.
#[must_use]
pub fn find(library: Library, machine: Machine<'_>) -> Search {
    let mut tried = Vec::new();
    for (by, folder) in places::chosen(machine) {
        if let Some(found) = inside(library, by, &folder, machine, &mut tried) {
            return Search { found: Some(found), tried };
        }
    }
    if let Some(name) = library.names().iter().find(|name| (machine.loadable)(name)) {
        return Search { found: Some(Found { path: PathBuf::from(name), by: "the system's loader" }), tried };
    }
    tried.push("the system's loader".into());
    for (by, folder) in places::usual(machine) {
        if let Some(found) = inside(library, by, &folder, machine, &mut tried) {
            return Search { found: Some(found), tried };
        }
    }
    Search { found: None, tried }
}

/// Looks into one folder.
fn inside(library: Library, by: &'static str, folder: &Path, machine: Machine<'_>, tried: &mut Vec<String>) -> Option<Found> {
    let names = (machine.list)(folder);
    let here = library.names().iter().find(|wanted| names.iter().any(|name| name == *wanted));
    let whole = library != Library::Nvrtc || names.iter().any(|name| name.starts_with("libnvrtc-builtins.so"));
    match here {
        Some(name) if whole => return Some(Found { path: folder.join(name), by }),
        Some(name) => tried.push(format!("{}: {name} without its libnvrtc-builtins", folder.display())),
        None => tried.push(folder.display().to_string()),
    }
    None
}

/// Loads a library for good, so that cudarc finds it by its name.
///
/// # Errors
/// What the system's loader says.
pub fn preload(found: &Found) -> Result<(), String> {
    open(&found.path).map(std::mem::forget)
}

/// Loads a library.
pub(super) fn open(path: &Path) -> Result<libloading::Library, String> {
    // SAFETY: loading runs the library's own start-up code. Only NVIDIA's libraries are asked for, by their names, in places that the
    // system or the user set up for them; their start-up code expects nothing of the program.
    unsafe { libloading::Library::new(path) }.map_err(|why| {
        // The loader's own words are one level down.
        std::error::Error::source(&why).map_or_else(|| why.to_string(), ToString::to_string)
    })
}
