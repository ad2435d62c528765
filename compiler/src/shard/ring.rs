//! Attention whose keys are cut as its queries are: keys and values go around the ring of ranks, and every query meets all of them.
//!
//! Requires queries that are cut by the axes of the keys first. Ensures results as if keys and values were whole: out and its statistics of own
//! queries; cotangents of own queries, keys and values, complete along the ring. In each step a rank holds the keys of the rank so many places back;
//! steps in which no rank sees a key are left out. Cotangents of keys go around with them and come home at the end, so n ranks move each of
//! them n - 1 times. All sums are in the order of the steps. After ring attention (Liu et al. 2023).

use super::ir::Axis;
use super::local;
use super::partition::Walk;
use super::rules::Row;
use crate::op::{Attention, Collective, Exchange, Map, Op, Origin, Type, Value};
use meshwright_plan::mesh::Coordinate;

/// Below every statistic of a query that sees a key, and far from what an f32 cannot hold.
const BLIND: f64 = -1e30;

/// One attention on its way around.
struct Ring<'w, 'a, 'b> {
    walk: &'w mut Walk<'a, 'b>,
    attention: Attention,
    axes: Vec<Axis>,
    members: u64,
    /// From how far back keys are, step by step.
    steps: Vec<u64>,
    /// Keys of one rank that stand one behind the other.
    chunk: u64,
    types: Vec<Type>,
    origin: Origin,
}

/// Appends an attention, or its gradient, over keys that are cut; gives its results.
pub(super) fn inst(
    walk: &mut Walk<'_, '_>,
    attention: &Attention,
    row: &Row,
    args: &[Value],
    types: Vec<Type>,
    origin: Origin,
) -> Vec<Value> {
    let axes = row.args[1].of(attention.key).to_vec();
    let members = walk.part.mesh.size(&axes);
    let attention = local::attention(walk, attention, row);
    let chunk = walk.part.dims[attention.key].size / if attention.balanced { 2 } else { 1 };
    let steps = (0..members).filter(|back| meets(&attention, members, chunk, *back)).collect();
    let mut ring = Ring { walk, attention, axes, members, steps, chunk, types, origin };
    match args {
        [q, k, v] => ring.forward(*q, [*k, *v]),
        [q, k, v, rest @ ..] => ring.backward(*q, [*k, *v], rest),
        _ => unreachable!("attention has queries, keys and values"),
    }
}

/// Whether some rank of a ring sees a key of the rank `back` places before it, if keys come in runs of `chunk`. Below a causal mask of a window every query
/// sees keys of the last few chunks. In blocks these are those of the ranks before; in balanced parts chunks count up the ranks and down again,
/// so they are those of the ranks on both sides.
pub(super) fn meets(attention: &Attention, members: u64, chunk: u64, back: u64) -> bool {
    let Some(window) = attention.window.filter(|_| attention.causal) else { return true };
    let chunks = window.saturating_sub(1).div_ceil(chunk);
    back <= chunks || (attention.balanced && members - back <= chunks)
}

