//! A smaller spec on the same mesh: what a laptop can run to try what a cluster will do.
//!
//! In: a spec that compiles. Out: overrides of its literal dims and of the microbatches, such that it still compiles: every cut comes out even, every
//! relation between dims (`Head = Embed / Heads`) holds, and each rank keeps at least two elements of what is cut where it had them. A search that
//! runs the corridor again for each size it tries.

use crate::model::ir::Model;
use crate::model::settings::{ShardTarget, Via};
use crate::model::{self, Mode};
use crate::{graph, shard};
use meshwright_grammar::tree::{Body, Expr, ExprKind, ItemKind, Number, StatementKind};
use meshwright_grammar::{FileId, Span, Spec};
use std::collections::BTreeSet;

/// Sizes that are tried, in elements of one rank's part.
const SIZES: [u64; 18] = [2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256];

/// A dim that no axis cuts keeps so many elements, if it had more: a norm over two features says little.
const LEAST: u64 = 8;

/// A dim of at most so many elements may become as small as two: heads, experts.
const FEW: u64 = 12;

/// Microbatches that are kept.
const MICROBATCHES: u64 = 2;

/// What was made smaller.
#[derive(Clone, Debug, Default)]
pub struct Shrunk {
    /// To be added to the spec's overrides.
    pub overrides: Vec<(String, Expr)>,
    /// Name, size before, size now.
    pub changes: Vec<(String, u64, u64)>,
}

/// The smaller spec; sizes that must stay stay.
pub fn shrink(spec: &Spec, overrides: &[(String, Expr)]) -> Shrunk {
    let Some(model) = compiles(spec, overrides) else { return Shrunk::default() };
    let mut search = Search { spec, given: overrides, found: Shrunk::default() };
    search.found.overrides.push(("train.precision".to_string(), word("f32")));
    let literals = literals(spec);
    let mut dims: Vec<(String, u64)> = Vec::new();
    for data in model.dims.values().filter(|data| literals.contains(&data.name)) {
        if !dims.iter().any(|(name, _)| *name == data.name) {
            dims.push((data.name.clone(), data.size));
        }
    }
    let repeats = repeats(spec);
    // Iterations first: all that follows is then quick to try. Then few before many: heads before the width that they divide.
    dims.sort_by_key(|(name, size)| (!repeats.contains(name), *size));
    let microbatches = model.settings.train.microbatches;
    for _ in 0..2 {
        for (name, size) in &dims {
            let parts = if repeats.contains(name) { 1 } else { parts(&model, name) };
            let least = if repeats.contains(name) || *size <= FEW { 2 } else { LEAST };
            search.smaller(&format!("dims.{name}"), name, *size, parts, least);
        }
        if microbatches > MICROBATCHES {
            search.smaller("train.microbatches", "microbatches", microbatches, 1, MICROBATCHES);
        }
    }
    search.found
}

struct Search<'a> {
    spec: &'a Spec,
    given: &'a [(String, Expr)],
    found: Shrunk,
}

impl Search<'_> {
    /// The smallest multiple of `parts` that compiles becomes the size.
    fn smaller(&mut self, key: &str, name: &str, size: u64, parts: u64, least: u64) {
        let now = self.found.changes.iter().find(|(known, _, _)| known == name).map_or(size, |(_, _, now)| *now);
        let sizes = SIZES.iter().map(|one| one * parts).filter(|one| *one >= least && *one < now);
        for one in sizes {
            let mut tried = self.found.overrides.clone();
            tried.retain(|(known, _)| known != key);
            tried.push((key.to_string(), number(one)));
            if compiles(self.spec, &[self.given, &tried].concat()).is_some() {
                self.found.overrides = tried;
                self.found.changes.retain(|(known, _, _)| known != name);
                self.found.changes.push((name.to_string(), size, one));
                return;
            }
        }
    }
}

/// The model, if all stages in which a size can be wrong take it.
fn compiles(spec: &Spec, overrides: &[(String, Expr)]) -> Option<Model> {
    let (model, _) = model::elaborate(&spec.files, overrides, Mode { training: true, batch: None }).ok()?;
    let graph = graph::build(&model, true).ok()?;
    shard::shard(graph, &model.settings).ok()?;
    Some(model)
}

/// Ranks along all axes that some rule gives a dim of this name, or twice as many chunks where parts are balanced.
fn parts(model: &Model, name: &str) -> u64 {
    let targets = [ShardTarget::Dim(name.to_string()), ShardTarget::WeightDim(name.to_string())];
    let rules = || model.settings.shard.iter().filter(|rule| targets.contains(&rule.target));
    let axes: BTreeSet<&String> = rules().flat_map(|rule| &rule.axes).collect();
    let chunks = if rules().any(|rule| rule.via == Via::Balanced) { 2 } else { 1 };
    model.settings.mesh.iter().filter(|axis| axes.contains(&axis.name)).map(|axis| axis.size).product::<u64>() * chunks
}

/// Dims whose size is a number; others follow them.
fn literals(spec: &Spec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in spec.files.iter().flat_map(|file| &file.items) {
        let ItemKind::Dims(dims) = &item.kind else { continue };
        for entry in &dims.entries {
            match &entry.value.kind {
                ExprKind::Number(_) => names.insert(entry.key.text.clone()),
                _ => names.remove(&entry.key.text),
            };
        }
    }
    names
}

/// Dims that count iterations.
fn repeats(spec: &Spec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in spec.files.iter().flat_map(|file| &file.items) {
        if let ItemKind::Layer(definition) | ItemKind::Model(definition) = &item.kind {
            iterated(&definition.body, &mut names);
        }
    }
    names
}

fn iterated(body: &Body, names: &mut BTreeSet<String>) {
    for statement in &body.statements {
        if let StatementKind::Repeat { dim, body, .. } = &statement.kind {
            names.insert(dim.text.clone());
            iterated(body, names);
        }
    }
}

fn number(size: u64) -> Expr {
    expression(ExprKind::Number(Number { value: size as f64, text: size.to_string(), unit: None }))
}

/// A word as the value of an override.
pub fn word(text: &str) -> Expr {
    let span = nowhere();
    let name = meshwright_grammar::tree::Name { text: text.to_string(), span };
    expression(ExprKind::Path(meshwright_grammar::tree::Path { parts: vec![name], span }))
}

/// Another override that is a number: `mesh.data` as 1.
pub fn set(key: &str, value: u64) -> (String, Expr) {
    (key.to_string(), number(value))
}

fn expression(kind: ExprKind) -> Expr {
    Expr { kind, span: nowhere(), grouped: false }
}

/// Overrides of the search stand in no file; they are only kept if nothing is to be said about them.
fn nowhere() -> Span {
    Span { file: FileId(0), start: 0, end: 0 }
}
