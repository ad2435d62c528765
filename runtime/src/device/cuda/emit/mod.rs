//! Kernel IR → CUDA C: a pure function of the kernels and the architecture, so it needs no GPU and no CUDA.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: header-free source that NVRTC takes; what it needs of the hardware beyond
//! CUDA C stands in one prelude, which tests replace by C++ that plays a thread block.
//!
//! Every function takes, in this order: the places of the kernel's operands, `const mw_step* step` (in device memory, so that a captured graph
//! can be launched again), `unsigned iteration`, `unsigned micro`, and `unsigned long long adds` (bit `i`: accumulating operand `i` is added to);
//! a collective's function takes the operands of all members, by value, the member's number, and whether it adds.

mod attention;
mod collective;
mod contract;
mod prelude;
mod rows;
mod segmented;
mod text;
mod view;

use crate::device::coordinates;
use crate::error::Error;
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::{KernelData, Skeleton};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Kernel, Plan};

/// Most ranks of a group that share one GPU.
pub const MEMBERS: usize = 64;

/// The CUDA C of a plan.
#[derive(Clone, Debug)]
pub struct Source {
    /// Instructions beyond CUDA C, each behind a function, where something uses them; tests put their own in its place.
    pub hardware: &'static str,
    /// What all functions need: types, reductions, random numbers.
    pub prelude: String,
    /// The functions of every kernel, in the order in which they are launched.
    pub kernels: PrimaryMap<Kernel, Vec<Function>>,
    /// What a launch brings the values of, in this order.
    pub coordinates: Vec<Coordinate>,
}

/// One `__global__` function with its launch.
#[derive(Clone, Debug)]
pub struct Function {
    /// Unique in the plan: `k7_norm`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Blocks.
    pub grid: u32,
    /// Threads of a block, a multiple of 32.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl Source {
    /// All of it as one translation unit.
    #[must_use]
    pub fn text(&self) -> String {
        let functions = self.kernels.values().flatten().map(|function| format!("\n{}", function.text));
        self.hardware.to_string() + &self.prelude + &functions.collect::<String>()
    }
}

/// The source of a plan's kernels.
///
/// # Errors
/// [`Error::Kernel`]: one has a form that is not supported here.
pub fn source(plan: &Plan) -> Result<Source, Error> {
    let coordinates = coordinates::of_plan(plan);
    let scalars: Vec<String> = plan.scalars.iter().map(|definition| definition.name.clone()).collect();
    let names = Names { scalars: &scalars, coordinates: &coordinates };
    let on: PrimaryMap<Kernel, bool> = plan.kernels.keys().map(|number| on_tensor_cores(plan, number)).collect();
    let one = |(number, kernel): (Kernel, &KernelData)| {
        let refused = |why| Error::Kernel { number: Some(number), name: kernel.name.clone(), why };
        functions(plan, number, on[number], names).map_err(refused)
    };
    let kernels = plan.kernels.iter().map(one).collect::<Result<_, _>>()?;
    let prelude = prelude::text(plan, &on, coordinates.len(), scalars.len());
    Ok(Source { hardware: prelude::hardware(&on), prelude, kernels, coordinates })
}

/// Whether a kernel is computed on tensor cores.
fn on_tensor_cores(plan: &Plan, number: Kernel) -> bool {
    let kernel = &plan.kernels[number];
    let suits = match &kernel.skeleton {
        Skeleton::Contract { .. } => contract::suits_tensor_cores(kernel),
        Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape) => attention::suits_tensor_cores(kernel, shape),
        Skeleton::Rows(_) | Skeleton::Segmented | Skeleton::Collective(_) => false,
    };
    suits && aligned(plan, number)
}

/// Whether all operands of a kernel are placed at multiples of 16 bytes, as the parameters of programs are unless they hold input, wherever a
/// program launches it.
fn aligned(plan: &Plan, kernel: Kernel) -> bool {
    let launches = plan.programs.values().flat_map(|program| &program.launches).filter(|launch| launch.kernel == kernel);
    launches.flat_map(|launch| &launch.places).all(|place| place.offset.is_multiple_of(16))
}

/// What functions read from a step by number.
#[derive(Clone, Copy)]
struct Names<'a> {
    scalars: &'a [String],
    coordinates: &'a [Coordinate],
}

fn functions(plan: &Plan, own: Kernel, on_tensor_cores: bool, names: Names<'_>) -> Result<Vec<Function>, String> {
    let (number, kernel) = (own.as_u32(), &plan.kernels[own]);
    match &kernel.skeleton {
        Skeleton::Rows(body) => rows::emit(number, kernel, body, names),
        Skeleton::Contract { alpha } => contract::emit(number, kernel, *alpha, on_tensor_cores),
        Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape) => attention::emit(number, kernel, shape, names, on_tensor_cores),
        Skeleton::Segmented => segmented::emit(number, kernel),
        Skeleton::Collective(collective) => collective::emit(number, kernel, collective, plan.mesh.size(&collective.axes)),
    }
}
