//! The coordinates that a plan's kernels use: numbers of a rank that machine code reads from an array, because all ranks share one code.
//!
//! Requires: nothing. Ensures: each coordinate once, in the order of its first use.

use meshwright_plan::Plan;
use meshwright_plan::kernel::{KernelData, NodeData, Skeleton};
use meshwright_plan::mesh::Coordinate;

/// All coordinates of a plan.
pub(super) fn of_plan(plan: &Plan) -> Vec<Coordinate> {
    let mut all = Vec::new();
    for coordinate in plan.kernels.values().flat_map(of_kernel) {
        if !all.contains(&coordinate) {
            all.push(coordinate);
        }
    }
    all
}

fn of_kernel(kernel: &KernelData) -> Vec<Coordinate> {
    match &kernel.skeleton {
        Skeleton::Rows(rows) => rows.nodes.values().flat_map(of_node).collect(),
        Skeleton::Attention(attention) | Skeleton::AttentionGrad(attention) => attention.coordinates(),
        Skeleton::Contract { .. } | Skeleton::Segmented | Skeleton::Collective(_) => Vec::new(),
    }
}

fn of_node(node: &NodeData) -> Vec<Coordinate> {
    match node {
        NodeData::Coordinate(coordinate) => vec![coordinate.clone()],
        NodeData::Random { origin, runs, .. } => {
            let runs = runs.iter().flat_map(|runs| [runs.first.clone(), runs.second()]);
            origin.iter().cloned().chain(runs).collect()
        }
        NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Load { .. } | NodeData::Position { .. } => Vec::new(),
        NodeData::Map { .. } | NodeData::Reduce { .. } | NodeData::Scan { .. } => Vec::new(),
    }
}
