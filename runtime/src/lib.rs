//! What runs a plan: devices and their kernels, the pool of threads, data, state, reports.
//!
//! Requires: a verified plan. Ensures: results do not depend on the number of threads or on the vector width of the machine.

// Machine code, threads and memory maps live here; each unsafe block says why it is sound.
#![allow(unsafe_code)]

pub mod comm;
pub mod data;
pub mod device;
pub mod error;
pub mod execute;
pub mod measure;
pub mod pool;
pub mod report;
pub mod state;
