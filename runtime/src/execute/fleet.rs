//! All ranks of a mesh in this process: one plan, one set of compiled kernels, one arena a rank.
//!
//! Requires: a verified plan. Ensures: what an entry computes depends on the plan, the inputs and the seed alone, not on threads or on who runs
//! first; nothing blocks a thread, and a rank that waits for ever is an error that names it.

use super::drive;
use super::flat::{Flat, flatten};
use super::rank::{Outcome, Rank, Shared};
use crate::comm::Local;
use crate::device::Device;
use crate::device::cpu::Worker;
use crate::device::cuda::Context;
use crate::error::Error;
use crate::pool::Pool;
use crate::pool::bell::Bell;
use crate::state::pieces;
use meshwright_plan::{Input, Kernel, Plan};
use std::time::{Duration, Instant};

/// The ranks of a plan on this machine's CPU.
pub struct Fleet {
    pub(super) shared: Shared,
    pub(super) ranks: Vec<Rank>,
    /// With one rank, one worker of all threads; else workers of one thread, each with ranks of its own.
    pub(super) workers: Vec<Worker>,
    /// The threads of the workers, if there are several ranks.
    threads: Option<Pool>,
    /// Orders of ranks from a seed, on the calling thread alone.
    interleaving: Option<drive::Seed>,
    /// Ranks that have not ended, where one thread drives all.
    waiting: Vec<usize>,
    /// Values of scalars in f64, for definitions that use earlier ones.
    exact: Vec<f64>,
    /// Weights were written since an entry ran: those that rest in pieces and are used whole are yet to be gathered.
    pub(super) written: bool,
    /// An input of the whole batch, before it is cut.
    pub(super) whole: (Vec<f32>, Vec<i32>),
}

impl Fleet {
    /// Compiles the plan's kernels and maps the arenas. `seed` keys initial weights and random sites. One rank uses all threads of the pool for
    /// every kernel; of several ranks, each stays on one thread.
    pub fn new(plan: Plan, pool: Pool, seed: u64) -> Result<Fleet, Error> {
        let device = Device::cpu(&plan)?;
        Fleet::on(device, plan, pool, seed)
    }

    /// The same on a device that has the plan's kernels. A GPU runs all ranks, one after the other.
    pub fn on(device: Device, plan: Plan, pool: Pool, seed: u64) -> Result<Fleet, Error> {
        let local = Local::load(&plan).map_err(|error| Error::Kernel { number: None, name: error.kernel, why: error.message })?;
        let entries: Vec<(String, Flat)> = plan.entries.iter().map(|entry| (entry.name.clone(), flatten(&plan, entry))).collect();
        let ranks = plan.mesh.ranks() as usize;
        let alone = ranks == 1 || matches!(device, Device::Cuda(_));
        let workers = if alone { 1 } else { pool.threads().min(ranks) };
        let (scalars, exact) = (vec![0.0; plan.scalars.len()], vec![0.0; plan.scalars.len()]);
        let whole = if ranks == 1 { (vec![], vec![]) } else { whole_inputs(&plan) };
        let shared = Shared { plan, device, local, bell: Bell::new(workers, pool.spin()), entries, seed, scalars };
        let (workers, threads) = if alone {
            (vec![shared.device.worker(pool)], None)
        } else {
            ((0..workers).map(|_| shared.device.worker(Pool::new(1, false))).collect(), Some(pool))
        };
        let ranks: Vec<Rank> = (0..ranks).map(|number| Rank::new(&shared, number)).collect::<Result<_, _>>()?;
        let waiting = Vec::with_capacity(ranks.len());
        Ok(Fleet { shared, ranks, workers, threads, interleaving: None, waiting, exact, written: false, whole })
    }

    /// All threads.
    pub fn pool(&self) -> &Pool {
        self.threads.as_ref().unwrap_or_else(|| self.workers[0].pool())
    }

