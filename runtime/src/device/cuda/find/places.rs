//! The folders that a search goes through, in order.
//!
//! Requires: nothing. Ensures: only folders that exist and hold something; each once. Nothing is started to find them: Python's folders are
//! those beside its program.

use super::Machine;
use std::path::{Path, PathBuf};

/// A folder with who led there.
pub(super) type Place = (&'static str, PathBuf);

/// The variable by which a user says where: folders, or what `pip install --target` made, with colons between.
const OWN: &str = "MESHWRIGHT_CUDA";

/// What the user chose; it comes before everything else.
pub(super) fn chosen(machine: Machine<'_>) -> Vec<Place> {
    let Some(value) = (machine.variable)(OWN) else { return Vec::new() };
    let folders = value.split(':').filter(|part| !part.is_empty()).map(PathBuf::from);
    let all = folders.flat_map(|folder| [vec![folder.clone()], toolkit(&folder, machine), wheels(&folder, machine)].concat());
    existing(all.map(|folder| (OWN, folder)), machine)
}

/// Where CUDA usually is.
pub(super) fn usual(machine: Machine<'_>) -> Vec<Place> {
    let named = |by: &'static str| -> Vec<Place> {
        let base = (machine.variable)(by).map(PathBuf::from);
        base.iter().flat_map(|base| toolkit(base, machine)).map(|folder| (by, folder)).collect()
    };
    let wheels = pythons(machine).into_iter().flat_map(|packages| wheels(&packages, machine)).map(|folder| ("a Python wheel", folder));
    let local = Path::new("/usr/local");
    // The newest first, and before all the one that the system calls `cuda`.
    let names = (machine.list)(local).into_iter().rev().filter(|name| name.starts_with("cuda-"));
    let toolkits = std::iter::once("cuda".to_string()).chain(names).flat_map(|name| toolkit(&local.join(name), machine));
    let all = [named("CUDA_HOME"), named("CUDA_PATH"), named("CONDA_PREFIX"), wheels.collect()].into_iter().flatten();
    let all = all.chain(toolkits.map(|folder| ("a toolkit", folder)));
    existing(all.chain(SYSTEM.iter().map(|folder| ("a system folder", PathBuf::from(folder)))), machine)
}

/// Where distributions, containers, WSL and NixOS put libraries that their loader may not know.
const SYSTEM: [&str; 10] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/opt/cuda/lib64",
    "/run/opengl-driver/lib",
];

/// The folders of a toolkit.
fn toolkit(base: &Path, machine: Machine<'_>) -> Vec<PathBuf> {
    let targets = base.join("targets");
    let crossed = (machine.list)(&targets).into_iter().map(|target| targets.join(target).join("lib"));
    [base.join("lib64"), base.join("lib")].into_iter().chain(crossed).collect()
}

/// The folders of NVIDIA's wheels: `nvidia/cuda_nvrtc/lib` each for itself, `nvidia/cu13/lib` all together.
fn wheels(packages: &Path, machine: Machine<'_>) -> Vec<PathBuf> {
    let base = packages.join("nvidia");
    (machine.list)(&base).into_iter().map(|name| base.join(name).join("lib")).collect()
}

/// The folders of Python's packages: of the active environment, of conda, of the `python3` that a shell would start, of the user.
fn pythons(machine: Machine<'_>) -> Vec<PathBuf> {
    let variable = |name: &str| (machine.variable)(name).map(PathBuf::from);
    let mut prefixes: Vec<PathBuf> = [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX")].into_iter().flatten().collect();
    for folder in (machine.variable)("PATH").unwrap_or_default().split(':').map(PathBuf::from) {
        let names = (machine.list)(&folder);
        if names.iter().any(|name| name == "python3") {
            prefixes.extend(started(&folder, machine));
        }
    }
    prefixes.extend(variable("HOME").map(|home| home.join(".local")));
    prefixes.iter().flat_map(|prefix| packages(prefix, machine)).collect()
}

/// The prefixes of the Python in a folder of `PATH`: what is above it, or, where it is one of pyenv's stand-ins, the versions that those choose from.
fn started(folder: &Path, machine: Machine<'_>) -> Vec<PathBuf> {
    let Some(above) = folder.parent() else { return Vec::new() };
    if !folder.ends_with("shims") {
        return vec![above.to_path_buf()];
    }
    let versions = (machine.variable)("PYENV_ROOT").map_or(above.to_path_buf(), PathBuf::from).join("versions");
    (machine.list)(&versions).into_iter().rev().map(|name| versions.join(name)).collect()
}

/// `lib/python3.12/site-packages` and its like; Debian's are `dist-packages`.
fn packages(prefix: &Path, machine: Machine<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in [prefix.join("lib"), prefix.join("lib64")] {
        for name in (machine.list)(&lib).into_iter().filter(|name| name.starts_with("python3")) {
            found.extend(["site-packages", "dist-packages"].map(|packages| lib.join(&name).join(packages)));
        }
    }
    found
}

/// Those that hold something, each once.
fn existing(places: impl Iterator<Item = Place>, machine: Machine<'_>) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    for (by, folder) in places {
        if !found.iter().any(|(_, known)| *known == folder) && !(machine.list)(&folder).is_empty() {
            found.push((by, folder));
        }
    }
    found
}
