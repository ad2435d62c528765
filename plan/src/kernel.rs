//! Kernel IR: one scalar-expression language, four skeletons.
//!
//! A kernel has dims (its iteration space, each with a role), operands (views of memory: a stride per dim) and a skeleton that says what is
//! done. It is shape-specialised and address-free: equal kernels are merged whatever tensors they work on. Devices lower it at load.
//!
//! Element address of operand `o` at a point of the iteration space: `place + element_bytes * (sum over dims of index * o.strides[dim])`.

pub(crate) mod canonical;
pub mod level;
mod reach;

use crate::Element;
use crate::mesh::Coordinate;
use cranelift_entity::{PrimaryMap, entity_impl};
pub use level::Level;

/// A kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel(u32);
entity_impl!(Kernel, "k");

/// An operand of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);
entity_impl!(Slot, "slot");

/// A dim of a kernel's iteration space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(u32);
entity_impl!(Axis, "axis");

/// A value of a kernel's body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(u32);
entity_impl!(Node, "v");

/// One kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelData {
    /// A short name for people, made from what it does: `norm`, `gelu_grad`, `query`. Not part of its identity.
    pub name: String,
    /// The iteration space.
    pub dims: PrimaryMap<Axis, KernelDim>,
    /// Memory that it reads and writes. No two operands overlap, except that a read and a write of equal strides may be the same place.
    pub operands: PrimaryMap<Slot, Operand>,
    /// What it does.
    pub skeleton: Skeleton,
}

/// A dim of the iteration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDim {
    /// The user's name, or several joined with `*` where dims were merged.
    pub name: String,
    /// Number of points along it.
    pub size: u64,
    /// What it is to the skeleton.
    pub role: Role,
    /// The mesh axes that cut it, in any order: this rank's points are a part of the whole. Nothing is computed from it; the proof that every
    /// partial sum is reduced once follows from it. The dims of collectives need none.
    pub axes: Vec<String>,
}

/// What a dim is to its skeleton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `rows`: parallel rows, outermost first. `segmented`: the tokens that are added up.
    Row,
    /// `rows`: inside one row, at most one such dim; row reductions go over it. `segmented`: elements of one segment.
    Lane,
    /// `contract`: in a, b and c. `attention`: batch and key-value heads. `segmented`: in index, value and out.
    Batch,
    /// `contract`: in a and c. `attention`: query heads that share keys and values.
    M,
    /// `contract`: in b and c.
    N,
    /// `contract`: in a and b, summed.
    K,
    /// `attention`: query positions.
    Query,
    /// `attention`: key positions.
    Key,
    /// `attention`: contracted between queries and keys.
    Feature,
    /// `attention`: the dims of a value.
    Value,
    /// `segmented`: which segment; the index operand's values range over it.
    Segment,
    /// `collective`: the members of a group, in the order of their numbers. Its other dims are `Row`.
    Member,
}

/// A view of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// Unique in its kernel.
    pub name: String,
    /// How it is stored.
    pub element: Element,
    /// What the kernel does with it.
    pub access: Access,
    /// Elements per step along each dim of the kernel, in the order of `KernelData::dims`; 0 where the operand lacks the dim.
    pub strides: Vec<i64>,
    /// Elements from the operand's place on that the kernel may touch: the verifier bounds every access by it.
    pub extent: u64,
}

/// What a kernel does with an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only reads.
    Read,
    /// Only writes; every element of it.
    Write,
    /// Writes, or adds to what is there: the launch says which.
    Accumulate,
    /// Memory for partial results, undefined before and after.
    Scratch,
}

/// What a kernel does.
#[derive(Clone, Debug, PartialEq)]
pub enum Skeleton {
    /// Independent rows with reductions inside them, and folds over rows.
    Rows(Rows),
    /// `c[batch, m, n] (+)= alpha * sum over k of a[batch, m, k] * b[batch, k, n]`; operands in the order a, b, c; c is `Accumulate`.
    Contract {
        /// Constant factor.
        alpha: f32,
    },
    /// Softmax attention; operands q, k, v, out, lse (one f32 per query row and head: log of the sum of exponentials of scaled scores).
    Attention(Attention),
    /// Its gradient; operands q, k, v, out, lse, dout (read), dq, dk, dv (written), scratch (one row per query: the dot of out and dout).
    AttentionGrad(Attention),
    /// `out[batch, segment, lane] (+)= sum over rows with index[batch, row] == segment of value[batch, row, lane]`; operands index (i32), value,
    /// out (`Accumulate`). Rows are added in order; a row whose index is no segment is left out.
    Segmented,
    /// Ranks exchange values; operands in, out. Every rank of the group launches it, and each has its own operands.
    Collective(Collective),
}

