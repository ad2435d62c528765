//! Claims about sharding: collectives are the textbook's whatever the sizes, and every damaged program is refused.

mod collectives;
mod mutants;

use super::ir::Sharded;
use super::shard;
use crate::graph;
use crate::model::tests::model;

const GPT: &str = "
use std.norm
dims { Batch = 8, Seq = 8, Embed = 16, Heads = 4, Head = 4, Mlp = 32, Vocab = 24, Layers = 2 }
layer Attention(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight query, key, value: [Embed -> Heads, Head]
    weight query_bias: [Heads, Head] = zeros
    weight out: [Heads, Head -> Embed]
    weight out_bias: [Embed] = zeros
    return attention(x @ query + query_bias, x @ key, x @ value, sequence: Seq, feature: Head, causal: true) @ out + out_bias
}
layer Feed(x: [.., Embed]) -> [.., Embed] {
    weight up: [Embed -> Mlp]
    weight up_bias: [Mlp] = zeros
    weight down: [Mlp -> Embed]
    return dropout(gelu(x @ up + up_bias) @ down, 0.1)
}
layer Block(x: [.., Seq, Embed]) -> [.., Seq, Embed] {
    weight before, after: LayerNorm(Embed)
    let y = x + Attention(before(x))
    return y + Feed(after(y))
}
model Gpt(tokens: index(Vocab)[Batch, Seq], targets: index(Vocab)[Batch, Seq]) -> [Batch, Seq, Vocab] {
    weight table: [Vocab -> Embed]
    weight place: [Seq, Embed]
    weight final: LayerNorm(Embed)
    let x = lookup(table, tokens) + place
    repeat Layers { carry x = Block(x) }
    let logits = final(x) @ table
    loss cross_entropy(logits, targets)
    return logits
}
train { microbatches = 2, clip = 1.0 }
";

/// The meshes that the claims are about, by name.
const MESHES: [(&str, &str); 15] = [
    ("data", "mesh { data = 2 }\nshard { Batch -> data }"),
    ("tensor", "mesh { tensor = 2 }\nshard { Heads, Mlp, Vocab -> tensor }"),
    ("sequence", "mesh { tensor = 2 }\nshard { Heads, Mlp, Vocab, Seq -> tensor }"),
    ("context", "mesh { context = 2 }\nshard { Seq -> context }"),
    ("heads", "mesh { context = 2 }\nshard { Seq -> context via heads }"),
    ("ring", "mesh { context = 4 }\nshard { Seq -> context via ring }"),
    (
        "rings",
        "mesh { data = 2, context = 2, tensor = 2 }\nshard {\n    Heads, Mlp, Vocab -> tensor\n    Batch -> data\n    Seq -> context * tensor via ring\n}",
    ),
    ("balanced", "mesh { context = 4 }\nshard { Seq -> context via ring balanced }"),
    (
        "balanced rings",
        "mesh { data = 2, context = 2, tensor = 2 }\nshard {\n    Heads, Mlp, Vocab -> tensor\n    Batch -> data\n    Seq -> context * tensor via ring balanced\n}",
    ),
    ("balanced ring of heads", "mesh { outer = 2, inner = 2 }\nshard {\n    Seq -> outer via ring balanced\n    Seq -> inner via heads\n}"),
    ("ring of heads", "mesh { outer = 2, inner = 2 }\nshard {\n    Seq -> outer via ring\n    Seq -> inner via heads\n}"),
    ("fsdp", "mesh { data = 2 }\nshard {\n    Batch -> data\n    weights -> data\n}"),
    ("zero1", "mesh { data = 2 }\nshard {\n    Batch -> data\n    moments -> data\n}"),
    ("hsdp", "mesh { replica = 2, data = 2 }\nshard {\n    Batch -> replica * data\n    weights -> data\n}"),
    (
        "mixed",
        "mesh { data = 2, context = 2, tensor = 2 }\nshard {\n    Heads, Mlp, Vocab -> tensor\n    Batch -> data\n    Seq -> context * tensor\n}",
    ),
];

/// A spec's sharded training graph.
fn sharded(spec: &str) -> Sharded {
    let model = model(spec);
    let graph = graph::build(&model, true).expect("the graph is right");
    shard(graph, &model.settings).expect("the mesh divides everything").0
}

#[test]
fn local_programs_are_typed_on_every_mesh() {
    for (name, mesh) in MESHES {
        let sharded = sharded(&format!("{GPT}\n{mesh}"));
        assert_eq!(crate::graph::verify::graph(&sharded.graph), Ok(()), "{name}");
        assert_eq!(super::verify::verify(&sharded), Ok(()), "{name}");
    }
}
