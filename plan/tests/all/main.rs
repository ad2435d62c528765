//! Tests of the plan crate: one binary, a module per kind of claim.

mod mutants;
mod random;
mod round_trip;
