//! What holds of every model that leaves this stage. A failure is a fault of the compiler.
//!
//! - In a body every argument is a parameter, a weight slot or defined before; every value is defined once.
//! - Dims of an elementwise argument are dims of the result; what is reduced or contracted over is gone from the result; no dim twice in a type.
//! - A call's arguments, weights and results have the number and the types of its function's; weight copies exist.
//! - Every port is an input or the result of one earlier call.
//! - Every input has the batch dim, outermost.

use super::ir::{Call, FunctionData, Model, Port};
use crate::op::{Inst, Op, Type, Value};
use std::collections::BTreeSet;

/// Checks all invariants; says the first one that does not hold.
pub fn verify(model: &Model) -> Result<(), String> {
    let mut ports: BTreeSet<Port> = BTreeSet::new();
    for input in &model.inputs {
        ensure(ports.insert(input.port), || format!("{} is an input twice", input.port))?;
        ensure(model.ports[input.port].dims.first() == Some(&model.batch), || format!("{} lacks the batch dim outermost", input.name))?;
    }
    for function in model.functions.values() {
        body(function).map_err(|reason| format!("{}: {reason}", function.name))?;
    }
    for one in &model.calls {
        call(model, one, &mut ports).map_err(|reason| format!("call of {}: {reason}", model.functions[one.function].name))?;
    }
    ensure(model.result.is_none_or(|result| ports.contains(&result)), || "the result is no port".to_string())
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

fn call(model: &Model, call: &Call, ports: &mut BTreeSet<Port>) -> Result<(), String> {
    let function = &model.functions[call.function];
    let counts = [call.args.len(), call.weights.len(), call.results.len()];
    ensure(counts == [function.params.len(), function.weights.len(), function.results.len()], || "wrong number of operands".to_string())?;
    let same = |port: &Port, value: &Value| model.ports[*port] == *function.body.ty(*value);
    for (port, value) in call.args.iter().zip(&function.params) {
        ensure(ports.contains(port), || format!("{port} is used before it is defined"))?;
        ensure(same(port, value), || format!("{port} has another type than {value}"))?;
    }
    for ((weight, copy), slot) in call.weights.iter().zip(&function.weights) {
        let data = &model.weights[*weight];
        ensure(*copy < data.count, || format!("{} has no copy {copy}", data.path))?;
        ensure(*function.body.ty(*slot) == Type::real(data.dims()), || format!("{} has another type than its slot", data.path))?;
    }
    for (port, value) in call.results.iter().zip(&function.results) {
        ensure(ports.insert(*port), || format!("{port} is defined twice"))?;
        ensure(same(port, value), || format!("{port} has another type than {value}"))?;
    }
    Ok(())
}

fn body(function: &FunctionData) -> Result<(), String> {
    let body = &function.body;
    let mut known: BTreeSet<Value> = BTreeSet::new();
    for value in function.params.iter().chain(&function.weights) {
        ensure(known.insert(*value), || format!("{value} is bound twice"))?;
    }
    for inst in &body.insts {
        ensure(inst.args.iter().all(|arg| known.contains(arg)), || format!("{:?} reads what is not defined yet", inst.results))?;
        for result in &inst.results {
            ensure(known.insert(*result), || format!("{result} is defined twice"))?;
        }
        dims(function, inst)?;
    }
    let ends = function
        .results
        .iter()
        .chain(function.losses.iter().map(|loss| &loss.value))
        .chain(function.metrics.iter().map(|(_, value)| value))
        .chain(&function.totals)
        .chain(function.nexts.iter().flat_map(|(state, value)| [state, value]))
        .chain(function.peaks.iter().map(|peak| &peak.value));
    for value in ends {
        ensure(known.contains(value), || format!("{value} is handed out but not defined"))?;
    }
    Ok(())
}

fn dims(function: &FunctionData, inst: &Inst) -> Result<(), String> {
    let body = &function.body;
    for result in &inst.results {
        let dims = &body.ty(*result).dims;
        let once = dims.iter().collect::<BTreeSet<_>>().len() == dims.len();
        ensure(once, || format!("{result} has a dim twice"))?;
    }
    let result = body.ty(inst.results[0]);
    let fits = match &inst.op {
        Op::Map(_) => inst.args.iter().all(|arg| body.ty(*arg).dims.iter().all(|dim| result.has(*dim))),
        Op::Reduce(_, over) => {
            let arg = body.ty(inst.args[0]);
            over.iter().all(|dim| arg.has(*dim) && !result.has(*dim)) && arg.dims.len() == result.dims.len() + over.len()
        }
        Op::Contract(over) => {
            let (a, b) = (body.ty(inst.args[0]), body.ty(inst.args[1]));
            let all: BTreeSet<_> = a.dims.iter().chain(&b.dims).filter(|dim| !over.contains(dim)).collect();
            over.iter().all(|dim| a.has(*dim) && b.has(*dim)) && all == result.dims.iter().collect()
        }
        Op::Anchor | Op::Stop => body.ty(inst.args[0]).same_set(result),
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) => result.dims.is_empty() && inst.args.is_empty(),
        Op::Index(_) | Op::Shape(_) | Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => true,
    };
    ensure(fits, || format!("{}: dims do not fit {:?}", inst.results[0], inst.op))
}
