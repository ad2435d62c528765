//! Typed model → segments: which gradients each call needs, one segment per function and need, and its programs.
//!
//! Requires a model that [`super::microbatch::cut`] has cut. Ensures that calls refer to segments, that a segment's programs compute exactly what
//! its calls need (frozen weights and inputs have no gradient), and that forward keeps what backward reads ([`super::remat`]). The last call's
//! segment, if it is called once, is `merged`.

use super::differentiate::{Demand, Joint, joint};
use super::error;
use super::extract::extract;
use super::ir::{Graph, Limit, Program, Report, Role, Segment, SegmentData, StashSlot};
use super::loss::{Masked, Shares};
use super::remat::{self, Policy};
use super::tidy::tidy;
use crate::model::ir::{Call, Function, FunctionData, Model, Peak, Port, Weight};
use crate::model::settings::Remat;
use crate::op::{Dims, Element, Origin, OriginData, Origins, Value};
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_grammar::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

/// The graph without its update.
pub fn lower(model: &Model, train: bool) -> Result<Graph, Vec<Diagnostic>> {
    let mut origins = model.origins.clone();
    let own = origins.push(OriginData { span: None, path: model.name.clone() });
    let masked = check(model, train)?;
    let mut lowering = Lowering { model, origins, own, masked, variants: Vec::new(), errors: Vec::new() };
    let calls = if train { lowering.training_calls() } else { lowering.evaluation_calls() };
    if train && lowering.errors.is_empty() {
        lowering.require_gradients(&calls);
    }
    if lowering.errors.is_empty() { Ok(lowering.graph(calls, train)) } else { Err(lowering.errors) }
}

/// Losses that a microbatch adds up.
fn loss_sites(model: &Model) -> usize {
    model.calls.iter().map(|call| model.functions[call.function].losses.len()).sum()
}

/// Whether masked losses can be divided, and where; and that remat rules match.
fn check(model: &Model, train: bool) -> Result<Masked, Vec<Diagnostic>> {
    let (sites, microbatches) = (loss_sites(model), model.settings.train.microbatches);
    let policy = Policy { rules: &model.settings.remat, origins: &model.origins };
    let mut errors = if train { policy.check() } else { Vec::new() };
    if microbatches > 1 && sites > 1 {
        let losses = model.functions.values().flat_map(|function| &function.losses);
        let masked = losses.filter(|loss| loss.mask.is_some());
        errors.extend(masked.map(|loss| error::mixed_masks(sites, microbatches, loss.span)));
    }
    let masked = if microbatches > 1 { Masked::AtUpdate } else { Masked::InProgram };
    if errors.is_empty() { Ok(masked) } else { Err(errors) }
}

/// A function with what some of its calls need.
struct Variant {
    function: Function,
    joint: Joint,
    calls: Vec<usize>,
}

impl Variant {
    fn outputs(&self, keep: impl Fn(&Role) -> bool) -> Vec<(Role, Value)> {
        self.joint.program.outputs.iter().filter(|(role, _)| keep(role)).copied().collect()
    }

    /// Whether it gives the gradient of a weight.
    fn trains(&self) -> bool {
        !self.outputs(|role| matches!(role, Role::WeightGrad(_))).is_empty()
    }

    fn gives(&self, param: usize) -> bool {
        !self.outputs(|role| *role == Role::ParamGrad(param as u32)).is_empty()
    }
}

struct Lowering<'a> {
    model: &'a Model,
    origins: Origins,
    own: Origin,
    masked: Masked,
    /// One per segment; first one for every function, in order.
    variants: Vec<Variant>,
    errors: Vec<Diagnostic>,
}

