//! Balanced parts, typed again: which of their two runs a value is right in, and in which order chunks stand.
//!
//! Invariants: a position that starts where a run does is of that run, until the right one is chosen by the position in the part; what
//! stands in the order of ranks is sent, got, or put into its own order, chunk by chunk, and nothing else; the order of the chunks is the one
//! that the layout has, by the value of the index.

use super::super::ir::Chunks;
use super::{Checked, Held, Typing, need};
use crate::op::{Cut, Dim, Index, Inst, Map, Op, Random, Shape, Value};
use meshwright_plan::mesh::Coordinate;

impl Typing<'_> {
    /// What no other rule would see: values of one run, values in the order of ranks, and numbers of chunks are used only for what they are made for.
    pub(super) fn runs_and_orders(&self, inst: &Inst) -> Checked<()> {
        let chosen = matches!(inst.op, Op::Map(Map::Where));
        need(chosen || inst.args.iter().all(|arg| self.held[*arg].run.is_none()), "a value of one run is used for both")?;
        let second = |arg: &Value| {
            let def = self.defined[*arg].map(|at| &self.body.insts[at].op);
            matches!(def, Some(Op::Index(Index::Coordinate(Coordinate { second: true, .. }))))
        };
        let placed = inst.args.iter().find_map(|arg| self.positions[*arg]).is_some_and(|dim| self.sharded.cuts.is_balanced(dim));
        let starts = placed && inst.op == Op::Map(Map::Add);
        need(starts || !inst.args.iter().any(second), "a second run starts something else than positions")?;
        let all = inst.args.iter().chain(&inst.results);
        let gathered = all.flat_map(|value| &self.body.ty(*value).dims).any(|dim| self.sharded.cuts.gathered(*dim).is_some());
        let moves = matches!(inst.op, Op::Collective(_) | Op::Shape(Shape::Split { .. } | Shape::Merge { .. }));
        need(moves || !gathered, "it works on chunks in the order of ranks")?;
        let index = |arg: &Value| self.orders[*arg].as_ref().is_some_and(|_| !self.body.ty(*arg).dims.is_empty());
        let counts = matches!(inst.op, Op::Map(_) | Op::Index(Index::Gather { .. }));
        need(counts || !inst.args.iter().any(index), "the number of a chunk is used otherwise than to look one up")
    }

    /// The numbers of chunks that an instruction computes, for each chunk.
    pub(super) fn order(&self, inst: &Inst) -> Option<Vec<i64>> {
        match &inst.op {
            Op::Integer(number) => Some(vec![*number]),
            Op::Index(Index::Position(dim)) => {
                self.sharded.cuts.chunked(*dim)?;
                Some((0..self.sharded.graph.dims[*dim].size as i64).collect())
            }
            Op::Map(map) => {
                let args: Option<Vec<&Vec<i64>>> = inst.args.iter().map(|arg| self.orders[*arg].as_ref()).collect();
                let [one, two] = args?[..] else { return None };
                let count = one.len().max(two.len());
                let at = |list: &[i64], at: usize| list[if list.len() == 1 { 0 } else { at }];
                (0..count).map(|place| computed(*map, at(one, place), at(two, place))).collect()
            }
            _ => None,
        }
    }

    /// A lookup of chunks: from one order into the other, all of them.
    pub(super) fn reordered(&self, over: Dim, inst: &Inst) -> Option<Checked<Held>> {
        let chunks = self.sharded.cuts.chunked(over)?;
        let found = || {
            let dims = &self.body.ty(inst.args[1]).dims;
            let order = self.orders[inst.args[1]].as_ref().ok_or("chunks are looked up by what is no number of theirs")?;
            let last = 2 * chunks.members as i64 - 1;
            let wanted = |place: i64| match over == chunks.ranks {
                true => (2 * place).min(2 * last + 1 - 2 * place),
                false if place % 2 == 0 => place / 2,
                false => last - place / 2,
            };
            let into = if over == chunks.ranks { chunks.order } else { chunks.ranks };
            let right = *dims == [into] && (0..=last).map(wanted).eq(order.iter().copied());
            need(right, "chunks are not put into the order of the layout")?;
            let held = self.held[inst.args[0]].clone();
            need(held.differs.is_empty(), "the chunks depend on the rank")?;
            Ok(held)
        };
        Some(found())
    }

    /// Whether a dim becomes its chunks, or chunks a dim; none if this is about other dims.
    pub(super) fn apart(&self, joined: Dim, into: &[Dim]) -> Option<Checked<()>> {
        let chunks: &Chunks = self.sharded.cuts.chunked(*into.first()?)?;
        let own = if into[0] == chunks.ranks { chunks.gathered } else { chunks.joined };
        Some(need(joined == own && into[1..] == [chunks.chunk], "the chunks are those of another dim"))
    }

    /// The condition that an element stands in the first run of a part, and what is chosen by it; none if this is about something else.
    pub(super) fn by_run(&mut self, map: Map, inst: &Inst) -> Option<Checked<Held>> {
        match map {
            Map::Lt => {
                self.early[inst.results[0]] = Some(self.first_run(inst)?);
                Some(Ok(Held::default()))
            }
            Map::Where => {
                let runs = [1, 2].map(|at| self.held[inst.args[at]].run);
                if runs == [None, None] {
                    return None;
                }
                let right = self.early[inst.args[0]].is_some_and(|dim| runs == [Some((dim, false)), Some((dim, true))]);
                Some(need(right, "positions of the other run are chosen").map(|()| Held::default()))
            }
            _ => None,
        }
    }

    fn first_run(&self, inst: &Inst) -> Option<Dim> {
        let dim = self.positions[inst.args[0]].filter(|dim| self.sharded.cuts.is_balanced(*dim))?;
        let half = self.defined[inst.args[1]].map(|at| &self.body.insts[at].op);
        let size = self.sharded.graph.dims[dim].size as i64;
        matches!(half, Some(Op::Integer(number)) if 2 * number == size).then_some(dim)
    }

    /// Random numbers count on where their elements do.
    pub(super) fn random(&self, random: &Random, inst: &Inst) -> Checked<Held> {
        let Random::Uniform { cuts, .. } = random;
        let own: Vec<Dim> = self.body.ty(inst.results[0]).dims.iter().copied().filter(|dim| !self.cut(*dim).is_empty()).collect();
        let matches = |dim: Dim, cut: &Cut| {
            let (of, mesh) = (self.cut(dim), &self.sharded.mesh);
            let layout = cut.balanced == self.sharded.cuts.is_balanced(dim);
            cut.dim == dim && layout && cut.axes == mesh.names(of) && cut.parts == mesh.size(of)
        };
        let right = own.iter().all(|dim| cuts.iter().any(|cut| matches(*dim, cut)));
        need(right && cuts.len() == own.len(), "its cuts are not those of its dims")?;
        Ok(Held::default())
    }
}

fn computed(map: Map, a: i64, b: i64) -> Option<i64> {
    match map {
        Map::Add => a.checked_add(b),
        Map::Sub => a.checked_sub(b),
        Map::Mul => a.checked_mul(b),
        Map::Div => a.checked_div(b),
        Map::Rem => a.checked_rem_euclid(b),
        Map::Min => Some(a.min(b)),
        Map::Max => Some(a.max(b)),
        _ => None,
    }
}
