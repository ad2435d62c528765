//! The arena: all memory of one rank, cut into regions with fixed offsets.
//!
//! Ensures nothing by itself; `verify` checks that regions do not overlap unless they say so and that offsets are aligned.

use cranelift_entity::{PrimaryMap, entity_impl};

/// A region of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(u32);
entity_impl!(Region, "region");

/// All memory of one rank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arena {
    /// Total size in bytes.
    pub bytes: u64,
    /// Its parts, in order of declaration.
    pub regions: PrimaryMap<Region, RegionData>,
}

/// What a region is for: the summary adds bytes up by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegionKind {
    /// Weights of record.
    Weights,
    /// Gradients, accumulated over microbatches.
    Gradients,
    /// Optimizer moments.
    Moments,
    /// Inputs of the model.
    Data,
    /// Values that flow between segments, and their cotangents.
    Carries,
    /// Values kept from forward to backward.
    Stash,
    /// Weights gathered for use, and gradients before they are scattered.
    Gathered,
    /// Temporaries inside one program.
    Scratch,
    /// Scalars: losses, norms, factors.
    Results,
}

/// One region. Bytes `offset .. offset + bytes` of the arena, 64-byte aligned.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionData {
    /// Unique name: `weights.Block`, `stash.Block`, `scratch`.
    pub name: String,
    /// What it is for.
    pub kind: RegionKind,
    /// Byte offset in the arena.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}
