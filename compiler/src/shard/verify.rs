//! Verifier of local programs: they are typed again from what the operators do, without the rules that made them.
//!
//! Requires programs that [`crate::graph::verify`] accepts. Invariants:
//! - what is partial over an axis meets nothing but sums of such, scaling by a number, a mask of zeros, and a reduction over just that axis, by the same reduction;
//! - what is complete is never reduced; a collective names ranks of the mesh, and cuts and joins dims by just its axes;
//! - a dim that the mesh cuts is summed only into something partial, and nothing looks along it but by a position that knows where the rank stands;
//! - what came around a ring meets what came as far: attention that knows from how far back its keys are, and sums; every query meets the keys of
//!   all ranks of its ring that it can see, each once;
//! - balanced parts are right in both their runs, and chunks stand in the order of the layout (`runs`);
//! - results, kept values and cotangents of activations are complete; gradients of weights are partial over exactly the axes that are deferred,
//!   reports over all, peaks over those along which they are compared afterwards.

mod ring;
mod runs;

use super::ir::{Axis, Sharded};
use crate::graph::ir::segment_of;
use crate::graph::ir::{Program, Role, Segment};
use crate::op::{Attention, Body, Collective, Dim, Element, Exchange, Index, Inst, Map, Op, Reduce, Shape, Value};
use cranelift_entity::SecondaryMap;
use meshwright_plan::mesh::Coordinate;
use std::collections::BTreeSet;

type Checked<T> = Result<T, String>;

/// What is known of a value beside its dims.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    /// Axes over which it is a part of a sum (or maximum), ascending.
    partial: Vec<Axis>,
    reduce: Option<Reduce>,
    /// Axes along which ranks have different values that no dim accounts for: coordinates and what is computed from them, ascending.
    differs: Vec<Axis>,
    /// Around which ring it came, and how far.
    moved: Option<(Vec<Axis>, u64)>,
    /// Of positions along a balanced part, the run in which they are right: the dim, and whether it is the second.
    run: Option<(Dim, bool)>,
}

/// Attention around a ring, without where its keys are from: whether it is a gradient, its queries, and from how far back it saw keys.
type Around = (Attention, bool, Value, BTreeSet<u64>);

/// Checks every program of every segment.
pub fn verify(sharded: &Sharded) -> Result<(), String> {
    for (segment, data) in &sharded.graph.segments {
        let always = [("forward", Some(&data.forward)), ("forward_only", Some(&data.forward_only)), ("backward", data.backward.as_ref())];
        let programs = always.into_iter().chain([("next", data.next.as_ref()), ("take", data.take.as_ref())]);
        for (name, program) in programs.filter_map(|(name, program)| program.map(|program| (name, program))) {
            self::program(sharded, segment, program).map_err(|error| format!("{}.{name}: {error}", data.name))?;
        }
    }
    Ok(())
}

/// Checks one program of a segment.
pub fn program(sharded: &Sharded, segment: Segment, program: &Program) -> Result<(), String> {
    let mut typing = Typing {
        sharded,
        body: &program.body,
        held: SecondaryMap::new(),
        positions: SecondaryMap::new(),
        defined: SecondaryMap::new(),
        orders: SecondaryMap::new(),
        early: SecondaryMap::new(),
        around: Vec::new(),
    };
    for (at, inst) in program.body.insts.iter().enumerate() {
        let held = typing.inst(inst).map_err(|error| format!("instruction {at}, {}: {error}", crate::graph::print::op_name(&inst.op)))?;
        inst.results.iter().zip(held).for_each(|(result, held)| typing.held[*result] = held);
        inst.results.iter().for_each(|result| typing.defined[*result] = Some(at));
    }
    typing.around.iter().try_for_each(|around| typing.all_around(around))?;
    for (role, value) in &program.outputs {
        typing.output(segment, *role, *value).map_err(|error| format!("{role:?}: {error}"))?;
    }
    Ok(())
}

struct Typing<'a> {
    sharded: &'a Sharded,
    body: &'a Body,
    held: SecondaryMap<Value, Held>,
    /// Of positions along a cut dim that do not yet know where the rank stands: the dim.
    positions: SecondaryMap<Value, Option<Dim>>,
    defined: SecondaryMap<Value, Option<usize>>,
    /// Numbers of chunks, for each chunk.
    orders: SecondaryMap<Value, Option<Vec<i64>>>,
    /// Conditions that an element stands in the first run of a balanced part: of which dim.
    early: SecondaryMap<Value, Option<Dim>>,
    around: Vec<Around>,
}

