//! NVRTC, from its Python wheel, compiles every kernel of every example for four generations of GPUs, without a GPU.
//!
//! Requires an NVRTC where `meshwright doctor` finds one, or in `target/nvrtc`, or a `python3` whose pip can fetch the wheel into that folder.
//! Where none of these is so, the tests fail and say it: a kernel that nobody compiled is not a tested one.

use super::cuda::{attention, products};
use super::folder::{Scratch, files, root, shown};
use super::spec::{compile_in, compile_to};
use meshwright_compiler::Target;
use meshwright_runtime::device::cuda::Arch;
use meshwright_runtime::device::cuda::emit::{self, Function, Source};
use meshwright_runtime::device::cuda::find::{Library, Machine, find};
use meshwright_runtime::device::cuda::nvrtc::{Cache, Compiler, Form, Usage};
use meshwright_runtime::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The wheel; `.ci/run` fetches the same one.
const WHEEL: &str = "nvidia-cuda-nvrtc-cu12==12.9.86";

/// Functions that may spill registers: their name without its number, and why that is the better choice.
const MAY_SPILL: [(&str, &str); 0] = [];

/// Where NVRTC is; fetched once if need be.
fn library() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let folder = root().join("target/nvrtc");
        let fetched = || if folder.exists() { Ok(()) } else { fetch(&folder) };
        here().or_else(|| inside(&folder)).unwrap_or_else(|| {
            fetched().unwrap_or_else(|why| {
                panic!("these tests need NVRTC, and pip cannot fetch it: {why}\ninstall {WHEEL}, or see `meshwright doctor`")
            });
            inside(&folder).unwrap_or_else(|| panic!("{} holds no NVRTC; remove it, so that it is fetched again", folder.display()))
        })
    })
}

/// The one that a user of this machine would get.
fn here() -> Option<PathBuf> {
    find(Library::Nvrtc, Machine::here()).found.map(|found| found.path)
}

/// The one in a folder that pip filled.
fn inside(folder: &Path) -> Option<PathBuf> {
    let variable = |name: &str| (name == "MESHWRIGHT_CUDA").then(|| folder.to_string_lossy().into_owned());
    let machine = Machine { variable: &variable, loadable: &|_| false, ..Machine::here() };
    find(Library::Nvrtc, machine).found.map(|found| found.path)
}

/// Fetches the wheel into a folder beside, then moves it: another process may do the same.
fn fetch(folder: &Path) -> Result<(), String> {
    let beside = folder.with_extension(std::process::id().to_string());
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"];
    let pip = Command::new("python3").args(arguments).arg(&beside).arg(WHEEL).output().map_err(|why| format!("python3: {why}"))?;
    if !pip.status.success() {
        return Err(String::from_utf8_lossy(&pip.stderr).into_owned());
    }
    match std::fs::rename(&beside, folder) {
        Err(_) if folder.exists() => std::fs::remove_dir_all(&beside).map_err(|why| why.to_string()),
        other => other.map_err(|why| why.to_string()),
    }
}

/// NVRTC, with a cache that outlives the tests, so that only what changed is compiled again.
fn compiler() -> Compiler {
    let cache = Cache::new(root().join("target/nvrtc-kernels"));
    Compiler::open(library(), Some(cache)).unwrap_or_else(|why| panic!("{why}"))
}

/// Compiles every kernel of every example, as it is and in bf16.
fn every_kernel_compiles(arch: &str) {
    let (compiler, arch): (_, Arch) = (compiler(), arch.parse().expect("an architecture"));
    let mut count = 0;
    let examples = files(&root().join("examples"), "mesh");
    for (path, set) in examples.iter().flat_map(|path| [(path, &[][..]), (path, &[("train.precision", "bf16")][..])]) {
        let source = emit::source(&compile_to(Target::Cuda, path, set).plan).unwrap_or_else(|why| panic!("{}: {why:?}", shown(path)));
        let compiled = compiler.compile(&source, arch).unwrap_or_else(|why| panic!("{} for {arch}: {why}", shown(path)));
        assert_eq!((compiled.form, &compiled.unkept), (Form::Cubin, &None), "{}", shown(path));
        assert!(compiled.code.starts_with(b"\x7fELF"), "{}", shown(path));
        for function in source.kernels.values().flatten() {
            let usage = compiled.usage.iter().find(|usage| usage.function == function.name);
            let usage = usage.unwrap_or_else(|| panic!("{} is not in the machine code", function.name));
            fits(function, usage, arch).unwrap_or_else(|why| panic!("{} for {arch}: {} {why}: {usage:?}", shown(path), function.name));
            count += 1;
        }
    }
    assert!(count > 0, "there are functions to compile");
}

