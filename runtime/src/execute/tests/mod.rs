//! Claims about fleets: collectives are what the plan's documentation says, results depend on nobody's speed, failures are seen.

mod exchanges;
mod failures;
mod sequence;
mod state;
mod steps;
mod training;

use super::Fleet;
use crate::pool::Pool;
use meshwright_plan::Plan;

/// A plan from its text, which the verifier accepts.
fn plan(text: &str) -> Plan {
    let plan = meshwright_plan::parse::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    if let Err(violations) = meshwright_plan::verify::verify(&plan) {
        panic!("{}\n{text}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    plan
}

fn fleet(plan: &Plan, threads: usize) -> Fleet {
    Fleet::new(plan.clone(), Pool::new(threads, false), 7).expect("a fleet")
}

/// Numbers that differ by rank and place, with sums that round.
fn number(rank: usize, at: usize) -> f32 {
    ((rank * 7919 + at * 104_729) % 10_007) as f32 / 997.0 - 5.0
}

impl Fleet {
    /// A rank's memory as f32.
    fn memory(&mut self, rank: usize, offset: u64, count: u64) -> &mut [f32] {
        let start = self.ranks[rank].arena.start().wrapping_add(offset as usize);
        // SAFETY: tests name places of the arena, and nothing runs meanwhile.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), count as usize) }
    }
}
