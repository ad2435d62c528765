//! Devices: what executes the kernels of a plan. Each makes the kernels' text into something it can run, once, when a plan is loaded.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: the bits of a result depend on the plan, the kind of device and the inputs only.

pub mod alone;
mod coordinates;
pub mod cpu;
pub mod cuda;
pub mod loops;
pub mod null;

use crate::error::Error;
use crate::execute::Arena;
use crate::pool::Pool;
use cpu::{Cpu, Worker};
use cuda::Cuda;
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Kernel, Plan};

/// Most operands of one kernel.
pub(crate) const OPERANDS: usize = 64;

/// What a kernel works on, beyond its own text.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The place of every operand, in the kernel's order.
    pub operands: &'a [*mut u8],
    /// Which accumulating operands are added to: bit `i` for operand `i`.
    pub accumulate: u64,
    /// The step's scalars, in the plan's order.
    pub scalars: &'a [f32],
    /// The rank's coordinates, in the order of [`Device::coordinates`].
    pub coordinates: &'a [i64],
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 1.
    pub step: u64,
    /// The iteration number that random sites see.
    pub iteration: u64,
    /// The microbatch.
    pub micro: u64,
    /// Seed, step, coordinates and scalars again, where the device has them in memory of its own.
    pub numbers: *const u8,
}

impl Launch<'_> {
    /// Whether an operand is added to.
    pub(crate) fn adds(&self, operand: usize) -> bool {
        self.accumulate >> operand & 1 == 1
    }
}

// SAFETY: the pointers are shared with the pool for the length of a launch; cells write disjoint elements.
unsafe impl Sync for Launch<'_> {}

/// A device with a plan's kernels.
pub enum Device {
    /// The processor of this machine.
    Cpu(Box<Cpu>),
    /// A GPU.
    Cuda(Cuda),
}

impl Device {
    /// The processor of this machine.
    ///
    /// # Errors
    /// It cannot run one of the kernels.
    pub fn cpu(plan: &Plan) -> Result<Device, Error> {
        let refused = |error: cpu::LoadError| Error::Kernel { number: None, name: error.kernel.unwrap_or_default(), why: error.message };
        Cpu::load(plan).map(|cpu| Device::Cpu(Box::new(cpu))).map_err(refused)
    }

    /// What a launch must bring the values of, in this order.
    #[must_use]
    pub fn coordinates(&self) -> &[Coordinate] {
        match self {
            Device::Cpu(cpu) => cpu.coordinates(),
            Device::Cuda(cuda) => cuda.coordinates(),
        }
    }

    /// Memory of so many bytes, zeroed, where kernels reach it.
    ///
    /// # Errors
    /// There is not so much.
    pub fn arena(&self, bytes: u64) -> Result<Arena, Error> {
        match self {
            Device::Cpu(_) => Arena::new(bytes),
            Device::Cuda(cuda) => Arena::on(cuda.context().clone(), bytes),
        }
    }

    /// Room for the numbers of a step, if kernels read them from the device's own memory.
    pub(crate) fn numbers(&self) -> Result<Option<Arena>, Error> {
        match self {
            Device::Cpu(_) => Ok(None),
            Device::Cuda(cuda) => cuda.numbers().map(Some),
        }
    }

    /// Fills it.
    pub(crate) fn write_numbers(&self, numbers: &mut Arena, seed: u64, step: u64, coordinates: &[i64], scalars: &[f32]) {
        match self {
            Device::Cpu(_) => {}
            Device::Cuda(cuda) => cuda.write_numbers(numbers, seed, step, coordinates, scalars),
        }
    }

    /// What the device refused to do, if anything: what it computed since then means nothing.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self {
            Device::Cpu(_) => None,
            Device::Cuda(cuda) => cuda.context().failure(),
        }
    }

    /// Threads for kernels, or for what is to be done beside them.
    #[must_use]
    pub fn worker(&self, pool: Pool) -> Worker {
        match self {
            Device::Cpu(cpu) => cpu.worker(pool),
            Device::Cuda(_) => Worker::without_scratch(pool),
        }
    }

    /// Runs one kernel, or gives it to the device to run after what it was given before.
    ///
    /// # Safety
    /// As for [`Cpu::launch`]; `numbers` are those of this rank and step.
    pub unsafe fn launch(&self, worker: &mut Worker, kernel: Kernel, launch: &Launch<'_>) {
        // SAFETY: as the caller promises.
        unsafe {
            match self {
                Device::Cpu(cpu) => cpu.launch(worker, kernel, launch),
                Device::Cuda(cuda) => cuda.launch(kernel, launch),
            }
        }
    }
}
