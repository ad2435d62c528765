//! Whole-program tests, one binary: a module per kind of claim, and a folder of cases for each that has cases.
//!
//! Requires nothing but the repository. Nothing here is timed, and nothing needs a network. `MESHWRIGHT_ACCEPT=1` writes the snapshots
//! anew instead of comparing them.

mod balanced;
mod commands;
mod covering;
mod cuda;
mod data_errors;
mod determinism;
mod emulate;
mod errors;
mod examples;
mod explains;
mod fixture;
mod folder;
mod meshes;
mod mutants;
mod numbers;
mod plans;
mod readme;
mod scale;
mod slots;
mod snapshot;
mod spec;
mod states;
mod tidy;
mod trained;
