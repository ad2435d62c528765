//! Cuts that do not come out even, told by what the dim is: samples, heads, a vocabulary, or any other.

use super::super::ir::{Axis, Cuts, Mesh};
use super::super::placement::Placing;
use super::place;
use crate::graph::ir::Graph;
use crate::op::{Attention, Body, Dim, Element, Inst, Op};
use meshwright_grammar::{Diagnostic, Span};

/// Every cut that does not come out even, each dim once.
pub fn uneven(graph: &Graph, mesh: &Mesh, cuts: &Cuts, placing: &Placing) -> Vec<Diagnostic> {
    let mut told: Vec<(String, &[Axis])> = Vec::new();
    let mut errors = Vec::new();
    for (dim, axes) in &cuts.uneven {
        // The key side of attention is the same dim to a person.
        let name = graph.dims[*dim].name.trim_end_matches('\'').to_string();
        if told.iter().any(|(known, other)| *known == name && *other == axes.as_slice()) {
            continue;
        }
        errors.push(Cut { graph, mesh, placing, dim: *dim, axes }.told());
        told.push((name, axes));
    }
    errors
}

struct Cut<'a> {
    graph: &'a Graph,
    mesh: &'a Mesh,
    placing: &'a Placing,
    dim: Dim,
    axes: &'a [Axis],
}

/// What an attention has of a dim.
#[derive(Clone, Copy, PartialEq)]
enum Heads {
    /// Queries, keys and values have it.
    Shared,
    /// They have it, and queries have a further dim of heads: several queries share a key.
    Grouped(Dim),
}

impl Cut<'_> {
    fn told(&self) -> Diagnostic {
        let heads = self.attentions().into_iter().find_map(|(attention, inst, body)| self.heads(attention, inst, body));
        let (size, parts) = (self.size(), self.parts());
        if self.dim == self.graph.batch {
            return self.samples();
        }
        if self.placing.is_balanced(self.dim) {
            return self.chunks();
        }
        match heads {
            Some(_) if self.placing.giver(self.dim, self.axes).is_none() => self.via_heads(),
            Some(Heads::Grouped(group)) if size < parts && parts.is_multiple_of(size) => self.kv_heads(group),
            Some(_) => self.head_count(),
            None if self.is_vocabulary() => self.vocabulary(),
            None => self.any(),
        }
    }

    fn size(&self) -> u64 {
        self.graph.dims[self.dim].size
    }

    fn name(&self) -> &str {
        &self.graph.dims[self.dim].name
    }

    fn parts(&self) -> u64 {
        self.mesh.size(self.axes)
    }

    /// `tensor = 4`.
    fn by(&self) -> String {
        let by: Vec<String> =
            self.axes.iter().map(|axis| format!("{} = {}", self.mesh.axes[*axis].name, self.mesh.axes[*axis].size)).collect();
        by.join(", ")
    }

    /// The error at the rule and at the dim's size.
    fn at(&self, code: &'static str, message: String, help: String) -> Diagnostic {
        let rule = self.placing.giver(self.dim, self.axes).and_then(|rule| rule.span);
        let found = place(Diagnostic::error(code, message), rule, "cut here");
        place(found, self.graph.dims[self.dim].span, "its size").help(help)
    }

    fn attentions(&self) -> Vec<(&Attention, &Inst, &Body)> {
        let bodies = self.graph.segments.values().map(|data| &data.forward_only.body);
        let all = bodies.flat_map(|body| body.insts.iter().map(move |inst| (inst, body)));
        all.filter_map(|(inst, body)| if let Op::Attention(attention) = &inst.op { Some((attention, inst, body)) } else { None }).collect()
    }

    fn heads(&self, attention: &Attention, inst: &Inst, body: &Body) -> Option<Heads> {
        let dims = |at: usize| &body.ty(inst.args[at]).dims;
        if [attention.query, attention.key, attention.feature].contains(&self.dim) || !(0..3).all(|at| dims(at).contains(&self.dim)) {
            return None;
        }
        let own = |dim: &&Dim| **dim != attention.query && **dim != attention.feature && !dims(1).contains(dim);
        Some(dims(0).iter().find(own).map_or(Heads::Shared, |group| Heads::Grouped(*group)))
    }

    /// Whether an input or a lookup ranges over it.
    fn is_vocabulary(&self) -> bool {
        self.graph.inputs.iter().any(|(_, port)| self.graph.ports[*port].element == Element::Index(self.dim))
    }

    fn samples(&self) -> Diagnostic {
        let (each, micros, parts, name) = (self.size(), self.graph.microbatches, self.parts(), self.name());
        let all = each * micros;
        let cut = if micros == 1 {
            format!("`{name}` has {all} samples")
        } else {
            format!("`{name}` = {all} in {micros} microbatches is {all} / {micros} = {each} samples at a time")
        };
        let fewer = (1..micros).rev().find(|count| all.is_multiple_of(count * parts));
        let sizes = nearest(all, micros * parts);
        let fewer =
            fewer.map_or_else(String::new, |count| format!(", or `train.microbatches` to {count}: {all} / {count} = {}", all / count));
        let help = format!("set `{name}` to {sizes}{fewer}");
        let (by, left) = (self.by(), each % parts);
        if each < parts {
            return self.at("shard::few_samples", format!("{cut}, fewer than the {parts} devices ({by}) that share them"), help);
        }
        self.at("shard::uneven", format!("{cut}, which {parts} devices ({by}) do not divide: {each} / {parts} leaves {left}"), help)
    }

    fn via_heads(&self) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name(), self.by());
        let message =
            format!("`via heads` cuts `{name}` = {size} by {parts} ({by}) while attention runs: {size} / {parts} leaves {}", size % parts);
        let rule = self.placing.heads_rule(self.axes).and_then(|rule| rule.span);
        let found = place(Diagnostic::error("shard::via_heads", message), rule, "asked for here");
        place(found, self.graph.dims[self.dim].span, "its size")
            .help(format!("make the axis a divisor of {size} ({}), or write `via gather`", listed(&divisors(size))))
    }

    fn kv_heads(&self, group: Dim) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name(), self.by());
        let (group, rest) = (&self.graph.dims[group], parts / size);
        let axis = self.axes.last().map_or("tensor", |axis| self.mesh.axes[*axis].name.as_str());
        let message = format!("{parts} devices ({by}) share {size} key-value heads `{name}`: {size} / {parts} is less than one each");
        let split = format!(
            "factor the axis: `mesh {{ {axis} = {size} * {rest} }}`, `{name} -> {axis}.0`, `{} -> {axis}.1`; `{axis}` stays both of them in \
             the other rules",
            group.name
        );
        let fits = group.size.is_multiple_of(rest);
        let help = if fits { split } else { format!("make the axis a divisor of {size} ({})", listed(&divisors(size))) };
        self.at("shard::kv_heads", message, help)
    }

    fn head_count(&self) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name(), self.by());
        let message = format!("{size} heads `{name}` cannot be shared by {parts} devices ({by}): {size} / {parts} leaves {}", size % parts);
        let help = format!("make the axis a divisor of {size} ({}), or `{name}` {}", listed(&divisors(size)), nearest(size, parts));
        self.at("shard::heads", message, help)
    }

    fn vocabulary(&self) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name(), self.by());
        let above = size.next_multiple_of(parts);
        let message =
            format!("{parts} devices ({by}) do not divide the vocabulary `{name}` = {size}: {size} / {parts} leaves {}", size % parts);
        let help = format!(
            "write `padded` after the axis ({size} padded to {above}, which changes no result), or set `{name}` to {above}: the {} entries more are never \
             looked up, and their logits are learned to be small",
            above - size
        );
        self.at("shard::vocabulary", message, help)
    }

    fn chunks(&self) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name().trim_end_matches('\''), self.by());
        let chunks = 2 * parts;
        let message = format!(
            "`{name}` has {size} elements, which `ring balanced` cuts into 2 * {parts} = {chunks} chunks, two for each of {parts} devices ({by}): \
             {size} / {chunks} leaves {}",
            size % chunks
        );
        let plain = if size.is_multiple_of(parts) { ", or write `via ring`" } else { "" };
        self.at("shard::uneven", message, format!("set `{name}` to {}{plain}", nearest(size, chunks)))
    }

    fn any(&self) -> Diagnostic {
        let (size, parts, name, by) = (self.size(), self.parts(), self.name(), self.by());
        let message =
            format!("`{name}` has {size} elements, which {parts} devices ({by}) do not divide: {size} / {parts} leaves {}", size % parts);
        let divisor = divisors(size).into_iter().min_by_key(|divisor| divisor.abs_diff(parts));
        let axis = divisor.map_or_else(String::new, |divisor| format!(", or cut it into {divisor}"));
        self.at("shard::uneven", message, format!("set `{name}` to {}{axis}", nearest(size, parts)))
    }
}

