//! Every invariant of a graph, checked.
//!
//! Requires nothing. Reports (as a text that names segment, program and instruction) the first of these that does not hold:
//! - every instruction's types are those of its operator ([`types`]);
//! - every value is an input or defined once, before it is used;
//! - roles are unique among a program's inputs and among its outputs, and are of the kinds that the program may have;
//! - forward gives every result, stash slot and report, backward every gradient that `differentiable` promises, of the declared types;
//! - `next` and `take` have weights, totals and next values, and write nothing that they read;
//! - backward reads only kept params; calls have one port or weight for every param, result and weight, of its type.

pub mod types;

use super::ir::{Graph, Program, Role, Segment, SegmentData};
use crate::op::{Body, Dims, Element, Type, Value};
use cranelift_entity::{EntityRef, EntitySet};

/// Checks a graph; the error says what is wrong and where. A failure is a fault of the compiler.
pub fn graph(graph: &Graph) -> Result<(), String> {
    for segment in graph.segments.values() {
        self::segment(segment, &graph.dims).map_err(|error| format!("segment {}: {error}", segment.name))?;
    }
    for (at, _) in graph.calls.iter().enumerate() {
        call(graph, at).map_err(|error| format!("call {at}: {error}"))?;
    }
    for report in &graph.reports {
        let segment = &graph.segments[report.segment];
        for index in [Some(report.sum), report.count].into_iter().flatten() {
            holds(gives(&segment.forward_only, Role::Report(index)), || format!("report {index} of {} is missing", segment.name))?;
        }
    }
    let Some(update) = &graph.update else { return Ok(()) };
    for group in &update.groups {
        self::program(&group.program, &graph.dims).map_err(|error| format!("update {}: {error}", group.name))?;
    }
    self::program(&update.square_sum, &graph.dims).map_err(|error| format!("square sum: {error}"))?;
    self::program(&update.factor, &graph.dims).map_err(|error| format!("factor: {error}"))
}

fn holds(condition: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(message()) }
}

fn gives(program: &Program, role: Role) -> bool {
    program.outputs.iter().any(|(own, _)| *own == role)
}

fn call(graph: &Graph, at: usize) -> Result<(), String> {
    let call = &graph.calls[at];
    let segment = graph.segments.get(Segment::new(call.function.index())).ok_or("its segment does not exist")?;
    let args: Vec<&Type> = call.args.iter().map(|port| &graph.ports[*port]).collect();
    let results: Vec<&Type> = call.results.iter().map(|port| &graph.ports[*port]).collect();
    let weights: Vec<Type> = call.weights.iter().map(|(weight, _)| Type::real(graph.weights[*weight].dims())).collect();
    holds(args == segment.params.iter().collect::<Vec<_>>(), || "its arguments do not have the params' types".to_string())?;
    holds(results == segment.results.iter().collect::<Vec<_>>(), || "its results do not have the ports' types".to_string())?;
    holds(weights == segment.weights, || "its weights do not have the slots' types".to_string())?;
    let copies = call.weights.iter().all(|(weight, copy)| *copy < graph.weights[*weight].count);
    holds(copies, || "it uses a copy of a weight that does not exist".to_string())
}

fn segment(segment: &SegmentData, dims: &Dims) -> Result<(), String> {
    let named =
        [("forward", Some(&segment.forward)), ("forward_only", Some(&segment.forward_only)), ("backward", segment.backward.as_ref())];
    for (name, program) in named.into_iter().filter_map(|(name, program)| program.map(|program| (name, program))) {
        self::program(program, dims).map_err(|error| format!("{name}: {error}"))?;
        roles(program, segment).map_err(|error| format!("{name}: {error}"))?;
    }
    for program in [&segment.next, &segment.take].into_iter().flatten() {
        next(program, segment, dims).map_err(|error| format!("next or take: {error}"))?;
    }
    let results = |program: &Program| (0..segment.results.len()).all(|at| gives(program, Role::Result(at as u32)));
    holds(results(&segment.forward_only), || "forward_only lacks a result".to_string())?;
    let Some(backward) = &segment.backward else { return Ok(()) };
    for (at, promised) in segment.differentiable.iter().enumerate() {
        holds(*promised == gives(backward, Role::ParamGrad(at as u32)), || format!("the gradient of param {at} is not as promised"))?;
    }
    if segment.merged {
        return holds(segment.stash.is_empty() && segment.forward.outputs.is_empty(), || "merged, yet with a forward program".to_string());
    }
    holds(results(&segment.forward), || "forward lacks a result".to_string())?;
    for at in 0..segment.stash.len() as u32 {
        holds(gives(&segment.forward, Role::Stash(at)), || format!("forward does not keep stash {at}"))?;
    }
    for (role, _) in &backward.inputs {
        if let Role::Param(at) = role {
            holds(segment.kept.contains(&(*at as usize)), || format!("backward reads param {at}, which is not kept"))?;
        }
    }
    Ok(())
}