    /// The plan that every rank runs.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.ranks.len()
    }

    /// Bytes of memory that ranks have, and bytes of scratch, batch and tables that this process needs besides.
    pub fn bytes(&self) -> (usize, usize) {
        let arenas = self.ranks.iter().map(|rank| rank.arena.bytes()).sum();
        let scratch: usize = self.workers.iter().map(Worker::scratch_bytes).sum();
        (arenas, scratch + 4 * (self.whole.0.len() + self.whole.1.len()))
    }

    /// From now on the calling thread drives all ranks, and after every operation the seed chooses who is next: results must not depend on it.
    pub fn interleave(&mut self, seed: u64) {
        self.interleaving = Some(drive::Seed(seed));
    }

    /// A number that the last entry reported; readouts of equal name add up. The plan has reduced them: rank 0 speaks for all.
    pub fn readout(&self, name: &str) -> Option<f64> {
        self.ranks[0].readout(&self.shared.plan, name)
    }

    /// The value of a scalar at the step that ran last.
    pub fn scalar(&self, name: &str) -> Option<f64> {
        let at = self.shared.plan.scalars.iter().position(|definition| definition.name == name)?;
        Some(self.exact[at])
    }

    /// Whether the plan has an entry of this name.
    pub fn has(&self, entry: &str) -> bool {
        self.shared.entries.iter().any(|(name, _)| name == entry)
    }

    /// Runs an entry from its beginning on all ranks; `step` is counted from 1. An entry that the plan lacks does nothing.
    ///
    /// # Errors
    /// Ranks wait for each other in vain, or decide differently: the plan is wrong. Or something went beyond its limit: then no weight has
    /// changed.
    pub fn run(&mut self, entry: &str, step: u64) -> Result<Outcome, Error> {
        if std::mem::take(&mut self.written) {
            self.walk("start", step, None)?;
        }
        self.walk(entry, step, None)
    }

    /// The same on the calling thread; for each launch of rank 0 `heard` is told the kernel and how long its launch took, the way to it
    /// included (with several ranks, the others' work in between too); on a GPU, by its own clock, once all is done.
    ///
    /// # Errors
    /// As above.
    pub fn run_timed(&mut self, entry: &str, step: u64, heard: &mut dyn FnMut(Kernel, Duration)) -> Result<Outcome, Error> {
        if let Device::Cuda(cuda) = &self.shared.device {
            let context = cuda.context().clone();
            return self.run_marked(&*context, entry, step, heard);
        }
        let mut since = Instant::now();
        self.walk(
            entry,
            step,
            Some(&mut |kernel| {
                heard(kernel, since.elapsed());
                since = Instant::now();
            }),
        )
    }

    /// [`Fleet::run_timed`] on a GPU, which is behind the calling thread.
    fn run_marked(
        &mut self,
        context: &dyn Context,
        entry: &str,
        step: u64,
        heard: &mut dyn FnMut(Kernel, Duration),
    ) -> Result<Outcome, Error> {
        let mut launched = Vec::new();
        context.mark();
        let outcome = self.walk(
            entry,
            step,
            Some(&mut |kernel| {
                context.mark();
                launched.push(kernel);
            }),
        );
        launched.into_iter().zip(context.marked()).for_each(|(kernel, time)| heard(kernel, time));
        self.shared.device.failure().map_or(outcome, Err)
    }

    fn walk(&mut self, entry: &str, step: u64, heard: Option<&mut dyn FnMut(Kernel)>) -> Result<Outcome, Error> {
        self.set_scalars(step);
        let Some(entry) = self.shared.entries.iter().position(|(name, _)| name == entry) else { return Ok(Outcome::Done) };
        let Fleet { shared, ranks, .. } = self;
        ranks.iter_mut().for_each(|rank| rank.begin(shared, entry, step));
        self.shared.bell.begin();
        match (&self.threads, self.interleaving, heard) {
            (Some(threads), None, None) => drive::together(&self.shared, threads, &mut self.workers, &mut self.ranks),
            (_, _, heard) => {
                let (seed, none): (_, &mut dyn FnMut(Kernel)) = (&mut self.interleaving, &mut |_| {});
                drive::alone(&self.shared, &mut self.workers[0], &mut self.ranks, &mut self.waiting, seed, heard.unwrap_or(none));
            }
        }
        let outcome = self.shared.device.failure().map_or_else(|| drive::agreed(&self.shared, &self.ranks), Err);
        if outcome.is_err() {
            self.shared.local.reset();
        }
        outcome.and_then(|outcome| self.within(entry, step, outcome))
    }

    /// The outcome, if the entry has kept its limits: what exceeds one has computed something else than the spec says.
    fn within(&self, entry: usize, step: u64, outcome: Outcome) -> Result<Outcome, Error> {
        let entry = &self.shared.entries[entry].0;
        match self.ranks[0].exceeded(&self.shared.plan, entry) {
            None => Ok(outcome),
            Some((limit, wanted)) => {
                let (path, dim, bound) = (limit.path.clone(), limit.dim.clone(), limit.bound);
                Err(Error::Slots { entry: entry.clone(), step, path, dim, bound, wanted })
            }
        }
    }

    fn set_scalars(&mut self, step: u64) {
        let definitions = &self.shared.plan.scalars;
        for at in 0..definitions.len() {
            let exact = &self.exact;
            let named = |name: &str| definitions[..at].iter().position(|known| known.name == name).map(|known| exact[known]);
            let value = definitions[at].value.eval(step, &named).unwrap_or(f64::NAN);
            self.exact[at] = value;
            self.shared.scalars[at] = value as f32;
        }
    }
}

/// Room for the largest input of each type, over all ranks.
fn whole_inputs(plan: &Plan) -> (Vec<f32>, Vec<i32>) {
    let most = |real: bool| {
        let inputs = plan.inputs.iter().filter(|input: &&Input| (input.element == meshwright_plan::Element::F32) == real);
        inputs.map(|input| pieces::elements(&plan.mesh, &input.dims)).max().unwrap_or(0) as usize
    };
    (vec![0.0; most(true)], vec![0; most(false)])
}
