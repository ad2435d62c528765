//! Rewrites on kernels: dims that behave as one are merged, dims of one point disappear, and `rows` kernels get their grid.
//!
//! Requires strides in elements for every dim. Ensures that a kernel computes the same in the same layout; the grid depends on shapes and the target.

use crate::Target;
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::kernel::{Access, Axis, Effect, KernelData, KernelDim, NodeData, Role, Rows, Skeleton};

/// Rows are merged into lanes up to this many lanes.
const LANES: u64 = 4096;
/// The number of blocks aimed at.
const BLOCKS: u64 = 64;
/// The least work of a block, in points.
const BLOCK_POINTS: u64 = 16 * 1024;

/// How folds over all rows are cut, where every block leaves a partial result: how many blocks are aimed at, and the least points of one. A GPU
/// takes two blocks on each of its hundred and more multiprocessors.
fn fold_blocks(target: Target) -> (u64, u64) {
    match target {
        Target::Cpu => (32, BLOCK_POINTS),
        Target::Cuda => (256, BLOCK_POINTS / 4),
    }
}

/// Merges dims as far as strides allow. `folded` says how many of the last row dims are folded; the new number comes back.
pub fn merge(kernel: &mut KernelData, folded: u32) -> u32 {
    let mut folded = folded;
    drop_single(kernel, &mut folded);
    while let Some((outer, inner)) = mergeable(kernel, folded) {
        let rows = row_axes(kernel);
        let in_fold = rows.iter().rev().take(folded as usize).any(|axis| *axis == outer);
        merge_pair(kernel, outer, inner);
        folded -= u32::from(in_fold);
    }
    unique_names(kernel);
    folded
}

/// A dim that is in a kernel twice (features that are also values) gets a name of its own.
fn unique_names(kernel: &mut KernelData) {
    let axes: Vec<Axis> = kernel.dims.keys().collect();
    for axis in axes {
        while kernel.dims.iter().any(|(other, dim)| other < axis && dim.name == kernel.dims[axis].name) {
            kernel.dims[axis].name.push('\'');
        }
    }
}

fn row_axes(kernel: &KernelData) -> Vec<Axis> {
    kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row).map(|(axis, _)| axis).collect()
}

/// Two dims that may become one: lanes first, so that they grow before rows do.
fn mergeable(kernel: &KernelData, folded: u32) -> Option<(Axis, Axis)> {
    let rows = row_axes(kernel);
    let kept = rows.len() - folded as usize;
    if let (Some(lane), Some(row)) = (kernel.lane(), rows[..kept].last())
        && !has_fixed_lane(kernel)
        && kernel.dims[lane].size * kernel.dims[*row].size <= LANES
        && chains(kernel, *row, lane)
    {
        return Some((*row, lane));
    }
    let axes: Vec<Axis> = kernel.dims.keys().collect();
    let fold_border = if folded > 0 && kept > 0 { Some(rows[kept]) } else { None };
    axes.windows(2).map(|pair| (pair[0], pair[1])).find(|(outer, inner)| {
        kernel.dims[*outer].role == kernel.dims[*inner].role && fold_border != Some(*inner) && chains(kernel, *outer, *inner)
    })
}

/// Whether something happens along the lanes, so that they must stay what they are.
fn has_fixed_lane(kernel: &KernelData) -> bool {
    kernel.rows().is_some_and(|rows| rows.nodes.values().any(|node| matches!(node, NodeData::Reduce { .. } | NodeData::Scan { .. })))
}

/// Whether every view of memory goes through both dims as if they were one.
fn chains(kernel: &KernelData, outer: Axis, inner: Axis) -> bool {
    let size = kernel.dims[inner].size;
    let memory = kernel.operands.values().filter(|operand| operand.access != Access::Scratch);
    let chained = |strides: &[i64]| strides[outer.index()] == strides[inner.index()] * size as i64;
    let random = kernel.rows().into_iter().flat_map(|rows| rows.nodes.values()).all(|node| match node {
        NodeData::Random { strides, .. } => strides[outer.index()] == strides[inner.index()] * size,
        _ => true,
    });
    memory.into_iter().all(|operand| chained(&operand.strides)) && random && !is_named(kernel, outer) && !is_named(kernel, inner)
}

