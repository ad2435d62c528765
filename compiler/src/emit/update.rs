//! The end of a step: norm, factor, control word, next states, and updates over flat ranges of the blocks.

use super::Placed;
use super::bind::{Binder, at, locate};
use super::program::{Key, Located, Made, Programs};
use super::region::{Regions, Slot, Source};
use super::roll;
use crate::fuse;
use crate::graph::ir::{Graph, Program, Role, Segment, SegmentData, Update};
use crate::memory::state::{BlockData, RANGE, Range, State};
use crate::op::{Dim, DimData, Dims, Op, Value};
use crate::schedule::ir::{Event, Timeline};
use crate::schedule::segment_of;
use meshwright_plan::program::{Address, Call, CallAccumulate, Item};
use std::collections::BTreeMap;

/// Elements of one row of a flat range: ranges are whole numbers of rows.
const ROW: u64 = RANGE / 4;

/// The items of a timeline's end.
pub fn items(placed: &Placed, state: &State, timeline: &Timeline, programs: &mut Programs, regions: &mut Regions) -> Vec<Item> {
    let graph = placed.graph;
    let Some(update) = &graph.update else { return Vec::new() };
    let mut ending = Ending { placed, graph, state, update, programs, regions, made: BTreeMap::new() };
    let mut items = Vec::new();
    for event in &timeline.end {
        match event {
            Event::SquareSum => items.extend(ending.square_sums()),
            Event::Factor => items.push(ending.factor()),
            Event::Control => items.push(Item::Control),
            Event::Next => items.extend(ending.nexts()),
            Event::Update => items.extend(ending.updates()),
            Event::Forward(_) | Event::ForwardOnly(_) | Event::Backward(_) => {}
        }
    }
    items
}

struct Ending<'a> {
    placed: &'a Placed<'a>,
    graph: &'a Graph,
    state: &'a State,
    update: &'a Update,
    programs: &'a mut Programs,
    regions: &'a mut Regions,
    /// Programs by update group (none: the norm's) and bytes of the range.
    made: BTreeMap<(Option<u32>, u64), Made>,
}

