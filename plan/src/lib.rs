//! The plan: everything that the compiler decided, as types and as text.
//!
//! A plan is a program for a small machine: one arena of memory per rank, kernels written in kernel IR, programs that launch kernels on
//! places of the arena, and entries (`step`, `evaluate`, `predict`) that call programs. The compiler emits it, a runtime executes it,
//! and neither sees the other. This crate uses no other crate of the workspace.
//!
//! Text: `print` writes it, `parse` reads it back, and `parse(print(p)) == p`.

pub mod arena;
mod hash;
pub mod kernel;
pub mod mesh;
pub mod parse;
pub mod print;
pub mod program;
pub mod proof;
pub mod scalar;
pub mod summary;
pub mod verify;

use std::fmt;

pub use arena::{Arena, Region, RegionData, RegionKind};
pub use kernel::{Kernel, KernelData};
pub use mesh::Mesh;
pub use program::{Program, ProgramData};

/// The element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// 32-bit IEEE float. The CPU stores emulated bf16 values in it too, already rounded.
    F32,
    /// The upper half of an F32: what targets with such numbers store rounded values in. Kernels compute with it as f32, and round what they store.
    Bf16,
    /// 32-bit signed integer: what `index(D)` values are.
    I32,
    /// One byte, 0 or 1.
    Bool,
}

impl Element {
    /// Size of one stored element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::Bf16 => 2,
            Element::Bool => 1,
        }
    }

    /// What kernels compute with where this is stored: f32 for bf16.
    pub fn value(self) -> Element {
        match self {
            Element::F32 | Element::Bf16 => Element::F32,
            Element::I32 | Element::Bool => self,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
            Element::I32 => "i32",
            Element::Bool => "bool",
        })
    }
}

/// A whole plan for one rank class: all ranks that share it run the same text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// The devices that it is for; every rank runs this text.
    pub mesh: Mesh,
    /// Parts into which a step's batch is cut, at least 1.
    pub microbatches: u64,
    /// Regions of the arena, with their offsets.
    pub arena: Arena,
    /// Numbers that change from step to step and that kernels read: rates, bias corrections.
    pub scalars: Vec<scalar::Definition>,
    /// What the data source must fill before a step.
    pub inputs: Vec<Input>,
    /// Trained tensors, where they rest, and how they start.
    pub weights: Vec<Weight>,
    /// Numbers that the executor reads after a step: `loss`, `grad_norm`, metrics.
    pub readouts: Vec<Readout>,
    /// Numbers that stay within a bound, or the run stops: what `dispatch`es want of slots that are ragged.
    pub limits: Vec<Limit>,
    /// Tensors that the caller reads after an entry ran: what the model returns, filled by `predict`.
    pub outputs: Vec<Output>,
    /// Kernels, each different one once.
    pub kernels: cranelift_entity::PrimaryMap<Kernel, KernelData>,
    /// Programs, each different one once.
    pub programs: cranelift_entity::PrimaryMap<Program, ProgramData>,
    /// What can be run: `step`, `evaluate`, `predict`.
    pub entries: Vec<program::Entry>,
}

/// A named dim with its size, as it stands in stored tensors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DimSize {
    /// The user's name of the dim.
    pub name: String,
    /// Number of elements along it on one rank.
    pub size: u64,
    /// The mesh axes that cut it, major first: the rank with number `c` along them holds elements `c * size .. (c + 1) * size` of the whole.
    pub axes: Vec<String>,
    /// The rank with number `c` of `n` holds two runs instead, of `size / 2` elements each: chunks `c` and `2 * n - 1 - c` of `2 * n`, in this order.
    pub balanced: bool,
    /// So many elements at the end of the parts are no elements of the whole: its size is not a multiple of the ranks. They hold zeros.
    pub padding: u64,
}

/// A model input: `element[dims]`, dense in row-major order, the batch dim first, for all microbatches of a step. Each microbatch is cut by the mesh
/// by itself: row `i` of a rank, of `n` rows a microbatch, is row `(i / n * parts + c) * n + i % n` of the step, where `c` of `parts` is the rank's number
/// along the batch dim's axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The input's name in the model's signature, which is the field's name in the data source.
    pub name: String,
    /// How it is stored.
    pub element: Element,
    /// For `index(D)` inputs: values are in `0..bound`.
    pub bound: Option<u64>,
    /// Its dims in memory order.
    pub dims: Vec<DimSize>,
    /// Where the executor writes it (offset 0 of this region).
    pub region: Region,
}

