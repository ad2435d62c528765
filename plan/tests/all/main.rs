//! Tests of the plan crate: one binary, a module per kind of claim.

mod errors;
mod mesh_mutants;
mod mutants;
mod random;
mod random_state;
mod round_trip;
mod text;
