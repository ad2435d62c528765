//! The device itself: loads a plan's kernels, then launches them one by one, for any number of ranks at the same time.
//!
//! Requires: a verified plan. Ensures: a launch allocates nothing and returns when its kernel has ended; all scratch is allocated when a worker
//! is made (outside of it, the matrix library keeps a packing buffer per thread).

use super::attention::Attend;
use super::gemm::Product;
use super::rows::jit::Code;
use super::rows::{Defined, Names, Runnable};
use super::segmented::Segmented;
use super::{Launch, Scratch};
use crate::device::coordinates;
use crate::pool::Pool;
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::{KernelData, Skeleton};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Element, Kernel, Plan};
use std::fmt;

/// A kernel in a form that runs.
enum Ready {
    Rows(Runnable),
    Product(Product),
    Attention(Attend),
    AttentionGrad(Attend),
    Segmented(Segmented),
    /// A communicator's, not this device's.
    Elsewhere,
}

/// The same before its machine code is executable.
enum Pending {
    Rows(Defined),
    Other(Ready),
}

/// One cache line of scratch.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _bytes: [u8; 64],
}

/// This machine's processor with a plan's kernels.
pub struct Cpu {
    kernels: PrimaryMap<Kernel, Ready>,
    coordinates: Vec<Coordinate>,
    lines_each: usize,
    /// Machine code that the kernels point to.
    _code: Code,
}

/// Threads that run one kernel at a time, with their scratch.
pub struct Worker {
    pool: Pool,
    scratch: Vec<Line>,
}

impl Worker {
    /// Threads alone.
    pub(crate) fn without_scratch(pool: Pool) -> Worker {
        Worker { pool, scratch: Vec::new() }
    }

    /// The threads.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Bytes of scratch outside of the arena.
    #[must_use]
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.len() * size_of::<Line>()
    }
}

/// A kernel that this device cannot run, or machine code that the system refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The kernel's name, if one is to blame.
    pub kernel: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kernel {
            Some(kernel) => write!(f, "kernel `{kernel}` cannot run on the cpu: {}", self.message),
            None => write!(f, "the cpu cannot run machine code: {}", self.message),
        }
    }
}

impl std::error::Error for LoadError {}

impl Cpu {
    /// Lowers all kernels of a plan.
    ///
    /// # Errors
    /// A kernel's form is not supported here, or the system refuses executable memory.
    pub fn load(plan: &Plan) -> Result<Cpu, LoadError> {
        let refused = |message: String| LoadError { kernel: None, message };
        let mut code = Code::new().map_err(refused)?;
        let scalars: Vec<String> = plan.scalars.iter().map(|definition| definition.name.clone()).collect();
        let coordinates = coordinates::of_plan(plan);
        let names = Names { scalars: &scalars, coordinates: &coordinates };
        let mut pending = Vec::with_capacity(plan.kernels.len());
        for kernel in plan.kernels.values() {
            let named = |message: String| LoadError { kernel: Some(kernel.name.clone()), message };
            pending.push(lower(&mut code, kernel, names).map_err(named)?);
        }
        code.finish().map_err(refused)?;
        let finish = |kernel: Pending| match kernel {
            Pending::Rows(defined) => Ready::Rows(defined.finish(&code)),
            Pending::Other(ready) => ready,
        };
        let kernels: PrimaryMap<Kernel, Ready> = pending.into_iter().map(finish).collect();
        let lines_each = kernels.values().map(Ready::scratch).max().unwrap_or(0).div_ceil(size_of::<Line>());
        Ok(Cpu { kernels, coordinates, lines_each, _code: code })
    }

    /// A worker of these threads for the kernels of this device.
    #[must_use]
    pub fn worker(&self, pool: Pool) -> Worker {
        let scratch = vec![Line { _bytes: [0; 64] }; self.lines_each * pool.threads()];
        Worker { pool, scratch }
    }

    /// What a launch must bring the values of, in this order.
    #[must_use]
    pub fn coordinates(&self) -> &[Coordinate] {
        &self.coordinates
    }

    /// Runs one kernel to its end on a worker of this device.
    ///
    /// # Safety
    /// There is a place for every operand of the kernel, aligned to its elements and valid for its extent; no two overlap except a read and a
    /// write of equal strides at one place; `scalars` are all those of the plan, in its order, and `coordinates` those of [`Cpu::coordinates`];
    /// the worker was made by this device.
    ///
    /// # Panics
    /// If the plan has no such kernel, or it is a collective.
    pub unsafe fn launch(&self, worker: &mut Worker, kernel: Kernel, launch: &Launch<'_>) {
        let each = self.lines_each * size_of::<Line>();
        let scratch = Scratch { base: worker.scratch.as_mut_ptr().cast(), each };
        let pool = &worker.pool;
        let place = |operand: usize| launch.operands[operand].cast::<f32>();
        // SAFETY: as the caller promises; the scratch is as large as the kernel said when it was loaded.
        unsafe {
            match &self.kernels[kernel] {
                Ready::Rows(rows) => rows.run(pool, launch, scratch),
                Ready::Product(product) => product.run(pool, place(2), launch.adds(2), place(0), place(1)),
                Ready::Attention(attend) => {
                    attend.forward(pool, std::array::from_fn(place), attend.stands(launch.coordinates), scratch);
                }
                Ready::AttentionGrad(attend) => {
                    attend.backward(pool, std::array::from_fn(place), attend.stands(launch.coordinates), scratch);
                }
                Ready::Segmented(segmented) => segmented.run(pool, launch),
                Ready::Elsewhere => unreachable!("collectives are the communicator's"),
            }
        }
    }
}

fn lower(code: &mut Code, kernel: &KernelData, names: Names<'_>) -> Result<Pending, String> {
    if let Some(operand) = kernel.operands.values().find(|operand| operand.element == Element::Bf16) {
        return Err(format!(
            "operand `{}` is bf16: a processor keeps rounded numbers as f32, so the plan is for another target",
            operand.name
        ));
    }
    Ok(Pending::Other(match &kernel.skeleton {
        Skeleton::Rows(rows) => return Ok(Pending::Rows(Defined::new(code, kernel, rows, names)?)),
        Skeleton::Contract { alpha } => Ready::Product(Product::new(kernel, *alpha)?),
        Skeleton::Attention(attention) => Ready::Attention(Attend::new(kernel, attention, names.coordinates, false)?),
        Skeleton::AttentionGrad(attention) => Ready::AttentionGrad(Attend::new(kernel, attention, names.coordinates, true)?),
        Skeleton::Segmented => Ready::Segmented(Segmented::new(kernel)?),
        Skeleton::Collective(_) => Ready::Elsewhere,
    }))
}

impl Ready {
    /// Bytes of scratch that each thread needs.
    fn scratch(&self) -> usize {
        match self {
            Ready::Rows(rows) => rows.scratch(),
            Ready::Attention(attend) | Ready::AttentionGrad(attend) => attend.scratch(),
            Ready::Product(_) | Ready::Segmented(_) | Ready::Elsewhere => 0,
        }
    }
}
