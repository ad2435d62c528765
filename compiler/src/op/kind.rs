//! `Op`: the primitives, as a two-level enum so that each table over them is a small exhaustive match per family.
//!
//! In every description, *result* is the instruction's result type, given with the instruction; broadcasting is by dim name.
//! Softmax, log-softmax, cross-entropy, one-hot, rotary, top-k and norms are not here: they are expansions into these.

use super::{Dim, Map, Reduce};
use meshwright_plan::mesh::Coordinate;

/// A primitive.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A real constant; no arguments. Dims of the result: none.
    Const(f64),
    /// An integer constant; no arguments, no dims.
    Integer(i64),
    /// A scalar of the step by name (`rate`); no arguments, no dims. Only in update programs.
    Scalar(String),
    /// Elementwise: each argument's dims are a subset of the result's.
    Map(Map),
    /// Over some dims of the argument; the result has the others. `Argmax` is over exactly one dim and gives `Index` of it.
    Reduce(Reduce, Vec<Dim>),
    /// Sum of products of two arguments over dims that both have; dims that both have and which are not summed are batch dims.
    Contract(Vec<Dim>),
    /// Positions and lookups.
    Index(Index),
    /// Same elements, other dims or places.
    Shape(Shape),
    /// Random numbers.
    Random(Random),
    /// Softmax attention: arguments q, k, v; results out and lse. See [`Attention`].
    Attention(Attention),
    /// Its gradient: arguments q, k, v, out, lse, cotangent of out; results are cotangents of q, k, v.
    AttentionGrad(Attention),
    /// The identity, at the places where precision and placement are decided: results of layers, carried values.
    Anchor,
    /// The identity; no gradient passes.
    Stop,
    /// The ranks of a group exchange values: one argument, one result. Only in local programs, which the stage `shard` makes.
    Collective(Collective),
}

/// Positions and lookups.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// No arguments; result `[dim]`, integer: 0, 1, 2, … Global along the batch dim, whatever the microbatch.
    Position(Dim),
    /// Arguments table, index. Result: the table's dims without `over`, and the index's dims (dims in both are matched).
    Gather {
        /// The dim of the table that the index ranges over.
        over: Dim,
    },
    /// Arguments index, value. `result[into = index, …] = sum of value`: dims of the index that the result lacks are summed, others matched.
    Scatter {
        /// The dim of the result that the index ranges over.
        into: Dim,
    },
    /// Running sum over a dim, this element included.
    Cumsum(Dim),
    /// Running sum from the end, this element included (the gradient of `Cumsum`).
    CumsumReverse(Dim),
    /// No arguments, no dims, integer: where this rank stands in the mesh. Only in local programs.
    Coordinate(Coordinate),
}

/// Same elements, other dims or places. One argument, but for `Concat`.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A dim gets another name of equal size.
    Rename {
        /// Before.
        from: Dim,
        /// After.
        to: Dim,
    },
    /// One dim into several, row-major (the first is outermost); sizes multiply to the whole.
    Split {
        /// Before.
        from: Dim,
        /// After.
        into: Vec<Dim>,
    },
    /// Several dims into one, row-major.
    Merge {
        /// Before.
        from: Vec<Dim>,
        /// After.
        into: Dim,
    },
    /// Elements `start .. start + size(into)` along a dim.
    Slice {
        /// Before.
        from: Dim,
        /// First element.
        start: u64,
        /// After.
        into: Dim,
    },
    /// Zeros around: element `i` of `from` goes to `start + i` of `into` (the gradient of `Slice`).
    Pad {
        /// Before.
        from: Dim,
        /// Where its first element goes.
        start: u64,
        /// After.
        into: Dim,
    },
    /// One element along a dim, which the result lacks.
    Take {
        /// Before.
        from: Dim,
        /// Which element.
        at: u64,
    },
    /// The arguments one after the other: argument `i` has dim `from[i]` where the result has `into`.
    Concat {
        /// One per argument.
        from: Vec<Dim>,
        /// Of the result.
        into: Dim,
    },
    /// `result[i] = argument[i - by]`, 0 where that is outside.
    Shift {
        /// Along which dim.
        dim: Dim,
        /// How far.
        by: i64,
    },
    /// `result[i] = argument[(i + by) mod size]`.
    Roll {
        /// Along which dim.
        dim: Dim,
        /// How far; `0 <= by < size`.
        by: u64,
    },
    /// Repeats the argument along the dims that only the result has.
    Expand,
}

