//! Tests only: `rows` kernels, row by row.
//!
//! Requires and ensures what the parent module does.

use super::Machine;
use crate::graph::interpret::{map_element, random};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, Effect, Gather, Level, Move, Node, NodeData, Reduce, Role, Rows, Slot};
use std::collections::BTreeMap;

/// Runs the kernel.
pub fn run(machine: &mut Machine<'_>, rows: &Rows) {
    let kernel = machine.kernel;
    let types = rows.types(kernel).unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
    let roles: Vec<Role> = kernel.dims.values().map(|dim| dim.role).collect();
    let lane = roles.iter().position(|role| *role == Role::Lane);
    let lanes = lane.map_or(1, |lane| kernel.dims[kernel.lane().expect("there is one")].size * u64::from(lane < roles.len()));
    let mut folds: Vec<BTreeMap<i64, f64>> = vec![BTreeMap::new(); rows.effects.len()];
    for row in machine.points(|at| roles[at] == Role::Row) {
        let points: Vec<Vec<u64>> = (0..lanes).map(|index| at_lane(&row, lane, index)).collect();
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (node, data) in rows.nodes.iter() {
            let real = data.args().iter().any(|arg| types[*arg] == Element::F32);
            let computed = compute(machine, data, &values, &points, real);
            assert_eq!(values.len(), node.as_u32() as usize);
            values.push(computed);
        }
        effects(machine, rows, &values, &points, &mut folds);
    }
    for (effect, folded) in rows.effects.iter().zip(folds) {
        folded.into_iter().for_each(|(element, value)| machine.store(effect.slot(), element, value, machine.adds));
    }
}

fn at_lane(row: &[u64], lane: Option<usize>, index: u64) -> Vec<u64> {
    let mut point = row.to_vec();
    if let Some(lane) = lane {
        point[lane] = index;
    }
    point
}

fn compute(machine: &Machine<'_>, data: &NodeData, values: &[Vec<f64>], points: &[Vec<u64>], real: bool) -> Vec<f64> {
    let arg = |node: &Node, lane: usize| values[node.as_u32() as usize][lane];
    let each = |value: &dyn Fn(usize, &Vec<u64>) -> f64| points.iter().enumerate().map(|(lane, point)| value(lane, point)).collect();
    let context = machine.context;
    match data {
        NodeData::Const(value) => vec![f64::from(*value); points.len()],
        NodeData::Integer(value) => vec![f64::from(*value); points.len()],
        NodeData::Scalar(name) => {
            let found = context.scalars.iter().find(|(own, _)| own == name).expect("scalars are given");
            vec![found.1; points.len()]
        }
        NodeData::Load { slot, gather, moved } => each(&|lane, point| {
            let gathered = gather.map(|gather| (gather, arg(&gather.index, lane)));
            load(machine, *slot, gathered, *moved, point)
        }),
        NodeData::Position { dim, micro } => each(&|_, point| (point[dim.as_u32() as usize] + micro * context.microbatch) as f64),
        NodeData::Map { op, args } => each(&|lane, _| {
            let args: Vec<f64> = args.iter().map(|node| arg(node, lane)).collect();
            map_element(*op, &args, real)
        }),
        NodeData::Reduce { op, arg: node } => vec![reduce(*op, &values[node.as_u32() as usize]); points.len()],
        NodeData::Scan { arg: node } => {
            let mut sum = 0.0;
            each(&|_, _| 0.0)
                .iter()
                .enumerate()
                .map(|(lane, zero): (usize, &f64)| {
                    sum += arg(node, lane) + zero;
                    sum
                })
                .collect()
        }
        // one rank is the first of every group
        NodeData::Coordinate(_) => vec![0.0; points.len()],
        NodeData::Random { site, strides, micro, .. } => each(&|_, point| {
            let element: u64 = strides.iter().zip(point).map(|(stride, index)| stride * index).sum::<u64>() + micro * context.microbatch;
            let counter = [element as u32, (element >> 32) as u32, context.step as u32, context.iteration as u32];
            f64::from(random::philox(counter, random::key(context.seed, *site))[0] >> 8) / f64::from(1 << 24)
        }),
    }
}

fn load(machine: &Machine<'_>, slot: Slot, gather: Option<(Gather, f64)>, moved: Option<Move>, point: &[u64]) -> f64 {
    let mut point = point.to_vec();
    if let Some(moved) = moved {
        let size = machine.kernel.dims[moved.dim].size as i64;
        let index = point[moved.dim.as_u32() as usize] as i64 + moved.by;
        if !moved.wrap && !(0..size).contains(&index) {
            return 0.0;
        }
        point[moved.dim.as_u32() as usize] = index.rem_euclid(size) as u64;
    }
    let further = gather.map_or(0, |(gather, index)| {
        assert!(index >= 0.0 && index < gather.size as f64, "an index is in range");
        index as i64 * gather.stride
    });
    machine.load(slot, machine.at(slot, &point) + further)
}

fn reduce(op: Reduce, values: &[f64]) -> f64 {
    match op {
        Reduce::Sum => values.iter().sum(),
        Reduce::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduce::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Reduce::Argmax => {
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            values.iter().position(|value| *value == most).map_or(0.0, |at| at as f64)
        }
    }
}

fn effects(machine: &mut Machine<'_>, rows: &Rows, values: &[Vec<f64>], points: &[Vec<u64>], folds: &mut [BTreeMap<i64, f64>]) {
    let levels = rows.levels(machine.kernel);
    for (number, effect) in rows.effects.iter().enumerate() {
        let computed = &values[effect.value().as_u32() as usize];
        let operand = &machine.kernel.operands[effect.slot()];
        let lane = machine.kernel.lane().map_or(0, |lane| operand.strides[lane.as_u32() as usize]);
        assert!(lane != 0 || levels[effect.value()] != Level::Lane || points.len() == 1, "a lane's value needs a place for every lane");
        let once = if lane == 0 { 1 } else { points.len() };
        for (point, value) in points.iter().zip(computed).take(once) {
            let element = machine.at(effect.slot(), point);
            match effect {
                Effect::Store { slot, .. } => machine.store(*slot, element, *value, machine.adds && operand.access == Access::Accumulate),
                Effect::Fold { op, .. } => {
                    assert_eq!(operand.access, Access::Accumulate);
                    let cell = folds[number].entry(element).or_insert(f64::NAN);
                    *cell = if cell.is_nan() { *value } else { reduce(*op, &[*cell, *value]) };
                }
            }
        }
    }
}
