//! Streams: what runs beside the calls of an entry touches nothing at the same time as they.
//!
//! Every call, started or not, is one moment of its stream. It knows which moments of other streams were over when it began: a call those that were
//! joined, a started one those that were over for the calls when it was started, and both those before on their own stream (vector clocks,
//! Lamport 1978 and Mattern 1989). Of every byte the last write and the last read on each stream are kept; whoever writes must know both, whoever
//! reads the write. All ranks run one text, so what holds for one holds for all.
//!
//! Turns of a loop over microbatches are alike but for the places of data, which nobody writes: three of them stand for all.

use crate::program::{Address, Call, Index, Item, Stream};
use crate::verify::{Report, Rule};
use crate::{Plan, Region};
use std::collections::BTreeMap;
use std::ops::Range;

/// Turns of a loop over microbatches that are looked at.
const TURNS: u64 = 3;
const LANES: usize = Stream::LANES;

/// So many moments of each lane.
type Clock = [u64; LANES];

/// All entries in which anything runs beside.
pub(super) fn streams(plan: &Plan, report: &mut Report) {
    for entry in plan.entries.iter().filter(|entry| starts(&entry.body)) {
        report.at(&format!("entry {}", entry.name));
        let mut walk = Walk { plan, report, clocks: [[0; LANES]; LANES], regions: BTreeMap::new(), micro: 0, layer: 0 };
        walk.items(&entry.body);
        walk.all_joined("in the end");
    }
}

fn starts(body: &[Item]) -> bool {
    body.iter().any(|item| match item {
        Item::Loop { body, .. } => starts(body),
        Item::Start(..) => true,
        Item::Call(_) | Item::Join(_) | Item::Control => false,
    })
}

/// A moment of a lane, and the program that ran then.
#[derive(Clone, Copy, Default)]
struct Use {
    moment: u64,
    program: u32,
}

/// Bytes with one history.
#[derive(Clone, Copy, Default)]
struct Cell {
    end: u64,
    /// The last write: its lane, and what it was.
    write: (usize, Use),
    /// The last read on each lane.
    reads: [Use; LANES],
}

struct Walk<'p> {
    plan: &'p Plan,
    report: &'p mut Report,
    /// By lane: which moments are over for what comes next on it. Its own entry counts its moments.
    clocks: [Clock; LANES],
    regions: BTreeMap<Region, BTreeMap<u64, Cell>>,
    micro: u64,
    layer: u64,
}

impl Walk<'_> {
    fn items(&mut self, body: &[Item]) {
        for item in body {
            match item {
                Item::Loop { index, start, end, reverse, body } => self.repeat(*index, *start..*end, *reverse, body),
                Item::Call(call) => self.call(0, call),
                Item::Start(stream, call) => {
                    let lane = stream.lane();
                    self.learn(lane, 0);
                    self.call(lane, call);
                }
                Item::Join(stream) => self.learn(0, stream.lane()),
                Item::Control => self.all_joined("at the control word"),
            }
        }
    }

    fn repeat(&mut self, index: Index, range: Range<u64>, reverse: bool, body: &[Item]) {
        let before = (self.micro, self.layer);
        let turns = match index {
            Index::Micro => (range.end - range.start).min(TURNS),
            Index::Layer => range.end - range.start,
        };
        for turn in 0..turns {
            let value = if reverse { range.end - 1 - turn } else { range.start + turn };
            match index {
                Index::Micro => self.micro = value,
                Index::Layer => self.layer = value,
            }
            self.items(body);
        }
        (self.micro, self.layer) = before;
    }

    /// What is over for one lane is over for another from now on, and what the first has done itself, too.
    fn learn(&mut self, lane: usize, from: usize) {
        let known = self.clocks[from];
        self.clocks[lane].iter_mut().zip(known).for_each(|(own, other)| *own = (*own).max(other));
    }

    fn all_joined(&mut self, when: &str) {
        for stream in Stream::ALL {
            let lane = stream.lane();
            let joined = self.clocks[0][lane] >= self.clocks[lane][lane];
            self.report.check(joined, Rule::InFlight, || format!("what was started on {} has not been joined {when}", stream.name()));
        }
    }

    fn call(&mut self, lane: usize, call: &Call) {
        self.clocks[lane][lane] += 1;
        let program = &self.plan.programs[call.program];
        for (param, address) in program.params.iter().zip(&call.bindings) {
            let start = self.start(address);
            let range = start..start.saturating_add(param.bytes);
            if let Some(other) = self.touch(lane, call.program.as_u32(), address.region, range, param.written) {
                let [own, other] = [call.program, crate::Program::from_u32(other)].map(|program| &self.plan.programs[program].name);
                let verb = if param.written { "writes" } else { "reads" };
                let message = format!("{own} {verb} {} while {other} may still use it", self.plan.arena.regions[address.region].name);
                self.report.add(Rule::InFlight, message);
            }
        }
    }

    fn start(&self, address: &Address) -> u64 {
        let moved = |stride: i64, index: u64| i128::from(stride) * i128::from(index);
        let start = i128::from(address.offset) + moved(address.micro, self.micro) + moved(address.layer, self.layer);
        u64::try_from(start).unwrap_or(0)
    }

    /// Notes who touches bytes; gives the program whose use of them may not be over.
    fn touch(&mut self, lane: usize, program: u32, region: Region, range: Range<u64>, written: bool) -> Option<u32> {
        let clock = self.clocks[lane];
        let own = Use { moment: clock[lane], program };
        let cells = self.regions.entry(region).or_default();
        cut(cells, range.start);
        cut(cells, range.end);
        let mut racing = None;
        let mut gaps = Vec::new();
        let mut next = range.start;
        for (start, cell) in cells.range_mut(range.clone()) {
            if next < *start {
                gaps.push(next..*start);
            }
            next = cell.end;
            racing = racing.or_else(|| cell.open(&clock, written));
            cell.note(lane, own, written);
        }
        if next < range.end {
            gaps.push(next..range.end);
        }
        for gap in gaps {
            let mut cell = Cell { end: gap.end, ..Cell::default() };
            cell.note(lane, own, written);
            cells.insert(gap.start, cell);
        }
        racing
    }
}

impl Cell {
    fn note(&mut self, lane: usize, own: Use, written: bool) {
        if written {
            (self.write, self.reads) = ((lane, own), [Use::default(); LANES]);
        } else {
            self.reads[lane] = own;
        }
    }

    /// The program whose use may not be over for who knows this much and wants to read, or to write.
    fn open(&self, clock: &Clock, written: bool) -> Option<u32> {
        let reads = self.reads.iter().enumerate().filter(|_| written);
        let mut uses = std::iter::once((self.write.0, &self.write.1)).chain(reads);
        uses.find(|(lane, one)| one.moment > clock[*lane]).map(|(_, one)| one.program)
    }
}

/// Cells end here, if one goes across.
fn cut(cells: &mut BTreeMap<u64, Cell>, at: u64) {
    let across = cells.range_mut(..at).next_back().filter(|(_, cell)| cell.end > at);
    if let Some((_, cell)) = across {
        let rest = *cell;
        cell.end = at;
        cells.insert(at, rest);
    }
}