/// Whether a function can be launched, without registers in memory.
fn fits(function: &Function, usage: &Usage, arch: Arch) -> Result<(), String> {
    let bare = function.name.split_once('_').map_or("", |(_, bare)| bare);
    let spills = usage.spill_stores + usage.spill_loads > 0;
    if spills && !MAY_SPILL.iter().any(|(name, _)| *name == bare) {
        return Err("spills registers".into());
    }
    // a multiprocessor has 65536, given out by eights
    let registers = usage.registers.next_multiple_of(8) * function.threads;
    if registers > 65_536 {
        return Err(format!("takes {registers} registers a block, which no launch gets"));
    }
    if function.shared > arch.shared_bytes() {
        return Err(format!("takes {} bytes of shared memory, a block gets {}", function.shared, arch.shared_bytes()));
    }
    Ok(())
}

#[test]
fn every_kernel_of_every_example_compiles_for_ampere() {
    every_kernel_compiles("sm_80");
}

#[test]
fn every_kernel_of_every_example_compiles_for_hopper() {
    every_kernel_compiles("sm_90a");
}

#[test]
fn every_kernel_of_every_example_compiles_for_blackwell() {
    every_kernel_compiles("sm_100a");
}

#[test]
fn every_kernel_of_every_example_compiles_for_blackwell_without_tensor_memory() {
    every_kernel_compiles("sm_120");
}

/// No example needs all sizes and masks: those that the emulator plays.
#[test]
fn tensor_cores_compile_for_all() {
    let (compiler, sources) = (compiler(), [attention::on_tensor_cores(), products::on_tensor_cores()]);
    let every = |source: Source| ["sm_80", "sm_90a", "sm_100a", "sm_120"].map(|arch| (source.clone(), arch));
    for (source, arch) in sources.into_iter().flat_map(every) {
        let arch: Arch = arch.parse().expect("an architecture");
        let compiled = compiler.compile(&source, arch).unwrap_or_else(|why| panic!("for {arch}: {why}"));
        for function in source.kernels.values().flatten() {
            let usage = compiled.usage.iter().find(|usage| usage.function == function.name).expect("the function");
            fits(function, usage, arch).unwrap_or_else(|why| panic!("for {arch}: {} {why}: {usage:?}", function.name));
        }
    }
}

/// One function behind a prelude.
fn small(body: &str) -> Source {
    let text = format!("extern \"C\" __global__ void k0_small(float* a) {{\n    {body}\n}}\n");
    let function = Function { name: "k0_small".into(), text, grid: 1, threads: 32, shared: 0 };
    Source { hardware: "", prelude: "// nothing\n".into(), kernels: [vec![function]].into_iter().collect(), coordinates: Vec::new() }
}

#[test]
fn what_was_compiled_is_kept_and_equal() {
    let scratch = Scratch::new("nvrtc-cache");
    let folder = scratch.path("kernels");
    let cached = Compiler::open(library(), Some(Cache::new(folder.clone()))).expect("NVRTC");
    let source = small("a[threadIdx.x] = expf(a[threadIdx.x]);");
    let compiled = |compiler: &Compiler, arch: &str| compiler.compile(&source, arch.parse().expect("known")).expect("it compiles");
    let first = compiled(&cached, "sm_80");
    let again = compiled(&cached, "sm_80");
    assert_eq!((first.cached, again.cached), (false, true));
    assert_eq!((&first.code, &first.usage), (&again.code, &again.usage));
    assert_eq!(compiled(&Compiler::open(library(), None).expect("NVRTC"), "sm_80").code, first.code, "two compilations give equal code");
    assert!(!compiled(&cached, "sm_90a").cached, "another architecture is another entry");
    let entry = files_in(&folder).pop().expect("an entry");
    std::fs::write(&entry, "damaged").expect("the entry");
    let codes = [compiled(&cached, "sm_80"), compiled(&cached, "sm_90a")];
    assert!(codes.iter().any(|one| !one.cached) && codes[0].code == first.code, "a damaged entry is compiled again");
    assert!(["sm_80", "sm_90a"].iter().all(|arch| compiled(&cached, arch).cached), "and is whole after that");
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let scratch = Scratch::new("nvrtc-unkept");
    let file = scratch.write("file", "not a folder");
    let compiler = Compiler::open(library(), Some(Cache::new(file))).expect("NVRTC");
    let compiled = compiler.compile(&small("a[0] = 1.0f;"), "sm_80".parse().expect("known")).expect("it compiles");
    assert!(compiled.unkept.is_some_and(|why| why.contains("cannot be written")));
}

