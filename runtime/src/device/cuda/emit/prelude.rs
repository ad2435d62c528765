//! The text in front of all functions.

use super::{MEMBERS, attention, contract};
use meshwright_plan::Plan;
use meshwright_plan::kernel::Skeleton;

/// What a plan's functions use, for so many coordinates and scalars.
pub(super) fn text(plan: &Plan, coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    let any = |wanted: fn(&Skeleton) -> bool| plan.kernels.values().any(|kernel| wanted(&kernel.skeleton));
    let contracts = any(|skeleton| matches!(skeleton, Skeleton::Contract { .. }));
    let attends = any(|skeleton| matches!(skeleton, Skeleton::Attention(_) | Skeleton::AttentionGrad(_)));
    let sizes = [("COORDINATES", size(coordinates)), ("SCALARS", size(scalars)), ("MEMBERS", MEMBERS)];
    let mut text = sizes.map(|(name, size)| format!("#define MW_{name} {size}\n")).concat() + include_str!("prelude.cuh");
    for (needed, template) in
        [(contracts || attends, include_str!("tiles.cuh")), (contracts, contract::TEMPLATE), (attends, attention::TEMPLATE)]
    {
        text += if needed { template } else { "" };
    }
    text
}
