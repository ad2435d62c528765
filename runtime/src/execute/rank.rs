//! One rank: its arena, its kernels, and a cursor that runs entries step by step.

use super::arena::Arena;
use super::flat::{Flat, Launch, Step, flatten};
use crate::device::cpu::{self, Cpu};
use crate::error::Error;
use crate::pool::Pool;
use crate::state::init;
use meshwright_plan::{Kernel, Plan, Weight};
use std::time::{Duration, Instant};

/// Most operands of one kernel.
const OPERANDS: usize = 64;

/// Elements of a weight that one cell initialises.
const PIECE: usize = 1 << 16;

/// A rank of a plan on this machine's CPU.
pub struct Rank {
    plan: Plan,
    arena: Arena,
    device: Cpu,
    seed: u64,
    entries: Vec<(String, Flat)>,
    /// Values of the plan's scalars at the current step, as kernels read them.
    scalars: Vec<f32>,
    /// The same in f64, for definitions that use earlier ones.
    exact: Vec<f64>,
}

/// Where a rank stands in an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
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
enum Progress {
    Launched(Kernel),
    Moved,
    Skip,
    End,
}

impl Rank {
    /// Compiles the plan's kernels and maps its arena. `seed` keys initial weights and random sites.
    pub fn new(plan: Plan, pool: Pool, seed: u64) -> Result<Rank, Error> {
        let arena = Arena::new(plan.arena.bytes)?;
        let device =
            Cpu::load(&plan, pool).map_err(|error| Error::Kernel { name: error.kernel.unwrap_or_default(), why: error.message })?;
        let entries = plan.entries.iter().map(|entry| (entry.name.clone(), flatten(&plan, entry))).collect();
        let (scalars, exact) = (vec![0.0; plan.scalars.len()], vec![0.0; plan.scalars.len()]);
        Ok(Rank { plan, arena, device, seed, entries, scalars, exact })
    }

    /// The threads that run its kernels.
    pub fn pool(&self) -> &Pool {
        self.device.pool()
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives every weight its initial value.
    pub fn initialise(&mut self) {
        for at in 0..self.plan.weights.len() {
            let weight = self.plan.weights[at].clone();
            (0..weight.count).for_each(|copy| self.initialise_copy(&weight, copy));
        }
    }

    /// Fills one copy of a weight, a piece a cell.
    fn initialise_copy(&mut self, weight: &Weight, copy: u64) {
        let (seed, name, init) = (self.seed, weight.name(copy), weight.init);
        let values = self.weight_mut(weight, copy);
        let (start, count) = (values.as_mut_ptr() as usize, values.len());
        self.device.pool().run(count.div_ceil(PIECE), &|cell, _| {
            let first = cell * PIECE;
            // SAFETY: pieces of the weight's own elements, disjoint by cell; nothing else touches the arena now.
            let piece = unsafe { std::slice::from_raw_parts_mut((start as *mut f32).add(first), PIECE.min(count - first)) };
            init::fill(seed, &name, init, first as u64, piece);
        });
    }

    /// The value of record of one copy of a weight.
    pub fn weight(&self, weight: &Weight, copy: u64) -> &[f32] {
        let base = self.plan.arena.regions[weight.rest.region].offset;
        self.arena.f32s(base + weight.rest.offset + copy * weight.rest.stride, weight.elements())
    }

    /// The same, to be written.
    pub fn weight_mut(&mut self, weight: &Weight, copy: u64) -> &mut [f32] {
        let base = self.plan.arena.regions[weight.rest.region].offset;
        self.arena.f32s_mut(base + weight.rest.offset + copy * weight.rest.stride, weight.elements())
    }

    /// The gradient of one copy of a weight as the last step left it; none for weights that are not trained.
    pub fn gradient(&self, weight: &Weight, copy: u64) -> Option<&[f32]> {
        let gradient = weight.gradient.as_ref()?;
        let base = self.plan.arena.regions[gradient.region].offset;
        Some(self.arena.f32s(base + gradient.offset + copy * gradient.stride, weight.elements()))
    }

    /// A real input's memory: the whole batch of a step.
    pub fn input_f32(&mut self, input: usize) -> &mut [f32] {
        let (offset, count) = self.input_place(input);
        self.arena.f32s_mut(offset, count)
    }

    /// An index input's memory: the whole batch of a step.
    pub fn input_i32(&mut self, input: usize) -> &mut [i32] {
        let (offset, count) = self.input_place(input);
        self.arena.i32s_mut(offset, count)
    }

    fn input_place(&self, input: usize) -> (u64, u64) {
        let input = &self.plan.inputs[input];
        (self.plan.arena.regions[input.region].offset, input.dims.iter().map(|dim| dim.size).product())
    }

    /// What the entry left under an output's name.
    pub fn output(&self, name: &str) -> Option<&[f32]> {
        let output = self.plan.outputs.iter().find(|output| output.name == name)?;
        let base = self.plan.arena.regions[output.region].offset;
        Some(self.arena.f32s(base + output.offset, output.dims.iter().map(|dim| dim.size).product()))
    }

    /// A number that the last entry reported; readouts of equal name add up.
    pub fn readout(&self, name: &str) -> Option<f64> {
        let mut total = None;
        for readout in self.plan.readouts.iter().filter(|readout| readout.name == name) {
            let base = self.plan.arena.regions[readout.region].offset;
            let at = |offset: u64| f64::from(self.arena.f32s(base + offset, 1)[0]);
            let value = at(readout.offset) / readout.count.map_or(1.0, at);
            total = Some(total.unwrap_or(0.0) + value);
        }
        total
    }

    /// The value of a scalar at the step that ran last.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        let at = self.plan.scalars.iter().position(|definition| definition.name == name)?;
        Some(self.exact[at])
    }

