//! Blocks about devices. They are read and checked as far as one device gives them a meaning; what needs more devices is refused.

use super::keyed::{Keyed, spelled};
use super::{Reader, error};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{BlockKind, Entry, Expr, ExprKind, Rule};

/// Checks `mesh`, `shard`, `pipeline`, `precision`, `cluster`, `require` and `generate`.
pub(super) fn refuse(reader: &mut Reader) {
    let axes = mesh(reader);
    for rule in rules(reader, BlockKind::Shard) {
        check_axes(reader, &rule, &axes);
    }
    for kind in [BlockKind::Pipeline, BlockKind::Precision, BlockKind::Cluster, BlockKind::Require, BlockKind::Generate] {
        let blocks: Vec<Span> =
            reader.blocks.iter().filter(|block| block.kind == kind && !block.entries.is_empty()).map(|block| block.word).collect();
        for span in blocks {
            let what = format!("the block `{}`", kind.text());
            reader.errors.push(error::not_supported(span, &what, "remove it, or keep it in a file of its own that `use`s this one"));
        }
    }
}

/// The names of the mesh's axes; more than one device is refused.
fn mesh(reader: &mut Reader) -> Vec<String> {
    let entries: Vec<(String, Expr)> = reader
        .blocks
        .iter()
        .filter(|block| block.kind == BlockKind::Mesh)
        .flat_map(|block| &block.entries)
        .filter_map(|entry| match entry {
            Entry::Setting(setting) => Some((setting.key.text.clone(), setting.value.clone())),
            Entry::Rule(_) | Entry::Condition(_) => None,
        })
        .collect();
    let mut keyed = Keyed::new(reader, BlockKind::Mesh);
    for (name, value) in &entries {
        if value.kind == ExprKind::Rest {
            keyed.errors().push(error::not_supported(value.span, "an axis over the rest of a cluster", "write `1`, or remove the axis"));
            continue;
        }
        match keyed.number_of(value, name) {
            Some(size) if size < 1.0 || size != size.trunc() => keyed.errors().push(error::whole(value.span, name, size, 1)),
            Some(size) if size > 1.0 => {
                let what = format!("a mesh of more than one device ({name} = {size})");
                keyed.errors().push(error::not_supported(
                    value.span,
                    &what,
                    "write `1`, or remove the block `mesh`: this trains on one device",
                ));
            }
            Some(_) | None => {}
        }
    }
    entries.into_iter().map(|(name, _)| name).collect()
}

fn rules(reader: &Reader, kind: BlockKind) -> Vec<Rule> {
    let blocks = reader.blocks.iter().filter(|block| block.kind == kind);
    let entries = blocks.flat_map(|block| &block.entries);
    entries.filter_map(|entry| if let Entry::Rule(rule) = entry { Some(rule.clone()) } else { None }).collect()
}

/// Every axis on the right of a rule must be one of the mesh's.
fn check_axes(reader: &mut Reader, rule: &Rule, axes: &[String]) {
    let Some(target) = &rule.target else { return };
    let mut names = Vec::new();
    axis_names(target, &mut names);
    for (name, span) in names {
        if name != "whole" && !axes.contains(&name) {
            reader.errors.push(error::unknown_axis(span, &name, axes));
        }
    }
}

fn axis_names(value: &Expr, names: &mut Vec<(String, Span)>) {
    match &value.kind {
        ExprKind::Binary { left, right, .. } => {
            axis_names(left, names);
            axis_names(right, names);
        }
        _ => names.push((spelled(value), value.span)),
    }
}
