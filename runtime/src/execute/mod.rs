//! Executing a plan: each rank is a resumable cursor over the plan's entries, and a fleet drives all ranks of a mesh.
//!
//! Requires: a verified plan. Ensures: launches happen in the plan's order, touch nothing but the arena, and allocate nothing.

pub mod arena;
pub mod compare;
mod drive;
pub mod flat;
pub mod fleet;
mod rank;
mod tensors;
#[cfg(test)]
mod tests;
pub mod train;

pub use arena::Arena;
pub use fleet::Fleet;
pub use rank::Outcome;
