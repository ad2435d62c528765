//! Whole specs: every program of the training graph, fused, against the interpreter.
//!
//! Requires the stages before this one. Ensures how many kernels a block of a transformer takes.

use super::build::Build;
use super::{check, fuse, names, verify_plan};
use crate::fuse::print::print;
use crate::fuse::rows::Step;
use crate::fuse::verify::verify;
use crate::graph::ir::{Graph, Program};
use crate::model::tests::model;

const GPT: &str = "
use std.norm
dims { Batch = 2, Seq = 3, Embed = 8, Heads = 2, Head = 4, Mlp = 16, Vocab = 7, Layers = 2 }
let init = 0.02
layer Attention(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight query, key, value: [Embed -> Heads, Head] = normal(init)
    weight query_bias, key_bias, value_bias: [Heads, Head] = zeros
    weight out: [Heads, Head -> Embed] = normal(init)
    weight out_bias: [Embed] = zeros
    let q = x @ query + query_bias
    let k = x @ key + key_bias
    let v = x @ value + value_bias
    return attention(q, k, v, sequence: Seq, feature: Head, causal: true) @ out + out_bias
}
layer Feed(x: [.., Embed]) -> [.., Embed] {
    weight up: [Embed -> Mlp] = normal(init)
    weight up_bias: [Mlp] = zeros
    weight down: [Mlp -> Embed] = normal(init)
    weight down_bias: [Embed] = zeros
    return gelu(x @ up + up_bias) @ down + down_bias
}
layer Block(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight before, after: LayerNorm(Embed)
    let y = x + Attention(before(x))
    return y + Feed(after(y))
}
model Gpt(tokens: index(Vocab)[Batch, Seq], targets: index(Vocab)[Batch, Seq]) -> [Batch, Seq, Vocab] {
    weight table: [Vocab -> Embed] = normal(init)
    weight place: [Seq, Embed] = normal(init)
    weight final: LayerNorm(Embed)
    let x = lookup(table, tokens) + place
    repeat Layers { carry x = Block(x) }
    let logits = final(x) @ table
    loss cross_entropy(logits, targets)
    return logits
}
";

const LLAMA: &str = "
use std.norm
use std.attention
use std.feed
dims { Batch = 2, Seq = 3, Embed = 12, KvHeads = 2, Group = 3, Head = 4, Mlp = 10, Vocab = 7, Layers = 2 }
layer Block(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight before, after: RmsNorm(Embed)
    let y = x + GroupedQuery(before(x), Seq, Embed, KvHeads, Group, Head)
    return y + SwiGlu(after(y), Embed, Mlp)
}
model Llama(tokens: index(Vocab)[Batch, Seq], targets: index(Vocab)[Batch, Seq]) -> [Batch, Seq, Vocab] {
    weight table: [Vocab -> Embed] = normal(0.02)
    weight final: RmsNorm(Embed)
    weight head: [Embed -> Vocab]
    let x = lookup(table, tokens)
    repeat Layers { carry x = Block(x) }
    let logits = final(x) @ head
    loss cross_entropy(logits, targets)
    return logits
}
";

const PRICE: &str = "
dims { Batch = 4, Feature = 3, Hidden = 5, Depth = 3 }
layer Dense(h: [.., Hidden]) -> [.., Hidden] {
    weight w: [Hidden -> Hidden]
    weight b: [Hidden] = zeros
    return relu(h @ w + b)
}
model Price(x: real[Batch, Feature], y: real[Batch]) -> [Batch] {
    weight first: [Feature -> Hidden]
    weight last: [Hidden]
    let h = x @ first
    repeat Depth { carry h = Dense(h) }
    let guess = dot(h, last, over: Hidden)
    loss (guess - y) ^ 2
    return guess
}
";

