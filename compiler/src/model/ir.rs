//! The typed model: every layer call instantiated, every dim and number known, every operation a primitive.
//!
//! The forward pass is a flat list of [`Call`]s of [`Function`]s. A function is a piece of the model's body: one iteration of a `repeat`,
//! one top-level `let x = Layer(x)`, or what stands between them. Equal pieces are one function (same structure, dims and constants;
//! weights are slots), so a `repeat` of equal layers is one function called many times.

use crate::op::{Body, Dim, Dims, Element, Origins, Type, Value};
use cranelift_entity::{PrimaryMap, entity_impl};
use meshwright_grammar::Span;
use meshwright_plan::Init;

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Function(u32);
entity_impl!(Function, "fn");

/// A declared weight (with one copy per iteration, inside a `repeat`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u32);
entity_impl!(Weight, "weight");

/// A value between functions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u32);
entity_impl!(Port, "port");

/// A whole typed model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// All dims.
    pub dims: Dims,
    /// All origins.
    pub origins: Origins,
    /// All weights, in order of declaration.
    pub weights: PrimaryMap<Weight, WeightData>,
    /// The model's inputs; each is a port.
    pub inputs: Vec<Input>,
    /// The dim that microbatches and data parallelism cut: the first dim of the first input; every input has it.
    pub batch: Dim,
    /// Values between functions, inputs included.
    pub ports: PrimaryMap<Port, Type>,
    /// Each different piece once.
    pub functions: PrimaryMap<Function, FunctionData>,
    /// The forward pass, in order.
    pub calls: Vec<Call>,
    /// What the model returns.
    pub result: Option<Port>,
    /// How to train it.
    pub settings: super::settings::Settings,
}

/// A trained tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightData {
    /// Stable path; `[*]` where the iteration's number goes.
    pub path: String,
    /// The same path by the names of layers instead of instances, without numbers: `Gpt.Block.LayerNorm.gain`.
    pub layers: String,
    /// Copies: iterations of the enclosing `repeat`, or 1.
    pub count: u64,
    /// What goes in (left of the arrow; all dims but inside no arrow: empty).
    pub inputs: Vec<Dim>,
    /// What comes out (right of the arrow), or all dims of a weight without an arrow.
    pub outputs: Vec<Dim>,
    /// Leading dims before the arrow's two sides that neither side counts (`Expert` in `[Expert, Embed -> Mlp]`), outermost.
    pub stacked: Vec<Dim>,
    /// How it starts (fan-in scaled defaults are already numbers).
    pub init: Init,
    /// Whether it has an arrow: matrices decay by default, others do not.
    pub arrow: bool,
    /// From `tune`: decay coefficient instead of the optimizer's.
    pub decay: Option<f64>,
    /// Not trained: by `tune`, or because it is a state.
    pub frozen: bool,
    /// Changed by `next` at the end of each step.
    pub state: bool,
    /// From `tune`: factor on the rate.
    pub rate: f64,
    /// Where it was declared.
    pub span: Option<Span>,
}

impl WeightData {
    /// All its dims in memory order.
    pub fn dims(&self) -> Vec<Dim> {
        self.stacked.iter().chain(&self.inputs).chain(&self.outputs).copied().collect()
    }
}

/// A model input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name in the signature.
    pub name: String,
    /// Its type; the batch dim is outermost in the layout.
    pub port: Port,
    /// Where it was declared.
    pub span: Option<Span>,
}

/// A piece of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionData {
    /// For people: `Block`, `embed`, `head`; unique.
    pub name: String,
    /// Inputs that are activations: one per argument of a call.
    pub params: Vec<Value>,
    /// Inputs that are weights: one per weight of a call.
    pub weights: Vec<Value>,
    /// What it computes.
    pub body: Body,
    /// Its results: one per result of a call.
    pub results: Vec<Value>,
    /// Losses that arise inside it; they all add up.
    pub losses: Vec<Loss>,
    /// Numbers to report: name, value (mean over all its entries in the whole step).
    pub metrics: Vec<(String, Value)>,
    /// Values without the batch dim that are sums over it, linear in what they sum: what `nexts` are made of beside weights.
    pub totals: Vec<Value>,
    /// States of the next step: weight slot of the state, and its value, computed from `totals` over the whole step.
    pub nexts: Vec<(Value, Value)>,
    /// Numbers that stay within a bound, or the run stops without having changed a weight.
    pub peaks: Vec<Peak>,
}

/// How many slots the experts of a `dispatch` want, whose dim of slots is `ragged`.
#[derive(Clone, Debug, PartialEq)]
pub struct Peak {
    /// Real, any dims: its largest element counts.
    pub value: Value,
    /// The dim of slots; its size is the bound.
    pub slot: Dim,
    /// Path of the layer that dispatches: `Moe.Block[*].Experts`.
    pub path: String,
}

/// `loss e`: the mean of `e` over all its entries in the whole step; `loss e where m`: sum of e*m over sum of m, over the whole step.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// `e`: real, any dims.
    pub value: Value,
    /// `m`: bool or real, dims within those of `e`.
    pub mask: Option<Value>,
    /// Where it was written.
    pub span: Option<Span>,
}

/// A function applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub function: Function,
    /// One per parameter.
    pub args: Vec<Port>,
    /// One per weight slot: which weight, which copy of it.
    pub weights: Vec<(Weight, u64)>,
    /// One per result; each port is defined by one call (or is an input).
    pub results: Vec<Port>,
    /// Number of this iteration in its `repeat`, else 0: what random sites count.
    pub iteration: u64,
}

impl Model {
    /// Stored element type.
    pub fn stored(element: Element) -> meshwright_plan::Element {
        match element {
            Element::Real => meshwright_plan::Element::F32,
            Element::Half => meshwright_plan::Element::Bf16,
            Element::Bool => meshwright_plan::Element::Bool,
            Element::Index(_) | Element::Integer => meshwright_plan::Element::I32,
        }
    }
}
