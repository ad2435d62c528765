//! Runs of equal calls → loops.
//!
//! Calls `i` and `i + period` are in step if they run the same program on the same stream, add up in the same way, and all their addresses and
//! iteration numbers differ by constants that stay the same along the run; so are joins of one stream. A run of `period` different calls becomes a
//! loop of `period` calls.

use meshwright_plan::program::{Address, Call, Index, Item};

/// Longest pattern of different calls that is looked for: two turns of a layer whose weights are gathered into two slots in turn, with a few blocks.
const PERIODS: usize = 32;

/// Loops where at least two rounds are in step, plain calls elsewhere. Requires calls, started ones among them, joins and control words.
pub fn roll(calls: impl IntoIterator<Item = impl Into<Item>>) -> Vec<Item> {
    let calls: Vec<Item> = calls.into_iter().map(Into::into).collect();
    let best = best(&calls);
    let mut items = Vec::new();
    let mut at = 0;
    while at < calls.len() {
        let Pattern { covered, period } = best[at];
        // a longer loop that begins within the first round is worth a few plain calls
        let later = best.iter().take(at + period).skip(at + 1).any(|other| other.covered > covered);
        if period > 0 && !later {
            items.push(loop_over(&calls[at..at + covered], period));
            at += covered;
        } else {
            items.push(calls[at].clone());
            at += 1;
        }
    }
    items
}

/// A loop that may begin at some call: how many calls it covers, and how many are in a round. Nothing: no loop.
#[derive(Clone, Copy, Default)]
struct Pattern {
    covered: usize,
    period: usize,
}

/// For each call the longest loop that begins there; of equally long ones that with the shortest rounds.
fn best(calls: &[Item]) -> Vec<Pattern> {
    let mut best = vec![Pattern::default(); calls.len()];
    for period in 1..=PERIODS.min(calls.len() / 2) {
        for (best, covered) in best.iter_mut().zip(covered(calls, period)) {
            if covered > best.covered {
                *best = Pattern { covered, period };
            }
        }
    }
    best
}

/// How many calls a loop with rounds of this many covers from each call on; 0 if two rounds are not in step.
fn covered(calls: &[Item], period: usize) -> Vec<usize> {
    let steps: Vec<Option<Step>> = calls.iter().zip(&calls[period..]).map(|(a, b)| step_between(a, b)).collect();
    // so many calls from here on are in step with those of the next round, and so many go on in the same step after it
    let (mut known, mut same) = (0, 0);
    let mut covered = vec![0; calls.len()];
    for at in (0..steps.len()).rev() {
        let next = steps.get(at + period).filter(|next| **next == steps[at]);
        known = if steps[at].is_some() { known + 1 } else { 0 };
        same = if known > 0 && next.is_some() { same + 1 } else { 0 };
        if known >= period && counts_alike(&steps[at..at + period]) {
            covered[at] = (2 + same / period) * period;
        }
    }
    covered
}

/// Whether all iteration numbers that change in a round change alike: calls of different layers that happen to look alike are no loop.
fn counts_alike(round: &[Option<Step>]) -> bool {
    let mut changes = round.iter().flatten().map(|(iteration, _)| *iteration).filter(|change| *change != 0);
    let first = changes.next();
    changes.all(|change| Some(change) == first)
}

/// The difference between two calls: iteration, then addresses.
type Step = (i64, Vec<i64>);

fn step_between(a: &Item, b: &Item) -> Option<Step> {
    match (a, b) {
        (Item::Call(a), Item::Call(b)) => step_of_calls(a, b),
        (Item::Start(stream, a), Item::Start(other, b)) if stream == other => step_of_calls(a, b),
        (Item::Join(stream), Item::Join(other)) if stream == other => Some((0, Vec::new())),
        _ => None,
    }
}

fn step_of_calls(a: &Call, b: &Call) -> Option<Step> {
    let same = |(x, y): (&Address, &Address)| x.region == y.region && x.micro == y.micro && x.accumulate == y.accumulate;
    if a.program != b.program || a.bindings.len() != b.bindings.len() || !a.bindings.iter().zip(&b.bindings).all(same) {
        return None;
    }
    let steps = a.bindings.iter().zip(&b.bindings).map(|(x, y)| y.offset as i64 - x.offset as i64).collect();
    Some((b.iteration.0 as i64 - a.iteration.0 as i64, steps))
}

