//! The compiler: spec text's syntax tree → plan. Pure: no files, clock, threads, environment, printing.

pub mod emit;
pub mod fuse;
pub mod graph;
pub mod memory;
pub mod model;
pub mod op;
pub mod schedule;
