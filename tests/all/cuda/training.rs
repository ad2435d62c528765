//! Whole steps on a GPU that is played: the same plan, the executor as it is, the emitted functions of every kernel, collectives included.
//!
//! Requires a C++ compiler and no GPU. Ensures for models of each kind on meshes whose ranks share the GPU: initial weights with the bits of
//! the CPU's, every gradient of the first step to rounding, losses (twenty of one model) within 1e-4, and equal bits in every order of threads.

use crate::emulate::context;
use crate::{folder, spec};
use meshwright_compiler::Target;
use meshwright_plan::{Element, Plan};
use meshwright_runtime::device::Device;
use meshwright_runtime::device::cuda::Cuda;
use meshwright_runtime::execute::compare::Granted;
use meshwright_runtime::execute::{Fleet, compare};
use meshwright_runtime::pool::Pool;

/// Meshes of ranks on one GPU, and how many steps they take: each kind of collective, coordinates, dropout, ring attention, experts.
const CASES: [(&str, u64); 7] =
    [("gpt_tensor", 20), ("price_features", 2), ("gpt_zero2", 2), ("llama_ring", 2), ("gpt_heads", 2), ("moe_expert", 2), ("gpt_three", 2)];

fn ready(mut fleet: Fleet) -> Fleet {
    fleet.initialise();
    compare::fill(&mut fleet, 7);
    fleet
}

fn played(plan: &Plan, order: u32) -> Fleet {
    let cuda = Cuda::load(plan, context(order)).expect("kernels that compile");
    ready(Fleet::on(Device::Cuda(cuda), plan.clone(), Pool::new(1, false), 7).expect("a fleet"))
}

fn processor(plan: &Plan) -> Fleet {
    ready(Fleet::new(plan.clone(), Pool::new(1, false), 7).expect("a fleet"))
}

fn loss(fleet: &mut Fleet, step: u64) -> f64 {
    compare::loss(fleet, step).expect("a step")
}

/// What is wrong with a plan, beside the CPU's of the same spec.
fn faults([plan, beside]: [&Plan; 2], steps: u64, granted: &Granted) -> Vec<String> {
    let (mut found, mut wanted) = (played(plan, 0), processor(beside));
    let mut bad = Vec::new();
    if !compare::equal_weights(&found, &wanted) {
        bad.push("initial weights differ".to_string());
    }
    for step in 1..=steps {
        let (loss, expected) = (loss(&mut found, step), loss(&mut wanted, step));
        if (loss - expected).abs() > granted.curve * expected.abs() || loss.is_nan() {
            bad.push(format!("loss {loss} in step {step}, on the CPU {expected}"));
            break;
        }
        if step == 1 {
            let gradients = compare::gradients(&found, &wanted, granted);
            let wrong = gradients.iter().filter(|one| !one.passes());
            bad.extend(wrong.map(|one| format!("{}: off by {:.3e}, granted {:.3e}", one.worst, one.off, one.granted)));
        }
    }
    bad
}

#[test]
fn plans_train_as_on_the_processor() {
    let mut bad = Vec::new();
    for (case, steps) in CASES {
        let plan = spec::compile(&folder::root().join(format!("tests/cases/meshes/{case}.mesh")), &[]).plan;
        bad.extend(faults([&plan; 2], steps, &compare::EXACT).into_iter().map(|fault| format!("{case}: {fault}")));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// In bf16: ranks that share a GPU, and numbers that pass between programs and ranks in two bytes.
const ROUNDED: [&str; 4] = ["gpt_tensor", "gpt_zero2", "llama_ring", "moe_expert"];

#[test]
fn plans_of_two_bytes_train_as_on_the_processor() {
    let mut bad = Vec::new();
    for case in ROUNDED {
        let path = folder::root().join(format!("tests/cases/meshes/{case}.mesh"));
        let [cuda, cpu] = [Target::Cuda, Target::Cpu].map(|target| spec::compile_to(target, &path, &[("train.precision", "bf16")]).plan);
        let halves = cuda.kernels.values().flat_map(|kernel| kernel.operands.values()).filter(|one| one.element == Element::Bf16).count();
        assert!(halves > 0, "{case} keeps nothing in two bytes");
        bad.extend(faults([&cuda, &cpu], 3, &compare::ROUNDED).into_iter().map(|fault| format!("{case}: {fault}")));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn every_launch_is_timed() {
    let plan = spec::compile(&folder::root().join("tests/cases/meshes/price_features.mesh"), &[("mesh.data", "1")]).plan;
    let (mut found, mut wanted) = (played(&plan, 0), processor(&plan));
    let (mut own, mut others, mut total) = (Vec::new(), Vec::new(), std::time::Duration::ZERO);
    found
        .run_timed("step", 1, &mut |kernel, time| {
            own.push(kernel);
            total += time;
        })
        .expect("a step");
    wanted.run_timed("step", 1, &mut |kernel, _| others.push(kernel)).expect("a step");
    assert!(own == others && !own.is_empty() && !total.is_zero(), "{own:?} {others:?} {total:?}");
}

#[test]
fn two_runs_have_equal_bits_in_any_order_of_threads() {
    let plan = spec::compile(&folder::root().join("tests/cases/meshes/gpt_data.mesh"), &[]).plan;
    let [mut one, mut two] = [1, 7].map(|order| played(&plan, order));
    for step in 1..=3 {
        assert_eq!(loss(&mut one, step).to_bits(), loss(&mut two, step).to_bits(), "step {step}");
    }
    assert!(compare::equal_weights(&one, &two));
}
