//! Fused programs: kernels over buffers, before memory has given the buffers places.

use crate::graph::ir::Role;
use crate::op::Origin;
use cranelift_entity::{PrimaryMap, entity_impl};
use meshwright_plan::kernel::KernelData;
use meshwright_plan::program::Accumulate;
use std::collections::BTreeSet;

/// A piece of memory of one program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buffer(u32);
entity_impl!(Buffer, "buffer");

/// A program as kernels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fused {
    /// Everything that launches touch.
    pub buffers: PrimaryMap<Buffer, BufferData>,
    /// In order.
    pub launches: Vec<FusedLaunch>,
}

/// A buffer: dense.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferData {
    /// For people.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What it is bound to from outside; none: a temporary. Every role of the program has exactly one buffer; a role that is an input and an
    /// output at once (`Rest`, `Moment`) is one buffer, updated in place.
    pub role: Option<Role>,
}

/// A kernel at work.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedLaunch {
    /// The kernel, canonical.
    pub kernel: KernelData,
    /// Buffer and byte offset for each operand.
    pub places: Vec<(Buffer, u64)>,
    /// For accumulating operands. `ByCall` for the first contribution to `WeightGrad`, `ParamGrad`, `Report`, `Total` and `SquareSum` roles, `Add` for
    /// later ones in the same program.
    pub accumulate: Accumulate,
    /// Where the instructions come from that it computes; none for what only moves state.
    pub origins: BTreeSet<Origin>,
}
