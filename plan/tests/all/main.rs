//! Tests of the plan crate: one binary, a module per kind of claim.

mod round_trip;
