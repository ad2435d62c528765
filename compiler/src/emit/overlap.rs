//! The programs of a microbatch with what they need gathered and leave to be reduced → items on streams.
//!
//! Weights are gathered one program ahead: while it runs, those of the next one that needs any are on their way. Gradients are reduced behind the
//! programs that follow. Both stand where no place is used by two at a time: a gather is started only above calls that do not touch what it
//! writes, a call that touches what is being reduced waits for it. After FSDP (Zhao et al. 2023) and DDP (Li et al. 2020).
//!
//! Requires rounds in the timeline's order. Ensures the same values as one after the other; the plan's proof holds it to that.

use super::program::Programs;
use crate::memory::state::Block;
use meshwright_plan::program::{Address, Call, Item, Param, Stream};
use std::ops::Range;

/// A call with its exchanges.
#[derive(Clone)]
pub struct Round {
    /// What must have arrived before it runs.
    pub gathers: Vec<Call>,
    /// The program.
    pub call: Call,
    /// The copies of blocks to whose gradients it adds.
    pub gradients: Vec<(Block, u64)>,
    /// What is reduced when it has run.
    pub reductions: Vec<Call>,
}

/// Puts rounds on streams. `before`: the rounds that have run before, the last of whose reductions may still be in flight.
pub fn overlap(rounds: &[Round], before: &[Round], programs: &Programs) -> Vec<Item> {
    let flying = Maker::run(before, programs, Vec::new()).flying;
    Maker::run(rounds, programs, flying).items
}

struct Maker<'a> {
    programs: &'a Programs,
    items: Vec<Item>,
    /// Reductions that have been started since the last join.
    flying: Vec<&'a Call>,
}

impl<'a> Maker<'a> {
    fn run(rounds: &'a [Round], programs: &'a Programs, flying: Vec<&'a Call>) -> Self {
        let mut maker = Maker { programs, items: Vec::new(), flying };
        // the gathers of rounds before this one have been started
        let mut started = 0;
        for (at, round) in rounds.iter().enumerate() {
            if !round.gathers.is_empty() {
                if started <= at {
                    maker.gather(round);
                    started = at + 1;
                }
                maker.items.push(Item::Join(Stream::Gather));
            }
            let next = (at + 1..rounds.len()).find(|next| !rounds[*next].gathers.is_empty());
            if let Some(next) = next.filter(|next| started <= *next && maker.may_pass(&rounds[*next], &rounds[at..*next])) {
                maker.gather(&rounds[next]);
                started = next + 1;
            }
            maker.call(round, rounds.get(at + 1));
        }
        maker
    }

    fn gather(&mut self, round: &Round) {
        self.items.extend(round.gathers.iter().map(|call| Item::Start(Stream::Gather, call.clone())));
    }

    /// Whether what a round needs may arrive while the calls of others run.
    fn may_pass(&self, round: &Round, others: &[Round]) -> bool {
        round.gathers.iter().all(|gather| others.iter().all(|other| !self.meet(gather, &other.call)))
    }

    /// A call and its reductions. What the next call would wait for is awaited before they are started, or it would wait for them, too.
    fn call(&mut self, round: &'a Round, next: Option<&Round>) {
        self.wait_for(&round.call);
        self.items.push(Item::Call(round.call.clone()));
        if let Some(next) = next.filter(|_| !round.reductions.is_empty()) {
            self.wait_for(&next.call);
        }
        self.items.extend(round.reductions.iter().map(|call| Item::Start(Stream::Reduce, call.clone())));
        self.flying.extend(&round.reductions);
    }

    /// Awaits what is in flight, if the call touches any of it.
    fn wait_for(&mut self, call: &Call) {
        if self.flying.iter().any(|reduction| self.meet(reduction, call)) {
            self.items.push(Item::Join(Stream::Reduce));
            self.flying.clear();
        }
    }

    /// Whether one of two calls writes what the other uses.
    fn meet(&self, a: &Call, b: &Call) -> bool {
        let places = |call: &Call| {
            let params = &self.programs.programs[call.program].params;
            let place =
                |(param, address): (&Param, &Address)| (address.region, address.offset..address.offset + param.bytes, param.written);
            params.iter().zip(&call.bindings).map(place).collect::<Vec<_>>()
        };
        let (first, second) = (places(a), places(b));
        first.iter().any(|(region, range, written)| {
            let shares = |other: &Range<u64>| range.start < other.end && other.start < range.end;
            second.iter().any(|(other, place, writes)| region == other && (*written || *writes) && shares(place))
        })
    }
}
