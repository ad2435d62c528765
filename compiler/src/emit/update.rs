//! The end of a step: sums over the mesh, norm, factor, control word and updates, over flat ranges of the blocks.

use super::Placed;
use super::bind::at;
use super::exchange::Exchanger;
use super::piece::{Part, ROW, Rows};
use super::program::{Key, Located, Made, Programs};
use super::region::{Regions, Slot, Source};
use super::roll;
use crate::fuse;
use crate::graph::ir::{Program, Role, Update};
use crate::memory::state::{BlockData, Range, State};
use crate::op::Dim;
use crate::schedule::ir::{Event, Timeline};
use meshwright_plan::program::{Address, Call, CallAccumulate, Item};
use std::collections::BTreeMap;

/// The items of a timeline's end.
pub fn items(placed: &Placed, state: &State, timeline: &Timeline, programs: &mut Programs, regions: &mut Regions) -> Vec<Item> {
    let mut items = Vec::new();
    let mut ending = Ending { placed, state, programs, regions, made: BTreeMap::new() };
    for event in &timeline.end {
        items.extend(ending.event(*event));
    }
    items
}

struct Ending<'a> {
    placed: &'a Placed<'a>,
    state: &'a State,
    programs: &'a mut Programs,
    regions: &'a mut Regions,
    made: BTreeMap<(Job, Stretch), Made>,
}

/// What is done with a stretch of state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    SquareSum,
    Update,
}

/// Flat state that one program serves: a range of a block, or a rank's piece of a whole block.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    bytes: u64,
    /// Where its parts end in the block, in bytes, with the update group and the number of ranks that hold each element.
    parts: Vec<(u64, u32, u64)>,
    /// The axes along which pieces of the block lie; none for a range.
    axes: Vec<String>,
}

