//! The skeleton `rows`: elementwise work, row reductions, lookups and folds over rows, as machine code.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: results as the plan's documentation defines them, with equal bits on every
//! machine and any number of threads. Cranelift appears in this folder only.

mod drive;
mod emit;
pub mod jit;
mod routines;
mod schedule;
mod streams;
#[cfg(test)]
mod tests;
mod wide;

use cranelift_entity::EntityRef;
use cranelift_module::FuncId;
use emit::{Emitter, Target, Words};
use jit::{Code, Entry};
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Access, Effect, KernelData, NodeData, Reduce, Role, Rows};
use meshwright_plan::mesh::Coordinate;
use schedule::Schedule;

use super::cache;
use super::isa::Isa;

/// What a launch gives to code as arrays, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Names of the step's scalars.
    pub scalars: &'a [String],
    /// The rank's coordinates.
    pub coordinates: &'a [Coordinate],
}

/// A `rows` kernel whose code is defined but not yet executable.
pub struct Defined {
    variants: Vec<(Variant, FuncId)>,
    stores: u64,
    streams: u64,
    shape: Shape,
}

/// What a kernel's code may differ in, a bit per operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    /// Stores that add to what is there.
    adds: u64,
    /// Stores past the caches.
    streams: u64,
}

/// A `rows` kernel that can run.
pub struct Runnable {
    variants: Vec<(Variant, Entry)>,
    /// The operands that stores may add to.
    stores: u64,
    /// The operands that are worth writing past the caches.
    streams: u64,
    shape: Shape,
}

/// What the driver needs to know of a kernel.
struct Shape {
    words: Words,
    /// Parallel dims, outermost first: index of the dim and its size.
    rows: Vec<(usize, usize)>,
    lanes: usize,
    /// Per operand, bytes per step along each of `rows`.
    strides: Vec<Vec<isize>>,
    folds: Vec<Fold>,
    /// How many of the last row dims are folded.
    folded: usize,
    blocks: usize,
    /// Whether ranges of lanes may run in different cells.
    divisible: bool,
    effects: usize,
    /// Bytes of the buffers of values.
    buffers: usize,
}

/// A fold over rows.
struct Fold {
    effect: usize,
    slot: usize,
    partials: Option<usize>,
    op: Reduce,
    /// Elements of its result per point of the rows that remain.
    width: usize,
    /// Elements from one of them to the next in the operand.
    stride: isize,
    /// Whether the launch decides if it adds.
    accumulates: bool,
}

impl Defined {
    /// Emits a kernel's code; `names` are those of the step's scalars and of the rank's coordinates.
    ///
    /// # Errors
    /// The body is not well typed, or a scalar is unknown: the plan was not verified.
    pub fn new(code: &mut Code, kernel: &KernelData, rows: &Rows, names: Names<'_>) -> Result<Defined, String> {
        Defined::for_cache(code, kernel, rows, names, cache::bytes())
    }

    /// The same for a cache of so many bytes.
    fn for_cache(code: &mut Code, kernel: &KernelData, rows: &Rows, names: Names<'_>, cache: u64) -> Result<Defined, String> {
        let types = rows.types(kernel).map_err(|error| error.to_string())?;
        for data in rows.nodes.values() {
            if let NodeData::Scalar(name) = data
                && !names.scalars.contains(name)
            {
                return Err(format!("there is no scalar `{name}`"));
            }
        }
        let isa = Isa::detect();
        let schedule = Schedule::new(kernel, rows, types, wide::suits(kernel, isa));
        let convention = code.convention();
        let config = code.frontend();
        let stores = rows.effects.iter().fold(0, |mask, effect| match effect {
            Effect::Store { slot, .. } if kernel.operands[*slot].access == Access::Accumulate => mask | 1 << slot.index(),
            Effect::Store { .. } | Effect::Fold { .. } => mask,
        });
        let streams = streams::operands(kernel, rows, cache);
        let mut variants = Vec::new();
        for adds in subsets(stores) {
            for streams in if streams == 0 { vec![0] } else { vec![0, streams] } {
                let target = Target { isa, convention, scalars: names.scalars, coordinates: names.coordinates, adds, streams };
                let function = code.define(|b, linker| Emitter::emit(b, config, kernel, rows, &schedule, &target, linker))?;
                variants.push((Variant { adds, streams }, function));
            }
        }
        Ok(Defined { variants, stores, streams, shape: Shape::new(kernel, rows, &schedule) })
    }

    /// The kernel with its addresses, once the code is finished.
    #[must_use]
    pub fn finish(self, code: &Code) -> Runnable {
        let variants = self.variants.into_iter().map(|(variant, function)| (variant, code.entry(function))).collect();
        Runnable { variants, stores: self.stores, streams: self.streams, shape: self.shape }
    }
}

/// All subsets of a set of bits, the empty one first.
fn subsets(all: u64) -> Vec<u64> {
    let mut subsets = vec![0];
    let mut next = 0;
    while next != all {
        next = (next | !all).wrapping_add(1) & all;
        subsets.push(next);
    }
    subsets
}

impl Shape {
    fn new(kernel: &KernelData, rows: &Rows, schedule: &Schedule) -> Shape {
        let row_dims = kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row);
        let row_dims: Vec<(usize, usize)> = row_dims.map(|(axis, dim)| (axis.index(), dim.size as usize)).collect();
        let lane = kernel.lane();
        let lanes = lane.map_or(1, |lane| kernel.dims[lane].size as usize);
        let bytes_along = |operand: &meshwright_plan::kernel::Operand| {
            row_dims.iter().map(|(axis, _)| operand.strides[*axis] as isize * operand.element.bytes() as isize).collect()
        };
        let strides = kernel.operands.values().map(bytes_along).collect();
        let folds = rows.effects.iter().enumerate().filter_map(|(effect, data)| match data {
            Effect::Store { .. } => None,
            Effect::Fold { slot, partials, op, value } => {
                let stride = lane.map_or(0, |lane| kernel.operands[*slot].strides[lane.index()] as isize);
                let wide = schedule.levels[*value] == Level::Lane || stride != 0;
                let accumulates = kernel.operands[*slot].access == Access::Accumulate;
                let (slot, partials) = (slot.index(), partials.map(EntityRef::index));
                Some(Fold { effect, slot, partials, op: *op, width: if wide { lanes } else { 1 }, stride, accumulates })
            }
        });
        let folds: Vec<Fold> = folds.collect();
        Shape {
            words: Words::new(kernel),
            lanes,
            strides,
            folded: rows.folded as usize,
            blocks: (rows.blocks as usize).max(1),
            divisible: folds.is_empty() && schedule.lanes_are_independent(rows),
            effects: rows.effects.len(),
            buffers: schedule.bytes,
            rows: row_dims,
            folds,
        }
    }

    /// Number of rows.
    fn count(&self) -> usize {
        self.rows.iter().map(|(_, size)| size).product()
    }

    /// Bytes of a thread's scratch: words, then the folds' accumulators, then buffers.
    fn scratch(&self) -> usize {
        self.buffers_at() + self.buffers
    }

    fn words_bytes(&self) -> usize {
        (8 * self.words.count(self.effects)).next_multiple_of(64)
    }

    fn buffers_at(&self) -> usize {
        let folds: usize = self.folds.iter().map(|fold| (4 * fold.width).next_multiple_of(64)).sum();
        self.words_bytes() + folds
    }
}
