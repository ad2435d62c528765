//! Entries with their layer loops unrolled and all addresses resolved, so that running one is walking a list.

use meshwright_plan::Plan;
use meshwright_plan::kernel::{Kernel, Skeleton};
use meshwright_plan::program::{Accumulate, Address, Call, CallAccumulate, Entry, Index, Item, Stream};
use std::ops::Range;

/// An entry as sections.
#[derive(Debug, Default)]
pub struct Flat {
    /// In order.
    pub sections: Vec<Section>,
    /// Operands of all launches.
    pub operands: Vec<Operand>,
}

/// Where an operand stands, and whether it is added to.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Byte offset in the arena.
    pub offset: u64,
    /// Bytes per microbatch.
    pub micro: i64,
    /// What an accumulating operand does with what is there.
    pub accumulate: CallAccumulate,
}

impl Operand {
    /// Whether an accumulating operand is added to in a microbatch.
    pub fn adds(&self, micro: u64) -> bool {
        match self.accumulate {
            CallAccumulate::Write => false,
            CallAccumulate::Add => true,
            CallAccumulate::AfterFirstMicro => micro > 0,
        }
    }
}

/// Steps that run once per microbatch, or once.
#[derive(Debug)]
pub struct Section {
    /// For which microbatches.
    pub micros: Range<u64>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A kernel at work.
    Launch(Launch),
    /// A collective: other ranks take part.
    Exchange(Launch),
    /// A collective on a stream beside: the rank goes on.
    Start(Stream, Launch),
    /// The rank goes on when all that was started on this stream is done.
    Join(Stream),
    /// The control word.
    Control,
}

/// A launch with its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Which kernel.
    pub kernel: Kernel,
    /// Its operands' first index in [`Flat::operands`].
    pub first: usize,
    /// How many operands.
    pub count: usize,
    /// The iteration number for random sites.
    pub iteration: u64,
}

/// Unrolls an entry.
pub fn flatten(plan: &Plan, entry: &Entry) -> Flat {
    let mut flat = Flat::default();
    let mut once = Vec::new();
    for item in &entry.body {
        if let Item::Loop { index: Index::Micro, start, end, body, .. } = item {
            flat.close(&mut once);
            let mut steps = Vec::new();
            flat.items(plan, body, 0, &mut steps);
            flat.sections.push(Section { micros: *start..*end, steps });
        } else {
            flat.items(plan, std::slice::from_ref(item), 0, &mut once);
        }
    }
    flat.close(&mut once);
    flat
}

impl Flat {
    fn close(&mut self, steps: &mut Vec<Step>) {
        if !steps.is_empty() {
            self.sections.push(Section { micros: 0..1, steps: std::mem::take(steps) });
        }
    }

    fn items(&mut self, plan: &Plan, items: &[Item], layer: u64, steps: &mut Vec<Step>) {
        for item in items {
            match item {
                Item::Control => steps.push(Step::Control),
                Item::Call(call) => self.call(plan, call, layer, None, steps),
                Item::Start(stream, call) => self.call(plan, call, layer, Some(*stream), steps),
                Item::Join(stream) => steps.push(Step::Join(*stream)),
                Item::Loop { start, end, reverse, body, .. } => {
                    for number in 0..end - start {
                        let layer = if *reverse { end - 1 - number } else { start + number };
                        self.items(plan, body, layer, steps);
                    }
                }
            }
        }
    }

    fn call(&mut self, plan: &Plan, call: &Call, layer: u64, beside: Option<Stream>, steps: &mut Vec<Step>) {
        let iteration = (call.iteration.0 as i64 + call.iteration.1 * layer as i64) as u64;
        let resolve = |address: &Address| {
            let base = plan.arena.regions[address.region].offset + address.offset;
            (base as i64 + address.layer * layer as i64) as u64
        };
        for launch in &plan.programs[call.program].launches {
            let first = self.operands.len();
            for place in &launch.places {
                let address = &call.bindings[place.param as usize];
                let accumulate = match launch.accumulate {
                    Accumulate::Write => CallAccumulate::Write,
                    Accumulate::Add => CallAccumulate::Add,
                    Accumulate::ByCall => address.accumulate,
                };
                self.operands.push(Operand { offset: resolve(address) + place.offset, micro: address.micro, accumulate });
            }
            let resolved = Launch { kernel: launch.kernel, first, count: launch.places.len(), iteration };
            steps.push(match (&plan.kernels[launch.kernel].skeleton, beside) {
                (Skeleton::Collective(_), None) => Step::Exchange(resolved),
                (Skeleton::Collective(_), Some(stream)) => Step::Start(stream, resolved),
                (Skeleton::Rows(_) | Skeleton::Contract { .. } | Skeleton::Segmented, _) => Step::Launch(resolved),
                (Skeleton::Attention(_) | Skeleton::AttentionGrad(_), _) => Step::Launch(resolved),
            });
        }
    }
}

/// Where a stream of a rank stands in an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    section: usize,
    round: u64,
    step: usize,
}

impl Cursor {
    /// Behind everything.
    pub const END: Cursor = Cursor { section: usize::MAX, round: 0, step: 0 };

    /// The step here and the microbatch that it is for; none at the end.
    pub fn step(&mut self, flat: &Flat) -> Option<(Step, u64)> {
        loop {
            let section = flat.sections.get(self.section)?;
            let micro = section.micros.start + self.round;
            if let Some(step) = section.steps.get(self.step) {
                return Some((*step, micro));
            }
            *self = if micro + 1 < section.micros.end {
                Cursor { round: self.round + 1, step: 0, ..*self }
            } else {
                Cursor { section: self.section + 1, round: 0, step: 0 }
            };
        }
    }

    /// Past the step here.
    pub fn pass(&mut self) {
        self.step += 1;
    }
}
