//! Timelines → entries: every event becomes calls, runs of equal calls become loops.

use super::bind::{Binder, locate};
use super::exchange::Exchanger;
use super::overlap::{self, Round};
use super::program::{Key, Made, Programs};
use super::region::{Regions, Source};
use super::{Placed, roll, update};
use crate::fuse;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Role, Segment};
use crate::memory::aligned;
use crate::memory::state::{Block, State};
use crate::schedule;
use crate::schedule::ir::{Event, Timeline};
use meshwright_plan::program::{Call, Entry, Index, Item};
use std::collections::BTreeMap;
use std::ops::Range;

/// Which program of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Forward,
    ForwardOnly,
    Backward,
}

/// Makes an entry of one graph.
struct Maker<'a> {
    placed: &'a Placed<'a>,
    state: &'a State,
    name: &'a str,
    programs: &'a mut Programs,
    made: BTreeMap<(Segment, Kind), Made>,
}

/// The entry `step`.
pub fn step(placed: &Placed, state: &State, programs: &mut Programs, regions: &mut Regions) -> Entry {
    let timeline = schedule::step(placed.sharded);
    let mut entry = forward("step", placed, &timeline, state, programs, regions);
    entry.body.extend(update::items(placed, state, &timeline, programs, regions));
    entry
}

/// An entry with what happens per microbatch.
pub fn forward(name: &str, placed: &Placed, timeline: &Timeline, state: &State, programs: &mut Programs, regions: &mut Regions) -> Entry {
    let source = if name == "step" { Source::Train } else { Source::Evaluate };
    let mut maker = Maker { placed, state, name, programs, made: BTreeMap::new() };
    let mut binder = Binder::new(placed, state, source);
    let rounds: Vec<Round> = timeline.micro.iter().filter_map(|event| maker.round(*event, &mut binder, regions)).collect();
    let last = if name == "step" { maker.last(&rounds, regions) } else { rounds.clone() };
    let mut body = Exchanger { mesh: &placed.sharded.mesh, state, programs }.gather_held(regions);
    body.extend(microbatches(&rounds, &last, programs, placed.graph.microbatches));
    let mut entry = Entry { name: name.to_string(), body };
    if name != "step" && timeline.end.contains(&Event::ReduceReports) {
        let mut exchanger = Exchanger { mesh: &placed.sharded.mesh, state, programs };
        entry.body.extend(exchanger.reduce_reports(placed, source, regions));
    }
    entry
}

/// All microbatches: a loop, with the last one by itself if more is reduced in it.
fn microbatches(rounds: &[Round], last: &[Round], programs: &Programs, count: u64) -> Vec<Item> {
    let looped = |range: Range<u64>, body| Item::Loop { index: Index::Micro, start: range.start, end: range.end, reverse: false, body };
    let same = rounds.iter().zip(last).all(|(one, other)| one.reductions.len() == other.reductions.len());
    match count {
        1 => roll::roll(overlap::overlap(last, &[], programs)),
        _ if same => vec![looped(0..count, roll::roll(overlap::overlap(rounds, rounds, programs)))],
        _ => {
            let [many, last] = [rounds, last].map(|own| roll::roll(overlap::overlap(own, rounds, programs)));
            vec![looped(0..count - 1, many), looped(count - 1..count, last)]
        }
    }
}

impl Maker<'_> {
    /// What an event of a microbatch stands for: what is gathered first, its program, what is scattered then. None if the program does nothing.
    fn round(&mut self, event: Event, binder: &mut Binder, regions: &mut Regions) -> Option<Round> {
        let (at, kind) = match event {
            Event::Forward(at) => (at, Kind::Forward),
            Event::ForwardOnly(at) => (at, Kind::ForwardOnly),
            Event::Backward(at) => (at, Kind::Backward),
            Event::SquareSum | Event::Factor | Event::Control | Event::Update | Event::AwaitWeights | Event::Next => return None,
            Event::ReduceReports | Event::ReduceTotals | Event::AwaitGradients | Event::ReduceSquareSum => return None,
        };
        let call = self.call(at, kind, binder, regions)?;
        let keys = self.made[&(segment_of(&self.placed.graph.calls[at]), kind)].keys.clone();
        let mut exchanger = self.exchanger();
        let gathers = binder.gathered(at, &keys).filter_map(|(block, copy)| exchanger.gather(block, copy..copy + 1, regions)).collect();
        let scattered = binder.scattered(at, &keys).into_iter();
        let scatter = |(block, copy, accumulate)| exchanger.scatter(block, copy..copy + 1, accumulate, regions);
        Some(Round { gathers, call, gradients: binder.gradients_of(at, &keys), reductions: scattered.filter_map(scatter).collect() })
    }

    fn exchanger(&mut self) -> Exchanger<'_> {
        Exchanger { mesh: &self.placed.sharded.mesh, state: self.state, programs: self.programs }
    }

    /// The rounds of the last microbatch: gradients that are reduced once a step are, each bucket behind the last round that adds to it.
    fn last(&mut self, rounds: &[Round], regions: &Regions) -> Vec<Round> {
        let added = rounds.iter().enumerate().flat_map(|(at, round)| round.gradients.iter().map(move |gradient| (*gradient, at)));
        let ends: BTreeMap<(Block, u64), usize> = added.collect();
        let mut last = rounds.to_vec();
        for (block, data) in self.state.blocks.iter().filter(|(_, data)| data.is_reduced()) {
            for copies in data.buckets() {
                let round = copies.clone().filter_map(|copy| ends.get(&(block, copy))).max().copied();
                let calls = self.exchanger().reduce(block, copies, regions);
                last[round.unwrap_or(rounds.len() - 1)].reductions.extend(calls);
            }
        }
        last
    }

    fn call(&mut self, at: usize, kind: Kind, binder: &mut Binder, regions: &mut Regions) -> Option<Call> {
        let segment = segment_of(&self.placed.graph.calls[at]);
        if !self.made.contains_key(&(segment, kind)) {
            let made = self.make(segment, kind, at)?;
            self.made.insert((segment, kind), made);
        }
        let made = &self.made[&(segment, kind)];
        let scratch = aligned(made.scratch);
        let writes_results = made.keys.iter().any(|key| matches!(key, Key::Role(Role::Result(_))));
        let unread = if writes_results { binder.unread(at, self.placed.graph.calls[at].results.len()) } else { 0 };
        self.programs.scratch_bytes = self.programs.scratch_bytes.max(scratch + unread);
        let bindings = made.keys.iter().map(|key| binder.address(at, *key, scratch, regions)).collect();
        Some(Call { program: made.program, bindings, iteration: (self.placed.graph.calls[at].iteration, 0) })
    }

    fn make(&mut self, segment: Segment, kind: Kind, call: usize) -> Option<Made> {
        let graph = self.placed.graph;
        let data = &graph.segments[segment];
        let (program, part) = match kind {
            Kind::Forward => (&data.forward, "forward"),
            Kind::ForwardOnly => (&data.forward_only, self.name),
            Kind::Backward => (data.backward.as_ref()?, if data.merged { "loss_and_grad" } else { "backward" }),
        };
        let fused = fuse::fuse(program, &graph.dims, self.placed.step());
        let name = format!("{}.{part}", data.name);
        let made = self.programs.add(name, fused, &graph.origins, &|role| locate(graph, self.state, call, role));
        Some(made)
    }
}
