//! `cargo run --release --example bench`: one table of what this machine can do and of what Meshwright makes of it.
//!
//! Requires: a machine with nothing else to do; for `--peers`, a Python with `torch` and `jax`. Ensures: every figure is the median of several
//! measurements of this run; models run in processes of their own, so that memory and start-up time are theirs alone.

mod cases;
mod compiling;
mod kernels;
mod machine;
mod models;
mod profile;
mod record;
mod stepper;
mod table;

use cases::{Case, Target};
use clap::{Parser, ValueEnum};
use meshwright_runtime::measure::allocations::Counting;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Table;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this machine can do, and what Meshwright makes of it.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Threads of everything that computes.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Fewer and shorter measurements.
    #[arg(long)]
    quick: bool,
    /// One JSON value a line instead of the table.
    #[arg(long)]
    json: bool,
    /// Parts of the table, all by default.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Models of the part `models`, all by default.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    models: Vec<String>,
    /// A Python with the peers: they train the same models in turn with ours.
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Which peers: torch-eager, torch-compile, jax.
    #[arg(long, value_delimiter = ',', default_value = "torch-compile,jax", value_name = "NAMES")]
    systems: Vec<String>,
    /// Where the time of one step goes, kernel by kernel: a model of the table (gpt-10m, gpt2-4x64, gpt2-1x512) or a spec's path.
    #[arg(long, value_name = "MODEL")]
    profile: Option<String>,
    /// What a peer needs to compute the same as a model: a file of its weights, its inputs and its gradients, and the losses of so many steps.
    #[arg(long, num_args = 3, value_names = ["MODEL", "FILE", "STEPS"])]
    record: Option<Vec<String>>,
    /// Overrides a value of the model of `--profile`, `--record` or `--stepper`, as `meshwright train` does.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What the model of `--profile`, `--record` or `--stepper` runs on.
    #[arg(long, value_enum, default_value_t = Target::Cpu)]
    target: Target,
    /// How the benchmark starts itself for one model.
    #[arg(long, hide = true)]
    stepper: Option<String>,
    /// When it did, in nanoseconds since 1970.
    #[arg(long, hide = true, default_value_t = 0)]
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Peak arithmetic and bandwidth.
    Machine,
    /// Row kernels on large arrays.
    Kernels,
    /// Specs to plans.
    Compile,
    /// Training steps.
    Models,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let (threads, quick, target) = (arguments.threads.max(1), arguments.quick, arguments.target);
    let mut table = Table::new(arguments.json);
    match (&arguments.stepper, &arguments.record, &arguments.profile) {
        (Some(name), None, None) => return stepper::serve(&Case::find(name, &arguments.set)?, (threads, target), arguments.since),
        (None, Some(what), None) => return record::run(what, &arguments.set, (threads, target)),
        (None, None, Some(name)) => return profile::run(&Case::find(name, &arguments.set)?, (threads, target), quick, &mut table),
        (None, None, None) if arguments.set.is_empty() && target == Target::Cpu => {}
        (None, None, None) => return Err("--set and --target are for the model of --profile or --record".into()),
        _ => return Err("--profile, --record and --stepper exclude each other".into()),
    }
    let wanted = |part: Part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Machine) {
        machine::run(threads, quick, &mut table)?;
    }
    if wanted(Part::Kernels) {
        kernels::run(threads, quick, &mut table)?;
    }
    if wanted(Part::Compile) {
        compiling::run(quick, &mut table)?;
    }
    if wanted(Part::Models) {
        let (rounds, seconds) = if quick { (2, 2.0) } else { (7, 5.0) };
        let (python, systems) = (arguments.peers.as_deref(), &arguments.systems[..]);
        models::run(&models::Course { threads, rounds, seconds, python, systems }, &chosen(&arguments.models)?, &mut table)?;
    }
    Ok(())
}

/// The models asked for.
fn chosen(names: &[String]) -> Result<Vec<Case>, String> {
    if names.is_empty() { Ok(Case::all().to_vec()) } else { names.iter().map(|name| Case::find(name, &[])).collect() }
}
