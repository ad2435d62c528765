//! An entry run with what is known of places instead of values: every call of every turn of every loop, each different launch decided once.
//!
//! Requires a plan that verifies. Ensures that what it says holds for all ranks: they run one text on places that are the same for all.

use super::contents::{Contents, Moved, Order, Pool, Set, order};
use super::cuts::{Cuts, Parts};
use super::memory::{Brought, Lost, Memory};
use super::outcome::copies;
use super::transfer;
use crate::kernel::{Access, Skeleton, Slot};
use crate::program::{Accumulate, Address, Call, CallAccumulate, Entry, Index, Item, Launch};
use crate::verify::{Report, Rule};
use crate::{DimSize, Element, Kernel, KernelData, Plan, ProgramData, Region, RegionKind, Rest, Weight};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Entries that launch more often than this are not followed to their end.
pub(super) const MOST_LAUNCHES: u64 = 4_000_000;

/// All entries.
pub(super) fn entries(plan: &Plan, report: &mut Report) {
    let mut filled = BTreeSet::new();
    for entry in &plan.entries {
        report.at(&format!("entry {}", entry.name));
        let mut walk = Walk::new(plan, entry, report);
        walk.items(&entry.body);
        walk.finish();
        filled.extend(walk.filled);
    }
    report.at("readouts");
    for (number, readout) in plan.readouts.iter().enumerate() {
        report.check(filled.contains(&number), Rule::Undefined, || format!("nothing fills {}", readout.name));
    }
}

/// A launch as far as its answer depends on it: the kernel, and what those operands hold that are read or added to.
type Question = (Kernel, Vec<Option<u32>>);

/// An entry on its way.
pub(super) struct Walk<'p> {
    pub(super) plan: &'p Plan,
    pub(super) report: &'p mut Report,
    pub(super) entry: String,
    pub(super) pool: Pool,
    pub(super) memory: Memory,
    known: BTreeMap<Question, Option<Vec<(Slot, u32)>>>,
    pub(super) launches: u64,
    micro: u64,
    layer: u64,
    /// The loops around, and what was brought to places that their next turn reuses.
    loops: Vec<(Index, Vec<u32>)>,
    /// Readouts that something was written for.
    pub(super) filled: BTreeSet<usize>,
    /// So many things were brought by the entry `start`, which ran before.
    pub(super) started: usize,
}

impl<'p> Walk<'p> {
    fn new(plan: &'p Plan, entry: &Entry, report: &'p mut Report) -> Self {
        let memory = Memory::new(plan.arena.regions.len());
        let (pool, known, filled) = (Pool::default(), BTreeMap::new(), BTreeSet::new());
        let mut walk = Walk {
            plan,
            report,
            entry: entry.name.clone(),
            pool,
            memory,
            known,
            launches: 0,
            micro: 0,
            layer: 0,
            loops: Vec::new(),
            filled,
            started: 0,
        };
        walk.start();
        walk.after_start();
        walk
    }

    pub(super) fn axes(&self, dims: &[DimSize]) -> Set {
        dims.iter().fold(Set::NONE, |set, dim| set.with(Set::of(&self.plan.mesh, &dim.axes)))
    }

    /// In which order several axes cut one dim.
    fn order(&self, dims: &[DimSize]) -> Order {
        dims.iter().flat_map(|dim| order(&self.plan.mesh, &dim.axes)).collect()
    }

    /// The same of a weight or its gradient, or of the block in which it lies.
    pub(super) fn orders(&self, dims: &[DimSize], rest: &Rest) -> Order {
        let flat = rest.flat.iter().flat_map(|flat| order(&self.plan.mesh, &flat.axes));
        self.order(dims).into_iter().chain(flat).collect()
    }

    fn put(&mut self, region: Region, range: Range<u64>, contents: &Contents) {
        let number = self.pool.number(contents);
        self.memory.write(region.as_u32() as usize, range, number, None, false);
    }

