//! Which values are kept in two bytes: those that are rounded to bf16 wherever they come from, on targets that have such numbers.
//!
//! Requires a sharded graph in which precision has put roundings. Ensures that the type of such a value says so, that both ends of everything that
//! passes between programs (ports and their cotangents, kept values) agree, and that no value changes. Weights, their gradients, sums that calls
//! add up or ranks reduce, inputs of the model and what it predicts stay in four bytes.

use crate::graph::ir::{Graph, Program, Role, Segment, SegmentData, segment_of};
use crate::model::ir::{Call, Port};
use crate::op::{Element, Index, Inst, Map, Op, Shape, Type, Value};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeSet;

/// Types values that are kept in two bytes as such; the model's result is none of them if it is `wanted`.
pub fn halve(graph: &mut Graph, wanted: bool) {
    let mut halves = Halves::new(graph, wanted);
    while halves.shrink(graph) {}
    for (segment, data) in graph.segments.iter_mut() {
        let halved = |role: Role| halves.roles.contains(&(segment, role));
        data.types(&halved);
        data.programs_mut().for_each(|program| program.halve(&halved));
    }
    for port in halves.ports {
        if let Tie::Port(port) = port {
            graph.ports[port].element = Element::Half;
        }
    }
}

/// What calls pass to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Port(Port),
    Cotangent(Port),
}

/// What may be kept in two bytes, as far as is known: everything until something speaks against it.
struct Halves {
    ports: BTreeSet<Tie>,
    roles: BTreeSet<(Segment, Role)>,
}

impl Halves {
    fn new(graph: &Graph, wanted: bool) -> Halves {
        let outside = |port: &Port| graph.inputs.iter().any(|(_, input)| input == port) || (wanted && graph.result == Some(*port));
        let inside: Vec<Port> =
            graph.ports.iter().filter(|(port, ty)| ty.element.is_real() && !outside(port)).map(|(port, _)| port).collect();
        let once = |port: &&Port| contributions(graph, **port) == 1;
        let cotangents = inside.iter().filter(once).map(|port| Tie::Cotangent(*port));
        let ports = inside.iter().map(|port| Tie::Port(*port)).chain(cotangents).collect();
        let of = |(segment, data): (Segment, &SegmentData)| {
            let real = |program: &Program, (role, value): &(Role, Value)| passes(*role) && program.body.ty(*value).element.is_real();
            let of = |program: &Program| -> Vec<(Segment, Role)> {
                let bound = program.inputs.iter().chain(&program.outputs);
                bound.filter(|bound| real(program, bound)).map(|(role, _)| (segment, *role)).collect()
            };
            data.programs().flat_map(of).collect::<Vec<(Segment, Role)>>()
        };
        Halves { ports, roles: graph.segments.iter().flat_map(of).collect() }
    }

    /// Takes out what cannot be; whether there was anything.
    fn shrink(&mut self, graph: &Graph) -> bool {
        let before = self.ports.len() + self.roles.len();
        for (segment, data) in &graph.segments {
            for program in data.programs() {
                for role in program.unrounded(&|role| self.roles.contains(&(segment, role))) {
                    self.roles.remove(&(segment, role));
                }
            }
        }
        for call in &graph.calls {
            let segment = segment_of(call);
            let given = |role: Role| graph.segments[segment].programs().any(|program| program.names(role));
            ties(call).filter(|(_, role)| given(*role)).for_each(|(tie, role)| self.agree(tie, (segment, role)));
        }
        self.ports.len() + self.roles.len() < before
    }

    /// Both or neither.
    fn agree(&mut self, tie: Tie, role: (Segment, Role)) {
        if !(self.ports.contains(&tie) && self.roles.contains(&role)) {
            self.ports.remove(&tie);
            self.roles.remove(&role);
        }
    }
}

/// What a call passes, under which roles.
fn ties(call: &Call) -> impl Iterator<Item = (Tie, Role)> {
    let args =
        (0..).zip(&call.args).flat_map(|(at, port)| [(Tie::Port(*port), Role::Param(at)), (Tie::Cotangent(*port), Role::ParamGrad(at))]);
    let given = |(at, port): (u32, &Port)| [(Tie::Port(*port), Role::Result(at)), (Tie::Cotangent(*port), Role::ResultGrad(at))];
    args.chain((0..).zip(&call.results).flat_map(given))
}

/// How many calls contribute to a port's cotangent.
fn contributions(graph: &Graph, port: Port) -> usize {
    let of = |call: &Call| {
        let Some(backward) = &graph.segments[segment_of(call)].backward else { return 0 };
        let gives = |at: u32| backward.outputs.iter().any(|(role, _)| *role == Role::ParamGrad(at));
        (0..).zip(&call.args).filter(|(at, arg)| **arg == port && gives(*at)).count()
    };
    graph.calls.iter().map(of).sum()
}

/// Whether a role is of what passes between programs, and may be halved.
fn passes(role: Role) -> bool {
    match role {
        Role::Param(_) | Role::Result(_) | Role::Stash(_) | Role::ResultGrad(_) | Role::ParamGrad(_) => true,
        Role::Weight(_) | Role::WeightGrad(_) | Role::Report(_) | Role::Total(_) | Role::Peak(_) | Role::Next(_) => false,
        Role::Rest | Role::Gradient | Role::Moment(_) | Role::Factor | Role::SquareSum | Role::Whole | Role::Piece => false,
    }
}

