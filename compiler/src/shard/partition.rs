//! Lowering: a program over whole dims → the same over local dims, with what ranks exchange.
//!
//! Requires placements that divide ([`super::ir::Cuts::uneven`] says which do not). Ensures that every value is placed by [`super::rules`], that a
//! value is brought to another placement once for all who want it there, and that outputs stand where their roles want them: gradients of
//! weights partial over deferred axes only, reports over all axes.

use super::ir::{Axis, Cuts, Mesh, Placement};
use super::local;
use super::moves::{Move, User};
use super::placement::Placing;
use super::reshard::{Step, steps};
use super::rules::Known;
use super::scope::Scope;
use super::sums::Pending;
use crate::graph::ir::{Program, Role};
use crate::op::{Body, Collective, Dim, Dims, Element, Exchange, Map, Op, Origin, Reduce, Shape, Type, Value};
use cranelift_entity::{EntityRef, SecondaryMap};
use meshwright_plan::mesh::Coordinate;

/// What programs of one graph share.
pub struct Partition<'a> {
    /// The rules.
    pub placing: &'a Placing,
    /// The devices.
    pub mesh: &'a Mesh,
    /// All dims; local ones are added.
    pub dims: &'a mut Dims,
    /// Local dims.
    pub cuts: &'a mut Cuts,
    /// For each weight slot of the segment, its scope, and the axes over which its gradient stays partial.
    pub slots: Vec<(Scope, Vec<Axis>)>,
    /// For each slot of the stash, the scope of what is kept there.
    pub kept: Vec<Scope>,
    /// What was brought elsewhere in the program at hand, and for whom.
    pub moves: Vec<Move>,
    /// For each peak of the segment, the axes over which it stays partial: the rules alone say where it stands, so all programs agree.
    pub peaks: Vec<Vec<Axis>>,
}

impl Partition<'_> {
    /// The local type of a value that stands at `placement`.
    pub fn ty(&mut self, ty: &Type, placement: &Placement) -> Type {
        Type { element: ty.element, dims: ty.dims.iter().map(|dim| self.dim(*dim, placement)).collect() }
    }

    /// The local dim at a placement.
    pub fn dim(&mut self, dim: Dim, placement: &Placement) -> Dim {
        self.cuts.local(self.dims, self.mesh, dim, placement.of(dim))
    }

    /// The scope of a weight slot.
    pub fn slot(&self, at: usize) -> Scope {
        self.slots.get(at).map_or(Scope::default(), |(scope, _)| *scope)
    }

    /// The scope of a program's input or output; what passes between programs has none.
    fn scope(&self, role: Role) -> Scope {
        match role {
            Role::Weight(slot) | Role::WeightGrad(slot) => self.slot(slot as usize),
            Role::Stash(slot) => self.kept.get(slot as usize).copied().unwrap_or_default(),
            _ => Scope::default(),
        }
    }

    /// The local type of a value by the rules.
    pub fn placed(&mut self, ty: &Type) -> Type {
        let placement = self.placing.place(&ty.dims);
        self.ty(ty, &placement)
    }

    /// A coordinate along some axes.
    pub fn coordinate(&self, axes: &[Axis], times: u64) -> Coordinate {
        Coordinate { axes: self.mesh.names(axes), times, back: 0, second: false }
    }

    /// The local program.
    pub fn program(&mut self, program: &Program) -> Program {
        let mut walk = Walk::new(self, program);
        let inputs = program.inputs.iter().map(|(role, value)| (*role, walk.input(*role, *value))).collect();
        for (at, inst) in program.body.insts.iter().enumerate() {
            walk.user = User::Inst(at);
            walk.inst(inst);
        }
        let mut output = |(role, value): &(Role, Value)| {
            walk.user = User::Output(*role);
            (*role, walk.output(*role, *value))
        };
        let outputs = program.outputs.iter().map(&mut output).collect();
        Program { body: walk.body, inputs, outputs }
    }
}

