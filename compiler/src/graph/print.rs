//! A graph as text for people: one line an instruction.
//!
//! Requires nothing. Ensures unique value names (the user's where there is one) and the same text for the same graph.

use super::ir::{Graph, Program, Role, Segment, SegmentData, Update};
use crate::model::ir::{Call, Port, Weight};
use crate::op::{Attention, Body, Collective, Dim, Dims, Element, Exchange, Index, Inst, Map, Op, Random, Reduce, Shape, Type, Value};
use cranelift_entity::{EntityRef, SecondaryMap};
use meshwright_plan::mesh::Coordinate;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The whole graph.
pub fn graph(graph: &Graph) -> String {
    let mut out = format!(
        "graph {}: {} microbatches of {} = {}\n",
        graph.name,
        graph.microbatches,
        name(graph.batch, &graph.dims),
        graph.dims[graph.batch].size
    );
    for segment in graph.segments.values() {
        out.push('\n');
        out.push_str(&self::segment(segment, &graph.dims));
    }
    out.push_str("\ncalls\n");
    for at in 0..graph.calls.len() {
        out.push_str(&call(graph, at));
    }
    if let Some(update) = &graph.update {
        out.push('\n');
        out.push_str(&self::update(update, &graph.dims));
    }
    out
}

/// One call; its weights are written at a segment's first call, and where others stand in their place; `[*]` is the call's own copy.
fn call(graph: &Graph, at: usize) -> String {
    let call = &graph.calls[at];
    let listed = |ports: &[Port]| ports.iter().map(|port| port.to_string()).collect::<Vec<_>>().join(", ");
    let paths = |call: &Call| {
        let path = |(weight, copy): &(Weight, u64)| match *copy == call.iteration {
            true => graph.weights[*weight].path.clone(),
            false => graph.weights[*weight].path.replace("[*]", &format!("[{copy}]")),
        };
        call.weights.iter().map(path).collect::<Vec<String>>()
    };
    let segment = &graph.segments[Segment::new(call.function.index())];
    let mut out = format!("  {} = {}({}) iteration {}\n", listed(&call.results), segment.name, listed(&call.args), call.iteration);
    let first = graph.calls.iter().find(|other| other.function == call.function).filter(|first| *first != call);
    if first.is_none_or(|first| paths(first) != paths(call)) {
        out.extend(paths(call).iter().enumerate().map(|(slot, path)| format!("    weight {slot} {path}\n")));
    }
    out
}

/// A segment's programs.
pub fn segment(segment: &SegmentData, dims: &Dims) -> String {
    let mut out = format!("segment {}{}\n", segment.name, if segment.merged { " merged" } else { "" });
    for slot in &segment.stash {
        let _ = writeln!(out, "  stash {}: {}", slot.name, ty(&slot.ty, dims));
    }
    let named = [
        ("forward", Some(&segment.forward)),
        ("forward_only", Some(&segment.forward_only)),
        ("backward", segment.backward.as_ref()),
        ("next", segment.next.as_ref()),
        ("take", segment.take.as_ref()),
    ];
    for (title, program) in named {
        if let Some(program) = program.filter(|program| !program.outputs.is_empty()) {
            let _ = writeln!(out, "  {title}");
            self::program(&mut out, program, dims);
        }
    }
    out
}

fn update(update: &Update, dims: &Dims) -> String {
    let mut out = String::from("update\n");
    for group in &update.groups {
        let _ = writeln!(out, "  {}", group.name);
        program(&mut out, &group.program, dims);
    }
    for (title, each) in [("square_sum", &update.square_sum), ("factor", &update.factor)] {
        let _ = writeln!(out, "  {title}");
        program(&mut out, each, dims);
    }
    out
}

/// Inputs, instructions and outputs, indented.
pub fn program(out: &mut String, program: &Program, dims: &Dims) {
    let names = names(&program.body);
    for (role, value) in &program.inputs {
        let _ = writeln!(out, "    in {} %{}: {}", self::role(role), names[*value], ty(program.body.ty(*value), dims));
    }
    for each in &program.body.insts {
        let _ = writeln!(out, "    {}", inst(each, &program.body, &names, dims));
    }
    for (role, value) in &program.outputs {
        let _ = writeln!(out, "    out {} %{}", self::role(role), names[*value]);
    }
}

/// The user's name where it is unique, else with the value's number; the number alone where there is none.
fn names(body: &Body) -> SecondaryMap<Value, String> {
    let (mut seen, mut names) = (BTreeSet::new(), SecondaryMap::new());
    for (value, data) in body.values.iter() {
        let plain = !data.name.is_empty() && seen.insert(data.name.clone());
        names[value] = if plain { data.name.clone() } else { format!("{}{}", data.name, value.as_u32()) };
    }
    names
}

