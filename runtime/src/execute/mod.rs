//! Executing a plan: a rank is a resumable cursor over the plan's entries.
//!
//! Requires: a verified plan. Ensures: launches happen in the plan's order, touch nothing but the arena, and allocate nothing.

pub mod arena;
pub mod flat;
pub mod rank;
pub mod train;

pub use arena::Arena;
pub use rank::{Outcome, Rank};