impl Lowering<'_> {
    /// Every weight copy that is trained must have a gradient.
    fn require_gradients(&mut self, calls: &[Call]) {
        if !self.variants.iter().any(Variant::trains) {
            self.errors.push(error::no_loss(&self.model.name, loss_sites(self.model)));
            return;
        }
        let slots = |call: &Call| {
            let outputs = self.variants[call.function.index()].outputs(|role| matches!(role, Role::WeightGrad(_)));
            let slot = |role: &Role| if let Role::WeightGrad(at) = role { call.weights.get(*at as usize).copied() } else { None };
            outputs.iter().filter_map(|(role, _)| slot(role)).collect::<Vec<_>>()
        };
        let reached: BTreeSet<(Weight, u64)> = calls.iter().flat_map(slots).collect();
        let trained = self.model.weights.iter().filter(|(_, data)| !data.frozen);
        for (weight, data) in trained {
            if let Some(copy) = (0..data.count).find(|copy| !reached.contains(&(weight, *copy))) {
                let path = data.path.replace("[*]", &format!("[{copy}]"));
                self.errors.push(error::untrained(&path, data.span));
            }
        }
    }

    /// Calls of segments that only evaluate.
    fn evaluation_calls(&mut self) -> Vec<Call> {
        for function in self.model.functions.keys() {
            let calls = self.model.calls.iter().enumerate().filter(|(_, call)| call.function == function).map(|(at, _)| at).collect();
            self.add(function, None, calls);
        }
        self.model.calls.clone()
    }

    /// Calls of segments that serve their needs, found from the last call to the first.
    fn training_calls(&mut self) -> Vec<Call> {
        let active = active_ports(self.model);
        let mut graded: BTreeSet<Port> = BTreeSet::new();
        let mut found: BTreeMap<(Function, Demand), usize> = BTreeMap::new();
        let mut of_call = vec![0; self.model.calls.len()];
        for (at, call) in self.model.calls.iter().enumerate().rev() {
            let demand = Demand {
                params: call.args.iter().map(|port| active.contains(port)).collect(),
                weights: call.weights.iter().map(|(weight, _)| !self.model.weights[*weight].frozen).collect(),
                results: call.results.iter().map(|port| graded.contains(port)).collect(),
            };
            let known = found.get(&(call.function, demand.clone())).copied();
            let Some(variant) = known.or_else(|| self.add(call.function, Some(demand.clone()), Vec::new())) else { continue };
            found.insert((call.function, demand), variant);
            self.variants[variant].calls.insert(0, at);
            of_call[at] = variant;
            graded.extend(call.args.iter().enumerate().filter(|(param, _)| self.variants[variant].gives(*param)).map(|(_, port)| *port));
        }
        self.arrange(&mut of_call)
    }

    /// Puts variants into the functions' order, the first of each at its function's index, and gives the calls.
    fn arrange(&mut self, of_call: &mut [usize]) -> Vec<Call> {
        for function in self.model.functions.keys() {
            if !self.variants.iter().any(|variant| variant.function == function) {
                self.add(function, None, Vec::new());
            }
        }
        let mut order: Vec<usize> = Vec::new();
        for function in self.model.functions.keys() {
            let own = |at: &usize| self.variants[*at].function == function;
            order.extend((0..self.variants.len()).filter(own).max_by_key(|at| self.variants[*at].calls.len()));
        }
        let rest: Vec<usize> = (0..self.variants.len()).filter(|at| !order.contains(at)).collect();
        order.extend(rest);
        let mut old: Vec<Option<Variant>> = self.variants.drain(..).map(Some).collect();
        self.variants = order.iter().filter_map(|at| old[*at].take()).collect();
        let place = |variant: usize| order.iter().position(|at| *at == variant).unwrap_or(0);
        let calls = self.model.calls.iter().zip(of_call);
        calls.map(|(call, variant)| Call { function: Function::new(place(*variant)), ..call.clone() }).collect()
    }

    /// Makes a variant; none if the user is at fault.
    fn add(&mut self, function: Function, demand: Option<Demand>, calls: Vec<usize>) -> Option<usize> {
        let shares = Shares {
            microbatches: self.model.settings.train.microbatches.max(1),
            calls: self.model.calls.iter().filter(|call| call.function == function).count().max(1) as u64,
            masked: self.masked,
        };
        match joint(&self.model.functions[function], &self.model.dims, demand.as_ref(), shares, self.own) {
            Ok(mut joint) => {
                tidy(&mut joint.program, &self.model.dims);
                self.variants.push(Variant { function, joint, calls });
                Some(self.variants.len() - 1)
            }
            Err(error) => {
                if !self.errors.contains(&error) {
                    self.errors.push(error);
                }
                None
            }
        }
    }

    fn graph(self, calls: Vec<Call>, train: bool) -> Graph {
        let model = self.model;
        let mut segments: PrimaryMap<Segment, SegmentData> = PrimaryMap::new();
        let mut reports = Vec::new();
        for variant in &self.variants {
            let name = self.name(variant, segments.len());
            let data = self.segment(variant, name, train);
            let segment = segments.push(data);
            let of = |(name, sum, count): &(String, u32, Option<u32>)| Report { name: name.clone(), segment, sum: *sum, count: *count };
            reports.extend(variant.joint.reports.iter().filter(|_| !variant.calls.is_empty()).map(of));
        }
        Graph {
            name: model.name.clone(),
            dims: model.dims.clone(),
            origins: self.origins,
            batch: model.batch,
            microbatches: model.settings.train.microbatches.max(1),
            inputs: model.inputs.iter().map(|input| (input.name.clone(), input.port)).collect(),
            ports: model.ports.clone(),
            weights: model.weights.clone(),
            segments,
            calls,
            result: model.result,
            reports,
            update: None,
        }
    }

    /// The function's name, with a number from its second variant on.
    fn name(&self, variant: &Variant, at: usize) -> String {
        let earlier = self.variants[..at].iter().filter(|other| other.function == variant.function).count();
        let name = &self.model.functions[variant.function].name;
        if earlier == 0 { name.clone() } else { format!("{name}#{}", earlier + 1) }
    }

    fn segment(&self, variant: &Variant, name: String, train: bool) -> SegmentData {
        let function = &self.model.functions[variant.function];
        let types = |values: &[Value]| values.iter().map(|value| function.body.ty(*value).clone()).collect();
        let (body, inputs) = (&variant.joint.program.body, at_hand(variant, &BTreeSet::new(), true));
        let seen = variant.outputs(|role| matches!(role, Role::Result(_) | Role::Report(_) | Role::Peak(_)));
        let limit = |peak: &Peak| Limit { path: peak.path.clone(), slot: peak.slot };
        let mut segment = SegmentData {
            name,
            params: types(&function.params),
            weights: types(&function.weights),
            results: types(&function.results),
            stash: Vec::new(),
            kept: Vec::new(),
            differentiable: (0..function.params.len()).map(|param| variant.gives(param)).collect(),
            forward: Program::default(),
            forward_only: extract(body, &seen, &inputs, |_| false),
            backward: None,
            merged: false,
            totals: Vec::new(),
            states: Vec::new(),
            limits: function.peaks.iter().map(limit).collect(),
            next: None,
            take: None,
        };
        if train {
            self.split(variant, function, &mut segment);
            segment.totals = types(&function.totals);
            segment.states = function.nexts.iter().map(|(state, _)| slot(function, *state)).collect();
            segment.next = next(function, &self.model.dims);
            segment.take = segment.next.as_ref().map(|_| take(&segment));
        }
        segment
    }

    /// The programs of a step.
    fn split(&self, variant: &Variant, function: &FunctionData, segment: &mut SegmentData) {
        let program = &variant.joint.program;
        let gradients = variant.outputs(|role| matches!(role, Role::ParamGrad(_) | Role::WeightGrad(_)));
        let mut seen = variant.outputs(|role| matches!(role, Role::Result(_) | Role::Report(_) | Role::Total(_) | Role::Peak(_)));
        let facts = remat::facts(program);
        let policy = Policy { rules: &self.model.settings.remat, origins: &self.origins };
        let recomputes = program.body.insts.iter().any(|inst| facts.is_forward(inst) && policy.of(inst) == Some(Remat::Recompute));
        let last = self.model.calls.len() - 1;
        if variant.calls == [last] && !gradients.is_empty() && !recomputes {
            let outputs: Vec<_> = seen.into_iter().filter(|(role, _)| !matches!(role, Role::Result(_))).chain(gradients).collect();
            segment.backward = Some(extract(&program.body, &outputs, &at_hand(variant, &BTreeSet::new(), true), |_| false));
            segment.merged = true;
            return;
        }
        let keep = remat::keep(program, &facts, &self.model.dims, &policy);
        let hand = at_hand(variant, &keep, false);
        for (role, value) in hand.iter().filter(|(role, _)| matches!(role, Role::Stash(_))) {
            let name = unique(&segment.stash, slot_name(program, *value, &self.origins));
            segment.stash.push(StashSlot { name, ty: program.body.ty(*value).clone() });
            seen.push((*role, *value));
        }
        segment.forward = extract(&program.body, &seen, &at_hand(variant, &BTreeSet::new(), true), |_| false);
        let backward = extract(&program.body, &gradients, &hand, |inst| facts.is_forward(inst));
        let reads = |at: &usize| backward.inputs.iter().any(|(role, _)| *role == Role::Param(*at as u32));
        segment.kept = (0..function.params.len()).filter(reads).collect();
        segment.backward = Some(backward);
    }
}

