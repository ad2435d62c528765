//! The state of a run: random numbers, initial weights, and weights on disk.
//!
//! Ensures: everything here is a function of the seed, stable names and global indices, never of threads, ranks or time.

pub mod init;
pub mod normal;
pub mod philox;
pub mod pieces;
pub mod weights;

pub use philox::Key;
pub use weights::{Tensor, WeightFile};
