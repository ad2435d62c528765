//! One rank: its arena and a cursor over the plan's entries that can be stopped and resumed at every launch.
//!
//! Requires: a verified plan. Ensures: a rank never waits: where it cannot go on it says so, and whoever drives it comes back later.

use super::Arena;
use super::flat::{Flat, Launch, Step};
use crate::comm::Local;
use crate::comm::local::{Meeting, Places, Stand};
use crate::device::cpu::{self, Cpu, Worker};
use crate::error::Error;
use crate::pool::bell::Bell;
use meshwright_plan::{Kernel, Plan, Readout};

/// Most operands of one kernel.
const OPERANDS: usize = 64;

/// What all ranks of a plan share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) device: Cpu,
    pub(super) local: Local,
    /// Rings where a collective has got further.
    pub(super) bell: Bell,
    pub(super) entries: Vec<(String, Flat)>,
    pub(super) seed: u64,
    /// Values of the plan's scalars at the current step, as kernels read them.
    pub(super) scalars: Vec<f32>,
}

/// One device of the mesh.
pub(super) struct Rank {
    pub(super) number: usize,
    pub(super) arena: Arena,
    coordinates: Vec<i64>,
    cursor: Cursor,
    meeting: Option<Meeting>,
    outcome: Option<Outcome>,
}

/// Where a rank stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    entry: usize,
    number: u64,
    section: usize,
    micro: u64,
    step: usize,
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything ran.
    Done,
    /// The loss or the gradient's norm was not finite: the weights are as they were.
    Skipped,
}

/// What one step of the cursor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A kernel ran, or a collective was done.
    Launched(Kernel),
    /// Something else happened.
    Moved,
    /// Nothing can happen before other ranks have gone on.
    Blocked,
    /// The entry has ended.
    End,
    /// Ranks have met in different collectives.
    Torn,
}

impl Rank {
    pub(super) fn new(shared: &Shared, number: usize) -> Result<Rank, Error> {
        let mesh = &shared.plan.mesh;
        let coordinates = shared.device.coordinates().iter().map(|known| mesh.value(number as u64, known) as i64).collect();
        let arena = Arena::new(shared.plan.arena.bytes)?;
        Ok(Rank { number, arena, coordinates, cursor: Cursor::default(), meeting: None, outcome: None })
    }

    /// Puts the cursor before an entry; `number` is the step, counted from 1.
    pub(super) fn begin(&mut self, entry: usize, number: u64) {
        self.cursor = Cursor { entry, number, ..Cursor::default() };
        self.meeting = None;
        self.outcome = None;
    }

    /// How the entry ended; none while it runs.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The collective in which the rank waits.
    pub(super) fn meeting(&self) -> Option<&Meeting> {
        self.meeting.as_ref()
    }

    /// Does what stands at the cursor, and moves it on.
    pub(super) fn advance(&mut self, shared: &Shared, worker: &mut Worker) -> Progress {
        let Cursor { entry, section, micro, step, .. } = self.cursor;
        let flat = &shared.entries[entry].1;
        let Some(section) = flat.sections.get(section) else {
            self.outcome.get_or_insert(Outcome::Done);
            return Progress::End;
        };
        if step == section.steps.len() {
            self.next_round(section.micros);
            return Progress::Moved;
        }
        let progress = match section.steps[step] {
            Step::Launch(launch) => {
                self.launch(shared, worker, &launch, micro);
                Progress::Launched(launch.kernel)
            }
            Step::Exchange(launch) => self.exchange(shared, &launch, micro),
            Step::Control => self.control(&shared.plan),
        };
        match progress {
            Progress::Launched(_) | Progress::Moved => self.cursor.step += 1,
            Progress::Blocked | Progress::End | Progress::Torn => {}
        }
        progress
    }

    /// From the end of a section to its next microbatch, or to the next section.
    fn next_round(&mut self, micros: u64) {
        self.cursor.step = 0;
        self.cursor.micro += 1;
        if self.cursor.micro >= micros {
            self.cursor.micro = 0;
            self.cursor.section += 1;
        }
    }

    /// The control word: goes on if what was measured is finite. The plan has reduced it, so all ranks decide alike.
    fn control(&mut self, plan: &Plan) -> Progress {
        if ["loss", "grad_norm"].iter().all(|name| self.readout(plan, name).is_none_or(f64::is_finite)) {
            return Progress::Moved;
        }
        self.outcome = Some(Outcome::Skipped);
        self.cursor.section = usize::MAX;
        Progress::End
    }

    /// A number that the last entry reported; readouts of equal name add up.
    pub(super) fn readout(&self, plan: &Plan, name: &str) -> Option<f64> {
        let value = |readout: &Readout| {
            let base = plan.arena.regions[readout.region].offset;
            let at = |offset: u64| f64::from(self.arena.f32s(base + offset, 1)[0]);
            at(readout.offset) / readout.count.map_or(1.0, at)
        };
        plan.readouts.iter().filter(|readout| readout.name == name).map(value).reduce(|total, value| total + value)
    }

    /// Where an operand stands in a microbatch, and whether it is added to.
    fn place(&self, flat: &Flat, at: usize, micro: u64) -> (*mut u8, bool) {
        let operand = &flat.operands[at];
        let offset = operand.offset as i64 + operand.micro * micro as i64;
        // SAFETY: the plan's verifier bounds every operand inside the arena, for all microbatches.
        (unsafe { self.arena.start().add(offset as usize) }, operand.adds(micro))
    }

    fn launch(&mut self, shared: &Shared, worker: &mut Worker, launch: &Launch, micro: u64) {
        let flat = &shared.entries[self.cursor.entry].1;
        let mut operands = [std::ptr::null_mut::<u8>(); OPERANDS];
        let mut accumulate = 0u64;
        for (at, place) in operands[..launch.count].iter_mut().enumerate() {
            let (start, adds) = self.place(flat, launch.first + at, micro);
            *place = start;
            accumulate |= u64::from(adds) << at;
        }
        let work = cpu::Launch {
            operands: &operands[..launch.count],
            accumulate,
            scalars: &shared.scalars,
            coordinates: &self.coordinates,
            seed: shared.seed,
            step: self.cursor.number,
            iteration: launch.iteration,
            micro,
        };
        // SAFETY: operands are in the arena and disjoint as the verifier demands; nothing else touches the arena while its rank runs, except
        // collectives, in which the rank waits.
        unsafe { shared.device.launch(worker, launch.kernel, &work) };
    }

    /// Arrives at a collective, then does what can be done for it.
    fn exchange(&mut self, shared: &Shared, launch: &Launch, micro: u64) -> Progress {
        let flat = &shared.entries[self.cursor.entry].1;
        let mut meeting = self.meeting.unwrap_or_else(|| {
            let ((input, _), (output, adds)) = (self.place(flat, launch.first, micro), self.place(flat, launch.first + 1, micro));
            shared.local.arrive(launch.kernel, self.number, Places { input, output, adds }, &shared.bell)
        });
        // SAFETY: the operands are in the arenas, as the verifier demands; a rank that has arrived touches its arena only once it has left.
        let stand = unsafe { shared.local.go_on(self.number, &mut meeting, &shared.bell) };
        self.meeting = Some(meeting);
        match stand {
            Stand::Done => {
                self.meeting = None;
                Progress::Launched(launch.kernel)
            }
            Stand::Waits => Progress::Blocked,
            Stand::Torn => Progress::Torn,
        }
    }
}
