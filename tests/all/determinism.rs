//! One seed, one result: losses and weights are bitwise equal whatever the number of threads, and whichever rank goes first.

use super::commands::meshwright;
use super::folder::{Scratch, root};
use super::spec;
use meshwright_runtime::execute::{Fleet, compare};
use meshwright_runtime::pool::Pool;
use serde_json::Value;
use std::fs;

/// Dropout, clipping, microbatches, a tied table, weight decay: everything that could depend on an order.
const SPEC: &str = r#"use std.norm

dims { Batch = 6, Seq = 37, Embed = 48, Heads = 3, Head = Embed / Heads, Mlp = 100, Vocab = 256, Layers = 2 }

layer Block(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight before, after: LayerNorm(Embed)
    weight query, key, value: [Embed -> Heads, Head]
    weight out: [Heads, Head -> Embed]
    weight up: [Embed -> Mlp]
    weight down: [Mlp -> Embed]
    let h = before(x)
    let y = x + attention(h @ query, h @ key, h @ value, sequence: Seq, feature: Head, causal: true) @ out
    return y + dropout(gelu(after(y) @ up) @ down, 0.1)
}

model Tied(tokens: index(Vocab)[Batch, Seq], targets: index(Vocab)[Batch, Seq]) -> [Batch, Seq, Vocab] {
    weight table: [Vocab -> Embed] = normal(0.05)
    let x = lookup(table, tokens)
    repeat Layers { carry x = Block(x) }
    let logits = x @ table
    loss cross_entropy(logits, targets)
    return logits
}

train {
    steps        = 8
    microbatches = 2
    rate         = cosine(peak: 3e-3, warmup: 2, floor: 1e-4)
    clip         = 0.5
    seed         = 11
}
data { train = text("*.txt"), held_out = 0.2 }
validate { every = 4, batches = 2 }
"#;

/// What a run measured and made: losses, norms, weights.
fn run(scratch: &Scratch, name: &str, threads: &str, seed: &str) -> (Vec<Value>, Vec<u8>) {
    let seed = format!("train.seed={seed}");
    let done = meshwright(&scratch.path(""), &["train", "tied.mesh", "--out", name, "--threads", threads, "--set", &seed]);
    assert_eq!(done.code, 0, "{}", done.errors);
    let metrics = fs::read_to_string(scratch.path(name).join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let step: Value = serde_json::from_str(line).expect("a JSON line");
        serde_json::json!([step["loss"], step["grad_norm"], step["rate"], step["validation_loss"]])
    };
    let weights = fs::read(scratch.path(name).join("weights.safetensors")).expect("weights");
    (metrics.lines().map(line).collect(), weights)
}

#[test]
fn runs_are_bitwise_equal_whatever_the_threads() {
    let scratch = Scratch::new("determinism");
    scratch.write("tied.mesh", SPEC);
    for name in ["LICENSE-APACHE", "LICENSE-MIT", "rustfmt.toml", "Cargo.toml"] {
        fs::copy(root().join(name), scratch.path(&format!("{name}.txt"))).expect("a text to learn");
    }
    let first = run(&scratch, "one", "1", "11");
    assert_eq!(first.0.len(), 8);
    for (name, threads) in [("again", "1"), ("two", "2"), ("three", "3"), ("five", "5")] {
        let other = run(&scratch, name, threads, "11");
        assert_eq!(first.0, other.0, "losses with {threads} threads");
        assert!(first.1 == other.1, "weights with {threads} threads");
    }
    assert_ne!(first.0, run(&scratch, "other", "2", "12").0, "another seed gives another run");
}

/// Three steps of a mesh: losses, norms, and the first weights to the bit.
fn steps(case: &str, threads: usize, seed: Option<u64>) -> Vec<u64> {
    let plan = spec::compile(&root().join(format!("tests/cases/meshes/{case}.mesh")), &[]).plan;
    let mut fleet = Fleet::new(plan, Pool::new(threads, false), 3).expect("a fleet");
    fleet.initialise();
    compare::fill(&mut fleet, 3);
    if let Some(seed) = seed {
        fleet.interleave(seed);
    }
    let mut bits = Vec::new();
    for step in 1..=3 {
        bits.push(compare::loss(&mut fleet, step).expect("a step").to_bits());
        bits.extend(fleet.readout("grad_norm").map(f64::to_bits));
    }
    bits
}

/// Exchanges beside the calls end at other moments whenever ranks take other turns: nobody can tell.
#[test]
fn meshes_are_bitwise_equal_whoever_goes_first() {
    for case in ["gpt_fsdp", "gpt_zero1", "gpt_zero2", "gpt_hsdp", "llama_hold", "gpt_data", "moe_expert_fsdp"] {
        let one = steps(case, 1, None);
        for threads in [2, 3] {
            assert_eq!(one, steps(case, threads, None), "{case} on {threads} threads");
        }
        for seed in 0..6 {
            assert_eq!(one, steps(case, 2, Some(seed)), "{case} with seed {seed}");
        }
    }
}
