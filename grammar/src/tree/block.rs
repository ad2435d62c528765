//! Blocks of the syntax tree: settings, ordered rules, requirements.
//!
//! Requires nothing. Ensures that [`BlockKind`] lists every block of the language and what its entries look like.

use super::{Expr, Name, Setting};
use crate::source::Span;

/// A block of settings, rules or requirements.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Which block.
    pub kind: BlockKind,
    /// The name after `before` in `shard before base { … }`.
    pub before: Option<Name>,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// The block's own word.
    pub word: Span,
    /// From `{` to `}`.
    pub body: Span,
}

/// The blocks of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    /// `mesh { tensor = 2 }`
    Mesh,
    /// `shard { Batch -> data }`
    Shard,
    /// `pipeline { schedule = 1f1b }`
    Pipeline,
    /// `remat { Block.Attention -> recompute }`
    Remat,
    /// `tune { LayerNorm.** -> decay: 0 }`
    Tune,
    /// `precision { Router.** -> f32 }`
    Precision,
    /// `train { steps = 2000 }`
    Train,
    /// `data { train = text("*.txt") }`
    Data,
    /// `validate { every = 250 }`
    Validate,
    /// `checkpoint { every = 500 }`
    Checkpoint,
    /// `cluster { device = h200 }`
    Cluster,
    /// `require { peak_memory < 120 GiB }`
    Require,
    /// `generate { temperature = 0.8 }`
    Generate,
}

/// What the entries of a block look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockForm {
    /// `key = value`
    Keyed,
    /// `path -> setting`, ordered
    Ordered,
    /// conditions
    Conditions,
}

impl BlockKind {
    /// Every block, in the order of the language's description.
    pub const ALL: [BlockKind; 13] = [
        BlockKind::Mesh,
        BlockKind::Shard,
        BlockKind::Pipeline,
        BlockKind::Remat,
        BlockKind::Tune,
        BlockKind::Precision,
        BlockKind::Train,
        BlockKind::Data,
        BlockKind::Validate,
        BlockKind::Checkpoint,
        BlockKind::Cluster,
        BlockKind::Require,
        BlockKind::Generate,
    ];

    /// The word that opens it.
    pub fn text(self) -> &'static str {
        match self {
            BlockKind::Mesh => "mesh",
            BlockKind::Shard => "shard",
            BlockKind::Pipeline => "pipeline",
            BlockKind::Remat => "remat",
            BlockKind::Tune => "tune",
            BlockKind::Precision => "precision",
            BlockKind::Train => "train",
            BlockKind::Data => "data",
            BlockKind::Validate => "validate",
            BlockKind::Checkpoint => "checkpoint",
            BlockKind::Cluster => "cluster",
            BlockKind::Require => "require",
            BlockKind::Generate => "generate",
        }
    }

    /// What its entries look like.
    pub fn form(self) -> BlockForm {
        match self {
            BlockKind::Shard | BlockKind::Remat | BlockKind::Tune | BlockKind::Precision => BlockForm::Ordered,
            BlockKind::Require => BlockForm::Conditions,
            BlockKind::Mesh
            | BlockKind::Pipeline
            | BlockKind::Train
            | BlockKind::Data
            | BlockKind::Validate
            | BlockKind::Checkpoint
            | BlockKind::Cluster
            | BlockKind::Generate => BlockForm::Keyed,
        }
    }
}

/// One entry of a block; which kind follows from [`BlockKind::form`].
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `steps = 2000`
    Setting(Setting),
    /// `Batch -> data`
    Rule(Rule),
    /// `peak_memory < 120 GiB`
    Condition(Expr),
}

/// `path, path -> target`, with modifiers or settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is about, at least one.
    pub patterns: Vec<Pattern>,
    /// The value right of the arrow (`data * tensor`, `recompute`, `frozen`), if there is one.
    pub target: Option<Expr>,
    /// `via …`, `padded`, `hold step`, after the value.
    pub modifiers: Vec<Modifier>,
    /// `decay: 0, rate: 0.1` right of the arrow.
    pub settings: Vec<Setting>,
    /// All of it.
    pub span: Span,
}

/// A path with wildcards: `Block[0..8].Attention.*`, `LayerNorm.**`, `weights.Embed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// At least one part.
    pub parts: Vec<PatternPart>,
    /// All of it.
    pub span: Span,
}

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum PatternPart {
    /// A name, perhaps only some of its repeats.
    Name(Name, Option<Range>),
    /// `*`: any one part.
    Any(Span),
    /// `**`: any parts, also none.
    AnyDepth(Span),
}

/// `[3]` is `3..4`, `[0..8]` is `0..8`.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The first repeat.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Whether it was written as one number.
    pub single: bool,
    /// With its brackets.
    pub span: Span,
}

/// What follows the axes in a shard rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Modifier {
    /// `via ring balanced`, `via heads`, `via gather`
    Via {
        /// How an operation gets a dim that it needs whole.
        how: Name,
        /// `balanced`, if written.
        balanced: Option<Span>,
    },
    /// `padded`
    Padded(Span),
    /// `hold step`
    Hold {
        /// How long gathered weights are kept.
        what: Name,
    },
}