    /// State and data are there before an entry runs; all else is not.
    fn start(&mut self) {
        for (region, data) in self.plan.arena.regions.iter() {
            match data.kind {
                RegionKind::Moments => self.put(region, 0..data.bytes, &Contents::any()),
                // numbers are made anew in every entry, but for those that nobody writes: they are zero
                RegionKind::Results if self.plan.entries.iter().any(|entry| writes(self.plan, &entry.body, region)) => {}
                RegionKind::Results => self.put(region, 0..data.bytes, &Contents { zero: true, ..Contents::any() }),
                RegionKind::Data | RegionKind::Weights | RegionKind::Gradients | RegionKind::Carries => {}
                RegionKind::Stash | RegionKind::Gathered | RegionKind::Scratch => {}
            }
        }
        for input in &self.plan.inputs {
            // a prediction's batch of one is on every rank
            let dims = if self.entry == "predict" { input.dims.get(1..).unwrap_or_default() } else { &input.dims };
            let cuts = Cuts::of(&self.plan.mesh, dims, &Parts::Given);
            let contents = Contents { cuts, order: self.order(dims), ..Contents::cut(input.element, self.axes(dims), Some(Moved::new())) };
            self.put(input.region, 0..self.plan.arena.regions[input.region].bytes, &contents);
        }
        for weight in &self.plan.weights {
            self.weight(weight);
        }
    }

    /// What the entry `start` leaves in the regions of weights is there, too: weights that rest in pieces and are used whole.
    fn after_start(&mut self) {
        let plan = self.plan;
        if let Some(start) = plan.entries.iter().find(|entry| entry.name == "start" && entry.name != self.entry) {
            self.items(&start.body);
            self.memory.settle();
            self.started = self.memory.brought.len();
            self.report.at(&format!("entry {}", self.entry));
        }
    }

    fn weight(&mut self, weight: &Weight) {
        let dims = self.axes(&weight.dims);
        let flat = weight.rest.flat.as_ref().map(|flat| Set::of(&self.plan.mesh, &flat.axes));
        let contents = match flat {
            Some(flat) => Contents { most: flat.with(dims), ..Contents::cut(Element::F32, flat, None) },
            None => Contents::cut(Element::F32, dims, None),
        };
        let order = self.orders(&weight.dims, &weight.rest);
        let contents = Contents { order, cuts: Cuts::of(&self.plan.mesh, &weight.dims, &Parts::Unknown), ..contents };
        let region = weight.rest.region;
        for range in copies(weight, &weight.rest) {
            // several tensors of one block share its piece
            let before = self.memory.look(region.as_u32() as usize, range.clone(), &mut self.pool, &self.plan.mesh).ok().flatten();
            let before = before.map(|before| self.pool.get(before).clone());
            let joined = before.and_then(|before| before.join(&contents, &self.plan.mesh).ok()).unwrap_or_else(|| contents.clone());
            self.put(region, range, &joined);
        }
    }

    fn items(&mut self, body: &[Item]) {
        for item in body {
            match item {
                Item::Loop { index, start, end, reverse, body } => self.repeat(*index, *start..*end, *reverse, body),
                // streams beside run it at another time: `streams` shows that nobody can tell
                Item::Call(call) | Item::Start(_, call) => self.call(call),
                Item::Join(_) => {}
                Item::Control => self.readouts(&["loss", "grad_norm"]),
            }
        }
    }

    /// Runs all turns; once a turn leaves everything as it was, the others do, too, if places do not depend on the index.
    fn repeat(&mut self, index: Index, range: Range<u64>, reverse: bool, body: &[Item]) {
        let before = (self.micro, self.layer);
        let alike = range.end - range.start > 2 && !self.moves(index, body);
        let mut last = None;
        self.loops.push((index, Vec::new()));
        for turn in range.clone() {
            let value = if reverse { range.end - 1 - (turn - range.start) } else { turn };
            match index {
                Index::Micro => self.micro = value,
                Index::Layer => self.layer = value,
            }
            self.launches += 1;
            self.items(body);
            self.turned();
            let now = alike.then(|| self.memory.snapshot());
            if self.launches > MOST_LAUNCHES || (now.is_some() && now == last) {
                break;
            }
            last = now;
        }
        self.loops.pop();
        (self.micro, self.layer) = before;
    }