impl Ending<'_> {
    fn square_sums(&mut self) -> Vec<Item> {
        let mut calls = Vec::new();
        for (block, range, copy) in ranges(self.state) {
            let first = calls.is_empty();
            let made = self.flat(None, range.bytes);
            calls.push(self.bind(&made, block, range, copy, first));
        }
        roll::roll(calls)
    }

    fn updates(&mut self) -> Vec<Item> {
        let mut calls = Vec::new();
        for (block, range, copy) in ranges(self.state) {
            let made = self.flat(Some(range.group), range.bytes);
            calls.push(self.bind(&made, block, range, copy, false));
        }
        roll::roll(calls)
    }

    /// The next values of all states; then the states take them.
    fn nexts(&mut self) -> Vec<Item> {
        let mut items = self.each_call("next", |data| data.next.as_ref());
        items.extend(self.each_call("take", |data| data.take.as_ref()));
        items
    }

    /// One program of each call that has it.
    fn each_call(&mut self, part: &str, program: impl Fn(&SegmentData) -> Option<&Program>) -> Vec<Item> {
        let mut binder = Binder::new(self.placed, self.state, Source::Train);
        let mut made: BTreeMap<Segment, Made> = BTreeMap::new();
        let mut calls = Vec::new();
        for (number, call) in self.graph.calls.iter().enumerate() {
            let data = &self.graph.segments[segment_of(call)];
            let Some(program) = program(data) else { continue };
            let made = made.entry(segment_of(call)).or_insert_with(|| {
                let fused = fuse::fuse(program, &self.graph.dims, self.graph.batch, self.graph.microbatches);
                self.programs.add(format!("{}.{part}", data.name), fused, &|role| locate(self.graph, self.state, number, role))
            });
            let address = |key: &Key| Address { accumulate: CallAccumulate::Write, ..binder.address(number, *key, 0, self.regions) };
            let bindings = made.keys.iter().map(address).collect();
            calls.push(Call { program: made.program, bindings, iteration: (call.iteration, 0) });
        }
        roll::roll(calls)
    }

    fn factor(&mut self) -> Item {
        let graph = self.graph;
        let fused = fuse::fuse(&self.update.factor, &graph.dims, graph.batch, graph.microbatches);
        let made = self.programs.add("factor".to_string(), fused, &alone);
        let inputs: Vec<Role> = self.update.factor.inputs.iter().map(|(role, _)| *role).collect();
        let bindings = made.keys.iter().map(|key| self.number(*key, &inputs)).collect();
        Item::Call(Call { program: made.program, bindings, iteration: (0, 0) })
    }

    /// The place of a number that the factor's program reads or writes.
    fn number(&mut self, key: Key, inputs: &[Role]) -> Address {
        let count = || {
            let report = &self.graph.reports[self.update.divide_by?];
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

    /// The program of an update group (none: sum of squares) for a range of so many bytes.
    fn flat(&mut self, group: Option<u32>, bytes: u64) -> Made {
        if let Some(made) = self.made.get(&(group, bytes)) {
            return made.clone();
        }
        let (program, flat, name) = match group {
            Some(group) => {
                let group = &self.update.groups[group as usize];
                (&group.program, group.flat, format!("update {}", group.name).replace(' ', "."))
            }
            None => (&self.update.square_sum, flat_dim(&self.update.square_sum), "square_sum".to_string()),
        };
        let (program, dims) = in_rows(program, flat, bytes / 4, &self.graph.dims);
        let fused = fuse::fuse(&program, &dims, self.graph.batch, self.graph.microbatches);
        let made = self.programs.add(name, fused, &alone);
        self.made.insert((group, bytes), made.clone());
        made
    }

    fn bind(&mut self, made: &Made, block: &BlockData, range: Range, copy: u64, first: bool) -> Call {
        let offset = block.offset + copy * block.stride + range.offset;
        let sum = if first { CallAccumulate::Write } else { CallAccumulate::Add };
        let address = |key: &Key, regions: &mut Regions| match key {
            Key::Role(Role::Rest) => at(regions.weights, offset),
            Key::Role(Role::Gradient) => at(regions.gradients, offset),
            Key::Role(Role::Moment(number)) => at(regions.moments[*number as usize], offset),
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

/// Every trained range with every copy, ranges of one kind one after the other so that they roll into loops.
fn ranges(state: &State) -> impl Iterator<Item = (&BlockData, Range, u64)> {
    let trained = state.blocks.values().filter(|block| block.trained);
    trained.flat_map(|block| block.ranges.iter().flat_map(move |range| (0..block.count).map(move |copy| (block, *range, copy))))
}

/// The flat dim of a program over gradients.
fn flat_dim(program: &Program) -> Dim {
    let gradient = program.inputs.iter().find(|(role, _)| *role == Role::Gradient);
    gradient.and_then(|(_, value)| program.body.ty(*value).dims.first().copied()).unwrap_or(Dim::from_u32(0))
}

/// The program with its flat dim as rows of [`ROW`] elements: work is cut by rows.
fn in_rows(program: &Program, flat: Dim, elements: u64, dims: &Dims) -> (Program, Dims) {
    let mut dims = dims.clone();
    let row = dims.push(DimData { name: "Row".into(), size: elements / ROW, span: None });
    let lane = dims.push(DimData { name: "Flat".into(), size: ROW, span: None });
    let replace = |list: &mut Vec<Dim>| {
        if let Some(at) = list.iter().position(|dim| *dim == flat) {
            list.splice(at..=at, [row, lane]);
        }
    };
    let mut program = program.clone();
    let values: Vec<Value> = program.body.values.keys().collect();
    for value in values {
        replace(&mut program.body.values[value].ty.dims);
    }
    for inst in &mut program.body.insts {
        if let Op::Reduce(_, over) = &mut inst.op {
            replace(over);
        }
    }
    (program, dims)
}
