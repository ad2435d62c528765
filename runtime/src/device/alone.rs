//! One kernel alone, on memory of its own: how tests hold one device against another.
//!
//! Requires: a plan that its verifier accepted, and indices of lookups in their range. Ensures: memory of the sizes that the kernel wants, with
//! margins that show writes outside of it.

use super::Launch;
use super::cpu::{Cpu, LoadError, Worker};
use crate::pool::Pool;
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::{KernelData, Operand};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Kernel, Plan};

/// One cache line, and so the alignment of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
struct Line([u8; 64]);

/// Lines on both sides of an operand.
const MARGIN: usize = 16;
/// What stands in the margins: as f32 a NaN that nothing else makes.
const UNTOUCHED: u32 = 0x7fc0_beef;

/// The memory of one operand.
#[derive(Clone, Debug)]
pub struct Memory {
    lines: Vec<Line>,
    bytes: usize,
}

impl Memory {
    /// So many bytes, zeroed.
    #[must_use]
    pub fn new(bytes: usize) -> Memory {
        let mut words = [0; 64];
        words.as_chunks_mut::<4>().0.iter_mut().for_each(|word| *word = UNTOUCHED.to_le_bytes());
        let mut memory = Memory { lines: vec![Line(words); bytes.div_ceil(64) + 2 * MARGIN], bytes };
        memory.bytes_mut().fill(0);
        memory
    }

    /// As much as an operand's extent.
    #[must_use]
    pub fn of(operand: &Operand) -> Memory {
        Memory::new((operand.extent * operand.element.bytes()) as usize)
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.all()[MARGIN * 64..][..self.bytes]
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.bytes;
        // SAFETY: lines are arrays of bytes without padding.
        let all = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>(), self.lines.len() * 64) };
        &mut all[MARGIN * 64..][..bytes]
    }

    /// Its words of four bytes.
    #[must_use]
    pub fn words(&self) -> Vec<u32> {
        self.bytes().as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    /// Whether nothing was written outside of it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let new = Memory::new(self.bytes);
        let [start, end] = [MARGIN * 64, MARGIN * 64 + self.bytes];
        self.all()[..start] == new.all()[..start] && self.all()[end..] == new.all()[end..]
    }

    /// Where it is.
    pub(super) fn place(&mut self) -> *mut u8 {
        self.bytes_mut().as_mut_ptr()
    }

    fn all(&self) -> &[u8] {
        // SAFETY: lines are arrays of bytes without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>(), self.lines.len() * 64) }
    }
}

/// The numbers of a launch.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Which accumulating operands are added to: bit `i` for operand `i`.
    pub accumulate: u64,
    /// The step's scalars, in the plan's order.
    pub scalars: Vec<f32>,
    /// The rank's coordinates, in the device's order.
    pub coordinates: Vec<i64>,
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 1.
    pub step: u64,
    /// The iteration number that random sites see.
    pub iteration: u64,
    /// The microbatch.
    pub micro: u64,
}

/// The processor with the kernels of a plan.
pub struct Alone {
    cpu: Cpu,
    worker: Worker,
    kernels: PrimaryMap<Kernel, KernelData>,
    scalars: usize,
}

impl Alone {
    /// Lowers the kernels.
    ///
    /// # Errors
    /// As [`Cpu::load`].
    pub fn load(plan: &Plan, threads: usize) -> Result<Alone, LoadError> {
        let cpu = Cpu::load(plan)?;
        let worker = cpu.worker(Pool::new(threads, false));
        Ok(Alone { cpu, worker, kernels: plan.kernels.clone(), scalars: plan.scalars.len() })
    }

    /// What a launch brings the values of, in this order.
    #[must_use]
    pub fn coordinates(&self) -> &[Coordinate] {
        self.cpu.coordinates()
    }

    /// Runs a kernel that is not a collective.
    ///
    /// # Panics
    /// If there is not one memory for every operand, as large as its extent, or not one number for every scalar and coordinate.
    pub fn run(&mut self, kernel: Kernel, operands: &mut [Memory], numbers: &Numbers) {
        let wanted: Vec<usize> = self.kernels[kernel].operands.values().map(|one| (one.extent * one.element.bytes()) as usize).collect();
        assert_eq!(operands.iter().map(|one| one.bytes).collect::<Vec<_>>(), wanted, "bytes of the operands");
        assert_eq!((numbers.scalars.len(), numbers.coordinates.len()), (self.scalars, self.coordinates().len()), "numbers of a launch");
        let places: Vec<*mut u8> = operands.iter_mut().map(Memory::place).collect();
        let launch = Launch {
            operands: &places,
            accumulate: numbers.accumulate,
            scalars: &numbers.scalars,
            coordinates: &numbers.coordinates,
            seed: numbers.seed,
            step: numbers.step,
            iteration: numbers.iteration,
            micro: numbers.micro,
            numbers: std::ptr::null(),
        };
        // SAFETY: every operand has memory of its own, aligned and as large as its extent; the numbers are those of the plan; the worker is this device's.
        unsafe { self.cpu.launch(&mut self.worker, kernel, &launch) };
    }
}
