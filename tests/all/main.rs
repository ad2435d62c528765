//! Whole-program tests, one binary: a module per kind of claim, and a folder of cases for each that has cases.
//!
//! Requires nothing but the repository, and for `nvrtc` pip or an NVRTC that is there. Nothing here is timed, and nothing else needs a network. `MESHWRIGHT_ACCEPT=1` writes the snapshots
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
mod nvrtc;
mod plans;
mod readme;
mod scale;
mod slots;
mod snapshot;
mod spec;
mod states;
mod targets;
mod tidy;
mod trained;