fn inst(inst: &Inst, body: &Body, names: &SecondaryMap<Value, String>, dims: &Dims) -> String {
    let results: Vec<String> = inst.results.iter().map(|value| format!("%{}: {}", names[*value], ty(body.ty(*value), dims))).collect();
    let args: String = inst.args.iter().map(|value| format!(" %{}", names[*value])).collect();
    format!("{} = {}{args}{}", results.join(", "), op_name(&inst.op), details(&inst.op, dims))
}

/// A type: `real[Batch, Embed]`, `index(Vocab)[Batch]`, `real`.
pub fn ty(ty: &Type, dims: &Dims) -> String {
    let element = match ty.element {
        Element::Real => "real".to_string(),
        Element::Half => "bf16".to_string(),
        Element::Bool => "bool".to_string(),
        Element::Index(dim) => format!("index({})", name(dim, dims)),
        Element::Integer => "integer".to_string(),
    };
    if ty.dims.is_empty() { element } else { format!("{element}[{}]", list(&ty.dims, dims)) }
}

fn list(which: &[Dim], dims: &Dims) -> String {
    which.iter().map(|dim| name(*dim, dims)).collect::<Vec<_>>().join(", ")
}

/// A dim's name; of a rank's part, with what cuts it: `Seq/tensor`.
fn name(dim: Dim, dims: &Dims) -> String {
    let data = &dims[dim];
    if data.axes.is_empty() { data.name.clone() } else { format!("{}/{}", data.name, data.axes.join("*")) }
}

/// What follows the arguments.
fn details(op: &Op, dims: &Dims) -> String {
    match op {
        Op::Const(number) => format!(" {number}"),
        Op::Integer(number) => format!(" {number}"),
        Op::Scalar(scalar) => format!(" {scalar}"),
        Op::Map(_) | Op::Anchor | Op::Stop => String::new(),
        Op::Reduce(_, over) | Op::Contract(over) => format!(" over {}", list(over, dims)),
        Op::Index(Index::Position(dim) | Index::Cumsum(dim) | Index::CumsumReverse(dim)) => format!(" along {}", name(*dim, dims)),
        Op::Index(Index::Gather { over }) => format!(" over {}", name(*over, dims)),
        Op::Index(Index::Scatter { into }) => format!(" into {}", name(*into, dims)),
        Op::Shape(shape) => of_shape(shape, dims),
        Op::Index(Index::Coordinate(coordinate)) => of_coordinate(coordinate),
        Op::Random(Random::Uniform { site, .. }) => format!(" {site}"),
        Op::Collective(collective) => of_collective(collective, dims),
        Op::Attention(attention) | Op::AttentionGrad(attention) => of_attention(attention, dims),
    }
}

fn of_shape(shape: &Shape, dims: &Dims) -> String {
    let name = |dim: &Dim| name(*dim, dims);
    match shape {
        Shape::Rename { from, to } => format!(" {} to {}", name(from), name(to)),
        Shape::Split { from, into } => format!(" {} into {}", name(from), list(into, dims)),
        Shape::Merge { from, into } => format!(" {} into {}", list(from, dims), name(into)),
        Shape::Slice { from, start, into } => format!(" {} from {start} into {}", name(from), name(into)),
        Shape::Pad { from, start, into } => format!(" {} at {start} into {}", name(from), name(into)),
        Shape::Take { from, at } => format!(" {} at {at}", name(from)),
        Shape::Concat { from, into } => format!(" {} into {}", list(from, dims), name(into)),
        Shape::Shift { dim, by } => format!(" {} by {by}", name(dim)),
        Shape::Roll { dim, by } => format!(" {} by {by}", name(dim)),
        Shape::Expand => String::new(),
    }
}

/// `(c - back) * times`, where `c` is a rank's number along the axes.
fn of_coordinate(coordinate: &Coordinate) -> String {
    let back = if coordinate.back == 0 { String::new() } else { format!(" back {}", coordinate.back) };
    let second = if coordinate.second { " second" } else { "" };
    format!(" along {}{back}{second} times {}", coordinate.axes.join("*"), coordinate.times)
}

fn of_collective(collective: &Collective, dims: &Dims) -> String {
    let reduce = |reduce: Reduce| op_name(&Op::Reduce(reduce, Vec::new()));
    let name = |dim: Dim| name(dim, dims);
    let what = match collective.exchange {
        Exchange::AllGather { part, whole } => format!("{} to {}", name(part), name(whole)),
        Exchange::ReduceScatter { reduce: how, whole, part } => format!("{} {} to {}", reduce(how), name(whole), name(part)),
        Exchange::AllReduce { reduce: how } => reduce(how).to_string(),
        Exchange::AllToAll { part, whole, cut, into } => format!("{} to {}, {} to {}", name(part), name(whole), name(cut), name(into)),
        Exchange::Permute { by } => format!("by {by}"),
    };
    format!(" {what} along {}", collective.axes.join("*"))
}

