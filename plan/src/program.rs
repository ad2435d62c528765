//! Programs, launches, calls and entries: what runs, in which order, on which bytes.
//!
//! A program is address-free: its launches name (parameter, byte offset); a call binds parameters to places of the arena, as affine
//! functions of the enclosing loops' indices. So all layers and all microbatches share one program.

use crate::arena::Region;
use crate::kernel::Kernel;
use cranelift_entity::entity_impl;

/// A program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program(u32);
entity_impl!(Program, "program");

/// A straight list of launches over parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramData {
    /// `Block.forward`, `Block.backward`, `update.adamw`.
    pub name: String,
    /// What a call must bind.
    pub params: Vec<Param>,
    /// In order; each starts when the one before it has ended.
    pub launches: Vec<Launch>,
}

/// A parameter of a program: so many bytes of the arena, 64-byte aligned; where it is bound to an input, aligned to its elements only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Unique in its program: `x`, `weights`, `stash`, `scratch`.
    pub name: String,
    /// Bytes that the program may touch from the bound place on.
    pub bytes: u64,
    /// Whether the program writes it.
    pub written: bool,
}

/// One kernel at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Which kernel.
    pub kernel: Kernel,
    /// One place for every operand of the kernel, in its order.
    pub places: Vec<Place>,
    /// For the kernel's accumulating operands (`Access::Accumulate`): written or added to.
    pub accumulate: Accumulate,
    /// A bit for each operand, the first one lowest: what stands in scratch memory there is needed no more after this launch.
    pub last: u64,
}

impl Launch {
    /// Whether what stands at an operand's place is needed no more after this launch.
    pub fn is_last(&self, operand: usize) -> bool {
        operand < 64 && self.last >> operand & 1 == 1
    }
}

/// Whether an accumulating operand is written or added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// Overwrites what was there.
    Write,
    /// Adds to what is there.
    Add,
    /// As the call's binding of that parameter says: the step's first contribution to a gradient writes, later ones add.
    ByCall,
}

/// Where an operand stands: a parameter of the program and a byte offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the program's parameters.
    pub param: u32,
    /// Byte offset from where the parameter is bound.
    pub offset: u64,
}

/// Something that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `step`, `evaluate` or `predict`.
    pub name: String,
    /// In order.
    pub body: Vec<Item>,
}

/// A piece of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Runs the body for each value of an index.
    Loop {
        /// Which index.
        index: Index,
        /// First value.
        start: u64,
        /// One past the last value.
        end: u64,
        /// Runs from `end - 1` down to `start`.
        reverse: bool,
        /// In order, once per value.
        body: Vec<Item>,
    },
    /// Runs a program; what stands below it begins when it has ended.
    Call(Call),
    /// Starts a program of collectives on a stream beside: it runs when everything that stands above it has ended, but for what was started on
    /// other streams, and what stands below does not wait for it.
    Start(Stream, Call),
    /// What stands below begins when everything that was started on this stream has ended.
    Join(Stream),
    /// The control word: stop, save, skip. If a number among the readouts `loss` and `grad_norm` is not finite, the rest of the entry is
    /// skipped (the weights stay as they are). If one of the entry's limits is exceeded, the rest is skipped, too, and the run stops.
    Control,
}

/// What runs beside the calls of an entry: each stream runs what is started on it in order. A device gives each a queue and a communicator of its
/// own; an [`Item::Start`] and an [`Item::Join`] are an event recorded and an event waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Weights are gathered ahead of their use.
    Gather,
    /// Gradients are reduced behind the backward programs that follow.
    Reduce,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 2] = [Stream::Gather, Stream::Reduce];

    /// Streams of a rank: that of the calls, and those beside.
    pub const LANES: usize = 1 + Stream::ALL.len();

    /// Its number among all streams of a rank; that of the calls is 0.
    pub fn lane(self) -> usize {
        match self {
            Stream::Gather => 1,
            Stream::Reduce => 2,
        }
    }

    /// The word for it in the plan's text.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Gather => "gather",
            Stream::Reduce => "reduce",
        }
    }
}

impl Item {
    /// The call that it makes, at once or beside; none for what makes no call by itself.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Item::Call(call) | Item::Start(_, call) => Some(call),
            Item::Loop { .. } | Item::Join(_) | Item::Control => None,
        }
    }
}

impl From<Call> for Item {
    fn from(call: Call) -> Item {
        Item::Call(call)
    }
}

/// The indices that loops of a timeline count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Index {
    /// Microbatch of the step.
    Micro,
    /// Call number within a run of equal calls; `repeat` iterations.
    Layer,
}

/// A program with its parameters bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which program.
    pub program: Program,
    /// One address for every parameter of the program, in its order.
    pub bindings: Vec<Address>,
    /// The iteration number that random sites see: `first + step * layer`.
    pub iteration: (u64, i64),
}

/// When `ByCall` launches add to the bound parameter instead of writing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallAccumulate {
    /// Always write.
    #[default]
    Write,
    /// Always add.
    Add,
    /// Write in microbatch 0, add in later ones.
    AfterFirstMicro,
}

/// A place of the arena: `region + offset + micro * micro_stride + layer * layer_stride`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which region.
    pub region: Region,
    /// Constant byte offset in it.
    pub offset: u64,
    /// Bytes per microbatch.
    pub micro: i64,
    /// Bytes per step of the innermost `layer` loop.
    pub layer: i64,
    /// What `Accumulate::ByCall` means for operands that stand in this parameter.
    pub accumulate: CallAccumulate,
}