/// Whether a node speaks of this dim's index.
fn is_named(kernel: &KernelData, axis: Axis) -> bool {
    let named = |node: &NodeData| match node {
        NodeData::Position { dim, .. } => *dim == axis,
        NodeData::Load { moved, .. } => moved.is_some_and(|moved| moved.dim == axis),
        NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Coordinate(_) | NodeData::Map { .. } => false,
        NodeData::Random { runs, .. } => runs.iter().any(|runs| runs.dim == axis),
        NodeData::Reduce { .. } | NodeData::Scan { .. } => false,
    };
    kernel.rows().is_some_and(|rows| rows.nodes.values().any(named))
}

fn merge_pair(kernel: &mut KernelData, outer: Axis, inner: Axis) {
    let name = format!("{}*{}", kernel.dims[outer].name, kernel.dims[inner].name);
    kernel.dims[inner].name = name;
    kernel.dims[inner].size *= kernel.dims[outer].size;
    let axes = kernel.dims[outer].axes.clone();
    kernel.dims[inner].axes.extend(axes);
    remove(kernel, outer);
}

/// Removes dims with one point that nothing needs.
fn drop_single(kernel: &mut KernelData, folded: &mut u32) {
    let needed = |kernel: &KernelData, axis: Axis| match kernel.dims[axis].role {
        Role::Row | Role::Batch | Role::M => is_named(kernel, axis),
        Role::Lane => true,
        Role::N | Role::K | Role::Query | Role::Key | Role::Feature | Role::Value | Role::Segment | Role::Member => true,
    };
    let contract = matches!(kernel.skeleton, Skeleton::Contract { .. });
    while let Some(axis) = kernel.dims.keys().find(|axis| {
        let dim = &kernel.dims[*axis];
        // a cut dim stays: the proof of what is a partial sum reads its axes
        dim.size == 1 && dim.axes.is_empty() && (if contract { several(kernel, dim.role) } else { !needed(kernel, *axis) })
    }) {
        let rows = row_axes(kernel);
        let in_fold = rows.iter().rev().take(*folded as usize).any(|row| *row == axis);
        if in_fold && *folded == 1 {
            break;
        }
        remove(kernel, axis);
        *folded -= u32::from(in_fold);
    }
}

fn several(kernel: &KernelData, role: Role) -> bool {
    role == Role::Batch || kernel.dims.values().filter(|dim| dim.role == role).count() > 1
}

fn remove(kernel: &mut KernelData, gone: Axis) {
    let now = |axis: Axis| if axis > gone { Axis::from_u32(axis.as_u32() - 1) } else { axis };
    let dims: PrimaryMap<Axis, KernelDim> = kernel.dims.iter().filter(|(axis, _)| *axis != gone).map(|(_, dim)| dim.clone()).collect();
    kernel.dims = dims;
    for operand in kernel.operands.values_mut() {
        operand.strides.remove(gone.index());
    }
    let Skeleton::Rows(rows) = &mut kernel.skeleton else { return };
    for node in rows.nodes.values_mut() {
        match node {
            NodeData::Position { dim, .. } => *dim = now(*dim),
            NodeData::Random { strides, runs, .. } => {
                strides.remove(gone.index());
                runs.iter_mut().for_each(|runs| runs.dim = now(runs.dim));
            }
            NodeData::Load { moved: Some(moved), .. } => moved.dim = now(moved.dim),
            NodeData::Load { moved: None, .. } | NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => {}
            NodeData::Coordinate(_) | NodeData::Map { .. } | NodeData::Reduce { .. } | NodeData::Scan { .. } => {}
        }
    }
}

/// Into how many blocks a `rows` kernel is cut.
pub fn blocks(kernel: &KernelData, rows: &Rows, target: Target) -> u32 {
    let points: u64 = kernel.dims.values().map(|dim| dim.size).product();
    let axes = row_axes(kernel);
    let free = axes.len() - rows.folded as usize;
    let size = |axes: &[Axis]| axes.iter().map(|axis| kernel.dims[*axis].size).product::<u64>();
    let folds = rows.effects.iter().any(|effect| matches!(effect, Effect::Fold { .. }));
    let ((limit, least), cuts) = if !folds {
        ((BLOCKS, BLOCK_POINTS), size(&axes))
    } else if free == 0 {
        (fold_blocks(target), size(&axes))
    } else {
        ((BLOCKS, BLOCK_POINTS), size(&axes[..free]))
    };
    (points / least).clamp(1, limit).min(cuts.max(1)) as u32
}
