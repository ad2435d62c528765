//! `meshwright doctor`: what this machine has for training, and what to install where something is missing.

use crate::outcome::{Outcome, print_json, print_text};
use meshwright_plan::print::human;
use meshwright_runtime::device::cpu::isa::Isa;
use meshwright_runtime::device::cuda::driver::Gpu;
use meshwright_runtime::device::cuda::find::Machine;
use meshwright_runtime::device::cuda::nvrtc::{Cache, folder};
use meshwright_runtime::device::cuda::survey::{Part, Survey, survey};
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    /// Show every place that was looked into.
    #[arg(long)]
    verbose: bool,
}

/// What of the machine is not CUDA.
struct Cpu {
    name: Option<String>,
    isa: &'static str,
    threads: usize,
    memory: Option<u64>,
    free: Option<u64>,
    huge_pages: Option<String>,
}

/// The kernel cache: its folder, with entries and bytes or why it cannot be read; none where the user has no such folder.
type Kernels = Option<(Cache, Result<(usize, u64), String>)>;

/// Looks and prints; a machine without a GPU is no failure.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let machine = Machine::here();
    let (cpu, survey) = (cpu(), survey(machine));
    let cache = folder(machine.variable).map(Cache::new).map(|cache| (cache.clone(), cache.size()));
    if json {
        print_json(&as_json(&cpu, &survey, &cache));
    } else {
        print_text(&table(&cpu, &survey, &cache, arguments.verbose));
    }
    Ok(())
}

fn cpu() -> Cpu {
    let isa = match Isa::detect() {
        Isa::Portable if cfg!(target_arch = "aarch64") => "NEON",
        Isa::Portable => "no vectors beyond the baseline",
        Isa::Avx2 => "AVX2",
        Isa::Avx512 => "AVX-512",
    };
    Cpu {
        name: first("/proc/cpuinfo", "model name"),
        isa,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory: crate::memory::said("MemTotal"),
        free: crate::memory::said("MemAvailable"),
        huge_pages: huge_pages(),
    }
}

/// What stands behind a name in one of the system's files.
fn first(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_string())
}

/// The setting in brackets: `always [madvise] never`.
fn huge_pages() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_string())
}

fn table(cpu: &Cpu, survey: &Survey, cache: &Kernels, verbose: bool) -> String {
    let mut lines = vec![row("CPU", "ok", &cpu_text(cpu))];
    lines.extend(huge_pages_advice(cpu).map(|advice| row("", "", advice)));
    for part in &survey.parts {
        lines.extend(part_rows(part, verbose));
    }
    let gpus = survey.driver.iter().flat_map(|driver| driver.gpus.iter().enumerate());
    let mut gpus: Vec<String> =
        gpus.map(|(at, gpu)| row(&format!("GPU {at}"), if gpu.arch.is_some() { "ok" } else { "too old" }, &gpu_text(gpu))).collect();
    if gpus.is_empty() {
        gpus.push(row("GPU", "missing", "training runs on the CPU; plans and kernels for a GPU need none"));
    }
    lines.extend(gpus);
    lines.push(match cache {
        None => row("kernel cache", "missing", "neither XDG_CACHE_HOME nor HOME is set: kernels are compiled on each start"),
        Some((cache, Ok((count, bytes)))) => {
            row("kernel cache", "ok", &format!("{}: {count} entries, {}", cache.folder().display(), human(*bytes)))
        }
        Some((cache, Err(why))) => row("kernel cache", "broken", &format!("{}: {why}", cache.folder().display())),
    });
    lines.concat()
}

fn row(what: &str, state: &str, text: &str) -> String {
    format!("{what:<13} {state:<8} {text}").trim_end().to_string() + "\n"
}

fn cpu_text(cpu: &Cpu) -> String {
    let name = cpu.name.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
    let memory = match (cpu.memory, cpu.free) {
        (Some(memory), Some(free)) => format!(", {} of memory, {} free", human(memory), human(free)),
        _ => String::new(),
    };
    let huge = cpu.huge_pages.as_deref().map(|setting| format!(", huge pages: {setting}")).unwrap_or_default();
    format!("{name}{}, {} thread{}{memory}{huge}", cpu.isa, cpu.threads, if cpu.threads == 1 { "" } else { "s" })
}

fn huge_pages_advice(cpu: &Cpu) -> Option<&'static str> {
    let off = cpu.huge_pages.as_deref() == Some("never");
    off.then_some("huge pages are off, which costs speed: write `madvise` into /sys/kernel/mm/transparent_hugepage/enabled")
}

/// A library's line; below it what to install, and where it was looked for.
fn part_rows(part: &Part, verbose: bool) -> Vec<String> {
    let title = part.library.title();
    let place = part.search.found.as_ref().map(|found| format!("{} ({})", found.path.display(), found.by));
    let mut rows = match (&part.state, place) {
        (Some(Ok(version)), Some(place)) => vec![row(title, "ok", &format!("{version}, {place}"))],
        (Some(Err(why)), Some(place)) => vec![row(title, "broken", &format!("{place}: {why}")), row("", "", part.library.install())],
        _ => vec![row(title, "missing", part.library.install())],
    };
    if verbose {
        rows.extend(part.search.tried.iter().map(|tried| row("", "", &format!("not in {tried}"))));
    }
    rows
}

fn gpu_text(gpu: &Gpu) -> String {
    let arch = gpu.arch.map_or_else(|| "older than sm_80".to_string(), |arch| arch.to_string());
    format!("{}, {arch}, {} of memory, {} multiprocessors", gpu.name, human(gpu.memory), gpu.multiprocessors)
}

fn as_json(cpu: &Cpu, survey: &Survey, cache: &Kernels) -> Value {
    let parts: Vec<Value> = survey.parts.iter().map(part_json).collect();
    let gpus: Vec<Value> = survey.driver.iter().flat_map(|driver| driver.gpus.iter().map(gpu_json)).collect();
    let cache = cache.as_ref().map(|(cache, size)| match size {
        Ok((entries, bytes)) => json!({ "folder": cache.folder(), "entries": entries, "bytes": bytes }),
        Err(why) => json!({ "folder": cache.folder(), "fault": why }),
    });
    json!({
        "cpu": {
            "name": cpu.name, "vectors": cpu.isa, "threads": cpu.threads, "memory": cpu.memory, "free": cpu.free, "huge_pages": cpu.huge_pages,
        },
        "cuda": parts, "gpus": gpus, "kernel_cache": cache,
    })
}

fn part_json(part: &Part) -> Value {
    let found = part.search.found.as_ref();
    let fault = part.fault();
    json!({
        "library": part.library.title(), "path": found.map(|found| &found.path), "by": found.map(|found| found.by),
        "version": part.state.as_ref().and_then(|state| state.as_ref().ok()), "install": fault.as_ref().map(|_| part.library.install()),
        "fault": fault, "tried": part.search.tried,
    })
}

fn gpu_json(gpu: &Gpu) -> Value {
    json!({
        "name": gpu.name, "capability": format!("{}.{}", gpu.capability.0, gpu.capability.1), "arch": gpu.arch.map(|arch| arch.to_string()),
        "memory": gpu.memory, "multiprocessors": gpu.multiprocessors,
    })
}