impl Ending<'_> {
    fn event(&mut self, event: Event) -> Vec<Item> {
        match event {
            Event::ReduceReports => {
                let placed = self.placed;
                let (mut exchanger, regions) = self.exchanger();
                exchanger.reduce_reports(placed, Source::Train, regions)
            }
            Event::ReduceGradients => {
                let (mut exchanger, regions) = self.exchanger();
                exchanger.reduce_all(regions)
            }
            Event::ReduceSquareSum => {
                let (mut exchanger, regions) = self.exchanger();
                vec![exchanger.reduce_number(Slot::SquareSum, regions)]
            }
            Event::GatherWeights => {
                let (mut exchanger, regions) = self.exchanger();
                exchanger.gather_all(regions)
            }
            Event::SquareSum => self.each(Job::SquareSum),
            Event::Factor => self.factor().into_iter().collect(),
            Event::Control => vec![Item::Control],
            Event::Update => self.each(Job::Update),
            Event::Forward(_) | Event::ForwardOnly(_) | Event::Backward(_) => Vec::new(),
        }
    }

    fn exchanger(&mut self) -> (Exchanger<'_>, &mut Regions) {
        (Exchanger { mesh: &self.placed.sharded.mesh, state: self.state, programs: self.programs }, self.regions)
    }

    fn update(&self) -> Option<&Update> {
        self.placed.graph.update.as_ref()
    }

    /// A job on all trained state, stretches of one kind one after the other so that they roll into loops.
    fn each(&mut self, job: Job) -> Vec<Item> {
        let mut calls = Vec::new();
        let state = self.state;
        for block in state.blocks.values().filter(|block| block.trained) {
            for (offset, stretch) in self.stretches(block) {
                let Some(made) = self.program(job, &stretch) else { continue };
                for copy in 0..block.count {
                    let first = calls.is_empty();
                    calls.push(self.bind(&made, block, offset, copy, first));
                }
            }
        }
        roll::roll(calls)
    }

    /// The stretches of a block with their byte offsets in a copy (of the block, or of the piece).
    fn stretches(&self, block: &BlockData) -> Vec<(u64, Stretch)> {
        let part = |range: &Range| (range.offset + range.bytes, range.group, range.holders);
        if !block.is_cut() {
            let alone = |range: &Range| (range.offset, Stretch { bytes: range.bytes, parts: vec![(range.bytes, range.group, range.holders)], axes: Vec::new() });
            return block.ranges.iter().map(alone).collect();
        }
        let axes = self.placed.sharded.mesh.names(&block.rest.axes);
        vec![(0, Stretch { bytes: block.piece, parts: block.ranges.iter().map(part).collect(), axes })]
    }

    fn factor(&mut self) -> Option<Item> {
        let graph = self.placed.graph;
        let factor = &graph.update.as_ref()?.factor;
        let fused = fuse::fuse(factor, &graph.dims, self.placed.step());
        let made = self.programs.add("factor".to_string(), fused, &alone);
        let inputs: Vec<Role> = factor.inputs.iter().map(|(role, _)| *role).collect();
        let bindings = made.keys.iter().map(|key| self.number(*key, &inputs)).collect();
        Some(Item::Call(Call { program: made.program, bindings, iteration: (0, 0) }))
    }

    /// The place of a number that the factor's program reads or writes.
    fn number(&mut self, key: Key, inputs: &[Role]) -> Address {
        let count = || {
            let report = &self.placed.graph.reports[self.update()?.divide_by?];
            Some(Slot::Report(Source::Train, report.segment, report.count?))
        };
        let slot = match key {
            Key::Role(Role::SquareSum) => Slot::SquareSum,
            Key::Role(Role::Factor) => Slot::Factor,
            Key::Role(role @ Role::Report(_)) if inputs.contains(&role) => count().unwrap_or(Slot::Norm),
            Key::Role(Role::Report(_)) => Slot::Norm,
            _ => return at(self.regions.scratch, 0),
        };
        at(self.regions.results, self.regions.slot(slot))
    }

    /// The program of a job on a stretch.
    fn program(&mut self, job: Job, stretch: &Stretch) -> Option<Made> {
        let key = (job, stretch.clone());
        if let Some(made) = self.made.get(&key) {
            return Some(made.clone());
        }
        let update = self.placed.graph.update.as_ref()?;
        let first = (!stretch.axes.is_empty()).then(|| stretch.axes.clone());
        let rows = Rows::new(&self.placed.graph.dims, stretch.bytes / 4, first);
        let end = |bytes: u64| bytes / 4 / ROW;
        let (program, name) = match job {
            Job::SquareSum => {
                let parts: Vec<Part<u64>> = stretch.parts.iter().map(|(bytes, _, holders)| Part { end: end(*bytes), what: *holders }).collect();
                (rows.square_sum(&update.square_sum, flat_dim(&update.square_sum), &parts), "square_sum".to_string())
            }
            Job::Update => {
                let groups = stretch.parts.iter().map(|(bytes, group, _)| (end(*bytes), &update.groups[*group as usize]));
                let parts: Vec<_> = groups.map(|(end, group)| Part { end, what: (&group.program, group.flat) }).collect();
                let name = &update.groups[stretch.parts.first()?.1 as usize].name;
                (rows.combined(&parts), format!("update {name}").replace(' ', "."))
            }
        };
        let fused = fuse::fuse(&program, &rows.dims, self.placed.step());
        let made = self.programs.add(name, fused, &alone);
        self.made.insert(key, made.clone());
        Some(made)
    }

    fn bind(&mut self, made: &Made, block: &BlockData, offset: u64, copy: u64, first: bool) -> Call {
        let sum = if first { CallAccumulate::Write } else { CallAccumulate::Add };
        let inside = copy * block.piece + offset;
        let piece = |piece: Option<u64>, whole: Option<u64>, regions: [meshwright_plan::Region; 2]| match piece {
            Some(start) => at(regions[0], start + inside),
            None => at(regions[1], whole.unwrap_or(0) + inside),
        };
        let places = block.at;
        let address = |key: &Key, regions: &mut Regions| match key {
            Key::Role(Role::Rest) => piece(places.record, places.weights, [regions.record, regions.weights]),
            Key::Role(Role::Gradient) => piece(places.reduced, places.gradients, [regions.reduced, regions.gradients]),
            Key::Role(Role::Moment(number)) => at(regions.moments[*number as usize], places.moments.unwrap_or(0) + inside),
            Key::Role(Role::Factor) => at(regions.results, regions.slot(Slot::Factor)),
            Key::Role(Role::SquareSum) => Address { accumulate: sum, ..at(regions.results, regions.slot(Slot::SquareSum)) },
            _ => at(regions.scratch, 0),
        };
        let bindings = made.keys.iter().map(|key| address(key, self.regions)).collect();
        Call { program: made.program, bindings, iteration: (copy, 0) }
    }
}

fn alone(role: Role) -> Located {
    Located { key: Key::Role(role), offset: 0, bytes: None }
}

/// The flat dim of a program over gradients.
fn flat_dim(program: &Program) -> Dim {
    let gradient = program.inputs.iter().find(|(role, _)| *role == Role::Gradient);
    gradient.and_then(|(_, value)| program.body.ty(*value).dims.first().copied()).unwrap_or(Dim::from_u32(0))
}