fn need(condition: bool, message: &str) -> Checked<()> {
    if condition { Ok(()) } else { Err(message.to_string()) }
}

fn sorted(mut axes: Vec<Axis>) -> Vec<Axis> {
    axes.sort_unstable();
    axes.dedup();
    axes
}

impl Typing<'_> {
    fn cut(&self, dim: Dim) -> &[Axis] {
        self.sharded.cuts.whole(dim).1
    }

    fn axes(&self, names: &[String]) -> Checked<Vec<Axis>> {
        names.iter().map(|name| self.sharded.mesh.axis(name).ok_or_else(|| format!("the mesh has no axis {name}"))).collect()
    }

    fn is_zero(&self, value: Value) -> bool {
        let def = self.defined[value].map(|at| &self.body.insts[at].op);
        matches!(def, Some(Op::Const(0.0)))
    }

    fn complete(&self, inst: &Inst) -> Checked<()> {
        need(inst.args.iter().all(|arg| self.held[*arg].partial.is_empty()), "an operand is partial")
    }

    fn alike(&self, inst: &Inst) -> Checked<()> {
        need(inst.args.iter().all(|arg| self.held[*arg].differs.is_empty()), "an operand depends on the rank")
    }

    /// What ranks differ in, of all operands together.
    fn differing(&self, inst: &Inst) -> Vec<Axis> {
        sorted(inst.args.iter().flat_map(|arg| self.held[*arg].differs.clone()).collect())
    }

    fn still(&self, args: &[Value]) -> Checked<()> {
        need(args.iter().all(|arg| self.held[*arg].moved.is_none()), "a value that came around a ring meets one that did not come as far")
    }

    fn inst(&mut self, inst: &Inst) -> Checked<Vec<Held>> {
        let moves = matches!(&inst.op, Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) | Op::Map(Map::Add));
        if !moves {
            self.still(&inst.args)?;
        }
        self.runs_and_orders(inst)?;
        if let Some(order) = self.order(inst) {
            self.orders[inst.results[0]] = Some(order);
            return Ok(vec![Held::default()]);
        }
        let one = match &inst.op {
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) => Held::default(),
            Op::Map(map) => self.map(*map, inst)?,
            Op::Reduce(reduce, over) => self.reduce(*reduce, over, inst)?,
            Op::Contract(over) => self.reduce(Reduce::Sum, over, inst)?,
            Op::Index(index) => self.index(index, inst)?,
            Op::Shape(shape) => self.shape(shape, inst)?,
            Op::Random(random) => self.random(random, inst)?,
            Op::Attention(attention) => return self.attention(attention, inst, false),
            Op::AttentionGrad(attention) => return self.attention(attention, inst, true),
            Op::Anchor | Op::Stop => self.held[inst.args[0]].clone(),
            Op::Collective(collective) => self.collective(collective, inst)?,
        };
        Ok(vec![one])
    }

    fn map(&mut self, map: Map, inst: &Inst) -> Checked<Held> {
        if map == Map::Add
            && let Some(position) = self.global_position(inst)
        {
            return position;
        }
        if let Some(chosen) = self.by_run(map, inst) {
            return chosen;
        }
        let differs = self.differing(inst);
        if map == Map::Where && !self.held[inst.args[0]].differs.is_empty() {
            return self.masked(inst, differs);
        }
        need(inst.args.iter().all(|arg| self.positions[*arg].is_none()), "a position along a cut dim does not know where the rank stands")?;
        let held = |at: usize| &self.held[inst.args[at]];
        let moved = held(0).moved.clone();
        if (0..inst.args.len()).any(|at| held(at).moved != moved) {
            self.still(&inst.args)?;
        }
        let partial = |at: usize| !held(at).partial.is_empty();
        let sum = |at: usize| held(at).reduce == Some(Reduce::Sum);
        let number = |at: usize| self.body.ty(inst.args[at]).dims.is_empty() && !partial(at);
        let through = match map {
            _ if !(0..inst.args.len()).any(partial) => return Ok(Held { differs, moved, ..Held::default() }),
            Map::Add | Map::Sub => {
                need(held(0) == held(1) && sum(0), "a partial value is added to something that is not partial alike")?;
                0
            }
            Map::Neg => 0,
            Map::Where if !partial(0) && self.is_zero(inst.args[2]) => 1,
            Map::Mul if partial(0) && number(1) => 0,
            Map::Mul if partial(1) && number(0) => 1,
            Map::Div if number(1) => 0,
            _ => return Err("a partial value meets what is not linear".to_string()),
        };
        need(sum(through), "a partial maximum is no sum")?;
        Ok(held(through).clone())
    }

    /// The sum of a raw position and the first position of this rank, if that is what it is.
    fn global_position(&self, inst: &Inst) -> Option<Checked<Held>> {
        let dim = inst.args.iter().find_map(|arg| self.positions[*arg])?;
        let first = inst.args.iter().find_map(|arg| {
            let def = &self.body.insts[self.defined[*arg]?];
            if let Op::Index(Index::Coordinate(coordinate)) = &def.op { Some(coordinate) } else { None }
        })?;
        let balanced = self.sharded.cuts.is_balanced(dim);
        let run = balanced.then_some((dim, first.second));
        let first = Coordinate { second: first.second && !balanced, ..first.clone() };
        Some(self.starts(&first, dim).map(|()| Held { run, ..Held::default() }))
    }

    /// Whether a coordinate is where a rank's part of a dim starts.
    fn starts(&self, coordinate: &Coordinate, dim: Dim) -> Checked<()> {
        let run = self.sharded.graph.dims[dim].size / if self.sharded.cuts.is_balanced(dim) { 2 } else { 1 };
        let own = (coordinate.times, coordinate.back, coordinate.second) == (run, 0, false);
        let right = self.axes(&coordinate.axes)? == self.cut(dim) && own;
        need(right, "the coordinate is not where this rank's part starts")
    }

    /// A value where a condition holds that ranks decide differently, zero elsewhere: a part of a sum.
    fn masked(&self, inst: &Inst, differs: Vec<Axis>) -> Checked<Held> {
        let value = &self.held[inst.args[1]];
        need(self.is_zero(inst.args[2]), "what ranks choose differently is not masked by zero")?;
        need(differs.iter().all(|axis| !value.partial.contains(axis)), "it is partial over these axes already")?;
        need(value.partial.is_empty() || value.reduce == Some(Reduce::Sum), "a partial maximum is no sum")?;
        let partial = sorted([value.partial.clone(), differs].concat());
        Ok(Held { partial, reduce: Some(Reduce::Sum), ..Held::default() })
    }

    fn reduce(&self, reduce: Reduce, over: &[Dim], inst: &Inst) -> Checked<Held> {
        self.complete(inst)?;
        self.alike(inst)?;
        let axes: Vec<Axis> = sorted(over.iter().flat_map(|dim| self.cut(*dim).to_vec()).collect());
        need(axes.is_empty() || reduce != Reduce::Argmax, "the place of a maximum along a cut dim")?;
        let kept = self.body.ty(inst.results[0]).dims.iter().flat_map(|dim| self.cut(*dim));
        need(kept.clone().all(|axis| !axes.contains(axis)), "an axis cuts what is summed and what is kept")?;
        Ok(Held { reduce: (!axes.is_empty()).then_some(reduce), partial: axes, ..Held::default() })
    }

    fn index(&mut self, index: &Index, inst: &Inst) -> Checked<Held> {
        if let Index::Gather { over } = index
            && let Some(reordered) = self.reordered(*over, inst)
        {
            return reordered;
        }
        self.complete(inst)?;
        match index {
            Index::Coordinate(coordinate) => Ok(Held { differs: sorted(self.axes(&coordinate.axes)?), ..Held::default() }),
            Index::Position(dim) => {
                let differs = sorted(self.cut(*dim).to_vec());
                self.positions[inst.results[0]] = (!differs.is_empty()).then_some(*dim);
                Ok(Held { differs, ..Held::default() })
            }
            Index::Gather { over } => {
                need(!self.sharded.cuts.is_balanced(*over), "a lookup in a balanced part")?;
                need(self.held[inst.args[0]].differs.is_empty(), "the table depends on the rank")?;
                let (own, differs) = (sorted(self.cut(*over).to_vec()), self.held[inst.args[1]].differs.clone());
                if own.is_empty() && !differs.is_empty() {
                    return self.own_part(inst, &differs);
                }
                need(own == differs, "the index does not count in this rank's part of the table")?;
                Ok(Held { differs, ..Held::default() })
            }
            Index::Scatter { into } => {
                need(!self.sharded.cuts.is_balanced(*into), "a scatter into a balanced part")?;
                let own = sorted(self.cut(*into).to_vec());
                need(own == self.held[inst.args[0]].differs, "the index does not count in this rank's part of the result")?;
                need(self.held[inst.args[1]].differs.is_empty(), "the value depends on the rank")?;
                self.scattered(inst)
            }
            Index::Cumsum(dim) | Index::CumsumReverse(dim) => {
                need(self.cut(*dim).is_empty(), "a running sum along a cut dim")?;
                self.alike(inst)?;
                Ok(Held::default())
            }
        }
    }

    /// A scatter sums over the dims that its result lacks.
    fn scattered(&self, inst: &Inst) -> Checked<Held> {
        let result = &self.body.ty(inst.results[0]).dims;
        let dims = inst.args.iter().flat_map(|arg| &self.body.ty(*arg).dims).filter(|dim| !result.contains(dim));
        let axes = sorted(dims.flat_map(|dim| self.cut(*dim).to_vec()).collect());
        let kept = result.iter().flat_map(|dim| self.cut(*dim));
        need(kept.clone().all(|axis| !axes.contains(axis)), "an axis cuts what is summed and what is kept")?;
        Ok(Held { reduce: (!axes.is_empty()).then_some(Reduce::Sum), partial: axes, ..Held::default() })
    }

    /// A lookup of this rank's part among all parts: it must be by the rank's own number along the axes that cut the part.
    fn own_part(&self, inst: &Inst, differs: &[Axis]) -> Checked<Held> {
        let number = self.defined[inst.args[1]].map(|at| &self.body.insts[at].op);
        let Some(Op::Index(Index::Coordinate(Coordinate { axes, times: 1, back: 0, second: false }))) = number else {
            return Err("a lookup by what depends on the rank".to_string());
        };
        let axes = self.axes(axes)?;
        let cut = self.body.ty(inst.results[0]).dims.iter().any(|dim| self.cut(*dim).ends_with(&axes));
        need(cut && sorted(axes) == differs, "no dim of the result is cut by these axes")?;
        Ok(Held::default())
    }

    fn shape(&self, shape: &Shape, inst: &Inst) -> Checked<Held> {
        self.alike(inst)?;
        match shape {
            Shape::Split { from, into } | Shape::Merge { from: into, into: from } => {
                if let Some(apart) = self.apart(*from, into) {
                    return apart.map(|()| self.held[inst.args[0]].clone());
                }
            }
            _ => {}
        }
        let whole = |dim: &Dim| need(self.cut(*dim).is_empty(), "it looks along a cut dim");
        match shape {
            Shape::Rename { from, to } => need(self.layout(*from) == self.layout(*to), "another name has other cuts")?,
            Shape::Merge { from, into } => {
                from[1..].iter().try_for_each(whole)?;
                need(self.layout(from[0]) == self.layout(*into), "the outermost part and the whole are cut differently")?;
            }
            Shape::Split { from, into } => self.split(*from, into)?,
            Shape::Slice { from, into, .. } | Shape::Pad { from, into, .. } => [from, into].into_iter().try_for_each(whole)?,
            Shape::Take { from, .. } => whole(from)?,
            Shape::Concat { from, into } => from.iter().chain([into]).try_for_each(whole)?,
            Shape::Shift { dim, .. } | Shape::Roll { dim, .. } => whole(dim)?,
            Shape::Expand => {}
        }
        self.complete(inst)?;
        Ok(Held::default())
    }

    /// Either a dim becomes several, of which the outermost is cut as it was; or it is laid out as the parts that ranks have of it.
    fn split(&self, from: Dim, into: &[Dim]) -> Checked<()> {
        let outermost = self.layout(into[0]) == self.layout(from) && into[1..].iter().all(|dim| self.cut(*dim).is_empty());
        let part = into[into.len() - 1];
        let ((whole, before), (of, after)) = (self.sharded.cuts.whole(from), self.sharded.cuts.whole(part));
        let axes = after.strip_prefix(before).filter(|axes| !axes.is_empty() && whole == of);
        let ordered = axes.is_some_and(|axes| self.in_order(from, part, axes));
        let parts = into.len() == 2 && self.cut(into[0]).is_empty() && ordered;
        need(outermost || parts, "an inner part of a split is cut")
    }

    /// What cuts a dim, and whether its parts are balanced.
    fn layout(&self, dim: Dim) -> (&[Axis], bool, bool) {
        (self.cut(dim), self.sharded.cuts.is_balanced(dim), self.sharded.cuts.gathered(dim).is_some())
    }

    /// Whether the elements of a whole dim stand in the order of the ranks along these axes: only those of balanced parts do not by themselves.
    fn in_order(&self, whole: Dim, part: Dim, axes: &[Axis]) -> bool {
        self.sharded.cuts.gathered(whole) == Some(axes).filter(|_| self.sharded.cuts.is_balanced(part))
    }

    fn collective(&self, collective: &Collective, inst: &Inst) -> Checked<Held> {
        self.alike(inst)?;
        let axes = self.axes(&collective.axes)?;
        need(
            sorted(axes.clone()).len() == axes.len() && self.sharded.mesh.size(&axes) == collective.members,
            "its members are not those of its axes",
        )?;
        let mut held = self.held[inst.args[0]].clone();
        if !matches!(collective.exchange, Exchange::Permute { .. }) {
            self.still(&inst.args)?;
        }
        match collective.exchange {
            Exchange::Permute { by } => self.moved(&mut held, inst, &axes, by)?,
            Exchange::AllGather { part, whole } => self.joins(part, whole, &axes)?,
            Exchange::AllToAll { part, whole, cut, into } => {
                self.joins(part, whole, &axes)?;
                self.joins(into, cut, &axes)?;
            }
            Exchange::AllReduce { reduce } => self.reduced(&mut held, &axes, reduce)?,
            Exchange::ReduceScatter { reduce, whole, part } => {
                self.joins(part, whole, &axes)?;
                self.reduced(&mut held, &axes, reduce)?;
            }
        }
        let cut: Vec<Axis> = self.body.ty(inst.results[0]).dims.iter().flat_map(|dim| self.cut(*dim).to_vec()).collect();
        need(sorted(cut.clone()).len() == cut.len(), "an axis cuts two dims")?;
        need(held.partial.iter().all(|axis| !cut.contains(axis)), "an axis cuts what is partial over it")?;
        Ok(held)
    }

    /// Whether `part` is `whole` cut further by just these axes.
    fn joins(&self, part: Dim, whole: Dim, axes: &[Axis]) -> Checked<()> {
        let ((of, after), (same, before)) = (self.sharded.cuts.whole(part), self.sharded.cuts.whole(whole));
        need(of == same && after.strip_prefix(before) == Some(axes), "the dim is not cut by these axes")?;
        need(self.in_order(whole, part, axes), "its chunks do not stand in the order of the ranks")
    }

    fn reduced(&self, held: &mut Held, axes: &[Axis], reduce: Reduce) -> Checked<()> {
        need(held.reduce == Some(reduce), "it reduces what is not partial, or another reduction")?;
        need(axes.iter().all(|axis| held.partial.contains(axis)), "it reduces over an axis over which the value is complete")?;
        held.partial.retain(|axis| !axes.contains(axis));
        if held.partial.is_empty() {
            held.reduce = None;
        }
        Ok(())
    }

    /// A maximum over just the axes along which it is found out when the program has ended.
    fn peak(&self, held: &Held, segment: Segment, number: u32) -> Checked<()> {
        let axes = self.sharded.peaks[segment].get(number as usize).map_or(&[][..], Vec::as_slice);
        need(held.partial == axes, "it is not partial over the axes that its role wants")?;
        need(axes.is_empty() || held.reduce == Some(Reduce::Max), "it is no part of a maximum")
    }

    fn output(&self, segment: Segment, role: Role, value: Value) -> Checked<()> {
        let held = &self.held[value];
        need(held.differs.is_empty(), "it depends on the rank")?;
        need(held.moved.is_none(), "it is another rank's")?;
        need(held.run.is_none(), "it is right in one run only")?;
        let wanted = match role {
            Role::WeightGrad(slot) => {
                let call = self.sharded.graph.calls.iter().find(|call| segment_of(call) == segment);
                let weight = call.and_then(|call| call.weights.get(slot as usize)).map(|(weight, _)| *weight);
                sorted(weight.map(|weight| self.sharded.deferred[weight].clone()).unwrap_or_default())
            }
            Role::Peak(number) => return self.peak(held, segment, number),
            Role::Report(_) => self.sharded.mesh.axes.keys().collect(),
            Role::Total(_) => {
                let own: Vec<Axis> = self.body.ty(value).dims.iter().flat_map(|dim| self.cut(*dim).to_vec()).collect();
                self.sharded.mesh.beside(&own)
            }
            _ => Vec::new(),
        };
        need(self.body.ty(value).element == Element::Real || wanted.is_empty(), "it is no number")?;
        need(held.partial == wanted, "it is not partial over the axes that its role wants")?;
        need(wanted.is_empty() || held.reduce == Some(Reduce::Sum), "it is no part of a sum")
    }
}
