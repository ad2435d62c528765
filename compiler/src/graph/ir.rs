//! The training graph: the model's functions as segments with forward and backward programs, and what happens at the end of a step.
//!
//! A [`Program`] is a body with tagged inputs and outputs. The tags ([`Role`]) are all that later stages need to bind memory.

use crate::model::ir::{Call, Model, Port, Weight, WeightData};
use crate::op::{Body, Dim, Dims, Inst, Origins, Type, Value};
use cranelift_entity::{PrimaryMap, SecondaryMap, entity_impl};

/// A segment: one function of the model, with its programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment(u32);
entity_impl!(Segment, "segment");

/// The segment that a call is of.
pub fn segment_of(call: &Call) -> Segment {
    Segment::from_u32(call.function.as_u32())
}

/// The whole training computation on one device.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// All dims; the batch dim has the size of one microbatch here.
    pub dims: Dims,
    /// All origins.
    pub origins: Origins,
    /// The batch dim.
    pub batch: Dim,
    /// Microbatches of a step.
    pub microbatches: u64,
    /// The model's inputs: name and port.
    pub inputs: Vec<(String, Port)>,
    /// Values between segments.
    pub ports: PrimaryMap<Port, Type>,
    /// All weights.
    pub weights: PrimaryMap<Weight, WeightData>,
    /// Each segment once: at the index of the model's function, then second variants of functions whose calls need different gradients.
    pub segments: PrimaryMap<Segment, SegmentData>,
    /// Forward calls in order; call `i` is of segment `calls[i].function` (same index).
    pub calls: Vec<Call>,
    /// What the model returns.
    pub result: Option<Port>,
    /// The numbers that a step reports: one per loss and metric site.
    pub reports: Vec<Report>,
    /// What happens with gradients at the end of the step (empty in a graph that only evaluates).
    pub update: Option<Update>,
}

/// A segment's programs.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentData {
    /// As the function's: `Block`.
    pub name: String,
    /// Types of the activations that come in.
    pub params: Vec<Type>,
    /// Types of the weights.
    pub weights: Vec<Type>,
    /// Types of what goes out.
    pub results: Vec<Type>,
    /// What forward keeps for backward, besides nothing else: values of its own body.
    pub stash: Vec<StashSlot>,
    /// Params (by index) that backward reads again: their ports must stay alive until then.
    pub kept: Vec<usize>,
    /// For each param: whether backward gives its cotangent.
    pub differentiable: Vec<bool>,
    /// params, weights → results, stash, reports, totals, peaks. Empty with `merged` (`backward` does it all) and in a graph that only evaluates.
    pub forward: Program,
    /// params, weights → results, reports, peaks: for evaluation, nothing is kept.
    pub forward_only: Program,
    /// kept params, weights, stash, cotangents of results → cotangents of params and weights. None in a graph that only evaluates. It takes only
    /// the inputs that it reads; without outputs there is nothing to do. Segments are per need: every call of a segment wants each of its gradients,
    /// and every cotangent that it takes has a contribution, so nothing needs to be zeroed.
    pub backward: Option<Program>,
    /// Forward and backward in one program (`loss_and_grad`): the segment's results are used by nobody else and it is called last, so nothing is
    /// stashed. Then `backward` takes params and weights, and also gives reports, totals and peaks; `forward` is not called in a step.
    pub merged: bool,
    /// Types of the sums over the batch that `next` reads.
    pub totals: Vec<Type>,
    /// Weight slots of the states that have a next value.
    pub states: Vec<u32>,
    /// What its peaks may be at most.
    pub limits: Vec<Limit>,
    /// Weights, totals of the whole step → next values of states. Once a step and call, after the control word and before the update: all that it
    /// reads is as the step's forward pass read it.
    pub next: Option<Program>,
    /// Next values → weight slots, when those of all calls are there.
    pub take: Option<Program>,
}

impl SegmentData {
    /// What runs for every microbatch: forward, forward_only, backward.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        [&self.forward, &self.forward_only].into_iter().chain(&self.backward)
    }

    /// The same, to be changed.
    pub fn programs_mut(&mut self) -> impl Iterator<Item = &mut Program> {
        [&mut self.forward, &mut self.forward_only].into_iter().chain(&mut self.backward)
    }
}

/// The bound of a number; beyond it the run stops without having changed a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Path of the layer that dispatches.
    pub path: String,
    /// The dim of slots; its size is the bound.
    pub slot: Dim,
}

/// One value kept from forward to backward.
#[derive(Clone, Debug, PartialEq)]
pub struct StashSlot {
    /// For people.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A body with tagged inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The instructions.
    pub body: Body,
    /// What is bound from outside.
    pub inputs: Vec<(Role, Value)>,
    /// What it gives; one value may stand under several roles.
    pub outputs: Vec<(Role, Value)>,
}

