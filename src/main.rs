//! The command `meshwright`: arguments in, exit codes out. Each subcommand is a file of its own.
//!
//! Exit codes: 0 done, 1 the spec or its data is at fault, 2 wrong usage, 3 a run failed, 75 stopped and can be resumed.

mod check;
mod complete;
mod doctor;
mod explain;
mod format;
mod generate;
mod init;
mod memory;
mod outcome;
mod plan;
mod spec;
mod target;
mod test;
mod timing;
mod train;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A compiler for training neural networks on any number of devices.
#[derive(Parser)]
#[command(name = "meshwright", version, propagate_version = true)]
struct Arguments {
    /// Print machine-readable JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Parse, type and check a spec; diagnostics only.
    Check(check::Arguments),
    /// Print the lowered plan of a spec, or what it was lowered from.
    Plan(plan::Arguments),
    /// Compile a spec and train it.
    Train(train::Arguments),
    /// Sample text from a trained run.
    Generate(generate::Arguments),
    /// Shrink a spec's model, run it on its mesh of virtual devices and on one device, and compare.
    Verify(verify::Arguments),
    /// Write specs in the one layout.
    Fmt(format::Arguments),
    /// Compare the lowered plans of a folder of specs with their snapshots.
    Test(test::Arguments),
    /// Explain an error code, or why a spec's tensors stand where they do and what its ranks exchange.
    Explain(explain::Arguments),
    /// Write a starter spec.
    Init(init::Arguments),
    /// Show what this machine has for training, and what to install where something is missing.
    Doctor(doctor::Arguments),
    /// Print a shell's completions of this command line.
    Completions(complete::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let outcome = match arguments.command {
        Command::Check(arguments) => check::run(&arguments, json),
        Command::Plan(arguments) => plan::run(&arguments, json),
        Command::Train(arguments) => train::run(&arguments, json),
        Command::Generate(arguments) => generate::run(&arguments, json),
        Command::Verify(arguments) => verify::run(&arguments, json),
        Command::Fmt(arguments) => format::run(&arguments, json),
        Command::Test(arguments) => test::run(&arguments, json),
        Command::Explain(arguments) => explain::run(&arguments, json),
        Command::Init(arguments) => init::run(&arguments, json),
        Command::Doctor(arguments) => doctor::run(&arguments, json),
        Command::Completions(arguments) => complete::run(&arguments),
    };
    outcome::exit(outcome, json)
}