/// An exchange between the ranks of a group. A point of the `Row` dims is written `i`, the rank's own number `me`, the operands of member `r` `in[r]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Collective {
    /// What is exchanged.
    pub exchange: Exchange,
    /// The axes along which the members of a group differ, major first.
    pub axes: Vec<String>,
}

/// What a collective does. Sums are taken in the order of the members' numbers, so that they have the same bits everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exchange {
    /// `out[m, i] = in[m][i]`, for all members `m`.
    AllGather,
    /// `out[i] (+)= reduction over r of in[r][me, i]`.
    ReduceScatter(Reduce),
    /// `out[i] (+)= reduction over r of in[r][i]`. In and out may be the same place.
    AllReduce(Reduce),
    /// `out[m, i] = in[m][me, i]`: the axes stop cutting one dim, which becomes whole, and cut another one.
    AllToAll {
        /// Which they cut before.
        from: String,
        /// Which they cut behind.
        to: String,
    },
    /// `out[i] = in[(me - by) mod members][i]`: everything moves `by` places along the ring.
    Permute {
        /// How far; `1 <= by < members`.
        by: u64,
    },
}

impl Exchange {
    /// Whether the in and the out operand run along a dim of role `Member`.
    pub fn members(&self) -> [bool; 2] {
        match self {
            Exchange::AllGather => [false, true],
            Exchange::ReduceScatter(_) => [true, false],
            Exchange::AllReduce(_) | Exchange::Permute { .. } => [false, false],
            Exchange::AllToAll { .. } => [true, true],
        }
    }

    /// How values of the members become one, if they do.
    pub fn reduction(&self) -> Option<Reduce> {
        match self {
            Exchange::ReduceScatter(op) | Exchange::AllReduce(op) => Some(*op),
            Exchange::AllGather | Exchange::AllToAll { .. } | Exchange::Permute { .. } => None,
        }
    }
}

/// The shape of attention's mask and scale. Query `i` stands at position `query + i` of the sequence, key `j` at `key + j`; without a coordinate
/// at 0. A query that sees no key gets 0 and a `lse` of minus infinity, and adds nothing to any gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Position of the first query of this rank.
    pub query: Option<Coordinate>,
    /// Position of the first key of this rank.
    pub key: Option<Coordinate>,
    /// Factor on scores: `1 / sqrt(feature)` unless the user says otherwise.
    pub scale: f32,
    /// A key is visible only from its own position on.
    pub causal: bool,
    /// A key is visible only from positions less than `window` after it.
    pub window: Option<u64>,
    /// Where there is a coordinate, the rank's part is a balanced one, of two runs: its second half stands where the coordinate's second run does.
    pub balanced: bool,
}

impl Attention {
    /// All numbers of a rank that positions follow from.
    pub fn coordinates(&self) -> Vec<Coordinate> {
        let first = || self.query.iter().chain(&self.key).cloned();
        let second = first().filter(|_| self.balanced).map(|first| Coordinate { second: true, ..first });
        first().chain(second).collect()
    }
}