#[test]
fn complaints_name_the_kernel() {
    let compiler = Compiler::open(library(), None).expect("NVRTC");
    let complaint = |body: &str| compiler.compile(&small(body), "sm_90a".parse().expect("known")).expect_err("it must not compile");
    let Error::Kernel { name, why, .. } = complaint("a[0] = mw_missing(1.0f);") else { panic!("another error") };
    assert_eq!(name, "k0_small");
    assert!(why.starts_with("identifier \"mw_missing\" is undefined") && why.contains(">     4 │     a[0] = mw_missing(1.0f);"), "{why}");
    let Error::Kernel { name, why, .. } =
        complaint("__shared__ float b[100000]; b[threadIdx.x] = a[0]; __syncthreads(); a[0] = b[a[1] > 0.0f];")
    else {
        panic!("another error")
    };
    assert!(name == "k0_small" && why.contains("shared data"), "{name}: {why}");
}

/// A model of two lines; the text behind its relu is to be found again.
const LINES: &str = "dims {
    Batch = 4
    In    = 8
}
model Line(x: real[Batch, In], y: real[Batch]) -> [Batch] {
    weight w: [In]
    let guess = relu(dot(x, w, over: In))
    loss (guess - y) ^ 2
    return guess
}
";

#[test]
fn a_kernel_that_is_refused_is_known_by_its_lines() {
    let scratch = Scratch::new("nvrtc-lines");
    scratch.write("line.mesh", LINES);
    let (sources, compiled) = compile_in(&scratch.path(""), "line.mesh", &[]);
    let compiled = compiled.unwrap_or_else(|wrong| panic!("{}", meshwright_grammar::render(&wrong, &sources, false, 100)));
    let compiler = Compiler::open(library(), None).expect("NVRTC");
    let mut found = Vec::new();
    for kernel in compiled.plan.kernels.keys() {
        let mut source = emit::source(&compiled.plan).expect("kernels that are emitted");
        let function = &mut source.kernels[kernel][0];
        function.text = function.text.replacen(") {\n", ") {\n    mw_missing();\n", 1);
        let refused = compiler.compile(&source, "sm_80".parse().expect("known")).expect_err("it must not compile");
        let Error::Kernel { number, why, .. } = refused else { panic!("another error: {refused}") };
        assert!(number == Some(kernel) && why.contains("mw_missing"), "{kernel}: {number:?}: {why}");
        let spans: Vec<&str> = compiled.behind[kernel].iter().filter_map(|origin| Some(sources.text(origin.span?))).collect();
        // the compiler adds only what ends a step
        assert!(!spans.is_empty() || compiled.behind[kernel].iter().all(|origin| origin.path == "update"), "{kernel}");
        found.extend(spans);
    }
    for text in ["relu(dot(x, w, over: In))", "(guess - y) ^ 2"] {
        assert!(found.contains(&text), "{text} is not in {found:?}");
    }
}

#[test]
fn spills_are_seen() {
    let body = "float v[200]; for (int i = 0; i < 200; i++) v[i] = a[i * 1024 + threadIdx.x];\n    for (int r = 0; r < 9; r++) for (int i = 0; i \
                < 200; i++) v[i] = v[i] * v[(i + 7) % 200] + 1; for (int i = 0; i < 200; i++) a[i * 1024 + threadIdx.x] = v[i];";
    let mut source = small(body);
    let function = source.kernels.values_mut().flatten().next().expect("the function");
    function.text = function.text.replace("void k0", "void __launch_bounds__(1024) k0");
    let compiled = Compiler::open(library(), None).expect("NVRTC").compile(&source, "sm_90a".parse().expect("known")).expect("it compiles");
    let usage = &compiled.usage[0];
    assert!(usage.function == "k0_small" && usage.registers == 64 && usage.spill_stores > 100 && usage.stack > 100, "{usage:?}");
}

#[test]
fn what_is_no_library_is_told() {
    let scratch = Scratch::new("nvrtc-broken");
    let file = scratch.write("libnvrtc.so.12", "not a library");
    let error = Compiler::open(&file, None).err().expect("it must not load");
    assert_eq!(error.code(), "cuda::library");
    assert!(error.to_string().contains("libnvrtc.so.12 does not work: "), "{error}");
}