/// A trained tensor, or one per iteration of a `repeat`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Stable path; `[*]` stands where the iteration's number goes: `Gpt.Block[*].Attention.query`.
    pub path: String,
    /// How many iterations have their own copy; 1 outside a `repeat`.
    pub count: u64,
    /// Its dims in memory order (dense, row-major).
    pub dims: Vec<DimSize>,
    /// How it starts.
    pub init: Init,
    /// Where the values of record stand.
    pub rest: Rest,
    /// Where its gradient stands; none for frozen weights.
    pub gradient: Option<Rest>,
}

/// Where a weight or its gradient stands on a rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// Which region.
    pub region: Region,
    /// Byte offset of the first copy in that region: of the tensor, or of this rank's piece of its flat block.
    pub offset: u64,
    /// Bytes from one copy to the next.
    pub stride: u64,
    /// How the flat block that it belongs to is cut (ZeRO, FSDP); none: the rank has all of the tensor that `dims` give it.
    pub flat: Option<Flat>,
}

/// A piece of a flat block: the rank with number `c` along `axes` holds its bytes `c * bytes .. (c + 1) * bytes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Flat {
    /// Major first.
    pub axes: Vec<String>,
    /// Bytes of one piece.
    pub bytes: u64,
    /// Byte offset in the block at which the tensor starts.
    pub start: u64,
}

impl DimSize {
    /// Elements of the whole dim.
    pub fn whole(&self, mesh: &Mesh) -> u64 {
        self.size.saturating_mul(mesh.size(&self.axes)).saturating_sub(self.padding)
    }
}

impl Plan {
    /// Brings all kernels into canonical form, and everything that has no meaning to the value that the text stands for: how launches
    /// without accumulating operands accumulate, how far apart the copies of a weight with one copy are.
    pub fn canonical(&mut self) {
        self.microbatches = self.microbatches.max(1);
        self.kernels.values_mut().for_each(KernelData::canonical);
        for weight in self.weights.iter_mut().filter(|weight| weight.count == 1) {
            weight.rest.stride = 0;
            weight.gradient.iter_mut().for_each(|gradient| gradient.stride = 0);
        }
        for launch in self.programs.values_mut().flat_map(|program| &mut program.launches) {
            let kernel = self.kernels.get(launch.kernel);
            if kernel.is_some_and(|kernel| kernel.operands.values().all(|operand| operand.access != kernel::Access::Accumulate)) {
                launch.accumulate = program::Accumulate::Write;
            }
        }
    }
}

impl Weight {
    /// Number of elements of one copy on a rank, before its block is cut.
    pub fn elements(&self) -> u64 {
        self.dims.iter().map(|dim| dim.size).product()
    }

    /// The stable name of copy `index`: `Gpt.Block[3].Attention.query`.
    pub fn name(&self, index: u64) -> String {
        self.path.replacen("[*]", &format!("[{index}]"), 1)
    }
}

/// How a weight starts. Random ones are keyed by the run's seed, the weight's stable name and the global element index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform in `-bound..bound`.
    Uniform(f32),
}

/// A tensor that the caller reads after an entry ran, dense in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `result`.
    pub name: String,
    /// How it is stored.
    pub element: Element,
    /// Its dims in memory order, as the entry that fills it leaves it (`predict`: a batch of 1).
    pub dims: Vec<DimSize>,
    /// Where it stands.
    pub region: Region,
    /// Byte offset.
    pub offset: u64,
}

/// A scalar that the executor reads from the arena after an entry ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Readout {
    /// `loss`, `grad_norm`, or a metric's name. Readouts of one name add up.
    pub name: String,
    /// Which region, and where in it (bytes), an f32 stands.
    pub region: Region,
    /// Byte offset.
    pub offset: u64,
    /// The f32 there is divided by the f32 at this offset of the same region (a sum and its count); none: as it is.
    pub count: Option<u64>,
}

/// Numbers with a bound. Where one of them is beyond it, the entry has computed something else than the spec says: a step ends at its control word
/// without having changed a weight, and the run stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// The entry that leaves them.
    pub entry: String,
    /// What they are of: the path of the layer that dispatches.
    pub path: String,
    /// The dim of slots that has the bound as its size.
    pub dim: String,
    /// The most that each may be.
    pub bound: u64,
    /// Which region, and where in it (bytes), the first f32 stands.
    pub region: Region,
    /// Byte offset.
    pub offset: u64,
    /// How many there are, [`Limit::APART`] bytes from one to the next: one of each microbatch of each call.
    pub count: u64,
}

impl Limit {
    /// Bytes from one number to the next.
    pub const APART: u64 = 64;

    /// Byte offsets of all of them in their region.
    pub fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.offset;
        (0..self.count).map(move |number| first + number * Limit::APART)
    }
}
