//! Timelines → entries: every event becomes calls, runs of equal calls become loops.

use super::bind::{Binder, locate};
use super::exchange::Exchanger;
use super::program::{Key, Made, Programs};
use super::region::{Regions, Source};
use super::{Placed, roll, update};
use crate::fuse;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Role, Segment};
use crate::memory::aligned;
use crate::memory::state::State;
use crate::schedule;
use crate::schedule::ir::{Event, Timeline};
use meshwright_plan::program::{Call, Entry, Index, Item};
use std::collections::BTreeMap;

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
    let calls: Vec<Call> = timeline.micro.iter().flat_map(|event| maker.calls(*event, &mut binder, regions)).collect();
    let body = roll::roll(calls);
    let microbatches = placed.graph.microbatches;
    let body = match microbatches {
        1 => body,
        _ => vec![Item::Loop { index: Index::Micro, start: 0, end: microbatches, reverse: false, body }],
    };
    let mut held = Exchanger { mesh: &placed.sharded.mesh, state, programs }.gather_held(regions);
    held.extend(body);
    let mut entry = Entry { name: name.to_string(), body: held };
    if name != "step" && timeline.end.contains(&Event::ReduceReports) {
        let mut exchanger = Exchanger { mesh: &placed.sharded.mesh, state, programs };
        entry.body.extend(exchanger.reduce_reports(placed, source, regions));
    }
    entry
}

impl Maker<'_> {
    /// The calls that an event of a microbatch stands for: what is gathered first, its program, what is scattered then. None if the program does nothing.
    fn calls(&mut self, event: Event, binder: &mut Binder, regions: &mut Regions) -> Vec<Call> {
        let (at, kind) = match event {
            Event::Forward(at) => (at, Kind::Forward),
            Event::ForwardOnly(at) => (at, Kind::ForwardOnly),
            Event::Backward(at) => (at, Kind::Backward),
            Event::SquareSum | Event::Factor | Event::Control | Event::Update | Event::GatherWeights | Event::Next => return Vec::new(),
            Event::ReduceReports | Event::ReduceTotals | Event::ReduceGradients | Event::ReduceSquareSum => return Vec::new(),
        };
        let Some(call) = self.call(at, kind, binder, regions) else { return Vec::new() };
        let keys = self.made[&(segment_of(&self.placed.graph.calls[at]), kind)].keys.clone();
        let mut exchanger = Exchanger { mesh: &self.placed.sharded.mesh, state: self.state, programs: self.programs };
        let mut calls: Vec<Call> = binder.gathered(at, &keys).filter_map(|(block, copy)| exchanger.gather(block, copy, regions)).collect();
        calls.push(call);
        for (block, copy, accumulate) in binder.scattered(at, &keys) {
            calls.extend(exchanger.scatter(block, copy, accumulate, regions));
        }
        calls
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
        let made = self.programs.add(name, fused, &|role| locate(graph, self.state, call, role));
        Some(made)
    }
}
