//! The parts that need no compiler: choice of targets, logs, complaints, the cache. `tests/all/nvrtc.rs` compiles.

use super::cache::key;
use super::{Cache, Form, Usage, complaint, folder, target, usage};
use crate::device::cuda::emit::{Function, Source};
use crate::error::Error;
use std::fs;
use std::path::PathBuf;

#[test]
fn a_gpu_newer_than_the_compiler_gets_text_for_its_driver() {
    let known = [75, 80, 86, 90, 100];
    let of = |name: &str| target(name.parse().expect("known"), &known);
    assert_eq!(of("sm_90a"), Some(("sm_90a".into(), Form::Cubin)));
    assert_eq!(of("sm_120a"), Some(("compute_100".into(), Form::Ptx)));
    assert_eq!(of("sm_89"), Some(("compute_86".into(), Form::Ptx)));
    assert_eq!(target("sm_80".parse().expect("known"), &[75, 90]), None, "nothing older that kernels could run on");
}

/// What NVRTC 12.9 and 13.5 say.
const LOG: &str = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k1_spill' for 'sm_90a'
ptxas info    : Function properties for k1_spill
ptxas         .     704 bytes stack frame, 1384 bytes spill stores, 1412 bytes spill loads
ptxas info    : Used 64 registers, used 0 barriers, 704 bytes cumulative stack size
ptxas info    : Compile time = 67.664 ms
ptxas info    : Compiling entry function 'k0_a' for 'sm_90a'
ptxas info    : Function properties for k0_a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 13 registers, used 0 barriers, 372 bytes cmem[0]";

#[test]
fn logs_say_what_functions_need() {
    let all = usage::read(LOG);
    let spilled = Usage { function: "k1_spill".into(), registers: 64, stack: 704, spill_stores: 1384, spill_loads: 1412 };
    let plain = Usage { function: "k0_a".into(), registers: 13, ..Usage::default() };
    assert_eq!(all, [spilled, plain]);
    for one in all {
        assert_eq!(Usage::parse(&one.to_string()), Some(one));
    }
}

/// Two functions behind a prelude of two lines.
fn source() -> Source {
    let function = |name: &str| Function {
        name: name.into(),
        text: format!("extern \"C\" __global__ void {name}(float* a) {{\n    a[0] = mw_foo(1);\n}}\n"),
        grid: 1,
        threads: 32,
        shared: 0,
    };
    let kernels = [vec![function("k0_first")], vec![function("k1_second")]].into_iter().collect();
    Source { hardware: "", prelude: "// one\n// two\n".into(), kernels, coordinates: Vec::new() }
}

/// Number, name and reason.
fn complaint(log: &str) -> (Option<u32>, String, String) {
    let (source, text) = (source(), source().text());
    match complaint::error(&source, &text, log, "NVRTC_ERROR_COMPILATION") {
        Error::Kernel { number, name, why } => (number.map(|number| number.as_u32()), name, why),
        other => panic!("{other}"),
    }
}

#[test]
fn complaints_name_the_kernel_and_show_the_line() {
    let log =
        "kernels.cu(5): warning #177-D: unused\nkernels.cu(9): error: identifier \"mw_foo\" is undefined\nkernels.cu(5): error: so too";
    let (number, name, why) = complaint(log);
    assert_eq!((number, name.as_str()), (Some(1), "k1_second"));
    let shown = "identifier \"mw_foo\" is undefined\n      7 │ \n      8 │ extern \"C\" __global__ void k1_second(float* a) {\n>     9 │     \
                 a[0] = mw_foo(1);\n     10 │ }\n… and 1 more";
    assert_eq!(why, shown);
    assert_eq!(
        complaint("kernels.cu(1): error: no"),
        (None, "prelude".into(), "no\n>     1 │ // one\n      2 │ // two\n      3 │ ".into())
    );
}

#[test]
fn the_assembler_names_the_kernel_itself() {
    let (number, name, why) = complaint("ptxas error   : Entry function 'k0_first' uses too much shared data (0x61a80 bytes, 0xc000 max)");
    assert_eq!((number, name.as_str(), why.contains("too much shared data")), (Some(0), "k0_first", true));
    let (number, name, why) = complaint("something unheard of");
    assert_eq!((number, name.as_str(), why.as_str()), (None, "of this plan", "NVRTC_ERROR_COMPILATION: something unheard of"));
}

#[test]
fn keys_depend_on_everything() {
    let options = |text: &str| vec![text.to_string()];
    let keys = [
        key((12, 9), &options("a"), "x"),
        key((12, 8), &options("a"), "x"),
        key((12, 9), &options("b"), "x"),
        key((12, 9), &options("a"), "y"),
    ];
    for (at, one) in keys.iter().enumerate() {
        assert!(one.len() == 32 && !keys[..at].contains(one), "{keys:?}");
    }
}

#[test]
fn damaged_entries_count_as_none() {
    let folder = std::env::temp_dir().join(format!("meshwright-kernels-{}", std::process::id()));
    let cache = Cache::new(folder.clone());
    assert_eq!(cache.size(), Ok((0, 0)));
    let (key, usage) = (key((12, 9), &[], "x"), usage::read(LOG));
    let code = b"\x7fELF\n\n\0code".to_vec();
    cache.write(&key, &code, &usage).expect("a folder to write to");
    assert_eq!(cache.read(&key), Some((code, usage)));
    let path = folder.join(&key);
    let whole = fs::read(&path).expect("the entry");
    assert_eq!(cache.size(), Ok((1, whole.len() as u64)), "nothing is left beside it");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("the entry");
        assert_eq!(cache.read(&key), None, "byte {at}");
        fs::write(&path, &whole[..at]).expect("the entry");
        assert_eq!(cache.read(&key), None, "cut at {at}");
    }
    fs::write(folder.join("other"), &whole).expect("an entry");
    assert_eq!(cache.read("other"), None, "it is for another key");
    fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn the_folder_is_the_users() {
    let of = |set: &[(&str, &str)]| {
        let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        folder(&variable)
    };
    assert_eq!(of(&[("HOME", "/h")]), Some(PathBuf::from("/h/.cache/meshwright/kernels")));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some(PathBuf::from("/c/meshwright/kernels")));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "not/absolute")]), Some(PathBuf::from("/h/.cache/meshwright/kernels")));
    assert_eq!(of(&[]), None);
}
