//! Rewrite: programs over one long dim (updates, norms) get rows and lanes, so that their work can be cut into blocks.
//!
//! Requires any program; those that are not elementwise work and whole reductions over one long dim are left alone. Ensures pieces that
//! together cover the dim, each with a size that is a number of rows times at most [`LANES`] lanes.

use super::ir::{Fused, FusedLaunch};
use super::legalise::accumulates;
use crate::graph::ir::{Program, Role};
use crate::model::ir::Model;
use crate::op::{Dim, DimData, Dims, Op, Shape, Value};
use meshwright_plan::program::Accumulate;

/// The most lanes of a row; shorter dims are not cut at all.
const LANES: u64 = 4096;
/// The fewest lanes that are worth a row of their own.
const FEW: u64 = 256;
/// Lanes of a row where the size divides by nothing suitable; what remains is a row of its own.
const PLAIN: u64 = 1024;

/// A part of the long dim, as a program over rows and lanes.
pub struct Piece {
    /// The program.
    pub program: Program,
    /// All dims, the new ones included.
    pub dims: Dims,
    /// First element.
    pub start: u64,
}

/// The pieces of a program over one long dim; none for other programs.
pub fn pieces(program: &Program, dims: &Dims) -> Option<(Dim, Vec<Piece>)> {
    let flat = long_dim(program, dims)?;
    let ranges = cut(dims[flat].size);
    if ranges.len() > 1 && !separable(program, flat) {
        return None;
    }
    Some((flat, ranges.into_iter().map(|range| piece(program, dims, flat, range)).collect()))
}

/// Puts the programs of pieces behind each other.
pub fn joined(program: &Program, dims: &Dims, flat: Dim, parts: Vec<(u64, Fused)>) -> Fused {
    let mut whole = Fused::default();
    for (start, part) in parts {
        let place = |role: Role| {
            let value = program.inputs.iter().chain(&program.outputs).find(|(other, _)| *other == role).map(|(_, value)| *value)?;
            let ty = program.body.ty(value);
            let unit = Model::stored(ty.element).bytes();
            Some((if ty.has(flat) { start * unit } else { 0 }, ty.elements(dims) * unit))
        };
        let mut now = Vec::new();
        for data in part.buffers.values() {
            let (shift, bytes) = data.role.and_then(place).unwrap_or((0, data.bytes));
            let known = whole.buffers.iter().find(|(_, other)| data.role.is_some() && other.role == data.role).map(|(buffer, _)| buffer);
            let buffer = known.unwrap_or_else(|| whole.buffers.push(super::ir::BufferData { bytes, ..data.clone() }));
            now.push((buffer, shift));
        }
        for launch in part.launches {
            let moved = |(buffer, at): (super::ir::Buffer, u64)| {
                let (buffer, shift) = now[buffer.as_u32() as usize];
                (buffer, at + shift)
            };
            let accumulate = match launch.accumulate {
                Accumulate::ByCall if start > 0 => Accumulate::Add,
                other => other,
            };
            whole.launches.push(FusedLaunch { places: launch.places.into_iter().map(moved).collect(), accumulate, ..launch });
        }
    }
    whole
}

/// The one long dim of a program that has no other.
fn long_dim(program: &Program, dims: &Dims) -> Option<Dim> {
    let mut all = program.body.values.values().flat_map(|data| data.ty.dims.iter().copied());
    let flat = all.next()?;
    let simple = program.body.insts.iter().all(|inst| match &inst.op {
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Anchor | Op::Stop | Op::Shape(Shape::Expand) => true,
        Op::Reduce(op, _) => op.folds(),
        Op::Contract(_) | Op::Index(_) | Op::Shape(_) | Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => {
            false
        }
    });
    (simple && dims[flat].size > LANES && all.all(|dim| dim == flat)).then_some(flat)
}

/// Rows and lanes for so many elements: one range, or all but a rest and the rest.
fn cut(size: u64) -> Vec<(u64, u64, u64)> {
    let lanes = (FEW..=LANES).rev().find(|lanes| lanes % 16 == 0 && size.is_multiple_of(*lanes));
    let rest = size % PLAIN;
    match lanes {
        Some(lanes) => vec![(0, size / lanes, lanes)],
        None => vec![(0, size / PLAIN, PLAIN), (size - rest, 1, rest)],
    }
}

/// Whether pieces do not need each other: what is reduced goes out, and is added up there.
fn separable(program: &Program, flat: Dim) -> bool {
    let reduced = |value: Value| {
        let mut insts = program.body.insts.iter();
        insts.any(|inst| matches!(inst.op, Op::Reduce(..)) && inst.results[0] == value)
    };
    let read = program.body.insts.iter().flat_map(|inst| &inst.args).any(|arg| reduced(*arg));
    let added = program
        .outputs
        .iter()
        .all(|(role, value)| accumulates(*role, program.body.ty(*value).element) != program.body.ty(*value).has(flat));
    !read && added
}

fn piece(program: &Program, dims: &Dims, flat: Dim, (start, rows, lanes): (u64, u64, u64)) -> Piece {
    let (mut program, mut dims) = (program.clone(), dims.clone());
    let name = dims[flat].name.clone();
    let parts =
        [(format!("{name}.rows"), rows), (name, lanes)].map(|(name, size)| dims.push(DimData { name, size, span: None, axes: Vec::new() }));
    for data in program.body.values.values_mut() {
        data.ty.dims = data.ty.dims.iter().flat_map(|_| parts).collect();
    }
    for inst in &mut program.body.insts {
        if let Op::Reduce(_, over) = &mut inst.op {
            *over = over.iter().flat_map(|_| parts).collect();
        }
    }
    Piece { program, dims, start }
}