    /// Whether places that are written depend on this index.
    fn moves(&self, index: Index, body: &[Item]) -> bool {
        let data = |address: &Address| self.plan.arena.regions[address.region].kind == RegionKind::Data;
        body.iter().any(|item| match item {
            Item::Loop { index: inner, body, .. } => *inner != index && self.moves(index, body),
            Item::Join(_) | Item::Control => false,
            Item::Call(call) | Item::Start(_, call) => call.bindings.iter().any(|address| {
                let stride = match index {
                    Index::Micro => address.micro,
                    Index::Layer => address.layer,
                };
                stride != 0 && !data(address)
            }),
        })
    }

    /// What was read in this turn, from a place that the next one reuses, is out of date now.
    fn turned(&mut self) {
        let Some((_, pending)) = self.loops.last_mut() else { return };
        let brought = &mut self.memory.brought;
        pending.retain(|number| {
            let one = &mut brought[*number as usize];
            one.stale = one.read;
            !one.stale
        });
    }

    fn call(&mut self, call: &Call) {
        let plan = self.plan;
        let program = &plan.programs[call.program];
        for (number, launch) in program.launches.iter().enumerate() {
            self.launches += 1;
            if self.launches > MOST_LAUNCHES {
                return;
            }
            self.report.at(&format!("entry {}, program {}, launch {}", self.entry, program.name, number + 1));
            self.launch(call, program, launch);
        }
    }

    fn launch(&mut self, call: &Call, program: &ProgramData, launch: &Launch) {
        let kernel = &self.plan.kernels[launch.kernel];
        let mut before = Vec::new();
        for (slot, _) in kernel.operands.iter() {
            before.push(self.before(call, launch, kernel, slot));
        }
        let question = (launch.kernel, before);
        if !self.known.contains_key(&question) {
            let answer = self.decide(kernel, &question);
            self.known.insert(question.clone(), answer);
        }
        let left = self.known[&question].clone().unwrap_or_else(|| self.unknown(kernel));
        self.spend(call, launch, kernel);
        for (slot, contents) in left {
            let by = format!(
                "launch {} of {}",
                program.launches.iter().position(|own| std::ptr::eq(own, launch)).unwrap_or(0) + 1,
                program.name
            );
            self.write(call, launch, kernel, slot, contents, by);
        }
    }

    fn decide(&mut self, kernel: &KernelData, (_, before): &Question) -> Option<Vec<(Slot, u32)>> {
        let before: Vec<Option<Contents>> = before.iter().map(|number| number.map(|number| self.pool.get(number).clone())).collect();
        let left = transfer::Launch { mesh: &self.plan.mesh, kernel, before: &before }.run();
        match left {
            Ok(left) => Some(left.into_iter().map(|(slot, contents)| (slot, self.pool.number(&contents))).collect()),
            Err(fault) => {
                self.report.add(fault.rule, fault.message);
                None
            }
        }
    }

    /// After a fault: written, and nothing more is known.
    fn unknown(&mut self, kernel: &KernelData) -> Vec<(Slot, u32)> {
        let any = self.pool.number(&Contents::any());
        let written = kernel.operands.iter().filter(|(_, operand)| matches!(operand.access, Access::Write | Access::Accumulate));
        written.map(|(slot, _)| (slot, any)).collect()
    }

    /// Whether an accumulating operand is added to, in this turn.
    fn adds(&self, call: &Call, launch: &Launch, slot: Slot) -> bool {
        let by_call = call.bindings[launch.places[slot.as_u32() as usize].param as usize].accumulate;
        match (launch.accumulate, by_call) {
            (Accumulate::Write, _) | (Accumulate::ByCall, CallAccumulate::Write) => false,
            (Accumulate::Add, _) | (Accumulate::ByCall, CallAccumulate::Add) => true,
            (Accumulate::ByCall, CallAccumulate::AfterFirstMicro) => self.micro > 0,
        }
    }