/// One program on its way.
pub(super) struct Walk<'a, 'b> {
    pub part: &'a mut Partition<'b>,
    pub old: &'a Body,
    pub body: Body,
    /// Every value as it was made, and as it was brought elsewhere.
    pub(super) held: SecondaryMap<Value, Vec<(Placement, Value)>>,
    pub(super) raw: SecondaryMap<Value, Placement>,
    weights: SecondaryMap<Value, bool>,
    pub(super) origins: SecondaryMap<Value, Option<Origin>>,
    /// Sums that nobody has wanted yet.
    pub(super) pending: SecondaryMap<Value, Option<Pending>>,
    /// How often each value is read.
    pub(super) uses: SecondaryMap<Value, u32>,
    /// By which rules with a path values stand.
    pub(super) scopes: SecondaryMap<Value, Scope>,
    /// For whom values are brought to where they are wanted.
    user: User,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn new(part: &'a mut Partition<'b>, program: &'a Program) -> Self {
        let (held, raw, weights, origins, pending) = Default::default();
        let mut uses: SecondaryMap<Value, u32> = SecondaryMap::new();
        program.body.insts.iter().flat_map(|inst| &inst.args).for_each(|arg| uses[*arg] += 1);
        program.outputs.iter().for_each(|(_, value)| uses[*value] += 1);
        let mut scopes = SecondaryMap::new();
        program.inputs.iter().for_each(|(role, value)| scopes[*value] = part.scope(*role));
        for inst in &program.body.insts {
            inst.results.iter().for_each(|result| scopes[*result] = part.placing.scopes().origins[inst.origin]);
        }
        Walk { part, old: &program.body, body: Body::default(), held, raw, weights, origins, pending, uses, scopes, user: User::Inst(0) }
    }

    fn input(&mut self, role: Role, value: Value) -> Value {
        let data = &self.old.values[value];
        let placement = match role {
            Role::Weight(_) => self.part.placing.rest_in(self.scopes[value], &data.ty.dims),
            _ => self.part.placing.place_in(self.scopes[value], &data.ty.dims),
        };
        let ty = self.part.ty(&data.ty, &placement);
        let local = self.body.input(ty, &data.name);
        self.weights[value] = matches!(role, Role::Weight(_));
        self.hold(value, placement, local);
        local
    }

    /// Whether a value is a weight, or another name of one.
    pub(super) fn is_weight(&self, value: Value) -> bool {
        self.weights[value]
    }

    /// Where a value stands by the rules.
    pub(super) fn own(&self, value: Value) -> Placement {
        self.part.placing.place_in(self.scopes[value], &self.old.ty(value).dims)
    }

    pub(super) fn hold(&mut self, value: Value, placement: Placement, local: Value) {
        if self.held[value].is_empty() {
            self.raw[value] = placement.clone();
        }
        self.held[value].push((placement, local));
    }

    fn inst(&mut self, inst: &crate::op::Inst) {
        if self.postpone(inst) {
            self.origins[inst.results[0]] = Some(inst.origin);
            return;
        }
        let known = Known { placing: self.part.placing, body: self.old, raw: &self.raw, weights: &self.weights, scopes: &self.scopes };
        let row = known.row(inst);
        let moved = self.part.moves.len();
        let args: Vec<Value> = inst.args.iter().zip(&row.args).map(|(arg, wanted)| self.want(*arg, wanted, inst.origin)).collect();
        self.part.moves[moved..].iter_mut().for_each(|one| one.row = Some(row.clone()));
        let same =
            matches!(inst.op, Op::Anchor | Op::Stop | Op::Map(Map::RoundBf16) | Op::Shape(Shape::Rename { .. } | Shape::Split { .. }));
        self.weights[inst.results[0]] = same && self.weights[inst.args[0]];
        self.look_along(inst, &row);
        let args = self.without_padding(inst, &row, args);
        let results = local::inst(self, inst, &row, args);
        for ((value, placement), local) in inst.results.iter().zip(row.results).zip(results) {
            let name = self.old.values[*value].name.clone();
            self.body.values[local].name = name;
            self.origins[*value] = Some(inst.origin);
            self.hold(*value, placement, local);
        }
    }