impl Program {
    /// Takes out each instruction for whose result `by` knows another value of the program: all that read the result read that value instead. The
    /// instruction that `by` sees reads such values already.
    pub fn replace(&mut self, mut by: impl FnMut(&mut Body, &Inst) -> Option<Value>) {
        let mut replaced: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
        for mut inst in std::mem::take(&mut self.body.insts) {
            inst.args.iter_mut().for_each(|arg| *arg = replaced[*arg].unwrap_or(*arg));
            match by(&mut self.body, &inst) {
                Some(value) => replaced[inst.results[0]] = Some(value),
                None => self.body.insts.push(inst),
            }
        }
        self.outputs.iter_mut().for_each(|(_, value)| *value = replaced[*value].unwrap_or(*value));
    }
}

/// What an input or output of a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Activation that comes in, by index.
    Param(u32),
    /// Weight slot.
    Weight(u32),
    /// Activation that goes out.
    Result(u32),
    /// Kept value.
    Stash(u32),
    /// Cotangent of a result (an input of backward).
    ResultGrad(u32),
    /// Cotangent of a param (an output of backward); contributions over calls add up.
    ParamGrad(u32),
    /// Cotangent of a weight; contributions over calls and microbatches add up, in f32.
    WeightGrad(u32),
    /// A number to report (index into `Graph::reports` is found through [`SegmentReports`]); contributions add up. No dims.
    Report(u32),
    /// A sum over the batch for the states of the next step (an output of forward, or backward if merged; an input of `next`). Contributions
    /// over microbatches add up; each call has its own.
    Total(u32),
    /// A number that stays within its limit, by index into `SegmentData::limits` (an output of forward, or backward if merged, and of forward_only).
    /// Each call and microbatch has its own. No dims.
    Peak(u32),
    /// The next value of a state, by index into `SegmentData::states` (an output of `next`, an input of `take`).
    Next(u32),
    /// Update programs: the flat range of weights (input and output), dim `[flat]`.
    Rest,
    /// Update programs: the flat range of gradients.
    Gradient,
    /// Update programs: the flat range of a moment (input and output).
    Moment(u32),
    /// Update programs: the scalar that gradients are multiplied by (clipping, 1 / count), no dims.
    Factor,
    /// Norm programs: sum of squares, no dims; contributions over ranges add up.
    SquareSum,
    /// Exchanges of state: a whole flat block.
    Whole,
    /// Exchanges of state: the piece of a block that a rank holds.
    Piece,
}

/// A number that a step reports: sum over its entries, and by what it is divided. Contributions over calls and microbatches add up, and so do
/// reports of one name (a metric in a repeated layer is already the mean over its calls).
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// `loss` or the metric's name. All reports named `loss` add up to the loss.
    pub name: String,
    /// Which segment computes it, and under which `Role::Report` index the *sum* stands there.
    pub segment: Segment,
    /// That index.
    pub sum: u32,
    /// Where the sum of mask values stands, for masked losses; otherwise the sum is already divided by the number of entries of the
    /// whole step.
    pub count: Option<u32>,
}

/// The end of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Scalars that depend on the step: rate, bias corrections.
    pub scalars: Vec<meshwright_plan::scalar::Definition>,
    /// Upper bound of the global gradient norm.
    pub clip: Option<f64>,
    /// Index into `Graph::reports` of the masked loss whose count divides all gradients, if any.
    pub divide_by: Option<usize>,
    /// Number of moments that the optimizer keeps per weight.
    pub moments: u32,
    /// Which update serves each weight: an index into `groups`; none: frozen. Weights of one group differ in nothing but their place.
    pub group_of: SecondaryMap<Weight, Option<u32>>,
    /// One elementwise program per group over a flat dim: `Rest, Gradient, Moment(..), Factor → Rest, Moment(..)`. The flat dim's size is a placeholder:
    /// `schedule` instantiates the program for the ranges that it finds.
    pub groups: Vec<UpdateGroup>,
    /// `Gradient → SquareSum` over a flat dim.
    pub square_sum: Program,
    /// `SquareSum (and the count of `divide_by` as Report(1)) → Factor`, and the norm itself, of the divided gradient, under `Report(0)`.
    /// All of them are without dims. `Factor` is there even without clipping.
    pub factor: Program,
}

/// One way to update weights.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateGroup {
    /// For people: `adamw decay 0.1`.
    pub name: String,
    /// The flat dim of its program.
    pub flat: Dim,
    /// What is computed.
    pub program: Program,
}

/// Bytes of a value as it is stored.
pub fn bytes(ty: &Type, dims: &Dims) -> u64 {
    ty.elements(dims).saturating_mul(Model::stored(ty.element).bytes())
}