impl Ring<'_, '_, '_> {
    fn forward(&mut self, q: Value, mut held: [Value; 2]) -> Vec<Value> {
        let mut sum: Option<Vec<Value>> = None;
        for step in 0..self.steps.len() {
            let now = self.passed_on(&mut held, step);
            let part = self.attend(step, &[&[q], &now[..]].concat());
            sum = Some(match sum {
                Some(sum) => self.combined(&sum, &part),
                None => part,
            });
        }
        sum.unwrap_or_default()
    }

    /// `rest`: out, its statistics, and the cotangent of out.
    fn backward(&mut self, q: Value, mut held: [Value; 2], rest: &[Value]) -> Vec<Value> {
        let now = self.passed_on(&mut held, 0);
        let mut own = self.attend(0, &[&[q], &now[..], rest].concat());
        let mut away: Option<[Value; 2]> = None;
        for step in 1..self.steps.len() {
            let now = self.passed_on(&mut held, step);
            let part = self.attend(step, &[&[q], &now[..], rest].concat());
            own[0] = self.added(own[0], part[0]);
            let theirs = [part[1], part[2]];
            away = Some(match away {
                Some(sums) => [0, 1].map(|at| {
                    let sum = self.moved(sums[at], self.steps[step] - self.steps[step - 1]);
                    self.added(sum, theirs[at])
                }),
                None => theirs,
            });
        }
        let last = self.steps.last().copied().unwrap_or(0);
        for (at, sum) in away.into_iter().flatten().enumerate() {
            let home = self.moved(sum, self.members - last);
            own[at + 1] = self.added(own[at + 1], home);
        }
        own
    }

    /// Keys and values of a step; those of the next one are sent for before they are needed.
    fn passed_on(&mut self, held: &mut [Value; 2], step: usize) -> [Value; 2] {
        let now = *held;
        if let Some(next) = self.steps.get(step + 1).copied() {
            let by = next - self.steps[step];
            *held = now.map(|value| self.moved(value, by));
        }
        now
    }

    fn attend(&mut self, step: usize, args: &[Value]) -> Vec<Value> {
        let first = Coordinate { back: self.steps[step], ..self.walk.part.coordinate(&self.axes, self.chunk) };
        let attention = Attention { first_key: Some(first), ..self.attention.clone() };
        let op = if args.len() == 3 { Op::Attention(attention) } else { Op::AttentionGrad(attention) };
        self.walk.body.push_many(op, args.to_vec(), self.types.clone(), self.origin)
    }

    fn moved(&mut self, value: Value, by: u64) -> Value {
        let axes = self.walk.part.mesh.names(&self.axes);
        let op = Op::Collective(Collective { exchange: Exchange::Permute { by }, axes, members: self.members });
        let data = self.walk.body.values[value].clone();
        let moved = self.walk.body.push(op, vec![value], data.ty, self.origin);
        self.walk.body.values[moved].name = data.name;
        moved
    }

    fn map(&mut self, op: Map, args: &[Value], ty: &Type) -> Value {
        self.walk.body.push(Op::Map(op), args.to_vec(), ty.clone(), self.origin)
    }

    fn number(&mut self, number: f64) -> Value {
        self.walk.body.push(Op::Const(number), Vec::new(), Type::real(Vec::new()), self.origin)
    }

    fn added(&mut self, a: Value, b: Value) -> Value {
        let ty = self.walk.body.ty(a).clone();
        self.map(Map::Add, &[a, b], &ty)
    }

    /// Attention over two sets of keys from attention over each: outputs by their shares of the sum of exponentials. A query that sees no key of
    /// a set has minus infinity there, and a share of 0; one that sees none at all has 0 and minus infinity again.
    fn combined(&mut self, one: &[Value], other: &[Value]) -> Vec<Value> {
        let [out, lse] = [0, 1].map(|at| self.types[at].clone());
        let (blind, least) = (self.number(BLIND), self.number(1.0));
        let most = self.map(Map::Max, &[one[1], other[1]], &lse);
        let most = self.map(Map::Max, &[most, blind], &lse);
        let weights = [one[1], other[1]].map(|own| {
            let below = self.map(Map::Sub, &[own, most], &lse);
            self.map(Map::Exp, &[below], &lse)
        });
        let sum = self.map(Map::Add, &weights, &lse);
        let log = self.map(Map::Log, &[sum], &lse);
        let all = self.map(Map::Add, &[most, log], &lse);
        // the larger weight is 1, if any is not 0
        let sum = self.map(Map::Max, &[sum, least], &lse);
        let parts = [(weights[0], one[0]), (weights[1], other[0])].map(|(weight, value)| {
            let share = self.map(Map::Div, &[weight, sum], &lse);
            self.map(Map::Mul, &[value, share], &out)
        });
        vec![self.map(Map::Add, &parts, &out), all]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Dim;
    use cranelift_entity::EntityRef;

    /// Chunks of a rank, in order.
    fn chunks(rank: u64, members: u64, balanced: bool) -> Vec<u64> {
        if balanced { vec![rank, 2 * members - 1 - rank] } else { vec![rank] }
    }

    /// Whether a rank sees a key of the rank `back` places before it, element by element.
    fn sees(rank: u64, back: u64, members: u64, chunk: u64, window: u64, balanced: bool) -> bool {
        let positions = |rank: u64| chunks(rank, members, balanced).into_iter().flat_map(move |own| own * chunk..(own + 1) * chunk);
        let keys: Vec<u64> = positions((rank + members - back) % members).collect();
        positions(rank).any(|query| keys.iter().any(|key| *key <= query && query - key < window))
    }

    #[test]
    fn a_ring_makes_just_the_steps_in_which_somebody_sees_a_key() {
        let [query, key, feature] = [0, 1, 2].map(Dim::new);
        for balanced in [false, true] {
            for (members, chunk, window) in (2..7).flat_map(|n| (1..4).flat_map(move |c| (1..2 * n * c + 2).map(move |w| (n, c, w)))) {
                let (causal, window) = (true, Some(window));
                let attention = Attention { causal, window, balanced, ..Attention::new(query, key, feature) };
                for back in 0..members {
                    let seen = (0..members).any(|rank| sees(rank, back, members, chunk, window.unwrap_or(0), balanced));
                    let made = meets(&attention, members, chunk, back);
                    assert_eq!(made, seen, "{back} back of {members}, chunks of {chunk}, window {window:?}, balanced: {balanced}");
                }
            }
        }
    }
}