impl SegmentData {
    /// The types by which its calls know it.
    fn types(&mut self, halved: &dyn Fn(Role) -> bool) {
        let set = |types: &mut dyn Iterator<Item = &mut Type>, role: fn(u32) -> Role| {
            (0..).zip(types).filter(|(at, _)| halved(role(*at))).for_each(|(_, ty)| ty.element = Element::Half);
        };
        set(&mut self.params.iter_mut(), Role::Param);
        set(&mut self.results.iter_mut(), Role::Result);
        set(&mut self.stash.iter_mut().map(|slot| &mut slot.ty), Role::Stash);
    }
}

impl Program {
    fn names(&self, role: Role) -> bool {
        self.inputs.iter().chain(&self.outputs).any(|(known, _)| *known == role)
    }

    /// Which values are rounded, if the inputs of these roles are.
    fn rounded(&self, halved: &dyn Fn(Role) -> bool) -> SecondaryMap<Value, bool> {
        let (mut rounded, mut exact) = (SecondaryMap::new(), SecondaryMap::new());
        self.inputs.iter().for_each(|(role, value)| rounded[*value] = halved(*role));
        for inst in &self.body.insts {
            let result = inst.results[0];
            exact[result] = matches!(inst.op, Op::Const(number) if is_exact(number));
            rounded[result] = self.body.ty(result).element.is_real() && keeps(inst, &rounded, &exact);
        }
        rounded
    }

    /// Inputs and outputs among these roles that are not rounded, or that something wants in four bytes.
    fn unrounded(&self, halved: &dyn Fn(Role) -> bool) -> Vec<Role> {
        let (rounded, bases, wide) = (self.rounded(halved), self.bases(), self.wide(halved));
        let wide = |own: Value| wide.iter().any(|value| bases[*value] == bases[own]);
        let twice = |own: Role| self.outputs.iter().filter(|(role, _)| *role == own).count() > 1;
        let bound = self.inputs.iter().chain(&self.outputs).filter(|(role, _)| halved(*role));
        bound.filter(|(role, value)| !rounded[*value] || wide(*value) || twice(*role)).map(|(role, _)| *role).collect()
    }

    /// What is wanted in four bytes: by other roles, and by the reductions between ranks, whose parts and sums are of one type.
    fn wide(&self, halved: &dyn Fn(Role) -> bool) -> Vec<Value> {
        let outputs = self.outputs.iter().filter(|(role, _)| !halved(*role)).map(|(_, value)| *value);
        let reduces = |inst: &&Inst| matches!(&inst.op, Op::Collective(collective) if collective.exchange.reduces());
        outputs.chain(self.body.insts.iter().filter(reduces).map(|inst| inst.args[0])).collect()
    }

    /// What each value is another shape of: itself, if of nothing.
    fn bases(&self) -> SecondaryMap<Value, Option<Value>> {
        let mut bases: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
        self.body.values.keys().for_each(|value| bases[value] = Some(value));
        for inst in &self.body.insts {
            if let (Op::Shape(_), [arg]) = (&inst.op, &inst.args[..]) {
                bases[inst.results[0]] = bases[*arg];
            }
        }
        bases
    }

    /// Sets the types of values; what an output wants in four bytes stays so, and what that is another shape of.
    fn halve(&mut self, halved: &dyn Fn(Role) -> bool) {
        let (mut rounded, bases) = (self.rounded(halved), self.bases());
        for wide in self.wide(halved) {
            let shapes = self.body.values.keys().filter(|other| bases[*other] == bases[wide]);
            shapes.for_each(|shape| rounded[shape] = false);
        }
        for (value, data) in self.body.values.iter_mut().filter(|(value, _)| rounded[*value]) {
            debug_assert!(data.ty.element.is_real(), "{value} is rounded");
            data.ty.element = Element::Half;
        }
        self.spare();
    }

    /// What is rounded already is not rounded again.
    fn spare(&mut self) {
        self.replace(|body, inst| {
            let ty = body.ty(inst.results[0]);
            let arg = inst.args.first().filter(|arg| ty.element == Element::Half && body.ty(**arg) == ty);
            arg.filter(|_| inst.op == Op::Map(Map::RoundBf16)).copied()
        });
    }
}

/// Whether an instruction gives rounded numbers for rounded ones.
fn keeps(inst: &Inst, rounded: &SecondaryMap<Value, bool>, exact: &SecondaryMap<Value, bool>) -> bool {
    let all = |args: &[Value]| args.iter().all(|arg| rounded[*arg] || exact[*arg]);
    match &inst.op {
        Op::Map(Map::RoundBf16) => true,
        Op::Map(Map::Neg | Map::Abs | Map::Min | Map::Max) | Op::Anchor | Op::Stop => all(&inst.args),
        Op::Map(Map::Where) => all(&inst.args[1..]),
        Op::Map(_) => false,
        Op::Shape(Shape::Concat { .. }) => inst.args.iter().all(|arg| rounded[*arg]),
        Op::Shape(_) => rounded[inst.args[0]],
        Op::Index(Index::Gather { .. }) => rounded[inst.args[0]],
        Op::Collective(collective) => !collective.exchange.reduces() && rounded[inst.args[0]],
        Op::Reduce(..) | Op::Index(_) | Op::Random(_) | Op::Scalar(_) | Op::Integer(_) | Op::Const(_) => false,
        Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_) => false,
    }
}

/// Whether bf16 has this number.
fn is_exact(number: f64) -> bool {
    f64::from(number as f32) == number && (number as f32).to_bits() & 0xffff == 0
}
