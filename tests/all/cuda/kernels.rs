//! Every different kernel of every example, and of meshes that have others.
//!
//! Ensures each once, whatever it and its dims and operands are called, with the mesh and the scalars of a plan that has it.

use crate::emulate::parallel::in_parallel;
use crate::folder::{files, root, shown};
use crate::spec;
use meshwright_compiler::Target;
use meshwright_plan::Plan;
use meshwright_plan::kernel::{KernelData, Role, Skeleton};
use meshwright_plan::mesh::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A kernel and where it is from.
pub struct Found {
    /// The spec.
    pub spec: String,
    /// The kernel.
    pub kernel: KernelData,
    /// The mesh that its coordinates are about.
    pub mesh: Mesh,
    /// The plan's scalars in a step in the middle of a run, by name.
    pub scalars: BTreeMap<String, f32>,
}

/// That step.
pub const STEP: u64 = 30;

/// Meshes whose plans have what no example has: positions along rings, balanced and padded parts, masks, experts with slots of their own.
const MESHES: [&str; 8] = [
    "along_balanced_axes",
    "gpt_balanced_three",
    "gpt_heads",
    "gpt_padded",
    "llama_ring_three",
    "masked_balanced",
    "moe_expert_fsdp",
    "moe_ragged_sequence",
];

/// Points of a kernel that takes few rows.
const MOST_POINTS: u64 = 1 << 20;

/// All of them but collectives, which ranks run together: of the examples in a small size, and their `rows` kernels in full width, too; in f32 and
/// in bf16.
pub fn all() -> Vec<Found> {
    let examples = files(&root().join("examples"), "mesh");
    let meshes = MESHES.iter().map(|name| root().join(format!("tests/cases/meshes/{name}.mesh")));
    let small = examples.iter().map(|path| (path.clone(), Size::Small));
    let wide = examples.iter().map(|path| (path.clone(), Size::Wide));
    let exact: Vec<(PathBuf, Size)> = small.chain(meshes.map(|path| (path, Size::Own))).chain(wide).collect();
    let specs =
        ["f32", "bf16"].map(|precision| exact.iter().map(move |(path, size)| (path.clone(), *size, precision))).into_iter().flatten();
    let specs: Vec<(PathBuf, Size, &str)> = specs.collect();
    let plans = in_parallel(specs.len(), |at| specs[at].1.plan(&specs[at].0, specs[at].2));
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for (plan, (path, size, _)) in plans.into_iter().zip(&specs) {
        let kernels = plan.kernels.values().filter_map(|kernel| size.kernel(kernel));
        kernels.for_each(|kernel| add(&mut all, &mut known, path, &plan, kernel));
    }
    all
}

/// In which size a spec is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Made smaller.
    Small,
    /// As it is written.
    Own,
    /// As it is written, and of its kernels the `rows` ones with few rows: long rows have forms of their own.
    Wide,
}

impl Size {
    fn plan(self, path: &Path, precision: &str) -> Plan {
        let set = [("train.precision", precision)];
        match self {
            Size::Small => spec::compile_shrunk(Target::Cuda, path, &set).plan,
            Size::Own | Size::Wide => spec::compile_to(Target::Cuda, path, &set).plan,
        }
    }

    fn kernel(self, kernel: &KernelData) -> Option<KernelData> {
        match (&kernel.skeleton, self) {
            (Skeleton::Collective(_), _) => None,
            (Skeleton::Rows(_), Size::Wide) => few_rows(kernel),
            (_, Size::Wide) => None,
            _ => Some(kernel.clone()),
        }
    }
}

/// The kernel with three points along each of its row dims at most, and fewer blocks.
fn few_rows(kernel: &KernelData) -> Option<KernelData> {
    let mut few = kernel.clone();
    few.dims.values_mut().filter(|dim| dim.role == Role::Row).for_each(|dim| dim.size = dim.size.min(3));
    let Skeleton::Rows(rows) = &mut few.skeleton else { return None };
    rows.blocks = rows.blocks.min(2);
    for slot in few.operands.keys().collect::<Vec<_>>() {
        few.operands[slot].extent = few.reach(slot).unwrap_or(few.operands[slot].extent);
    }
    let points = few.dims.values().map(|dim| dim.size).product::<u64>();
    let memory = few.operands.values().map(|operand| operand.extent).sum::<u64>();
    (points <= MOST_POINTS && memory <= 8 * MOST_POINTS).then_some(few)
}

fn add(all: &mut Vec<Found>, known: &mut BTreeSet<String>, path: &Path, plan: &Plan, kernel: KernelData) {
    if known.insert(identity(&kernel)) {
        all.push(Found { spec: shown(path), kernel, mesh: plan.mesh.clone(), scalars: scalars(plan) });
    }
}

/// What a kernel does, without names.
fn identity(kernel: &KernelData) -> String {
    let mut nameless = kernel.clone();
    nameless.name.clear();
    nameless.dims.values_mut().for_each(|dim| {
        dim.name.clear();
        dim.axes.clear();
    });
    nameless.operands.values_mut().for_each(|operand| operand.name.clear());
    format!("{nameless:?}")
}

fn scalars(plan: &Plan) -> BTreeMap<String, f32> {
    let mut exact: BTreeMap<String, f64> = BTreeMap::new();
    for definition in &plan.scalars {
        let value = definition.value.eval(STEP, &|name| exact.get(name).copied()).expect("a scalar has a value");
        exact.insert(definition.name.clone(), value);
    }
    exact.into_iter().map(|(name, value)| (name, value as f32)).collect()
}
