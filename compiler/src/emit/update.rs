//! The end of a step: sums over the mesh, norm, factor, control word, next states, and updates, over flat ranges of the blocks.

use super::Placed;
use super::bind::{Binder, at, locate};
use super::exchange::Exchanger;
use super::piece::{Part, ROW, Rows};
use super::program::{Key, Located, Made, Programs};
use super::region::{Regions, Slot, Source};
use super::roll;
use crate::fuse;
use crate::graph::ir::segment_of;
use crate::graph::ir::{Program, Role, Segment, SegmentData, Update};
use crate::memory::state::{BlockData, Range, State};
use crate::op::Dim;
use crate::schedule::ir::{Event, Timeline};
use crate::shard::ir::Axis;
use meshwright_plan::program::{Address, Call, CallAccumulate, Item, Stream};
use std::collections::BTreeMap;
use std::ops;

/// The items of a timeline's end.
pub fn items(placed: &Placed, state: &State, timeline: &Timeline, programs: &mut Programs, regions: &mut Regions) -> Vec<Item> {
    let mut items = Vec::new();
    let mut ending = Ending { placed, state, programs, regions, made: BTreeMap::new(), squares: Vec::new() };
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
    /// Sets of axes over which sums of squares are partial; the number is that of their slot.
    squares: Vec<Vec<Axis>>,
}

/// What is done with a stretch of state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// Squares are summed, of the parts of which ranks have different elements along just these axes.
    SquareSum(Vec<Axis>),
    Update,
}

/// Flat state that one program serves: a range of a block, or a rank's piece of a whole block.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    bytes: u64,
    /// Where its parts end in the block, in bytes, with the update group and the axes that cut its weights.
    parts: Vec<(u64, u32, Vec<Axis>)>,
    /// The axes along which pieces of the block lie; none for a range.
    pieces: Vec<Axis>,
}

impl Stretch {
    /// The axes along which ranks have different elements of a part, ascending.
    fn axes(&self, own: &[Axis]) -> Vec<Axis> {
        let mut all = [own, &self.pieces].concat();
        all.sort_unstable();
        all
    }

    /// What is to be done for a job of this kind: sums of squares once for each set of axes.
    fn square_sums(&self) -> Vec<Job> {
        let mut sets: Vec<Vec<Axis>> = self.parts.iter().map(|(_, _, own)| self.axes(own)).collect();
        sets.sort_unstable();
        sets.dedup();
        sets.into_iter().map(Job::SquareSum).collect()
    }
}