    /// Region and bytes of an operand.
    fn place(&self, call: &Call, launch: &Launch, kernel: &KernelData, slot: Slot) -> (usize, Range<u64>) {
        let place = launch.places[slot.as_u32() as usize];
        let address = &call.bindings[place.param as usize];
        let moved = |stride: i64, index: u64| i128::from(stride) * i128::from(index);
        let start = i128::from(address.offset) + moved(address.micro, self.micro) + moved(address.layer, self.layer);
        let start = u64::try_from(start).unwrap_or(0).saturating_add(place.offset);
        let operand = &kernel.operands[slot];
        let bytes = operand.extent.saturating_mul(operand.element.bytes());
        (address.region.as_u32() as usize, start..start.saturating_add(bytes))
    }

    /// What stands where an operand reads or adds to.
    fn before(&mut self, call: &Call, launch: &Launch, kernel: &KernelData, slot: Slot) -> Option<u32> {
        let operand = &kernel.operands[slot];
        if operand.access != Access::Read && !(operand.access == Access::Accumulate && self.adds(call, launch, slot)) {
            return None;
        }
        let (region, range) = self.place(call, launch, kernel, slot);
        let found = match self.memory.read(region, range, &mut self.pool, &self.plan.mesh) {
            Ok(found) => found,
            Err(fault) => {
                self.report.add(fault.rule, format!("{} is {}", operand.name, fault.message));
                return Some(self.pool.number(&Contents::any()));
            }
        };
        if let Some(by) = found.stale {
            self.report.add(Rule::Stale, format!("{} is what {by} brought for a turn that is over", operand.name));
        }
        if found.contents.is_none() {
            self.report.add(Rule::Undefined, format!("{} reads what nothing in this entry has written", operand.name));
        }
        found.contents.or_else(|| Some(self.pool.number(&Contents::any())))
    }

    /// What a reduction read may not be reduced again.
    fn spend(&mut self, call: &Call, launch: &Launch, kernel: &KernelData) {
        if let Skeleton::Collective(collective) = &kernel.skeleton
            && collective.exchange.reduction().is_some()
        {
            let (region, range) = self.place(call, launch, kernel, Slot::from_u32(0));
            self.memory.spend(region, range, &mut self.pool);
        }
    }

    fn write(&mut self, call: &Call, launch: &Launch, kernel: &KernelData, slot: Slot, contents: u32, by: String) {
        let (region, range) = self.place(call, launch, kernel, slot);
        let collective = matches!(kernel.skeleton, Skeleton::Collective(_));
        let brought = collective.then(|| self.bring(&call.bindings[launch.places[slot.as_u32() as usize].param as usize], by));
        let open = !self.pool.get(contents).partial.is_whole();
        let name = &kernel.operands[slot].name;
        match self.memory.write(region, range, contents, brought, open) {
            Some(Lost::Brought(by)) => self.report.add(Rule::Unread, format!("{name} overwrites what {by} brought and nothing has read")),
            Some(Lost::Part) => self.report.add(Rule::Unread, format!("{name} overwrites a part of a sum that nothing has read")),
            None => {}
        }
    }

    /// Notes what a collective brings; where the next turn of the loop around reuses a place for gathered values, until when it is good.
    fn bring(&mut self, address: &Address, by: String) -> u32 {
        let number = u32::try_from(self.memory.brought.len()).unwrap_or(u32::MAX);
        self.memory.brought.push(Brought { by, read: false, stale: false });
        if let Some((index, pending)) = self.loops.last_mut() {
            let stays = match index {
                Index::Micro => address.micro == 0,
                Index::Layer => address.layer == 0,
            };
            if stays && self.plan.arena.regions[address.region].kind == RegionKind::Gathered {
                pending.push(number);
            }
        }
        number
    }
}

/// Whether a call writes into this region.
fn writes(plan: &Plan, body: &[Item], region: Region) -> bool {
    body.iter().any(|item| match item {
        Item::Loop { body, .. } => writes(plan, body, region),
        Item::Join(_) | Item::Control => false,
        Item::Call(call) | Item::Start(_, call) => {
            let params = plan.programs[call.program].params.iter().zip(&call.bindings);
            params.into_iter().any(|(param, address)| param.written && address.region == region)
        }
    })
}
