//! Searches on machines that are made up.

use super::{Library, Machine, Search, find};
use std::collections::BTreeMap;
use std::path::Path;

/// A machine with these variables, files and libraries that its loader knows.
fn search(library: Library, variables: &[(&str, &str)], files: &[&str], loader: &[&str]) -> Search {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(|value| value.to_string());
    let list = |folder: &Path| {
        let inside = files.iter().filter_map(|file| Path::new(file).strip_prefix(folder).ok()?.components().next());
        let mut names: Vec<String> = inside.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    let loadable = |name: &str| loader.contains(&name);
    find(library, Machine { variable: &variable, list: &list, loadable: &loadable })
}

/// Path and who led there.
fn found(search: &Search) -> Option<(&str, &str)> {
    search.found.as_ref().map(|found| (found.path.to_str().expect("a path"), found.by))
}

const WHEEL: [&str; 2] = [
    "/v/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    "/v/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9",
];

#[test]
fn an_empty_machine_has_nothing() {
    let search = search(Library::Nvrtc, &[], &[], &[]);
    assert_eq!(found(&search), None);
    assert_eq!(search.tried, ["the system's loader"]);
}

#[test]
fn the_loader_comes_before_folders() {
    let toolkit = ["/usr/local/cuda/lib64/libcublasLt.so.12"];
    let both = search(Library::CublasLt, &[], &toolkit, &["libcublasLt.so.12"]);
    assert_eq!(found(&both), Some(("libcublasLt.so.12", "the system's loader")));
    let one = search(Library::CublasLt, &[], &toolkit, &[]);
    assert_eq!(found(&one), Some(("/usr/local/cuda/lib64/libcublasLt.so.12", "a toolkit")));
}

#[test]
fn what_the_user_says_comes_first() {
    let files = ["/own/nvidia/nccl/lib/libnccl.so.2", "/home/lib64/libnccl.so.2"];
    let variables = [("MESHWRIGHT_CUDA", "/none:/own"), ("CUDA_HOME", "/home")];
    assert_eq!(
        found(&search(Library::Nccl, &variables, &files, &["libnccl.so.2"])),
        Some(("/own/nvidia/nccl/lib/libnccl.so.2", "MESHWRIGHT_CUDA"))
    );
    assert_eq!(found(&search(Library::Nccl, &variables[1..], &files, &[])), Some(("/home/lib64/libnccl.so.2", "CUDA_HOME")));
}

#[test]
fn wheels_are_found_in_environments() {
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        assert_eq!(found(&search(Library::Nvrtc, &[(variable, "/v")], &WHEEL, &[])), Some((WHEEL[0], "a Python wheel")), "{variable}");
    }
}

#[test]
fn wheels_are_found_beside_python_on_the_path() {
    let files = [&WHEEL[..], &["/v/bin/python3"]].concat();
    assert_eq!(found(&search(Library::Nvrtc, &[("PATH", "/bin:/v/bin")], &files, &[])), Some((WHEEL[0], "a Python wheel")));
    assert_eq!(found(&search(Library::Nvrtc, &[("PATH", "/bin")], &files, &[])), None);
}

#[test]
fn wheels_are_found_behind_the_stand_ins_of_pyenv() {
    let path = "/p/versions/3.11.7/lib/python3.11/site-packages/nvidia/cu13/lib/";
    let files = [format!("{path}libnvrtc.so.13"), format!("{path}libnvrtc-builtins.so.13.5"), "/p/shims/python3".to_string()];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(found(&search(Library::Nvrtc, &[("PATH", "/p/shims")], &files, &[])), Some((files[0], "a Python wheel")));
}

#[test]
fn the_newest_toolkit_is_taken() {
    let files = [
        "/usr/local/cuda-12.6/lib64/libnccl.so.2",
        "/usr/local/cuda-12.9/targets/x86_64-linux/lib/libnccl.so.2",
        "/usr/local/cuda-12.9/lib64/x",
    ];
    let search = search(Library::Nccl, &[], &files, &[]);
    assert_eq!(found(&search), Some((files[1], "a toolkit")));
    assert_eq!(search.tried, ["the system's loader", "/usr/local/cuda-12.9/lib64"]);
}

#[test]
fn a_compiler_without_its_builtins_is_not_one() {
    let search = search(Library::Nvrtc, &[("VIRTUAL_ENV", "/v")], &WHEEL[..1], &[]);
    assert_eq!(found(&search), None);
    assert!(search.tried.iter().any(|tried| tried.ends_with("libnvrtc.so.12 without its libnvrtc-builtins")), "{:?}", search.tried);
}

#[test]
fn the_stub_of_a_toolkit_is_no_driver() {
    let files = ["/usr/local/cuda/lib64/stubs/libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"];
    assert_eq!(found(&search(Library::Driver, &[], &files, &[])), Some((files[1], "a system folder")));
}