/// A `rows` kernel: for each row (a point of the `Row` dims) the lanes' values are computed node by node.
///
/// A node is *uniform* (constants, scalars), *row-level* (one value per row) or *lane-level* (one value per lane), see [`Rows::levels`].
/// Row reductions use 16 virtual lanes: element `i` goes to accumulator `i % 16` in order, then accumulators are combined pairwise
/// (`0+8, 1+9, …`, then `0+4, …`, `0+2, …`, `0+1`), so that results do not depend on threads or vector width.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The values, each after its arguments.
    pub nodes: PrimaryMap<Node, NodeData>,
    /// What is written, in order.
    pub effects: Vec<Effect>,
    /// How many of the last `Row` dims the `Fold` effects sum over; 0 if there is no fold.
    pub folded: u32,
    /// Into how many blocks the work is cut. With folds over *all* row dims, each block of consecutive rows folds by itself and the blocks'
    /// results are then combined in order (through the `Scratch` operand of the fold: `blocks * lanes` f32); with fewer folded dims, blocks
    /// are cut between points of the remaining row dims and each result is complete in one block. Threads only take blocks.
    pub blocks: u32,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeData {
    /// An f32 constant (uniform).
    Const(f32),
    /// An i32 constant (uniform).
    Integer(i32),
    /// A scalar of the step: index into `Plan::scalars` by name (uniform, f32).
    Scalar(String),
    /// An element of an operand. Lane-level if its lane stride is not 0 or an index is lane-level, else row-level.
    Load {
        /// Which operand.
        slot: Slot,
        /// Adds `index * stride` elements, with an i32 node in `0..size`: a lookup.
        gather: Option<Gather>,
        /// Reads at `index + by` along a dim instead of at the current index.
        moved: Option<Move>,
    },
    /// The position along a dim (i32): `index(Seq)`; `micro` is added per microbatch, so that the index along the batch dim is global.
    Position {
        /// Which dim.
        dim: Axis,
        /// Added per microbatch.
        micro: u64,
    },
    /// A number of this rank (uniform, i32).
    Coordinate(Coordinate),
    /// An elementwise function.
    Map {
        /// Which.
        op: Map,
        /// Its arguments.
        args: Vec<Node>,
    },
    /// A reduction over the lanes (row-level). A row-level argument counts once per lane for `Sum`.
    Reduce {
        /// Which.
        op: Reduce,
        /// What is reduced.
        arg: Node,
    },
    /// Running sum over lanes, this lane included (lane-level).
    Scan {
        /// What is summed.
        arg: Node,
    },
    /// A random number, uniform in 0..1 (24 bits): Philox4x32-10, counter = (element index low, high, step, iteration), where element
    /// index = sum of index * strides + sum of coordinates and runs + micro * micro_stride and the step counts from 1; the first of the four words, `word >> 8`, is
    /// divided by 2^24. Key: low and high half of `mix(mix(seed) ^ site)`, where `mix` is the finaliser of SplitMix64 (`x + 0x9E37…` first).
    Random {
        /// Hash of the site's path.
        site: u64,
        /// Elements per step along each dim of the kernel: the *global* element index.
        strides: Vec<u64>,
        /// Elements per microbatch.
        micro: u64,
        /// Where this rank's elements start.
        origin: Vec<Coordinate>,
        /// Where they start along row dims of which the rank has balanced parts: the coordinate's first run in the first half, its second behind.
        runs: Vec<Runs>,
    },
}

/// A row dim of two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Which.
    pub dim: Axis,
    /// What the first run adds.
    pub first: Coordinate,
}

impl Runs {
    /// What the second run adds.
    pub fn second(&self) -> Coordinate {
        Coordinate { second: true, ..self.first.clone() }
    }
}

/// An indirect access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// An i32 node.
    pub index: Node,
    /// Elements per unit of it.
    pub stride: i64,
    /// It is in `0..size`.
    pub size: u64,
}

/// An access beside the current index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Along which dim.
    pub dim: Axis,
    /// How far.
    pub by: i64,
    /// Beyond the end: wraps around, or reads as 0.
    pub wrap: bool,
}

/// What a `rows` kernel writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Writes a value at the current point (an `Accumulate` operand may be added to). A row-level value is written once per row if the
    /// operand's lane stride is 0, else to every lane.
    Store {
        /// Where.
        slot: Slot,
        /// What.
        value: Node,
    },
    /// Sums (or takes the maximum) over the folded row dims: one result per remaining row point and lane; if the value is row-level, one
    /// per remaining row point (its lane stride is 0).
    Fold {
        /// Where: an `Accumulate` operand with stride 0 along folded dims.
        slot: Slot,
        /// Partial results, `Access::Scratch`, if all row dims are folded.
        partials: Option<Slot>,
        /// How.
        op: Reduce,
        /// What.
        value: Node,
    },
}

/// Elementwise functions. Arithmetic is f32 (i32 where both arguments are integers); comparisons and logic give bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient (i32: towards zero).
    Div,
    /// Remainder of i32, sign of the divisor.
    Rem,
    /// Power, for f32: exp(b * log(a)), exact for small integer constants b.
    Pow,
    /// Smaller one.
    Min,
    /// Larger one.
    Max,
    /// Negation.
    Neg,
    /// Absolute value.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// Largest integer not above.
    Floor,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// Square root.
    Sqrt,
    /// 1 / square root, correctly computed as a division.
    Rsqrt,
    /// `a < b`.
    Lt,
    /// `a <= b`.
    Le,
    /// `a == b`.
    Eq,
    /// `a != b`.
    Ne,
    /// Both.
    And,
    /// Either.
    Or,
    /// Not.
    Not,
    /// `where(condition, a, b)`.
    Where,
    /// i32 or bool to f32.
    Real,
    /// f32 to i32, towards zero.
    Int,
    /// Rounds an f32 to the nearest bf16, ties to even.
    RoundBf16,
}

/// Associative reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reduce {
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
    /// Position of the first maximum (i32; only over lanes).
    Argmax,
}
