//! The text in front of all functions.

use super::{MEMBERS, aligned, attention, contract};
use meshwright_plan::Plan;
use meshwright_plan::kernel::{KernelData, Skeleton};

/// What a plan's functions use of the hardware.
pub(super) fn hardware(plan: &Plan) -> &'static str {
    if attends_on_tensor_cores(plan) || multiplies_on_tensor_cores(plan) { include_str!("hardware.cuh") } else { "" }
}

fn attends_on_tensor_cores(plan: &Plan) -> bool {
    plan.kernels.iter().any(|(number, kernel)| attention::on_tensor_cores(kernel, aligned(plan, number)))
}

fn multiplies_on_tensor_cores(plan: &Plan) -> bool {
    let product = |kernel: &KernelData| matches!(kernel.skeleton, Skeleton::Contract { .. });
    plan.kernels.iter().any(|(number, kernel)| product(kernel) && contract::on_tensor_cores(kernel, aligned(plan, number)))
}

/// What a plan's functions use, for so many coordinates and scalars.
pub(super) fn text(plan: &Plan, coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    let any = |wanted: fn(&Skeleton) -> bool| plan.kernels.values().any(|kernel| wanted(&kernel.skeleton));
    let contracts = any(|skeleton| matches!(skeleton, Skeleton::Contract { .. }));
    let attends = any(|skeleton| matches!(skeleton, Skeleton::Attention(_) | Skeleton::AttentionGrad(_)));
    let sizes = [("COORDINATES", size(coordinates)), ("SCALARS", size(scalars)), ("MEMBERS", MEMBERS)];
    let mut text = sizes.map(|(name, size)| format!("#define MW_{name} {size}\n")).concat() + include_str!("prelude.cuh");
    for (needed, template) in [
        (contracts || attends, include_str!("tiles.cuh")),
        (contracts, contract::TEMPLATE),
        (attends, attention::TEMPLATE),
        (attends_on_tensor_cores(plan) || multiplies_on_tensor_cores(plan), include_str!("swizzle.cuh")),
        (multiplies_on_tensor_cores(plan), contract::MMA_TEMPLATE),
        (attends_on_tensor_cores(plan), attention::MMA_TEMPLATE),
    ] {
        text += if needed { template } else { "" };
    }
    text
}