    /// A value at a placement: as it stands there already, or brought there. What is partial is reduced to where it stands by the rules, once for all.
    pub fn want(&mut self, value: Value, wanted: &Placement, origin: Origin) -> Value {
        self.settle(value);
        let held = self.held[value].iter().any(|(placement, _)| placement == wanted);
        if !held && self.raw[value].partial.is_some() && wanted.partial.is_none() {
            let own = self.own(value);
            self.bring(value, &own, origin);
        }
        self.bring(value, wanted, origin)
    }

    /// The same, straight from where the value stands.
    fn bring(&mut self, value: Value, wanted: &Placement, origin: Origin) -> Value {
        if let Some((_, local)) = self.held[value].iter().find(|(placement, _)| placement == wanted) {
            return *local;
        }
        let complete = |(placement, _): &&(Placement, Value)| placement.partial.is_none() || wanted.partial.is_some();
        let cost = |(placement, _): &&(Placement, Value)| steps(placement, wanted).iter().filter(|step| step.exchanges()).count();
        let found = self.held[value].iter().filter(complete).min_by_key(cost).or(self.held[value].first());
        let (from, local) = found.cloned().expect("every value was made before it is read");
        let local = self.reshard(value, from, wanted, local, origin);
        self.held[value].push((wanted.clone(), local));
        local
    }

    pub(super) fn reshard(&mut self, value: Value, from: Placement, wanted: &Placement, mut local: Value, origin: Origin) -> Value {
        let mut now = from.clone();
        let first = self.body.insts.len();
        for step in steps(&from, wanted) {
            local = self.step(&step, &mut now, value, local, origin);
        }
        let made = self.body.insts[first..].iter();
        let exchanges: Vec<Collective> =
            made.filter_map(|inst| if let Op::Collective(one) = &inst.op { Some(one.clone()) } else { None }).collect();
        if !exchanges.is_empty() {
            self.part.moves.push(Move { value, from, to: wanted.clone(), user: self.user, row: None, origin, exchanges });
        }
        local
    }

    fn step(&mut self, step: &Step, now: &mut Placement, value: Value, local: Value, origin: Origin) -> Value {
        let before = now.clone();
        self.never_padded(step, origin);
        match step {
            Step::ReduceScatter(reduce, dim, axes) => {
                now.set(*dim, &[before.of(*dim), axes].concat());
                let local = self.by_rank(*dim, &before, axes, local, origin);
                let (whole, part) = (self.gathered(*dim, &before, axes), self.part.dim(*dim, now));
                self.exchange(Exchange::ReduceScatter { reduce: *reduce, whole, part }, axes, value, local, origin)
            }
            Step::AllReduce(reduce, axes) => self.exchange(Exchange::AllReduce { reduce: *reduce }, axes, value, local, origin),
            Step::AllGather(dim, axes) => {
                now.set(*dim, &before.of(*dim)[..before.of(*dim).len() - axes.len()]);
                let (part, whole) = (self.part.dim(*dim, &before), self.gathered(*dim, now, axes));
                let all = self.exchange(Exchange::AllGather { part, whole }, axes, value, local, origin);
                self.joined(*dim, now, axes, all, origin)
            }
            Step::AllToAll(dim, other, axes) => {
                now.set(*dim, &before.of(*dim)[..before.of(*dim).len() - axes.len()]);
                now.set(*other, &[before.of(*other), axes].concat());
                let local = self.by_rank(*other, &before, axes, local, origin);
                let (part, whole) = (self.part.dim(*dim, &before), self.gathered(*dim, now, axes));
                let (cut, into) = (self.gathered(*other, &before, axes), self.part.dim(*other, now));
                let all = self.exchange(Exchange::AllToAll { part, whole, cut, into }, axes, value, local, origin);
                self.joined(*dim, now, axes, all, origin)
            }
            Step::Cut(dim, axes) => {
                now.set(*dim, &[before.of(*dim), axes].concat());
                local::cut(self, *dim, axes, (&before, now), value, local, origin)
            }
        }
    }

