//! Balanced parts: a dim cut into twice as many chunks as ranks, of which each rank holds one from either end.
//!
//! With n ranks along its axes the dim has 2n equal chunks, and rank r holds chunks r and 2n - 1 - r, in this order: two runs. Of the keys that a causal mask
//! leaves the queries of such a part, each part has as many as any other. A part along some axes is made of the parts along more axes, so a
//! dim is gathered and cut axis by axis as any other is; only the chunks that come then stand in the order of the ranks, and are put into theirs
//! here. After the layout that context parallelism has in Megatron-LM, and striped attention (Brandon et al. 2023).
//!
//! Requires parts that divide ([`super::ir::Cuts::uneven`]). Ensures that what is whole, and what is one part, stands in its own order.

use super::ir::{Axis, Chunks, Placement};
use super::partition::Walk;
use crate::op::{Dim, Element, Index, Map, Op, Origin, Shape, Type, Value};
use meshwright_plan::mesh::Coordinate;

impl Walk<'_, '_> {
    /// The dim of all parts along `axes` as ranks send and get them: `whole` itself, or its elements in the order of the ranks.
    pub(super) fn gathered(&mut self, dim: Dim, whole: &Placement, axes: &[Axis]) -> Dim {
        match self.chunks(dim, whole, axes) {
            Some(chunks) => chunks.gathered,
            None => self.part.dim(dim, whole),
        }
    }

    fn chunks(&mut self, dim: Dim, whole: &Placement, axes: &[Axis]) -> Option<Chunks> {
        let part = &mut *self.part;
        part.cuts.has_balanced(dim).then(|| part.cuts.chunks(part.dims, part.mesh, dim, whole.of(dim), axes))
    }

    /// What was gathered, in its own order. Of n ranks, chunk p of the order is number min(2p, 4n - 1 - 2p) of what came.
    pub(super) fn joined(&mut self, dim: Dim, whole: &Placement, axes: &[Axis], value: Value, origin: Origin) -> Value {
        let Some(chunks) = self.chunks(dim, whole, axes) else { return value };
        let ty = integer(vec![chunks.order]);
        let p = self.body.push(Op::Index(Index::Position(chunks.order)), Vec::new(), ty.clone(), origin);
        let [two, last] = [2, 4 * chunks.members as i64 - 1].map(|number| self.integer(number, origin));
        let double = self.body.push(Op::Map(Map::Mul), vec![p, two], ty.clone(), origin);
        let mirrored = self.body.push(Op::Map(Map::Sub), vec![last, double], ty.clone(), origin);
        let index = self.body.push(Op::Map(Map::Min), vec![double, mirrored], ty, origin);
        self.reordered(&chunks, [chunks.gathered, chunks.ranks, chunks.order, chunks.joined], value, index, origin)
    }

    /// What is to be scattered or cut, in the order of the ranks: place q is that of chunk q / 2, or as far from the end, in turn.
    pub(super) fn by_rank(&mut self, dim: Dim, whole: &Placement, axes: &[Axis], value: Value, origin: Origin) -> Value {
        let Some(chunks) = self.chunks(dim, whole, axes) else { return value };
        let ty = integer(vec![chunks.ranks]);
        let q = self.body.push(Op::Index(Index::Position(chunks.ranks)), Vec::new(), ty.clone(), origin);
        let [two, last] = [2, 2 * chunks.members as i64 - 1].map(|number| self.integer(number, origin));
        let mut map = |op: Map, args: [Value; 2]| self.body.push(Op::Map(op), args.to_vec(), ty.clone(), origin);
        let (rank, turn) = (map(Map::Div, [q, two]), map(Map::Rem, [q, two]));
        let double = map(Map::Mul, [rank, two]);
        let back = map(Map::Sub, [last, double]);
        let further = map(Map::Mul, [turn, back]);
        let index = map(Map::Add, [rank, further]);
        self.reordered(&chunks, [chunks.joined, chunks.order, chunks.ranks, chunks.gathered], value, index, origin)
    }

    /// The chunks of a dim looked up one by one: `from` in `before` places becomes `into` in `after` places.
    fn reordered(&mut self, chunks: &Chunks, [from, before, after, into]: [Dim; 4], value: Value, index: Value, origin: Origin) -> Value {
        let data = self.body.values[value].clone();
        let with = |dims: &[Dim]| {
            let all = data.ty.dims.iter().flat_map(|dim| if *dim == from { dims.to_vec() } else { vec![*dim] });
            Type { element: data.ty.element, dims: all.collect() }
        };
        let split = Op::Shape(Shape::Split { from, into: vec![before, chunks.chunk] });
        let apart = self.body.push(split, vec![value], with(&[before, chunks.chunk]), origin);
        let gather = Op::Index(Index::Gather { over: before });
        let ordered = self.body.push(gather, vec![apart, index], with(&[after, chunks.chunk]), origin);
        let merge = Op::Shape(Shape::Merge { from: vec![after, chunks.chunk], into });
        let merged = self.body.push(merge, vec![ordered], with(&[into]), origin);
        self.body.values[merged].name = data.name;
        merged
    }

    fn integer(&mut self, number: i64, origin: Origin) -> Value {
        self.body.push(Op::Integer(number), Vec::new(), integer(Vec::new()), origin)
    }

    /// Positions along a dim of which this rank has a balanced part; `here` counts in the part.
    pub(super) fn positions(&mut self, dim: Dim, placed: &Placement, here: Value, origin: Origin) -> Value {
        let local = self.part.dim(dim, placed);
        let ty = self.body.ty(here).clone();
        let start = self.part.coordinate(placed.of(dim), self.part.dims[local].size / 2);
        let runs = [false, true].map(|second| {
            let start = Op::Index(Index::Coordinate(Coordinate { second, ..start.clone() }));
            let start = self.body.push(start, Vec::new(), integer(Vec::new()), origin);
            self.body.push(Op::Map(Map::Add), vec![here, start], ty.clone(), origin)
        });
        let count = self.body.push(Op::Index(Index::Position(local)), Vec::new(), integer(vec![local]), origin);
        let half = self.integer(self.part.dims[local].size as i64 / 2, origin);
        let early = Type { element: Element::Bool, dims: vec![local] };
        let early = self.body.push(Op::Map(Map::Lt), vec![count, half], early, origin);
        self.body.push(Op::Map(Map::Where), vec![early, runs[0], runs[1]], ty, origin)
    }
}

fn integer(dims: Vec<Dim>) -> Type {
    Type { element: Element::Integer, dims }
}