/// Whoever looks along a padded dim, or wants it otherwise than in its parts, and inputs that have one: each dim once.
pub fn unpadded(graph: &Graph, mesh: &Mesh, cuts: &Cuts, placing: &Placing) -> Vec<Diagnostic> {
    let mut told: Vec<Dim> = Vec::new();
    let mut errors = Vec::new();
    let mut tell = |dim: Dim, why: String, span: Option<Span>, label: &'static str| {
        if told.contains(&dim) {
            return;
        }
        told.push(dim);
        let data = &graph.dims[dim];
        let rule = placing.padding().find(|rule| rule.dim == placing.name(dim)).and_then(|rule| rule.span);
        let message = format!("`{}` = {} is padded, and {why}", data.name, data.size);
        let found = place(Diagnostic::error("shard::padded", message), span, label);
        errors
            .push(place(found, rule, "padded here").help(format!("give `{}` a size that the axes divide, and remove `padded`", data.name)));
    };
    for (name, port) in &graph.inputs {
        let dims = &graph.ports[*port].dims;
        let placed = placing.place(dims);
        for dim in dims.iter().filter(|dim| cuts.is_padded(&graph.dims, mesh, **dim, placed.of(**dim))) {
            tell(*dim, format!("the input `{name}` has it: there is no data for padding"), graph.dims[*dim].span, "its size");
        }
    }
    for (dim, origin) in &cuts.unpadded {
        let why = "here its elements are needed in their order or all together".to_string();
        tell(*dim, why, graph.origins[*origin].span, "looks along it");
    }
    errors
}

/// The sizes around one that the parts divide.
fn nearest(size: u64, parts: u64) -> String {
    let (below, above) = (size / parts * parts, size.next_multiple_of(parts));
    if below == 0 { above.to_string() } else { format!("{below} or {above}") }
}

/// All divisors but 1.
fn divisors(size: u64) -> Vec<u64> {
    let small: Vec<u64> = (1..).take_while(|one| one * one <= size).filter(|one| size.is_multiple_of(*one)).collect();
    let mut all: Vec<u64> = small.iter().flat_map(|one| [*one, size / one]).filter(|one| *one > 1).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn listed(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