    fn exchange(&mut self, exchange: Exchange, axes: &[Axis], value: Value, local: Value, origin: Origin) -> Value {
        let changes: &[(Dim, Dim)] = match &exchange {
            Exchange::AllGather { part, whole } => &[(*part, *whole)],
            Exchange::ReduceScatter { whole, part, .. } => &[(*whole, *part)],
            Exchange::AllToAll { part, whole, cut, into } => &[(*part, *whole), (*cut, *into)],
            Exchange::AllReduce { .. } | Exchange::Permute { .. } => &[],
        };
        let mut ty = self.body.ty(local).clone();
        for dim in &mut ty.dims {
            *dim = changes.iter().find(|(from, _)| from == dim).map_or(*dim, |(_, to)| *to);
        }
        let op = Collective { exchange, axes: self.part.mesh.names(axes), members: self.part.mesh.size(axes) };
        let result = self.body.push(Op::Collective(op), vec![local], ty, origin);
        self.body.values[result].name = self.old.values[value].name.clone();
        result
    }

    fn output(&mut self, role: Role, value: Value) -> Value {
        let own = self.part.placing.place_in(self.part.scope(role), &self.old.ty(value).dims);
        let origin = self.origins[value].unwrap_or(Origin::new(0));
        match role {
            Role::WeightGrad(slot) => {
                let own = self.part.placing.rest_in(self.part.scope(role), &self.old.ty(value).dims);
                let axes = self.part.slots.get(slot as usize).map(|(_, axes)| axes.clone()).unwrap_or_default();
                let local = self.spread(value, own.clone(), &axes, origin);
                self.zero_padding(local, &own, origin)
            }
            Role::Report(_) => {
                let all: Vec<Axis> = self.part.mesh.axes.keys().collect();
                self.spread(value, own, &all, origin)
            }
            Role::Peak(number) => {
                self.settle(value);
                let open = self.raw[value].partial_axes().to_vec();
                let number = number as usize;
                self.part.peaks.resize(self.part.peaks.len().max(number + 1), Vec::new());
                self.part.peaks[number].clone_from(&open);
                self.bring(value, &own.summed(&open, Reduce::Max), origin)
            }
            Role::Total(_) => {
                let over = self.part.mesh.beside(&own.axes());
                self.spread(value, own, &over, origin)
            }
            _ => self.want(value, &own, origin),
        }
    }

    /// A value at `own`, partial over exactly `axes`: reduced over the others, and zero on all members but the first along those over which it
    /// was complete.
    fn spread(&mut self, value: Value, own: Placement, axes: &[Axis], origin: Origin) -> Value {
        let open = self.raw[value].partial_axes().to_vec();
        let (stay, missing): (Vec<Axis>, Vec<Axis>) = axes.iter().copied().partition(|axis| open.contains(axis));
        self.settle(value);
        let local = self.bring(value, &own.summed(&stay, Reduce::Sum), origin);
        if missing.is_empty() {
            return local;
        }
        let scalar = |element| Type { element, dims: Vec::new() };
        let at = self.part.coordinate(&missing, 1);
        let at = self.body.push(Op::Index(crate::op::Index::Coordinate(at)), vec![], scalar(Element::Integer), origin);
        let first = self.body.push(Op::Integer(0), vec![], scalar(Element::Integer), origin);
        let here = self.body.push(Op::Map(Map::Eq), vec![at, first], scalar(Element::Bool), origin);
        let zero = self.body.push(Op::Const(0.0), vec![], scalar(Element::Real), origin);
        let ty = self.body.ty(local).clone();
        self.body.push(Op::Map(Map::Where), vec![here, local, zero], ty, origin)
    }
}
