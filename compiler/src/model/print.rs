//! A model as readable text: what `plan --show model` prints.
//!
//! Requires a verified model. Ensures one line per dim, weight, instruction and call; nothing of it is derived.

use super::ir::{Call, FunctionData, Model, WeightData};
use crate::op::{Attention, Body, Dim, Dims, Element, Index, Inst, Op, Random, Shape, Type, Value};
use meshwright_plan::Init;
use std::fmt::Write;

/// The whole model.
pub fn print(model: &Model) -> String {
    let mut out = format!("model {}\n\n", model.name);
    for (dim, data) in &model.dims {
        let batch = if dim == model.batch { "   // batch" } else { "" };
        writeln!(out, "dim {} = {}{batch}", data.name, data.size).ok();
    }
    out.push('\n');
    for weight in model.weights.values() {
        writeln!(out, "{}", self::weight(weight, &model.dims)).ok();
    }
    for function in model.functions.values() {
        out.push('\n');
        out.push_str(&self::function(function, &model.dims));
    }
    out.push('\n');
    for input in &model.inputs {
        writeln!(out, "input {}: {} {}", input.port, input.name, ty(&model.ports[input.port], &model.dims)).ok();
    }
    for one in &model.calls {
        writeln!(out, "{}", call(one, model)).ok();
    }
    if let Some(result) = model.result {
        writeln!(out, "return {result}").ok();
    }
    out
}

fn weight(weight: &WeightData, dims: &Dims) -> String {
    let right = list(&weight.outputs, dims);
    let inner = match weight.arrow {
        true => format!("{} -> {right}", list(&weight.inputs, dims)),
        false => right,
    };
    let stacked = if weight.stacked.is_empty() { String::new() } else { format!("{} each ", list(&weight.stacked, dims)) };
    let count = if weight.count == 1 { String::new() } else { format!(" × {}", weight.count) };
    let init = match weight.init {
        Init::Constant(value) => format!("constant({value})"),
        Init::Normal(deviation) => format!("normal({deviation})"),
        Init::Uniform(bound) => format!("uniform({bound})"),
    };
    let decay = weight.decay.map_or(String::new(), |decay| format!(", decay {decay}"));
    let frozen = if weight.frozen && !weight.state { ", frozen" } else { "" };
    let kind = if weight.state { "state" } else { "weight" };
    let rate = if weight.rate == 1.0 { String::new() } else { format!(", rate {}", weight.rate) };
    format!("{kind} {}: {stacked}[{inner}]{count} = {init}{decay}{frozen}{rate}", weight.path)
}

/// A function and its body.
pub fn function(function: &FunctionData, dims: &Dims) -> String {
    let body = &function.body;
    let typed = |value: &Value| format!("{} {}", name(body, *value), ty(body.ty(*value), dims));
    let join = |values: &[Value]| values.iter().map(typed).collect::<Vec<_>>().join(", ");
    let mut out = format!("function {}({}; {}) {{\n", function.name, join(&function.params), join(&function.weights));
    for inst in &body.insts {
        writeln!(out, "    {}", self::inst(inst, body, dims)).ok();
    }
    for loss in &function.losses {
        let mask = loss.mask.map_or(String::new(), |mask| format!(" where {}", name(body, mask)));
        writeln!(out, "    loss {}{mask}", name(body, loss.value)).ok();
    }
    for (metric, value) in &function.metrics {
        writeln!(out, "    metric {metric} = {}", name(body, *value)).ok();
    }
    for peak in &function.peaks {
        writeln!(out, "    at most {} = {} of {}", dims[peak.slot].name, dims[peak.slot].size, name(body, peak.value)).ok();
    }
    for (state, value) in &function.nexts {
        writeln!(out, "    next {} = {}", name(body, *state), name(body, *value)).ok();
    }
    let results: Vec<String> = function.results.iter().map(|value| name(body, *value)).collect();
    writeln!(out, "    return {}\n}}", results.join(", ")).ok();
    out
}

/// `%3 x: [Batch, Seq] = add %1, %2`
pub fn inst(inst: &Inst, body: &Body, dims: &Dims) -> String {
    let results: Vec<String> = inst.results.iter().map(|value| format!("{}: {}", name(body, *value), ty(body.ty(*value), dims))).collect();
    let args: Vec<String> = inst.args.iter().map(|value| short(*value)).collect();
    format!("{} = {} {}", results.join(", "), op(&inst.op, dims), args.join(", ")).trim_end().to_string()
}

fn call(call: &Call, model: &Model) -> String {
    let results: Vec<String> = call.results.iter().map(ToString::to_string).collect();
    let args: Vec<String> = call.args.iter().map(ToString::to_string).collect();
    let weights: Vec<String> = call.weights.iter().map(|(weight, copy)| weight_name(&model.weights[*weight], *copy)).collect();
    let weights = shared_path(&weights).map_or_else(|| weights.join(", "), |path| format!("{path}.** × {}", weights.len()));
    let iteration = if call.iteration == 0 { String::new() } else { format!("   // iteration {}", call.iteration) };
    let left = if results.is_empty() { String::new() } else { format!("{} = ", results.join(", ")) };
    format!("{left}{}({}; {}){iteration}", model.functions[call.function].name, args.join(", "), weights)
}