/// Slots that overflow, a router with an auxiliary loss, experts by `each`.
const MOE: &str = "
dims { Batch = 2, Seq = 6, Embed = 5, Mlp = 3, Route = 3, Expert = 3, TopK = 2, Slot = 3 }
layer Feed(x: [.., Embed]) -> [.., Embed] {
    weight up: [Embed -> Mlp]
    weight down: [Mlp -> Embed]
    return gelu(x @ up) @ down
}
model Moe(x: real[Batch, Seq, Embed], y: real[Batch, Seq, Embed]) -> [Batch, Seq, Embed] {
    weight route: [Embed -> Route]
    let score = softmax(x @ route, Route)
    let value, choice = top_k(score, Route, into: TopK)
    let load = mean(sum(one_hot(choice, Route), TopK), Seq)
    loss 0.01 * Route * sum(load * mean(score, Seq), Route)
    let slots, spot = dispatch(x, choice, over: Seq, to: Expert, slots: Slot)
    let z = combine(each Expert: Feed(slots), spot, value / sum(value, TopK))
    loss (z - y) ^ 2
    return z
}
";

fn graph(text: &str) -> Graph {
    crate::graph::build(&model(text), true).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The kernels of every program, one line each, after each was checked.
fn kernels(text: &str) -> String {
    let graph = graph(text);
    let mut lines = Vec::new();
    let mut note = |name: String, program: &Program| {
        let build = Build { program: program.clone(), dims: graph.dims.clone(), batch: graph.batch };
        let fused = check(&build);
        lines.push(format!("{name} ({}): {}", fused.launches.len(), names(&fused)));
    };
    for segment in graph.segments.values() {
        note(format!("{}.forward", segment.name), &segment.forward);
        note(format!("{}.forward_only", segment.name), &segment.forward_only);
        if let Some(backward) = &segment.backward {
            note(format!("{}.backward", segment.name), backward);
        }
    }
    if let Some(update) = &graph.update {
        note("square_sum".to_string(), &update.square_sum);
        note("factor".to_string(), &update.factor);
        update.groups.iter().for_each(|group| note(group.name.clone(), &group.program));
    }
    lines.join("\n")
}

#[test]
fn gpt() {
    insta::assert_snapshot!(kernels(GPT));
}

#[test]
fn llama() {
    insta::assert_snapshot!(kernels(LLAMA));
}

#[test]
fn price() {
    insta::assert_snapshot!(kernels(PRICE));
}

#[test]
fn experts() {
    insta::assert_snapshot!(kernels(MOE));
}

/// The first lines of all kernels: dims and blocks.
fn grids(text: &str) -> String {
    let graph = graph(text);
    let mut lines = Vec::new();
    for segment in graph.segments.values() {
        for (what, program) in [("forward", Some(&segment.forward)), ("backward", segment.backward.as_ref())] {
            let Some(program) = program else { continue };
            let fused = fuse(
                program,
                &graph.dims,
                Step { batch: graph.batch, microbatches: graph.microbatches, parts: 1, target: crate::Target::Cpu },
            );
            assert_eq!(verify(&fused, program, &graph.dims), Vec::<String>::new());
            verify_plan(&fused, program);
            lines.push(format!("{}.{what}", segment.name));
            let text = print(&fused);
            lines.extend(
                text.lines().filter(|line| line.starts_with("kernel")).map(|line| format!("  {}", line.trim_start_matches("kernel "))),
            );
        }
    }
    lines.join("\n")
}

#[test]
fn grids_of_a_gpt_of_10m_parameters() {
    let sizes = "Batch = 8, Seq = 256, Embed = 384, Heads = 6, Head = 64, Mlp = 1536, Vocab = 65, Layers = 6";
    let small = "Batch = 2, Seq = 3, Embed = 8, Heads = 2, Head = 4, Mlp = 16, Vocab = 7, Layers = 2";
    insta::assert_snapshot!(grids(&GPT.replace(small, sizes)));
}

#[test]
fn grids_of_a_llama_of_15m_parameters() {
    let sizes = "Batch = 8, Seq = 256, Embed = 384, KvHeads = 2, Group = 3, Head = 64, Mlp = 1024, Vocab = 256, Layers = 9";
    let small = "Batch = 2, Seq = 3, Embed = 12, KvHeads = 2, Group = 3, Head = 4, Mlp = 10, Vocab = 7, Layers = 2";
    insta::assert_snapshot!(grids(&LLAMA.replace(small, sizes)));
}
