//! Who advances which rank when: workers with ranks of their own, or one thread with all of them.
//!
//! Requires: ranks at the beginning of an entry. Ensures: returns when every rank has ended or none can go on; nothing is allocated.

use super::rank::{Outcome, Progress, Rank, Shared};
use crate::comm::local::Meeting;
use crate::device::cpu::Worker;
use crate::error::Error;
use crate::pool::Pool;
use crate::pool::bell::{Bell, Wait};
use crate::state::philox::mix;
use meshwright_plan::Kernel;
use meshwright_plan::kernel::Skeleton;

/// What interleavings come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    /// A number below `bound`, another one each time.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = mix(self.0);
        (self.0 % bound as u64) as usize
    }
}

/// The calling thread drives all ranks: in order, each as far as it gets, or after every operation another one as the seed says.
pub(super) fn alone(
    shared: &Shared,
    worker: &mut Worker,
    ranks: &mut [Rank],
    waiting: &mut Vec<usize>,
    seed: &mut Option<Seed>,
    launched: &mut dyn FnMut(Kernel),
) {
    waiting.clear();
    waiting.extend(0..ranks.len());
    // The first so many of those that wait have been found blocked since the last ring.
    let (mut blocked, mut rings) = (0, shared.bell.rings());
    while blocked < waiting.len() {
        let at = seed.as_mut().map_or(blocked, |seed| blocked + seed.below(waiting.len() - blocked));
        let rank = &mut ranks[waiting[at]];
        match rank.advance(shared, worker) {
            Progress::Launched(kernel) if rank.number == 0 => launched(kernel),
            Progress::Launched(_) | Progress::Moved => {}
            Progress::Blocked => {
                waiting.swap(at, blocked);
                blocked += 1;
            }
            Progress::End => {
                waiting.remove(at);
            }
            Progress::Torn => return,
        }
        let now = shared.bell.rings();
        if now != rings {
            (blocked, rings) = (0, now);
        }
    }
}

/// What workers share: each takes its own part.
struct Parts {
    workers: *mut Worker,
    ranks: *mut Rank,
}

// SAFETY: each cell uses one worker and its own range of ranks.
unsafe impl Sync for Parts {}

impl Parts {
    /// A worker and its ranks.
    ///
    /// # Safety
    /// Both exist, and nobody else uses them meanwhile.
    #[expect(clippy::mut_from_ref, reason = "the caller's promise is that nobody else borrows this part")]
    unsafe fn take(&self, worker: usize, ranks: std::ops::Range<usize>) -> (&mut Worker, &mut [Rank]) {
        // SAFETY: as the caller promises.
        unsafe { (&mut *self.workers.add(worker), std::slice::from_raw_parts_mut(self.ranks.add(ranks.start), ranks.len())) }
    }
}

/// Each worker drives its own ranks on a thread of the pool.
pub(super) fn together(shared: &Shared, threads: &Pool, workers: &mut [Worker], ranks: &mut [Rank]) {
    let (crew, all) = (workers.len(), ranks.len());
    let parts = Parts { workers: workers.as_mut_ptr(), ranks: ranks.as_mut_ptr() };
    threads.run(crew, &|cell, _| {
        let _alarm = Alarm(&shared.bell);
        // SAFETY: cells run once each and their ranges are disjoint; the borrows of both slices outlive the job.
        let (worker, ranks) = unsafe { parts.take(cell, all * cell / crew..all * (cell + 1) / crew) };
        serve(shared, cell, worker, ranks);
    });
}

/// A worker's part of an entry.
fn serve(shared: &Shared, number: usize, worker: &mut Worker, ranks: &mut [Rank]) {
    loop {
        let heard = shared.bell.rings();
        let (mut live, mut moved) = (0, false);
        for rank in ranks.iter_mut().filter(|rank| rank.outcome().is_none()) {
            match advance_far(shared, worker, rank) {
                Far::Ended => moved = true,
                Far::Stopped { moved: more } => (live, moved) = (live + 1, moved | more),
                Far::Torn => return shared.bell.end(),
            }
        }
        if live == 0 {
            return shared.bell.leave(number);
        }
        if !moved && shared.bell.wait(number, heard) == Wait::Over {
            return;
        }
    }
}

/// How far a rank got.
enum Far {
    Ended,
    Stopped { moved: bool },
    Torn,
}

/// Advances a rank until it cannot go on.
fn advance_far(shared: &Shared, worker: &mut Worker, rank: &mut Rank) -> Far {
    let mut moved = false;
    loop {
        match rank.advance(shared, worker) {
            Progress::Launched(_) | Progress::Moved => moved = true,
            Progress::Blocked => return Far::Stopped { moved },
            Progress::End => return Far::Ended,
            Progress::Torn => return Far::Torn,
        }
    }
}

/// Ends everybody's waiting if its worker panics.
struct Alarm<'a>(&'a Bell);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// The outcome that all ranks have.
pub(super) fn agreed(shared: &Shared, ranks: &[Rank]) -> Result<Outcome, Error> {
    let first = ranks[0].outcome();
    if ranks.iter().any(|rank| rank.outcome().is_none()) {
        return Err(Error::Deadlock {
            ranks: ranks.iter().flat_map(|rank| rank.meetings().map(|meeting| stuck(shared, rank, meeting))).collect(),
        });
    }
    if let Some(other) = ranks.iter().find(|rank| rank.outcome() != first) {
        let name = |outcome: Option<Outcome>| match outcome {
            Some(Outcome::Skipped) => "skips the step",
            Some(Outcome::Exceeded) => "stops the run",
            Some(Outcome::Done) | None => "goes on",
        };
        let why = format!("rank 0 {} and rank {} {}", name(first), other.number, name(other.outcome()));
        return Err(Error::Disagreement { why });
    }
    Ok(first.unwrap_or(Outcome::Done))
}

/// Where a rank waits, in words.
fn stuck(shared: &Shared, rank: &Rank, meeting: &Meeting) -> String {
    let kernel = &shared.plan.kernels[meeting.kernel()];
    let axes = match &kernel.skeleton {
        Skeleton::Collective(collective) => collective.axes.join(" * "),
        Skeleton::Rows(_) | Skeleton::Contract { .. } | Skeleton::Segmented => String::new(),
        Skeleton::Attention(_) | Skeleton::AttentionGrad(_) => String::new(),
    };
    let missing: Vec<String> = shared.local.missing(rank.number, meeting).iter().map(usize::to_string).collect();
    format!("rank {} waits in {} along {axes} for {}", rank.number, kernel.name, missing.join(", "))
}
