//! The text in front of all functions.

use super::{MEMBERS, attention, contract};
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::Skeleton;
use meshwright_plan::{Kernel, Plan};

/// What functions use of the hardware beyond CUDA C, if one of a plan's kernels is computed `on_tensor_cores`.
pub(super) fn hardware(on_tensor_cores: &PrimaryMap<Kernel, bool>) -> &'static str {
    if on_tensor_cores.values().any(|on| *on) { include_str!("hardware.cuh") } else { "" }
}

/// What a plan's functions use, for so many coordinates and scalars.
pub(super) fn text(plan: &Plan, on_tensor_cores: &PrimaryMap<Kernel, bool>, coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    let kernels = || plan.kernels.values().zip(on_tensor_cores.values());
    // somewhere at all, and on tensor cores
    let used = |wanted: fn(&Skeleton) -> bool| {
        let these = || kernels().filter(|(kernel, _)| wanted(&kernel.skeleton));
        (these().next().is_some(), these().any(|(_, on)| *on))
    };
    let (contracts, mma_contracts) = used(|skeleton| matches!(skeleton, Skeleton::Contract { .. }));
    let (attends, mma_attends) = used(|skeleton| matches!(skeleton, Skeleton::Attention(_) | Skeleton::AttentionGrad(_)));
    let sizes = [("COORDINATES", size(coordinates)), ("SCALARS", size(scalars)), ("MEMBERS", MEMBERS)];
    let mut text = sizes.map(|(name, size)| format!("#define MW_{name} {size}\n")).concat() + include_str!("prelude.cuh");
    for (needed, template) in [
        (contracts || attends, include_str!("tiles.cuh")),
        (contracts, contract::TEMPLATE),
        (attends, attention::TEMPLATE),
        (mma_contracts || mma_attends, include_str!("swizzle.cuh")),
        (mma_contracts, contract::MMA_TEMPLATE),
        (mma_attends, attention::MMA_TEMPLATE),
    ] {
        text += if needed { template } else { "" };
    }
    text
}