/// A loop over whole rounds. Where the iteration numbers fall, the loop runs backwards, so that its index grows with the iteration.
fn loop_over(calls: &[Item], period: usize) -> Item {
    let rounds = calls.len() / period;
    let steps = calls[..period].iter().zip(&calls[period..]).map(|(a, b)| step_between(a, b).unwrap_or_default());
    let steps: Vec<Step> = steps.collect();
    let reverse = steps.iter().find(|(iteration, _)| *iteration != 0).is_some_and(|(iteration, _)| *iteration < 0);
    let base = if reverse { &calls[calls.len() - period..] } else { &calls[..period] };
    let sign = if reverse { -1 } else { 1 };
    let body = base.iter().zip(&steps).map(|(item, (iteration, offsets))| {
        let looped = |call: &Call| {
            let bindings = call.bindings.iter().zip(offsets).map(|(address, step)| Address { layer: sign * step, ..*address }).collect();
            Call { program: call.program, bindings, iteration: (call.iteration.0, sign * iteration) }
        };
        match item {
            Item::Call(call) => Item::Call(looped(call)),
            Item::Start(stream, call) => Item::Start(*stream, looped(call)),
            Item::Loop { .. } | Item::Join(_) | Item::Control => item.clone(),
        }
    });
    Item::Loop { index: Index::Layer, start: 0, end: rounds as u64, reverse, body: body.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_entity::EntityRef;
    use meshwright_plan::Region;
    use meshwright_plan::program::{CallAccumulate, Program};

    fn call(program: usize, offset: u64, iteration: u64) -> Call {
        let address = Address { region: Region::new(0), offset, micro: 0, layer: 0, accumulate: CallAccumulate::Write };
        Call { program: Program::new(program), bindings: vec![address], iteration: (iteration, 0) }
    }

    fn unrolled(items: &[Item]) -> Vec<(u32, u64, u64)> {
        let mut all = Vec::new();
        for item in items {
            match item {
                Item::Call(call) => all.push((call.program.as_u32(), call.bindings[0].offset, call.iteration.0)),
                Item::Loop { start, end, reverse, body, .. } => {
                    let mut values: Vec<u64> = (*start..*end).collect();
                    if *reverse {
                        values.reverse();
                    }
                    for value in values {
                        for item in body {
                            let Item::Call(call) = item else { panic!("loops are not nested") };
                            let offset = call.bindings[0].offset as i64 + call.bindings[0].layer * value as i64;
                            let iteration = call.iteration.0 as i64 + call.iteration.1 * value as i64;
                            all.push((call.program.as_u32(), offset as u64, iteration as u64));
                        }
                    }
                }
                Item::Start(..) | Item::Join(_) | Item::Control => {}
            }
        }
        all
    }

    #[test]
    fn a_stack_of_layers_is_one_loop_and_backward_counts_down() {
        let forward: Vec<Call> = (0..6).map(|layer| call(1, 100 * layer, layer)).collect();
        let backward: Vec<Call> = (0..6).rev().map(|layer| call(2, 100 * layer, layer)).collect();
        let calls = [forward, backward].concat();
        let items = roll(calls.clone());
        assert_eq!(items.len(), 2);
        assert!(matches!(&items[1], Item::Loop { reverse: true, .. }));
        let expected: Vec<(u32, u64, u64)> =
            calls.iter().map(|call| (call.program.as_u32(), call.bindings[0].offset, call.iteration.0)).collect();
        assert_eq!(unrolled(&items), expected);
    }

    #[test]
    fn a_run_among_many_other_calls_is_found() {
        let others: Vec<Call> = (0..30).map(|at| call(10 + at, 7 * at as u64 * at as u64, 0)).collect();
        let run: Vec<Call> = (0..5).map(|layer| call(1, 100 * layer, layer)).collect();
        let items = roll([others.clone(), run, others].concat());
        assert_eq!(items.iter().filter(|item| matches!(item, Item::Loop { start: 0, end: 5, .. })).count(), 1);
    }

    #[test]
    fn alternating_layers_are_one_loop_of_two() {
        let calls: Vec<Call> = (0..8).map(|layer| call(layer as usize % 2, 64 * layer, layer)).collect();
        let items = roll(calls);
        assert_eq!(items.len(), 1);
        assert_eq!(unrolled(&items).len(), 8);
    }

    #[test]
    fn calls_that_are_not_in_step_stay_calls() {
        let calls = vec![call(0, 0, 0), call(0, 10, 1), call(0, 30, 2), call(1, 0, 0)];
        let expected = vec![(0, 0, 0), (0, 10, 1), (0, 30, 2), (1, 0, 0)];
        assert_eq!(unrolled(&roll(calls)), expected);
    }
}
