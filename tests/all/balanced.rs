//! What `via ring balanced` is for: of what a causal mask leaves, every rank of a ring computes as much as any other.
//!
//! Requires the cases of `cases/meshes`. Ensures it by counting, on the plan alone, the pairs of queries and keys that each rank's launches of attention
//! see; nothing is timed. That kernels skip what is masked is a test of the kernels.

use crate::{folder, spec};
use meshwright_plan::kernel::{Attention, Role, Skeleton};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Kernel, KernelData, Plan, parse, print};

fn plan(case: &str, set: &[(&str, &str)]) -> Plan {
    spec::compile(&folder::root().join(format!("tests/cases/meshes/{case}.mesh")), set).plan
}

/// Positions of a rank's queries or keys in the whole sequence.
fn positions(plan: &Plan, rank: u64, size: u64, start: Option<&Coordinate>, balanced: bool) -> Vec<u64> {
    let Some(start) = start else { return (0..size).collect() };
    let place = |i: u64| {
        let second = balanced && i >= size / 2;
        i + plan.mesh.value(rank, &Coordinate { second, ..start.clone() })
    };
    (0..size).map(place).collect()
}

/// Pairs that one launch of an attention sees on a rank, for one head of one sample.
fn pairs(plan: &Plan, rank: u64, kernel: &KernelData, shape: &Attention) -> u64 {
    let size = |role: Role| kernel.dims.values().filter(|dim| dim.role == role).map(|dim| dim.size).product();
    let queries = positions(plan, rank, size(Role::Query), shape.query.as_ref(), shape.balanced);
    let keys = positions(plan, rank, size(Role::Key), shape.key.as_ref(), shape.balanced);
    let sees = |query: u64, key: u64| key <= query && shape.window.is_none_or(|window| query - key < window);
    queries.iter().map(|query| keys.iter().filter(|key| sees(*query, **key)).count() as u64).sum()
}

/// The kernel and its mask, if it is an attention or, as asked, the gradient of one.
fn attention(plan: &Plan, kernel: Kernel, gradient: bool) -> Option<(&KernelData, &Attention)> {
    let data = &plan.kernels[kernel];
    match &data.skeleton {
        Skeleton::Attention(shape) if !gradient => Some((data, shape)),
        Skeleton::AttentionGrad(shape) if gradient => Some((data, shape)),
        _ => None,
    }
}

/// Pairs of a block's forward or backward program, by rank.
fn work(plan: &Plan, gradient: bool) -> Vec<u64> {
    let name = if gradient { "Block.backward" } else { "Block.forward" };
    let program = plan.programs.values().find(|program| program.name == name).expect("the model has a block");
    let launches = || program.launches.iter().filter_map(|launch| attention(plan, launch.kernel, gradient));
    (0..plan.mesh.ranks()).map(|rank| launches().map(|(kernel, shape)| pairs(plan, rank, kernel, shape)).sum()).collect()
}

#[test]
fn every_rank_of_a_balanced_ring_sees_as_many_pairs() {
    for (sequence, ranks) in [(16u64, 2u64), (64, 4), (96, 8)] {
        let (seq, size) = (sequence.to_string(), ranks.to_string());
        let set = [("dims.Seq", seq.as_str()), ("mesh.context", size.as_str())];
        for gradient in [false, true] {
            let balanced = work(&plan("gpt_balanced", &set), gradient);
            let all = sequence * (sequence + 1) / 2;
            assert!(balanced.iter().all(|own| own * ranks == all), "{ranks} ranks, {sequence} positions: {balanced:?} of {all}");
            let blocks = work(&plan("gpt_ring", &set), gradient);
            assert_eq!(blocks.iter().sum::<u64>(), all);
            assert!(blocks[ranks as usize - 1] > (ranks - 1) * blocks[0], "{blocks:?}");
        }
    }
}

#[test]
fn a_plan_says_which_dims_are_balanced_and_reads_it_back() {
    let plan = plan("gpt_balanced_three", &[]);
    let text = print::print(&plan);
    assert_eq!(parse::parse(&text), Ok(plan.clone()));
    for wanted in [
        "input tokens: i32[Batch 8 / data, Seq 4 / context*tensor balanced]",
        "weight Gpt.place: [Seq 4 / context*tensor balanced, Embed 16]",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    // lines of kernels go on in further ones
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "\\").collect();
    let attentions = words.join(" ").matches("causal balanced query coord(context, times 4) key coord(context").count();
    assert_eq!(attentions, 4, "{text}");
}

/// A part that has no two equal runs, or positions that are no two runs of its coordinate.
#[test]
fn runs_that_do_not_fit_are_refused() {
    let plan = plan("gpt_balanced", &[]);
    assert!(meshwright_plan::verify::verify(&plan).is_ok());
    let changes: [fn(&mut Plan); 4] = [
        |plan| {
            for kernel in plan.kernels.values_mut() {
                let (Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape)) = &mut kernel.skeleton else { continue };
                shape.balanced = false;
            }
        },
        |plan| plan.weights.iter_mut().flat_map(|weight| &mut weight.dims).for_each(|dim| dim.balanced = true),
        |plan| plan.inputs[0].dims[0].balanced = true,
        |plan| {
            for kernel in plan.kernels.values_mut() {
                let (Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape)) = &mut kernel.skeleton else { continue };
                shape.key.iter_mut().for_each(|key| key.times += 1);
            }
        },
    ];
    for change in changes {
        let mut other = plan.clone();
        change(&mut other);
        assert!(meshwright_plan::verify::verify(&other).is_err());
    }
}