/// Random numbers: no arguments, any dims; keyed by seed and site, counted by step, iteration and global element index.
#[derive(Clone, Debug, PartialEq)]
pub enum Random {
    /// Uniform in 0..1.
    Uniform {
        /// Path of the site without iteration numbers; unique in the model: `Gpt.Block.Feed.dropout0`.
        site: String,
        /// In local programs: the dims of the result that the mesh cuts.
        cuts: Vec<Cut>,
    },
}

/// That a local dim is a part of a whole one: the rank with number `c` along `axes` has part `c` of `parts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The local dim.
    pub dim: Dim,
    /// Mesh axes, major first.
    pub axes: Vec<String>,
    /// How many parts there are.
    pub parts: u64,
    /// The part is two runs, from either end of the whole.
    pub balanced: bool,
}

/// An exchange between the ranks that differ only along some axes, numbered along them, major first. `part` dims are one of so many equal parts
/// of `whole` dims, in the order of the ranks' numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Collective {
    /// What is exchanged.
    pub exchange: Exchange,
    /// Mesh axes, major first.
    pub axes: Vec<String>,
    /// Ranks of a group.
    pub members: u64,
}

/// What a [`Collective`] does to the dims of its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Everyone gets the whole dim.
    AllGather {
        /// Of the argument.
        part: Dim,
        /// Of the result.
        whole: Dim,
    },
    /// Everyone gets its part of the sum (or maximum).
    ReduceScatter {
        /// How.
        reduce: Reduce,
        /// Of the argument.
        whole: Dim,
        /// Of the result.
        part: Dim,
    },
    /// Everyone gets the whole sum (or maximum).
    AllReduce {
        /// How.
        reduce: Reduce,
    },
    /// One dim is gathered while another is cut.
    AllToAll {
        /// Of the argument.
        part: Dim,
        /// What it becomes.
        whole: Dim,
        /// Of the argument.
        cut: Dim,
        /// What it becomes.
        into: Dim,
    },
    /// Everyone gets what the rank `by` places back has: everything moves so far along the ring. Argument and result have one type.
    Permute {
        /// How far; `1 <= by < members`.
        by: u64,
    },
}

impl Exchange {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Exchange::AllGather { .. } => "all_gather",
            Exchange::ReduceScatter { .. } => "reduce_scatter",
            Exchange::AllReduce { .. } => "all_reduce",
            Exchange::AllToAll { .. } => "all_to_all",
            Exchange::Permute { .. } => "permute",
        }
    }

    /// Whether values of the members become one; the others bring numbers as they are.
    pub fn reduces(self) -> bool {
        match self {
            Exchange::ReduceScatter { .. } | Exchange::AllReduce { .. } => true,
            Exchange::AllGather { .. } | Exchange::AllToAll { .. } | Exchange::Permute { .. } => false,
        }
    }
}

/// Attention over named dims. Dims of q that k and v lack share them (grouped queries). `key` is always another dim than `query`: self-attention
/// renames. Result out: the dims of q without `feature`, and the dims of v without `key`. Result lse: the dims of q without `feature`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query positions.
    pub query: Dim,
    /// Key positions.
    pub key: Dim,
    /// Contracted between q and k.
    pub feature: Dim,
    /// Factor on scores.
    pub scale: f64,
    /// Key j is visible from query i only if `j <= i`.
    pub causal: bool,
    /// Key j is visible from query i only if `i - j < window`.
    pub window: Option<u64>,
    /// In local programs: the position of the first query, if the mesh cuts them.
    pub first_query: Option<Coordinate>,
    /// In local programs: the position of the first key, if the mesh cuts them; its `back` says from how far back they came.
    pub first_key: Option<Coordinate>,
    /// In local programs: cut queries and keys are balanced parts, of two runs; the coordinates say where the first ones start.
    pub balanced: bool,
}

impl Attention {
    /// Every query sees every key, scores as they are, and no mesh cuts anything: for struct update, so that a place names what it changes.
    pub fn new(query: Dim, key: Dim, feature: Dim) -> Attention {
        Attention { query, key, feature, scale: 1.0, causal: false, window: None, first_query: None, first_key: None, balanced: false }
    }
}
