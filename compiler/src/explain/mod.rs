//! `explain`: why a tensor stands where it stands, and why ranks exchange what they exchange.
//!
//! In: a compiled spec with its sources, and what a person asks about: a weight by (the end of) its path, a value by its layer and name, an
//! input, a segment or a layer. Out: records that print as text. It looks at every stage and changes none. Ensures that each collective of a
//! program is listed once, in order, with the rule and the line behind both of its ends.

mod cause;
mod collective;
mod print;
mod state;
mod tensor;
mod words;

use crate::Compiled;
use crate::graph::ir::Segment;
use crate::model::ir::Weight;
use crate::op::{Origin, Value};
use crate::shard::scope::Scope;
use meshwright_grammar::Sources;
use words::Words;

/// What there is to say.
#[derive(Clone, Debug)]
pub enum Explained {
    /// About tensors: several if several have the name.
    Tensors(Vec<Tensor>),
    /// About what layers exchange: several if several segments have the layer.
    Layers(Vec<Layer>),
}

/// Where a tensor stands and why.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// `weight`, `input` or `value`.
    pub kind: &'static str,
    /// Its path or name.
    pub name: String,
    /// Each dim in layout order.
    pub dims: Vec<Placed>,
    /// Rules about its dims that gave it nothing, each a sentence.
    pub skipped: Vec<String>,
    /// Bytes of the whole tensor, all copies; of a value with the batch dim, of one microbatch.
    pub bytes: u64,
    /// Bytes on one rank, as programs use it.
    pub local_bytes: u64,
    /// How it rests, for weights that rest in pieces.
    pub rest: Option<String>,
    /// How its gradient is reduced, for weights.
    pub gradient: Vec<String>,
}

/// A dim of a tensor.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Elements over the whole mesh, and on one rank.
    pub sizes: (u64, u64),
    /// How many parts there are.
    pub parts: u64,
    /// Its parts are balanced: two chunks each, from either end.
    pub balanced: bool,
    /// Each axis that cuts it, and the rule that gave it, with its line.
    pub axes: Vec<(String, String)>,
    /// A rule that leaves it whole.
    pub whole: Option<String>,
}

/// What the programs of a layer exchange.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The segment, or the layer within it.
    pub name: String,
    /// How often a step calls it: calls, microbatches.
    pub times: (u64, u64),
    /// `forward` and `backward` with their collectives in order.
    pub programs: Vec<(&'static str, Vec<Exchanged>)>,
    /// Exchanges of its weights and their gradients as flat blocks; only for whole segments.
    pub state: Vec<Exchanged>,
}

/// One collective.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// `all_gather`.
    pub exchange: &'static str,
    /// Mesh axes, major first.
    pub axes: Vec<String>,
    /// What is moved.
    pub value: String,
    /// How it stands before and after.
    pub types: (String, String),
    /// Bytes that one rank sends each time.
    pub bytes: u64,
    /// Times per step.
    pub times: u64,
    /// Why: a sentence each.
    pub why: Vec<String>,
    /// The edit that removes it, and its price.
    pub edit: Option<String>,
}

/// Explains what a person asks about; the error lists names that could have been meant.
pub fn explain(compiled: &Compiled, sources: &Sources, what: &str) -> Result<Explained, Vec<String>> {
    let words = Words::new(compiled, sources);
    let segments: Vec<Segment> = words.graph.segments.iter().filter(|(_, data)| data.name == what).map(|(segment, _)| segment).collect();
    if !segments.is_empty() {
        return Ok(Explained::Layers(segments.into_iter().map(|segment| collective::segment(&words, segment, None)).collect()));
    }
    let tensors = tensors(&words, what);
    if !tensors.is_empty() {
        return Ok(Explained::Tensors(tensors));
    }
    let layers: Vec<Segment> = words.graph.segments.keys().filter(|segment| has_layer(&words, *segment, what)).collect();
    if layers.is_empty() {
        return Err(names(&words));
    }
    Ok(Explained::Layers(layers.into_iter().map(|segment| collective::segment(&words, segment, Some(what))).collect()))
}

/// Weights, inputs and values of that name.
fn tensors(words: &Words<'_>, what: &str) -> Vec<Tensor> {
    let input = words.graph.inputs.iter().find(|(name, _)| name == what);
    if let Some((name, port)) = input {
        return vec![tensor::plain(words, Scope::default(), "input", name, &words.graph.ports[*port])];
    }
    let weights: Vec<Weight> =
        words.graph.weights.iter().filter(|(_, data)| ends(&plain(&data.path), &plain(what))).map(|(weight, _)| weight).collect();
    if !weights.is_empty() {
        return weights.into_iter().map(|weight| tensor::weight(words, weight)).collect();
    }
    let mut found: Vec<Tensor> = Vec::new();
    for data in words.graph.segments.values() {
        let body = &data.forward_only.body;
        for inst in &body.insts {
            let named = |value: &&Value| ends(&value_path(words, inst.origin, &body.values[**value].name, &data.name), what);
            for value in inst.results.iter().filter(|value| !body.values[**value].name.is_empty()).filter(named) {
                found.push(tensor::plain(
                    words,
                    words.scope(body, *value),
                    "value",
                    &value_path(words, inst.origin, &body.values[*value].name, &data.name),
                    body.ty(*value),
                ));
            }
        }
    }
    found.dedup_by(|a, b| a.name == b.name);
    found
}

/// `Gpt.Block.y`: the layer that a value is made in, and its name.
fn value_path(words: &Words<'_>, origin: Origin, name: &str, segment: &str) -> String {
    let layer = &words.graph.origins[origin].path;
    if layer.is_empty() { format!("{segment}.{name}") } else { format!("{}.{name}", plain(layer)) }
}

/// A path without the numbers of iterations.
fn plain(path: &str) -> String {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
}

/// Whether a path ends in these parts.
fn ends(path: &str, what: &str) -> bool {
    path == what || path.strip_suffix(what).is_some_and(|before| before.ends_with('.'))
}

fn has_layer(words: &Words<'_>, segment: Segment, what: &str) -> bool {
    words.graph.segments[segment].forward_only.body.insts.iter().any(|inst| within(&words.graph.origins[inst.origin].path, what))
}

/// Whether a path leads through a layer.
fn within(path: &str, layer: &str) -> bool {
    let path = plain(path);
    format!(".{path}.").contains(&format!(".{layer}."))
}

/// All that can be asked about.
fn names(words: &Words<'_>) -> Vec<String> {
    let segments = words.graph.segments.values().map(|data| data.name.clone());
    let inputs = words.graph.inputs.iter().map(|(name, _)| name.clone());
    segments.chain(inputs).chain(words.graph.weights.values().map(|data| plain(&data.path))).collect()
}