/// The weight slot of a state.
fn slot(function: &FunctionData, state: Value) -> u32 {
    function.weights.iter().position(|slot| *slot == state).unwrap_or(0) as u32
}

/// The program that moves next values to where the states are.
fn take(segment: &SegmentData) -> Program {
    let mut program = Program::default();
    for (at, slot) in segment.states.iter().enumerate() {
        let value = program.body.input(segment.weights[*slot as usize].clone(), "");
        program.inputs.push((Role::Next(at as u32), value));
        program.outputs.push((Role::Weight(*slot), value));
    }
    program
}

/// The program that gives a function's states their next values.
fn next(function: &FunctionData, dims: &Dims) -> Option<Program> {
    if function.nexts.is_empty() {
        return None;
    }
    let outputs: Vec<_> = function.nexts.iter().enumerate().map(|(at, (_, value))| (Role::Next(at as u32), *value)).collect();
    let weights = function.weights.iter().enumerate().map(|(at, value)| (Role::Weight(at as u32), *value));
    let totals = function.totals.iter().enumerate().map(|(at, value)| (Role::Total(at as u32), *value));
    let hand: Vec<_> = weights.chain(totals).collect();
    let mut program = extract(&function.body, &outputs, &hand, |_| false);
    super::simplify::drop_marks(&mut program);
    tidy(&mut program, dims);
    Some(program)
}

