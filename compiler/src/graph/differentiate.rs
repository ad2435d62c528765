//! A function with its losses and its gradient, as one joint program: what forward and backward programs are cut from.
//!
//! Requires dims of one microbatch. Ensures inputs `Param`, `Weight`, `ResultGrad` and outputs `Result`, `Report`, `Total`, `Peak`, `ParamGrad`, `WeightGrad`:
//! one of each that is demanded and not zero throughout.

use super::autodiff::{active, reverse};
use super::error;
use super::ir::{Program, Role};
use super::loss::{self, Shares};
use crate::model::ir::{FunctionData, Peak};
use crate::op::{Body, Dims, Element, Map, Op, Origin, Reduce, Type, Value};
use meshwright_grammar::Diagnostic;

/// What a call asks of its function's gradient. Equal demands share programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// For each param: whether it depends on a trained weight.
    pub params: Vec<bool>,
    /// For each weight slot: whether it is trained.
    pub weights: Vec<bool>,
    /// For each result: whether it has a cotangent.
    pub results: Vec<bool>,
}

/// A joint program.
#[derive(Clone, Debug)]
pub struct Joint {
    /// Forward and backward.
    pub program: Program,
    /// Name of each reported number, its `Role::Report` index, and that of its count.
    pub reports: Vec<(String, u32, Option<u32>)>,
}

/// Appends losses and, with a demand, the gradient of `function`.
pub fn joint(function: &FunctionData, dims: &Dims, demand: Option<&Demand>, shares: Shares, own: Origin) -> Result<Joint, Diagnostic> {
    let mut body = function.body.clone();
    let (reported, mut seeds) = loss::append(&mut body, dims, function, shares, own, demand.is_some());
    let mut inputs = roles(Role::Param, &function.params);
    inputs.extend(roles(Role::Weight, &function.weights));
    let mut outputs = roles(Role::Result, &function.results);
    let mut reports = Vec::new();
    let mut next = 0..;
    for report in reported {
        let mut add = |value: Value| {
            let at = next.next().unwrap_or(0);
            outputs.push((Role::Report(at), value));
            at
        };
        reports.push((report.name, add(report.sum), report.count.map(add)));
    }
    outputs.extend(peaks(&mut body, function, own));
    if let Some(demand) = demand {
        outputs.extend(totals(&mut body, function, shares, own));
        let origin = body.insts.last().map_or(own, |inst| inst.origin);
        for (at, result) in function.results.iter().enumerate().filter(|(at, _)| demand.results[*at]) {
            let ty = Type { element: Element::Real, dims: body.ty(*result).dims.clone() };
            let cotangent = body.input(ty, &format!("d{}", body.values[*result].name));
            inputs.push((Role::ResultGrad(at as u32), cotangent));
            seeds.insert(0, (*result, cotangent, origin));
        }
        let wanted = wanted(function, demand);
        let starts: Vec<Value> = wanted.iter().map(|(_, value)| *value).collect();
        let active = active(&body, &starts);
        if let Some(loss) = function.losses.iter().find(|loss| loss.mask.is_some_and(|mask| active[mask])) {
            return Err(error::mask_gradient(loss.span));
        }
        let gradients = reverse(&mut body, dims, &active, &seeds, &starts);
        let found = wanted.iter().zip(gradients).filter_map(|((role, _), gradient)| gradient.map(|gradient| (*role, gradient)));
        outputs.extend(found);
    }
    Ok(Joint { program: Program { body, inputs, outputs }, reports })
}

/// The share of one microbatch in the sums that `next` reads: each is an estimate whose mean over microbatches is exact.
fn totals(body: &mut Body, function: &FunctionData, shares: Shares, own: Origin) -> Vec<(Role, Value)> {
    let share = 1.0 / shares.microbatches as f64;
    let mut scaled = |total: &Value| {
        let (ty, factor) = (body.ty(*total).clone(), body.push(Op::Const(share), Vec::new(), Type::real(Vec::new()), own));
        body.push(Op::Map(Map::Mul), vec![*total, factor], ty, own)
    };
    function.totals.iter().enumerate().map(|(at, total)| (Role::Total(at as u32), scaled(total))).collect()
}

/// The largest element of each number that has a bound. Its cotangent is zero: nothing is learned from it.
fn peaks(body: &mut Body, function: &FunctionData, own: Origin) -> Vec<(Role, Value)> {
    let mut most = |(at, peak): (usize, &Peak)| {
        let over = body.ty(peak.value).dims.clone();
        let op = Op::Reduce(Reduce::Max, over);
        (Role::Peak(at as u32), body.push(op, vec![peak.value], Type::real(Vec::new()), own))
    };
    function.peaks.iter().enumerate().map(&mut most).collect()
}

fn roles(role: impl Fn(u32) -> Role, values: &[Value]) -> Vec<(Role, Value)> {
    values.iter().enumerate().map(|(at, value)| (role(at as u32), *value)).collect()
}

/// The inputs whose cotangents are wanted.
fn wanted(function: &FunctionData, demand: &Demand) -> Vec<(Role, Value)> {
    let params = roles(Role::ParamGrad, &function.params).into_iter().zip(&demand.params);
    let weights = roles(Role::WeightGrad, &function.weights).into_iter().zip(&demand.weights);
    params.chain(weights).filter(|(_, wanted)| **wanted).map(|(input, _)| input).collect()
}
