//! The text in front of all functions.

use super::contract;
use meshwright_plan::Plan;
use meshwright_plan::kernel::{KernelData, Skeleton};

/// What a plan's functions use, for so many coordinates and scalars.
pub(super) fn text(plan: &Plan, coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    let mut text =
        format!("#define MW_COORDINATES {}\n#define MW_SCALARS {}\n{}", size(coordinates), size(scalars), include_str!("prelude.cuh"));
    let contracts = plan.kernels.values().any(is_contract);
    if contracts {
        text += include_str!("tiles.cuh");
        text += contract::TEMPLATE;
    }
    text
}

fn is_contract(kernel: &KernelData) -> bool {
    matches!(kernel.skeleton, Skeleton::Contract { .. })
}