/// The layer that more than two weights all stand below, if it is not the model itself.
fn shared_path(weights: &[String]) -> Option<String> {
    let first: Vec<&str> = weights.first().filter(|_| weights.len() > 2)?.split('.').collect();
    let shared = |part: usize| weights.iter().all(|weight| weight.split('.').nth(part) == Some(first[part]));
    let count = (0..first.len() - 1).take_while(|part| shared(*part)).count();
    (count > 1).then(|| first[..count].join("."))
}

/// A weight's path with its copy's number.
pub fn weight_name(weight: &WeightData, copy: u64) -> String {
    weight.path.replace("[*]", &format!("[{copy}]"))
}

fn short(value: Value) -> String {
    value.to_string().replace('v', "%")
}

fn name(body: &Body, value: Value) -> String {
    match body.values[value].name.as_str() {
        "" => short(value),
        name => format!("{} {name}", short(value)),
    }
}

/// `[Batch, Seq]`, `index(Vocab)[Batch]`
pub fn ty(ty: &Type, dims: &Dims) -> String {
    let element = match ty.element {
        Element::Real => "real".to_string(),
        Element::Half => "bf16".to_string(),
        Element::Bool => "bool".to_string(),
        Element::Index(dim) => format!("index({})", dims[dim].name),
        Element::Integer => "integer".to_string(),
    };
    format!("{element}[{}]", list(&ty.dims, dims))
}

fn list(list: &[Dim], dims: &Dims) -> String {
    list.iter().map(|dim| dims[*dim].name.as_str()).collect::<Vec<_>>().join(", ")
}

/// An operation with its attributes: `sum over Embed`.
pub fn op(op: &Op, dims: &Dims) -> String {
    let one = |dim: &Dim| dims[*dim].name.clone();
    match op {
        Op::Const(value) => format!("const {value}"),
        Op::Integer(value) => format!("integer {value}"),
        Op::Scalar(name) => format!("scalar {name}"),
        Op::Map(map) => format!("{map:?}").to_lowercase(),
        Op::Reduce(reduce, over) => format!("{} over {}", format!("{reduce:?}").to_lowercase(), list(over, dims)),
        Op::Contract(over) => format!("contract over {}", list(over, dims)),
        Op::Index(index) => self::index(index, &one),
        Op::Shape(shape) => self::shape(shape, dims),
        Op::Random(Random::Uniform { site, .. }) => format!("uniform {site}"),
        Op::Attention(attention) => format!("attention {}", self::attention(attention, &one)),
        Op::AttentionGrad(attention) => format!("attention_grad {}", self::attention(attention, &one)),
        Op::Anchor => "anchor".to_string(),
        Op::Stop => "stop".to_string(),
        Op::Collective(collective) => collective.exchange.name().to_string(),
    }
}

fn index(index: &Index, one: &dyn Fn(&Dim) -> String) -> String {
    match index {
        Index::Position(dim) => format!("position {}", one(dim)),
        Index::Gather { over } => format!("gather over {}", one(over)),
        Index::Scatter { into } => format!("scatter into {}", one(into)),
        Index::Cumsum(dim) => format!("cumsum {}", one(dim)),
        Index::CumsumReverse(dim) => format!("cumsum_reverse {}", one(dim)),
        Index::Coordinate(_) => "coordinate".to_string(),
    }
}

fn shape(shape: &Shape, dims: &Dims) -> String {
    let one = |dim: &Dim| dims[*dim].name.clone();
    match shape {
        Shape::Rename { from, to } => format!("rename {} to {}", one(from), one(to)),
        Shape::Split { from, into } => format!("split {} into {}", one(from), list(into, dims)),
        Shape::Merge { from, into } => format!("merge {} into {}", list(from, dims), one(into)),
        Shape::Slice { from, start, into } => format!("slice {} from {start} into {}", one(from), one(into)),
        Shape::Pad { from, start, into } => format!("pad {} at {start} into {}", one(from), one(into)),
        Shape::Take { from, at } => format!("take {} at {at}", one(from)),
        Shape::Concat { from, into } => format!("concat {} into {}", list(from, dims), one(into)),
        Shape::Shift { dim, by } => format!("shift {} by {by}", one(dim)),
        Shape::Roll { dim, by } => format!("roll {} by {by}", one(dim)),
        Shape::Expand => "expand".to_string(),
    }
}

fn attention(attention: &Attention, one: &dyn Fn(&Dim) -> String) -> String {
    let Attention { query, key, feature, scale, causal, window, .. } = attention;
    let causal = if *causal { " causal" } else { "" };
    let window = window.map_or(String::new(), |window| format!(" window {window}"));
    format!("query {} key {} feature {} scale {scale}{causal}{window}", one(query), one(key), one(feature))
}