impl Ending<'_> {
    fn event(&mut self, event: Event) -> Vec<Item> {
        match event {
            Event::ReduceReports => {
                let placed = self.placed;
                let (mut exchanger, regions) = self.exchanger();
                exchanger.reduce_reports(placed, Source::Train, regions)
            }
            Event::ReduceTotals => {
                let placed = self.placed;
                let (mut exchanger, regions) = self.exchanger();
                exchanger.reduce_totals(placed, regions)
            }
            Event::AwaitGradients => self.awaited(Stream::Reduce, BlockData::is_reduced),
            Event::ReduceSquareSum => self.reduce_squares(),
            Event::AwaitWeights => self.awaited(Stream::Gather, BlockData::is_gathered_after),
            Event::SquareSum => self.square_sums(),
            Event::Factor => self.factor().into_iter().collect(),
            Event::Control => vec![Item::Control],
            Event::Next => self.nexts(),
            Event::Update => self.updates(),
            Event::Forward(_) | Event::ForwardOnly(_) | Event::Backward(_) => Vec::new(),
        }
    }

    /// Sums of squares over the axes that cut the gradients that they are of, added up.
    fn reduce_squares(&mut self) -> Vec<Item> {
        let sets = self.squares.clone();
        let mut begun = sets.iter().any(Vec::is_empty);
        let mut items = Vec::new();
        for (number, axes) in sets.iter().enumerate().filter(|(_, axes)| !axes.is_empty()) {
            let accumulate = if begun { CallAccumulate::Add } else { CallAccumulate::Write };
            let (mut exchanger, regions) = self.exchanger();
            items.push(exchanger.add_number(Slot::Squares(number as u32), Slot::SquareSum, axes, accumulate, regions));
            begun = true;
        }
        items
    }

    /// Where sums of squares over some axes stand, and whether this is the first.
    fn squares_over(&mut self, job: &Job) -> (Slot, bool) {
        let Job::SquareSum(axes) = job else { return (Slot::SquareSum, false) };
        let known = self.squares.iter().position(|own| own == axes);
        let number = known.unwrap_or(self.squares.len());
        let slot = if axes.is_empty() { Slot::SquareSum } else { Slot::Squares(number as u32) };
        if known.is_none() {
            self.squares.push(axes.clone());
        }
        (slot, known.is_none())
    }

    fn exchanger(&mut self) -> (Exchanger<'_>, &mut Regions) {
        (Exchanger { mesh: &self.placed.sharded.mesh, state: self.state, programs: self.programs }, self.regions)
    }

    fn update(&self) -> Option<&Update> {
        self.placed.graph.update.as_ref()
    }

    /// Waits for a stream if any block has an exchange there.
    fn awaited(&self, stream: Stream, uses: fn(&BlockData) -> bool) -> Vec<Item> {
        self.state.blocks.values().any(uses).then_some(Item::Join(stream)).into_iter().collect()
    }

    /// The squares of all gradients, those of stretches of one kind one after the other so that they roll into loops.
    fn square_sums(&mut self) -> Vec<Item> {
        let state = self.state;
        let mut calls = Vec::new();
        for block in state.blocks.values().filter(|block| block.trained) {
            for (offset, stretch) in self.stretches(block) {
                for job in stretch.square_sums() {
                    calls.extend(self.job(&job, block, (offset, &stretch), 0..block.count));
                }
            }
        }
        roll::roll(calls)
    }

    /// All updates; what is updated in pieces and used whole begins to be gathered, bucket by bucket.
    fn updates(&mut self) -> Vec<Item> {
        let state = self.state;
        let mut items: Vec<Item> = Vec::new();
        for (number, block) in state.blocks.iter().filter(|(_, block)| block.trained) {
            let together = std::iter::once(0..block.count);
            let buckets: Vec<_> = if block.is_gathered_after() { block.buckets() } else { together.collect() };
            for copies in buckets.into_iter().rev() {
                for (offset, stretch) in self.stretches(block) {
                    items.extend(self.job(&Job::Update, block, (offset, &stretch), copies.clone()).into_iter().map(Item::Call));
                }
                let (mut exchanger, regions) = self.exchanger();
                let gather = if block.is_gathered_after() { exchanger.gather(number, copies, regions) } else { None };
                items.extend(gather.map(|call| Item::Start(Stream::Gather, call)));
            }
        }
        roll::roll(items)
    }

    /// A job on a stretch of some copies of a block.
    fn job(&mut self, job: &Job, block: &BlockData, (offset, stretch): (u64, &Stretch), copies: ops::Range<u64>) -> Vec<Call> {
        let Some(made) = self.program(job, stretch) else { return Vec::new() };
        let (slot, first) = self.squares_over(job);
        copies.map(|copy| self.bind(&made, block, offset, copy, (slot, first && copy == 0))).collect()
    }

    /// The stretches of a block with their byte offsets in a copy (of the block, or of the piece).
    fn stretches(&self, block: &BlockData) -> Vec<(u64, Stretch)> {
        if block.is_cut() {
            let part = |range: &Range| (range.offset + range.bytes, range.group, range.axes.clone());
            let parts = block.ranges.iter().map(part).collect();
            return vec![(0, Stretch { bytes: block.piece, parts, pieces: block.rest.axes.clone() })];
        }
        let alone = |range: &Range| {
            let parts = vec![(range.bytes, range.group, range.axes.clone())];
            (range.offset, Stretch { bytes: range.bytes, parts, pieces: Vec::new() })
        };
        block.ranges.iter().map(alone).collect()
    }

    /// The next values of all states; then the states take them.
    fn nexts(&mut self) -> Vec<Item> {
        let mut items = self.each_call("next", |data| data.next.as_ref());
        items.extend(self.each_call("take", |data| data.take.as_ref()));
        items
    }

    /// One program of each call that has it.
    fn each_call(&mut self, part: &str, program: impl Fn(&SegmentData) -> Option<&Program>) -> Vec<Item> {
        let (graph, state) = (self.placed.graph, self.state);
        let mut binder = Binder::new(self.placed, state, Source::Train);
        let mut made: BTreeMap<Segment, Made> = BTreeMap::new();
        let mut calls = Vec::new();
        for (number, call) in graph.calls.iter().enumerate() {
            let data = &graph.segments[segment_of(call)];
            let Some(program) = program(data) else { continue };
            let made = made.entry(segment_of(call)).or_insert_with(|| {
                let fused = fuse::fuse(program, &graph.dims, self.placed.step());
                self.programs.add(format!("{}.{part}", data.name), fused, &graph.origins, &|role| locate(graph, state, number, role))
            });
            let address = |key: &Key| Address { accumulate: CallAccumulate::Write, ..binder.address(number, *key, 0, self.regions) };
            let bindings = made.keys.iter().map(address).collect();
            calls.push(Call { program: made.program, bindings, iteration: (call.iteration, 0) });
        }
        roll::roll(calls)
    }

    fn factor(&mut self) -> Option<Item> {
        let graph = self.placed.graph;
        let factor = &graph.update.as_ref()?.factor;
        let fused = fuse::fuse(factor, &graph.dims, self.placed.step());
        let made = self.programs.add("factor".to_string(), fused, &graph.origins, &alone);
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
    fn program(&mut self, job: &Job, stretch: &Stretch) -> Option<Made> {
        let key = (job.clone(), stretch.clone());
        if let Some(made) = self.made.get(&key) {
            return Some(made.clone());
        }
        let update = self.placed.graph.update.as_ref()?;
        let mesh = &self.placed.sharded.mesh;
        let first = (!stretch.pieces.is_empty()).then(|| mesh.names(&stretch.pieces));
        let axes = match job {
            Job::SquareSum(axes) => axes.clone(),
            Job::Update => stretch.axes(&stretch.parts.first()?.2),
        };
        let rows = Rows::new(&self.placed.graph.dims, stretch.bytes / 4, mesh.names(&axes), first);
        let end = |bytes: u64| bytes / 4 / ROW;
        let (program, name) = match job {
            Job::SquareSum(axes) => {
                let part = |(bytes, _, own): &(u64, u32, Vec<Axis>)| Part { end: end(*bytes), what: stretch.axes(own) == *axes };
                let parts: Vec<Part<bool>> = stretch.parts.iter().map(part).collect();
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
        let made = self.programs.add(name, fused, &self.placed.graph.origins, &alone);
        self.made.insert(key, made.clone());
        Some(made)
    }

    fn bind(&mut self, made: &Made, block: &BlockData, offset: u64, copy: u64, (slot, first): (Slot, bool)) -> Call {
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
            Key::Role(Role::SquareSum) => Address { accumulate: sum, ..at(regions.results, regions.slot(slot)) },
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