fn of_attention(attention: &Attention, dims: &Dims) -> String {
    let [query, key, feature] = [attention.query, attention.key, attention.feature].map(|dim| name(dim, dims));
    let mut out = format!(" query {query} key {key} feature {feature} scale {}", attention.scale);
    if attention.causal {
        out.push_str(" causal");
    }
    if let Some(window) = attention.window {
        let _ = write!(out, " window {window}");
    }
    if attention.balanced {
        out.push_str(" balanced");
    }
    for (word, first) in [("queries", &attention.first_query), ("keys", &attention.first_key)] {
        if let Some(coordinate) = first {
            let _ = write!(out, " {word}{}", of_coordinate(coordinate));
        }
    }
    out
}

/// A primitive's word.
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Const(_) => "const",
        Op::Integer(_) => "integer",
        Op::Scalar(_) => "scalar",
        Op::Map(map) => map_name(*map),
        Op::Reduce(Reduce::Sum, _) => "sum",
        Op::Reduce(Reduce::Max, _) => "max",
        Op::Reduce(Reduce::Min, _) => "min",
        Op::Reduce(Reduce::Argmax, _) => "argmax",
        Op::Contract(_) => "contract",
        Op::Index(Index::Position(_)) => "position",
        Op::Index(Index::Gather { .. }) => "gather",
        Op::Index(Index::Scatter { .. }) => "scatter",
        Op::Index(Index::Cumsum(_)) => "cumsum",
        Op::Index(Index::CumsumReverse(_)) => "cumsum_reverse",
        Op::Shape(shape) => shape_name(shape),
        Op::Random(Random::Uniform { .. }) => "uniform",
        Op::Attention(_) => "attention",
        Op::AttentionGrad(_) => "attention_grad",
        Op::Index(Index::Coordinate(_)) => "coordinate",
        Op::Anchor => "anchor",
        Op::Stop => "stop",
        Op::Collective(collective) => collective.exchange.name(),
    }
}

fn shape_name(shape: &Shape) -> &'static str {
    match shape {
        Shape::Rename { .. } => "rename",
        Shape::Split { .. } => "split",
        Shape::Merge { .. } => "merge",
        Shape::Slice { .. } => "slice",
        Shape::Pad { .. } => "pad",
        Shape::Take { .. } => "take",
        Shape::Concat { .. } => "concat",
        Shape::Shift { .. } => "shift",
        Shape::Roll { .. } => "roll",
        Shape::Expand => "expand",
    }
}

fn map_name(map: Map) -> &'static str {
    match map {
        Map::Add => "add",
        Map::Sub => "sub",
        Map::Mul => "mul",
        Map::Div => "div",
        Map::Rem => "rem",
        Map::Pow => "pow",
        Map::Min => "minimum",
        Map::Max => "maximum",
        Map::Neg => "neg",
        Map::Abs => "abs",
        Map::Sign => "sign",
        Map::Floor => "floor",
        Map::Exp => "exp",
        Map::Log => "log",
        Map::Sin => "sin",
        Map::Cos => "cos",
        Map::Tanh => "tanh",
        Map::Erf => "erf",
        Map::Sqrt => "sqrt",
        Map::Rsqrt => "rsqrt",
        Map::Lt => "lt",
        Map::Le => "le",
        Map::Eq => "eq",
        Map::Ne => "ne",
        Map::And => "and",
        Map::Or => "or",
        Map::Not => "not",
        Map::Where => "where",
        Map::Real => "real",
        Map::Int => "int",
        Map::RoundBf16 => "round_bf16",
    }
}

fn role(role: &Role) -> String {
    match role {
        Role::Param(at) => format!("param {at}"),
        Role::Weight(at) => format!("weight {at}"),
        Role::Result(at) => format!("result {at}"),
        Role::Stash(at) => format!("stash {at}"),
        Role::ResultGrad(at) => format!("result_grad {at}"),
        Role::ParamGrad(at) => format!("param_grad {at}"),
        Role::WeightGrad(at) => format!("weight_grad {at}"),
        Role::Report(at) => format!("report {at}"),
        Role::Total(at) => format!("total {at}"),
        Role::Peak(at) => format!("peak {at}"),
        Role::Next(at) => format!("next {at}"),
        Role::Rest => "rest".to_string(),
        Role::Gradient => "gradient".to_string(),
        Role::Moment(at) => format!("moment {at}"),
        Role::Factor => "factor".to_string(),
        Role::SquareSum => "square_sum".to_string(),
        Role::Whole => "whole".to_string(),
        Role::Piece => "piece".to_string(),
    }
}
