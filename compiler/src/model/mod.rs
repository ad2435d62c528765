//! `model`: syntax tree → typed model.
//!
//! In: the files of a spec, overrides, and whether it is for training. Out: a [`ir::Model`] in which every name is resolved, every dim has
//! a size, every layer call is instantiated and every operation is a primitive with its result type; or all errors found.

pub mod ir;
pub mod settings;
