//! One rank: its arena, and for each of its streams a cursor over the plan's entries that can be stopped and resumed at every launch.
//!
//! Requires: a verified plan. Ensures: a rank never waits: where it cannot go on it says so, and whoever drives it comes back later. What was
//! started beside its calls goes on between them.

use super::Arena;
use super::flat::{Cursor, Flat, Launch, Step};
use crate::comm::Local;
use crate::comm::local::{Meeting, Places, Stand};
use crate::device::cpu::Worker;
use crate::device::{self, Device, OPERANDS};
use crate::error::Error;
use crate::pool::bell::Bell;
use meshwright_plan::program::Stream;
use meshwright_plan::{Kernel, Limit, Plan, Readout};

/// What all ranks of a plan share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) device: Device,
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
    /// The numbers of a step in the device's own memory, if it has such.
    numbers: Option<Arena>,
    /// Which entry it runs, and which step that is, counted from 1.
    entry: usize,
    step: u64,
    /// Its calls, and the streams beside.
    lanes: [Lane; Stream::LANES],
    outcome: Option<Outcome>,
}

/// A stream of a rank.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    cursor: Cursor,
    /// Collectives that were started and are not done.
    left: u64,
    /// The one in which it waits.
    meeting: Option<Meeting>,
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything ran.
    Done,
    /// The loss or the gradient's norm was not finite: the weights are as they were.
    Skipped,
    /// A limit was exceeded: the weights are as they were, and the run cannot go on.
    Exceeded,
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
        let arena = shared.device.arena(shared.plan.arena.bytes)?;
        let numbers = shared.device.numbers()?;
        Ok(Rank { number, arena, numbers, coordinates, entry: 0, step: 1, lanes: Default::default(), outcome: None })
    }

    /// Puts the cursor before an entry; `number` is the step, counted from 1.
    pub(super) fn begin(&mut self, shared: &Shared, entry: usize, number: u64) {
        (self.entry, self.step) = (entry, number);
        if let Some(numbers) = &mut self.numbers {
            shared.device.write_numbers(numbers, shared.seed, number, &self.coordinates, &shared.scalars);
        }
        self.lanes = Default::default();
        self.outcome = None;
    }

    /// How the entry ended; none while it runs.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The collectives in which the rank waits.
    pub(super) fn meetings(&self) -> impl Iterator<Item = &Meeting> {
        self.lanes.iter().filter_map(|lane| lane.meeting.as_ref())
    }

    /// Does what can be done on a stream beside, else what stands at the cursor of the calls, and moves on.
    pub(super) fn advance(&mut self, shared: &Shared, worker: &mut Worker) -> Progress {
        for stream in Stream::ALL {
            match self.beside(shared, stream.lane()) {
                Progress::Blocked => {}
                progress => return progress,
            }
        }
        self.ahead(shared, worker)
    }

    /// Does what stands next on the stream of the calls.
    fn ahead(&mut self, shared: &Shared, worker: &mut Worker) -> Progress {
        let flat = &shared.entries[self.entry].1;
        let Some((step, micro)) = self.lanes[0].cursor.step(flat) else {
            self.outcome.get_or_insert(Outcome::Done);
            return Progress::End;
        };
        let progress = match step {
            Step::Launch(launch) => {
                self.launch(shared, worker, &launch, micro);
                Progress::Launched(launch.kernel)
            }
            Step::Exchange(launch) => self.exchange(shared, 0, &launch, micro),
            Step::Start(stream, _) => {
                self.lanes[stream.lane()].left += 1;
                Progress::Moved
            }
            Step::Join(stream) if self.lanes[stream.lane()].left > 0 => Progress::Blocked,
            Step::Join(_) => Progress::Moved,
            Step::Control => self.control(&shared.plan, &shared.entries[self.entry].0),
        };
        match progress {
            Progress::Launched(_) | Progress::Moved => self.lanes[0].cursor.pass(),
            Progress::Blocked | Progress::End | Progress::Torn => {}
        }
        progress
    }

    /// Goes on with what was started on a stream, in order; blocked if there is nothing.
    fn beside(&mut self, shared: &Shared, number: usize) -> Progress {
        let flat = &shared.entries[self.entry].1;
        let lane = &mut self.lanes[number];
        while lane.left > 0 {
            match lane.cursor.step(flat) {
                Some((Step::Start(stream, launch), micro)) if stream.lane() == number => {
                    let progress = self.exchange(shared, number, &launch, micro);
                    if let Progress::Launched(_) = progress {
                        self.lanes[number].cursor.pass();
                        self.lanes[number].left -= 1;
                    }
                    return progress;
                }
                Some(_) => lane.cursor.pass(),
                None => break,
            }
        }
        Progress::Blocked
    }

    /// The control word: goes on if what was measured is finite, and within its limits. The plan has reduced it, so all ranks decide alike.
    fn control(&mut self, plan: &Plan, entry: &str) -> Progress {
        let exceeded = self.exceeded(plan, entry).is_some();
        if !exceeded && ["loss", "grad_norm"].iter().all(|name| self.readout(plan, name).is_none_or(f64::is_finite)) {
            return Progress::Moved;
        }
        self.outcome = Some(if exceeded { Outcome::Exceeded } else { Outcome::Skipped });
        self.lanes[0].cursor = Cursor::END;
        Progress::End
    }

    /// The limit of an entry that was exceeded furthest in proportion, and by what; none if all were kept.
    pub(super) fn exceeded<'p>(&self, plan: &'p Plan, entry: &str) -> Option<(&'p Limit, u64)> {
        let measured = |limit: &'p Limit| {
            let base = plan.arena.regions[limit.region].offset;
            let most = limit.offsets().map(|offset| self.arena.number(base + offset)).fold(0.0, f32::max);
            (limit, most as u64)
        };
        let own = plan.limits.iter().filter(|limit| limit.entry == entry).map(measured);
        let over = own.filter(|(limit, most)| *most > limit.bound);
        let share = |(limit, most): &(&Limit, u64)| *most as f64 / limit.bound as f64;
        over.reduce(|first, next| if share(&next) > share(&first) { next } else { first })
    }

    /// A number that the last entry reported; readouts of equal name add up.
    pub(super) fn readout(&self, plan: &Plan, name: &str) -> Option<f64> {
        let value = |readout: &Readout| {
            let base = plan.arena.regions[readout.region].offset;
            let at = |offset: u64| f64::from(self.arena.number(base + offset));
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
        let flat = &shared.entries[self.entry].1;
        let mut operands = [std::ptr::null_mut::<u8>(); OPERANDS];
        let mut accumulate = 0u64;
        for (at, place) in operands[..launch.count].iter_mut().enumerate() {
            let (start, adds) = self.place(flat, launch.first + at, micro);
            *place = start;
            accumulate |= u64::from(adds) << at;
        }
        let work = device::Launch {
            operands: &operands[..launch.count],
            accumulate,
            scalars: &shared.scalars,
            coordinates: &self.coordinates,
            seed: shared.seed,
            step: self.step,
            iteration: launch.iteration,
            micro,
            numbers: self.numbers.as_ref().map_or(std::ptr::null(), |numbers| numbers.start().cast_const()),
        };
        // SAFETY: operands are in the arena and disjoint as the verifier demands; nothing else touches the arena while its rank runs, except
        // collectives in which the rank waits, and those beside, whose operands the plan's proof keeps apart from what runs meanwhile.
        unsafe { shared.device.launch(worker, launch.kernel, &work) };
    }

    /// Arrives at a collective on one of the streams, then does what can be done for it.
    fn exchange(&mut self, shared: &Shared, lane: usize, launch: &Launch, micro: u64) -> Progress {
        let flat = &shared.entries[self.entry].1;
        let mut meeting = self.lanes[lane].meeting.unwrap_or_else(|| {
            let ((input, _), (output, adds)) = (self.place(flat, launch.first, micro), self.place(flat, launch.first + 1, micro));
            shared.local.arrive((launch.kernel, lane), self.number, Places { input, output, adds }, &shared.bell)
        });
        // SAFETY: the operands are in the arenas, as the verifier demands; a rank that has arrived touches its operands only once it has left.
        let stand = unsafe { shared.local.go_on(&shared.device, self.number, &mut meeting, &shared.bell) };
        self.lanes[lane].meeting = Some(meeting);
        match stand {
            Stand::Done => {
                self.lanes[lane].meeting = None;
                Progress::Launched(launch.kernel)
            }
            Stand::Waits => Progress::Blocked,
            Stand::Torn => Progress::Torn,
        }
    }
}
