//! Whole-program tests: one binary.
