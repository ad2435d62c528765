//! How a value gets from one placement to another: the fewest exchanges that do it.
//!
//! Requires that both placements cut their dims evenly, and that the target is partial over nothing that the source is not. Ensures an order in
//! which each step's cuts are free: reductions, exchanges of one cut for another, gathers, then cuts that need no exchange.

use super::ir::{Axis, Placement};
use crate::op::{Dim, Reduce};
use std::collections::BTreeSet;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The sum (or maximum), each rank its part along a dim.
    ReduceScatter(Reduce, Dim, Vec<Axis>),
    /// The sum (or maximum) on every rank.
    AllReduce(Reduce, Vec<Axis>),
    /// The first dim becomes whole along the axes, the second is cut by them.
    AllToAll(Dim, Dim, Vec<Axis>),
    /// A dim becomes whole along the axes, which are the last of its cut.
    AllGather(Dim, Vec<Axis>),
    /// Every rank keeps its part of a dim.
    Cut(Dim, Vec<Axis>),
}

impl Step {
    /// Whether ranks exchange anything.
    pub fn exchanges(&self) -> bool {
        !matches!(self, Step::Cut(..))
    }
}

/// The steps from `from` to `to`.
pub fn steps(from: &Placement, to: &Placement) -> Vec<Step> {
    let mut now = from.clone();
    let mut steps = reductions(&mut now, to);
    let dims: BTreeSet<Dim> = now.cuts.keys().chain(to.cuts.keys()).copied().collect();
    for dim in &dims {
        let surplus = now.of(*dim)[common(now.of(*dim), to.of(*dim))..].to_vec();
        if surplus.is_empty() {
            continue;
        }
        let kept = now.of(*dim)[..now.of(*dim).len() - surplus.len()].to_vec();
        let swaps =
            dims.iter().filter(|other| *other != dim).filter_map(|other| Some((*other, swapped(&surplus, &added(&now, to, *other)?)?)));
        let swap = swaps.max_by_key(|(_, axes)| axes.len());
        let gathered = &surplus[swap.as_ref().map_or(0, |(_, axes)| axes.len())..];
        if !gathered.is_empty() {
            steps.push(Step::AllGather(*dim, gathered.to_vec()));
        }
        now.set(*dim, &kept);
        if let Some((other, axes)) = swap {
            let cut = [now.of(other), &axes].concat();
            now.set(other, &cut);
            steps.push(Step::AllToAll(*dim, other, axes));
        }
    }
    for dim in &dims {
        let missing = to.of(*dim)[now.of(*dim).len()..].to_vec();
        if !missing.is_empty() {
            steps.push(Step::Cut(*dim, missing));
        }
    }
    steps
}

/// The reductions over what the target is not partial over, scattered where the target is cut by just these axes.
fn reductions(now: &mut Placement, to: &Placement) -> Vec<Step> {
    let Some((axes, reduce)) = now.partial.clone() else { return Vec::new() };
    let (stay, mut open): (Vec<Axis>, Vec<Axis>) = axes.into_iter().partition(|axis| to.partial_axes().contains(axis));
    let mut steps = Vec::new();
    for dim in to.cuts.keys() {
        let Some(missing) = added(now, to, *dim) else { continue };
        let part: Vec<Axis> = missing.iter().copied().take_while(|axis| open.contains(axis)).collect();
        if !part.is_empty() {
            open.retain(|axis| !part.contains(axis));
            let axes = [now.of(*dim), &part].concat();
            now.set(*dim, &axes);
            steps.push(Step::ReduceScatter(reduce, *dim, part));
        }
    }
    if !open.is_empty() {
        steps.push(Step::AllReduce(reduce, open));
    }
    *now = now.clone().summed(&stay, reduce);
    steps
}

/// The axes by which the target cuts a dim beyond what cuts it now; none if it is cut otherwise now, or not more.
fn added(now: &Placement, to: &Placement, dim: Dim) -> Option<Vec<Axis>> {
    let rest = to.of(dim).strip_prefix(now.of(dim))?;
    if rest.is_empty() { None } else { Some(rest.to_vec()) }
}

/// The axes by which one dim may be cut instead of another that loses `surplus`: they come first in both.
fn swapped(surplus: &[Axis], added: &[Axis]) -> Option<Vec<Axis>> {
    let axes = &surplus[..common(surplus, added)];
    (!axes.is_empty() && (axes.len() == surplus.len() || axes.len() == added.len())).then(|| axes.to_vec())
}

/// How many axes both start with.
pub fn common(a: &[Axis], b: &[Axis]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_entity::EntityRef;

    fn placed(cuts: &[(usize, &[usize])]) -> Placement {
        let cut = |(dim, axes): &(usize, &[usize])| (Dim::new(*dim), axes.iter().map(|axis| Axis::new(*axis)).collect());
        Placement { cuts: cuts.iter().map(cut).collect(), partial: None }
    }

    fn axes(numbers: &[usize]) -> Vec<Axis> {
        numbers.iter().map(|axis| Axis::new(*axis)).collect()
    }

    #[test]
    fn a_sum_is_scattered_where_its_target_is_cut_and_reduced_over_the_rest() {
        let from = placed(&[(0, &[0])]).summed(&axes(&[1, 2]), Reduce::Sum);
        let to = placed(&[(0, &[0]), (1, &[1])]);
        let expected = [Step::ReduceScatter(Reduce::Sum, Dim::new(1), axes(&[1])), Step::AllReduce(Reduce::Sum, axes(&[2]))];
        assert_eq!(steps(&from, &to), expected);
    }

    #[test]
    fn one_cut_for_another_is_an_all_to_all() {
        let steps = steps(&placed(&[(0, &[1])]), &placed(&[(1, &[1])]));
        assert_eq!(steps, [Step::AllToAll(Dim::new(0), Dim::new(1), axes(&[1]))]);
    }

    #[test]
    fn axes_that_only_one_dim_has_are_gathered_before_and_cut_after() {
        let steps_back = steps(&placed(&[(0, &[0, 1])]), &placed(&[(1, &[0])]));
        assert_eq!(steps_back, [Step::AllGather(Dim::new(0), axes(&[1])), Step::AllToAll(Dim::new(0), Dim::new(1), axes(&[0]))]);
        let there = steps(&placed(&[(1, &[0])]), &placed(&[(0, &[0, 1])]));
        assert_eq!(there, [Step::AllToAll(Dim::new(1), Dim::new(0), axes(&[0])), Step::Cut(Dim::new(0), axes(&[1]))]);
    }

    #[test]
    fn what_everyone_has_is_cut_without_an_exchange() {
        let steps = steps(&placed(&[(0, &[0])]), &placed(&[(0, &[0, 1])]));
        assert_eq!(steps, [Step::Cut(Dim::new(0), axes(&[1]))]);
    }

    #[test]
    fn a_major_cut_is_replaced_by_way_of_the_whole() {
        let steps = steps(&placed(&[(0, &[0, 1])]), &placed(&[(0, &[1])]));
        assert_eq!(steps, [Step::AllGather(Dim::new(0), axes(&[0, 1])), Step::Cut(Dim::new(0), axes(&[1]))]);
    }
}
