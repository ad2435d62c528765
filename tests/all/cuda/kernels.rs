//! Every different kernel of every example, and of meshes that have others.
//!
//! Ensures each once, whatever it and its dims and operands are called, with the mesh and the scalars of a plan that has it.

use crate::emulate::parallel::in_parallel;
use crate::folder::{files, root, shown};
use crate::spec;
use meshwright_plan::Plan;
use meshwright_plan::kernel::{KernelData, Skeleton};
use meshwright_plan::mesh::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

/// All of them but collectives, which ranks run together.
pub fn all() -> Vec<Found> {
    let mut specs = files(&root().join("examples"), "mesh");
    let examples = specs.len();
    specs.extend(MESHES.iter().map(|name| root().join(format!("tests/cases/meshes/{name}.mesh"))));
    let one = |at: usize| if at < examples { spec::compile_shrunk(&specs[at]) } else { spec::compile(&specs[at], &[]) };
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for (at, plan) in in_parallel(specs.len(), |at| one(at).plan).into_iter().enumerate() {
        add(&mut all, &mut known, &specs[at], &plan);
    }
    all
}

fn add(all: &mut Vec<Found>, known: &mut BTreeSet<String>, path: &Path, plan: &Plan) {
    let scalars = scalars(plan);
    for kernel in plan.kernels.values().filter(|kernel| !matches!(kernel.skeleton, Skeleton::Collective(_))) {
        if known.insert(identity(kernel)) {
            all.push(Found { spec: shown(path), kernel: kernel.clone(), mesh: plan.mesh.clone(), scalars: scalars.clone() });
        }
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