/// The programs of the next states: from weights and totals to next values, and from those to weights.
fn next(program: &Program, segment: &SegmentData, dims: &Dims) -> Result<(), String> {
    self::program(program, dims)?;
    for (role, value) in program.inputs.iter().chain(&program.outputs) {
        let declared = match *role {
            Role::Weight(at) => segment.weights.get(at as usize),
            Role::Total(at) => segment.totals.get(at as usize),
            Role::Next(at) => segment.states.get(at as usize).and_then(|slot| segment.weights.get(*slot as usize)),
            _ => None,
        };
        holds(declared.is_some_and(|ty| program.body.ty(*value) == ty), || format!("{role:?} does not have its declared type"))?;
    }
    let apart = program.outputs.iter().all(|(role, _)| program.inputs.iter().all(|(other, _)| role != other));
    holds(apart, || "it writes what it reads".to_string())
}

/// Whether inputs and outputs have the types that the segment declares for their roles.
fn roles(program: &Program, segment: &SegmentData) -> Result<(), String> {
    for (role, value) in program.inputs.iter().chain(&program.outputs) {
        let declared = match *role {
            Role::Param(at) => segment.params.get(at as usize).cloned(),
            Role::ParamGrad(at) => segment.params.get(at as usize).cloned(),
            Role::Weight(at) | Role::WeightGrad(at) => segment.weights.get(at as usize).cloned(),
            Role::Result(at) | Role::ResultGrad(at) => segment.results.get(at as usize).cloned(),
            Role::Stash(at) => segment.stash.get(at as usize).map(|slot| slot.ty.clone()),
            Role::Total(at) => segment.totals.get(at as usize).cloned(),
            Role::Peak(at) => segment.limits.get(at as usize).map(|_| Type::real(Vec::new())),
            Role::Report(_) => Some(Type { element: Element::Real, dims: Vec::new() }),
            Role::Next(_) | Role::Rest | Role::Gradient | Role::Moment(_) | Role::Factor => None,
            Role::SquareSum | Role::Whole | Role::Piece => None,
        };
        let declared = declared.ok_or_else(|| format!("it has no {role:?}"))?;
        holds(*program.body.ty(*value) == declared, || format!("{role:?} does not have its declared type"))?;
    }
    let (inside, outside) = (
        |role: &Role| matches!(role, Role::Param(_) | Role::Weight(_) | Role::Stash(_) | Role::ResultGrad(_)),
        |role: &Role| {
            matches!(
                role,
                Role::Result(_)
                    | Role::Stash(_)
                    | Role::Report(_)
                    | Role::Total(_)
                    | Role::Peak(_)
                    | Role::ParamGrad(_)
                    | Role::WeightGrad(_)
            )
        },
    );
    let sides = program.inputs.iter().all(|(role, _)| inside(role)) && program.outputs.iter().all(|(role, _)| outside(role));
    holds(sides, || "a role stands on the wrong side".to_string())
}

/// Checks one program by itself.
pub fn program(program: &Program, dims: &Dims) -> Result<(), String> {
    for side in [&program.inputs, &program.outputs] {
        for (at, (role, _)) in side.iter().enumerate() {
            holds(side[..at].iter().all(|(other, _)| other != role), || format!("{role:?} stands there twice"))?;
        }
    }
    let mut defined: EntitySet<Value> = EntitySet::new();
    for (role, value) in &program.inputs {
        holds(defined.insert(*value), || format!("{role:?} shares its value with another input"))?;
    }
    body(&program.body, &mut defined, dims)?;
    for (role, value) in &program.outputs {
        holds(defined.contains(*value), || format!("{role:?} is never computed"))?;
    }
    Ok(())
}

/// Checks order and types of a body; `defined` are its inputs, and then all that it defines.
pub fn body(body: &Body, defined: &mut EntitySet<Value>, dims: &Dims) -> Result<(), String> {
    for (at, inst) in body.insts.iter().enumerate() {
        let fault = |error: String| format!("instruction {at}, {}: {error}", super::print::op_name(&inst.op));
        for arg in &inst.args {
            holds(defined.contains(*arg), || fault(format!("{arg} is used before it is defined")))?;
        }
        for result in &inst.results {
            holds(defined.insert(*result), || fault(format!("{result} is defined twice")))?;
        }
        let of = |values: &[Value]| values.iter().map(|value| body.ty(*value)).collect::<Vec<&Type>>();
        types::check(&inst.op, &of(&inst.args), &of(&inst.results), dims).map_err(fault)?;
    }
    Ok(())
}
