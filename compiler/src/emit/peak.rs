//! Numbers with a bound: where each call leaves them in each microbatch, what ranks compare of them, and what the executor is told.
//!
//! Requires peaks that are partial over the axes that [`Sharded::peaks`] says. Ensures that each call has its own place in each microbatch, as a
//! maximum cannot be added up; places that are compared along the same axes stand one after the other.

use crate::graph::ir::{Segment, segment_of};
use crate::shard::ir::{Axis, Sharded};
use meshwright_plan::{Limit, Region};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where the peaks of one entry stand in their region. Entries share it: each writes all of its own before they are read.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    /// The first place of each peak of a segment.
    first: BTreeMap<(Segment, u32), u64>,
    /// Places of one microbatch after the other, so many for each call.
    microbatches: u64,
    /// Bytes of all places.
    pub bytes: u64,
    /// Axes along which a run of places is compared.
    pub compared: Vec<(Vec<Axis>, Range<u64>)>,
}

impl Peaks {
    /// Places for the entry that runs a graph.
    pub fn new(sharded: &Sharded) -> Self {
        let graph = &sharded.graph;
        let mut by_axes: BTreeMap<Vec<Axis>, Vec<(Segment, u32)>> = BTreeMap::new();
        for (segment, data) in graph.segments.iter().filter(|(segment, _)| calls(sharded, *segment).next().is_some()) {
            for number in 0..data.limits.len() {
                let axes = sharded.peaks[segment].get(number).cloned().unwrap_or_default();
                by_axes.entry(axes).or_default().push((segment, number as u32));
            }
        }
        let (mut peaks, mut at) = (Peaks { microbatches: graph.microbatches, ..Peaks::default() }, 0);
        for (axes, members) in by_axes {
            let from = at;
            for (segment, number) in members {
                peaks.first.insert((segment, number), at);
                at += calls(sharded, segment).count() as u64 * peaks.stride();
            }
            if !axes.is_empty() {
                peaks.compared.push((axes, from..at));
            }
        }
        Peaks { bytes: at, ..peaks }
    }

    /// Bytes from the places of one call to those of the next.
    fn stride(&self) -> u64 {
        self.microbatches * Limit::APART
    }

    /// The place of a call's peak in microbatch 0, and how far apart those of microbatches are.
    pub fn place(&self, sharded: &Sharded, call: usize, number: u32) -> (u64, i64) {
        let segment = segment_of(&sharded.graph.calls[call]);
        let before = calls(sharded, segment).take_while(|at| *at < call).count() as u64;
        let first = self.first.get(&(segment, number)).copied().unwrap_or(0);
        (first + before * self.stride(), if self.microbatches > 1 { Limit::APART as i64 } else { 0 })
    }

    /// What the executor compares.
    pub fn limits(&self, sharded: &Sharded, entry: &str, region: Region) -> Vec<Limit> {
        let graph = &sharded.graph;
        let limit = |((segment, number), offset): (&(Segment, u32), &u64)| {
            let own = &graph.segments[*segment].limits[*number as usize];
            let dim = &graph.dims[own.slot];
            Limit {
                entry: entry.to_string(),
                path: own.path.clone(),
                dim: dim.name.clone(),
                bound: dim.size,
                region,
                offset: *offset,
                count: calls(sharded, *segment).count() as u64 * self.microbatches,
            }
        };
        self.first.iter().map(limit).collect()
    }
}

/// The calls of a segment.
fn calls(sharded: &Sharded, segment: Segment) -> impl Iterator<Item = usize> {
    sharded.graph.calls.iter().enumerate().filter(move |(_, call)| segment_of(call) == segment).map(|(at, _)| at)
}