    /// Whether the plan has an entry of this name.
    pub fn has(&self, entry: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == entry)
    }

    /// Runs an entry from its beginning; `step` is counted from 1. An entry that the plan lacks does nothing.
    pub fn run(&mut self, entry: &str, step: u64) -> Outcome {
        self.walk(entry, step, &mut |_| {})
    }

    /// The same; after each launch `heard` is told the kernel and how long its launch took, the way to it included.
    pub fn run_timed(&mut self, entry: &str, step: u64, heard: &mut dyn FnMut(Kernel, Duration)) -> Outcome {
        let mut since = Instant::now();
        self.walk(entry, step, &mut |kernel| {
            heard(kernel, since.elapsed());
            since = Instant::now();
        })
    }

    fn walk(&mut self, entry: &str, step: u64, launched: &mut dyn FnMut(Kernel)) -> Outcome {
        self.set_scalars(step);
        let Some(entry) = self.entries.iter().position(|(name, _)| name == entry) else { return Outcome::Done };
        let mut cursor = Cursor::default();
        loop {
            match self.advance(entry, step, &mut cursor) {
                Progress::Launched(kernel) => launched(kernel),
                Progress::Moved => {}
                Progress::Skip => return Outcome::Skipped,
                Progress::End => return Outcome::Done,
            }
        }
    }

    fn set_scalars(&mut self, step: u64) {
        for at in 0..self.plan.scalars.len() {
            let (definitions, exact) = (&self.plan.scalars, &self.exact);
            let named = |name: &str| definitions[..at].iter().position(|known| known.name == name).map(|known| exact[known]);
            let value = definitions[at].value.eval(step, &named).unwrap_or(f64::NAN);
            self.exact[at] = value;
            self.scalars[at] = value as f32;
        }
    }

    /// Does what stands at the cursor, and moves it on.
    fn advance(&mut self, entry: usize, step: u64, cursor: &mut Cursor) -> Progress {
        let Some(section) = self.entries[entry].1.sections.get(cursor.section) else { return Progress::End };
        if cursor.step == section.steps.len() {
            cursor.step = 0;
            cursor.micro += 1;
            if cursor.micro >= section.micros {
                *cursor = Cursor { section: cursor.section + 1, ..Cursor::default() };
            }
            return Progress::Moved;
        }
        let progress = match section.steps[cursor.step] {
            Step::Launch(launch) => {
                self.launch(entry, launch, step, cursor.micro);
                Progress::Launched(launch.kernel)
            }
            Step::Control if self.is_finite() => Progress::Moved,
            Step::Control => return Progress::Skip,
        };
        cursor.step += 1;
        progress
    }

    /// The control word of one rank: whether what it measured is finite.
    fn is_finite(&self) -> bool {
        ["loss", "grad_norm"].iter().all(|name| self.readout(name).is_none_or(f64::is_finite))
    }

    fn launch(&mut self, entry: usize, launch: Launch, step: u64, micro: u64) {
        let mut operands = [std::ptr::null_mut::<u8>(); OPERANDS];
        let mut accumulate = 0u64;
        let listed = &self.entries[entry].1.operands[launch.first..launch.first + launch.count];
        for (at, operand) in listed.iter().enumerate() {
            let offset = operand.offset as i64 + operand.micro * micro as i64;
            // SAFETY: the plan's verifier bounds every operand inside the arena, for all microbatches.
            operands[at] = unsafe { self.arena.start().add(offset as usize) };
            accumulate |= u64::from(operand.adds(micro)) << at;
        }
        let work = cpu::Launch {
            operands: &operands[..launch.count],
            accumulate,
            scalars: &self.scalars,
            seed: self.seed,
            step,
            iteration: launch.iteration,
            micro,
        };
        // SAFETY: operands are in the arena and disjoint as the verifier demands; nothing else touches the arena while a rank runs.
        unsafe { self.device.launch(launch.kernel, &work) };
    }
}