/// What a program can start from: weights, cotangents, and params and kept values (all params if `all`).
fn at_hand(variant: &Variant, keep: &BTreeSet<Value>, all: bool) -> Vec<(Role, Value)> {
    let inputs = &variant.joint.program.inputs;
    let given = |role: &Role, value: &Value| all || !matches!(role, Role::Param(_)) || keep.contains(value);
    let mut hand: Vec<(Role, Value)> = inputs.iter().filter(|(role, value)| given(role, value)).copied().collect();
    let inside = keep.iter().filter(|value| !inputs.iter().any(|(_, input)| input == *value));
    hand.extend(inside.enumerate().map(|(at, value)| (Role::Stash(at as u32), *value)));
    hand
}

/// The value's name in the user's text, or what makes it and where.
fn slot_name(program: &Program, value: Value, origins: &Origins) -> String {
    let name = &program.body.values[value].name;
    let maker = program.body.insts.iter().find(|inst| inst.results.contains(&value));
    match maker {
        Some(inst) if name.is_empty() => {
            let layer = origins[inst.origin].path.rsplit('.').next().unwrap_or("");
            format!("{layer}.{}", super::print::op_name(&inst.op))
        }
        _ => name.clone(),
    }
}

/// The name, with a number if a slot has it already.
fn unique(slots: &[StashSlot], name: String) -> String {
    let taken = |name: &str| slots.iter().any(|slot| slot.name == name);
    let numbered = (2..).map(|number| format!("{name}{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

/// Ports that depend on trained weights through differentiable operators.
fn active_ports(model: &Model) -> BTreeSet<Port> {
    let mut ports: BTreeSet<Port> = BTreeSet::new();
    for call in &model.calls {
        let function = &model.functions[call.function];
        let params = function.params.iter().zip(&call.args).filter(|(_, port)| ports.contains(*port)).map(|(value, _)| *value);
        let trained = |weight: &(Weight, u64)| !model.weights[weight.0].frozen;
        let weights = function.weights.iter().zip(&call.weights).filter(|(_, weight)| trained(weight)).map(|(value, _)| *value);
        let starts: Vec<Value> = params.chain(weights).collect();
        let active = super::autodiff::active(&function.body, &starts);
        let found = function.results.iter().zip(&call.results).filter(|(value, _)| active[**value]);
        ports.extend(found.filter(|(value, _)| function.body.ty(**value).element == Element::Real).map(|(_, port)| *port));
    }
    ports
}
