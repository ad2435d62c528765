//! The typed settings of a spec: how to train, on what data, and what to keep.

use meshwright_grammar::Span;

/// Everything beside the model itself that one device needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `train { … }`.
    pub train: Train,
    /// `data { … }`.
    pub data: Data,
    /// `validate { … }`.
    pub validate: Validate,
    /// `checkpoint { … }`: steps between written weights; none: only at the end.
    pub checkpoint_every: Option<u64>,
    /// `remat { … }` in order: path pattern and what to do with values of layers that it names; the first match counts.
    pub remat: Vec<(Pattern, Remat)>,
    /// `mesh { … }`: axes of devices, slowest first; none: one device.
    pub mesh: Vec<Axis>,
    /// `shard { … }` in order, one per name left of an arrow.
    pub shard: Vec<ShardRule>,
}

impl Settings {
    /// Devices of the mesh.
    pub fn devices(&self) -> u64 {
        self.mesh.iter().map(|axis| axis.size).product()
    }
}

/// An axis of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Devices along it, at least 1.
    pub size: u64,
    /// Where it stands.
    pub span: Span,
}

/// One name of a shard rule with the rule's axes.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardRule {
    /// What is cut.
    pub target: ShardTarget,
    /// Only of the weights and values of layers that this path names; none: of all.
    pub scope: Option<Pattern>,
    /// By which axes of the mesh, major first; none: `whole`.
    pub axes: Vec<String>,
    /// How operations get the dim whole.
    pub via: Via,
    /// Gathered weights are kept through a step's microbatches.
    pub hold: bool,
    /// A size that the axes do not divide is padded.
    pub padded: bool,
    /// The name left of the arrow.
    pub span: Span,
    /// The rule that it stands in, or the preset.
    pub rule: Span,
    /// The preset that it comes from.
    pub preset: Option<&'static str>,
}

/// What a shard rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardTarget {
    /// A dim of every tensor, by name.
    Dim(String),
    /// A dim of weights at rest, by name: they are gathered along it for use (FSDP by dim).
    WeightDim(String),
    /// How weights rest: ZeRO-3, FSDP.
    Weights,
    /// How gradients rest: ZeRO-2.
    Gradients,
    /// How moments rest: ZeRO-1.
    Moments,
}

/// How an operation gets a dim whole that is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// It is gathered.
    #[default]
    Gather,
    /// Heads are cut instead while attention runs (Ulysses: Jacobs et al. 2023).
    Heads,
    /// Attention's keys and values go around the ring of ranks (Liu et al. 2023).
    Ring,
    /// The same, and each rank holds a part from either end of the dim, so that a causal mask leaves all ranks the same work.
    Balanced,
}

/// A path pattern: it matches at a path's end; `*` is one part, `**` any.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// Its parts as written: `Block`, `*`, `**`, `Block[0..8]`.
    pub parts: Vec<String>,
    /// Where it stands.
    pub span: Option<Span>,
}

impl Pattern {
    /// As it was written.
    pub fn path(&self) -> String {
        self.parts.join(".")
    }
}

/// What to do with a layer's intermediate values between forward and backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remat {
    /// Keep only the layer's inputs; compute the rest again.
    Recompute,
    /// Keep all that the backward pass reads.
    Save,
}

/// `train { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Optimizer steps.
    pub steps: u64,
    /// Parts into which a step's batch is cut.
    pub microbatches: u64,
    /// Which optimizer.
    pub optimizer: Optimizer,
    /// The learning rate over steps.
    pub rate: Rate,
    /// Upper bound of the gradient's global norm.
    pub clip: Option<f64>,
    /// Compute type.
    pub precision: Precision,
    /// Seed of initial weights, data order and dropout.
    pub seed: u64,
}

/// Compute type of matrix products, layer results and saved values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit throughout.
    F32,
    /// Rounded to bf16 at the places that the language names.
    Bf16,
}

/// An optimizer with its numbers. `decay` is decoupled (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// AdamW.
    AdamW {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Weight decay coefficient.
        decay: f64,
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Decay of the velocity; 0: no velocity is kept.
        momentum: f64,
        /// Weight decay coefficient.
        decay: f64,
    },
    /// Lion (Chen et al. 2023).
    Lion {
        /// Interpolation for the update's sign.
        beta1: f64,
        /// Decay of the moment.
        beta2: f64,
        /// Weight decay coefficient.
        decay: f64,
    },
}

/// The learning rate at step t (from 1), in units per step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// The same throughout, after a linear warmup.
    Constant {
        /// The rate.
        peak: f64,
        /// Steps of linear growth from 0.
        warmup: u64,
    },
    /// Linear from the peak to the floor at the last step.
    Linear {
        /// After the warmup.
        peak: f64,
        /// Steps of linear growth from 0.
        warmup: u64,
        /// At the last step.
        floor: f64,
    },
    /// Half a cosine from the peak to the floor at the last step.
    Cosine {
        /// After the warmup.
        peak: f64,
        /// Steps of linear growth from 0.
        warmup: u64,
        /// At the last step.
        floor: f64,
    },
    /// Warmup, stable, linear decay over the last steps.
    Wsd {
        /// The stable rate.
        peak: f64,
        /// Steps of linear growth from 0.
        warmup: u64,
        /// Steps of linear fall at the end.
        decay: u64,
        /// At the last step.
        floor: f64,
    },
}

/// `data { … }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// What to train on; none: no data block.
    pub train: Option<Source>,
    /// What to validate on, if it is not held out of `train`.
    pub validation: Option<Source>,
    /// Share of the training source that is held out, in 0..1.
    pub held_out: Option<f64>,
    /// How text becomes tokens.
    pub tokenizer: Option<Tokenizer>,
    /// Where the block and its entries stand: (entry's name, span); the block itself has the name `data`.
    pub spans: Vec<(String, Span)>,
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Text files by glob patterns.
    Text(Vec<String>),
    /// Token files by glob patterns.
    Tokens(Vec<String>),
    /// A table: its path, and for each model input the columns that feed it.
    Csv(String, Vec<(String, Vec<String>)>),
}

/// How text becomes tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Each byte is a token.
    Bytes,
    /// A `tokenizer.json` of Hugging Face.
    HuggingFace(String),
}

/// `validate { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Validate {
    /// Steps between measurements; none: only at the end.
    pub every: Option<u64>,
    /// Batches per measurement.
    pub batches: u64,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            steps: 1000,
            microbatches: 1,
            optimizer: Optimizer::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 },
            rate: Rate::Constant { peak: 1e-3, warmup: 0 },
            clip: None,
            precision: Precision::F32,
            seed: 0,
        }
    }
}

impl Default for Validate {
    fn default() -> Self {
        Validate { every: None, batches: 20 }
    }
}
