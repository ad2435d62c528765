//! The items of all files as one spec.
//!
//! Requires trees without syntax errors, the root last. Ensures that each name is defined once: a name defined twice in one file is an error,
//! a file's definition takes the place of one that it brings in by `use`.

use super::error::{Errors, names};
use super::standard;
use meshwright_grammar::tree::{Block, Definition, File, ItemKind, Let, Setting, Use, UseTarget};
use std::collections::BTreeMap;

/// All definitions of a spec.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Dims in order.
    pub dims: Vec<Setting>,
    /// Numbers in order.
    pub lets: Vec<Let>,
    /// Layers in order; the flag says that the root file defines it.
    pub layers: Vec<(Definition, bool)>,
    /// The model.
    pub model: Option<Definition>,
    /// Blocks of settings and rules, the root's last.
    pub blocks: Vec<Block>,
}

/// Merges the files, root last, with the standard modules that they use in front.
pub(crate) fn merge(files: &[File], errors: &mut Errors) -> Merged {
    let modules = modules(files, errors);
    let mut merged = Merged::default();
    for file in modules.iter().chain(files) {
        merged.file(file, files.last().is_some_and(|root| root.file == file.file), errors);
    }
    merged
}

/// The standard modules that the files use, each once, in the library's order.
fn modules(files: &[File], errors: &mut Errors) -> Vec<File> {
    let first = files.iter().map(|file| file.file.0 + 1).max().unwrap_or(0);
    let mut found: BTreeMap<usize, File> = BTreeMap::new();
    let uses = files.iter().flat_map(|file| &file.items).filter_map(|item| match &item.kind {
        ItemKind::Use(used) => Some(used),
        ItemKind::Dims(_) | ItemKind::Let(_) | ItemKind::Layer(_) | ItemKind::Model(_) | ItemKind::Block(_) => None,
    });
    for used in uses {
        if let Some(at) = module(used, errors) {
            match standard::tree(at, first) {
                Ok(tree) => drop(found.insert(at, tree)),
                Err(reasons) => reasons.into_iter().for_each(|reason| errors.push(reason)),
            }
        }
    }
    found.into_values().collect()
}

/// The number of the standard module that a `use` names.
fn module(used: &Use, errors: &mut Errors) -> Option<usize> {
    if let Some(alias) = &used.alias {
        errors.push(names::not_supported(alias.span, "`use … as`", "bring the file in without `as`"));
        return None;
    }
    let UseTarget::Module(path) = &used.target else { return None };
    let at = standard::MODULES.iter().position(|(name, _)| *name == path.text());
    if at.is_none() {
        errors.push(names::unknown_module(path));
    }
    at
}

impl Merged {
    fn file(&mut self, file: &File, root: bool, errors: &mut Errors) {
        let mut seen = BTreeMap::new();
        let mut fresh = |name: &meshwright_grammar::tree::Name, errors: &mut Errors| {
            if let Some(before) = seen.insert(name.text.clone(), name.span) {
                errors.push(names::defined_twice(name, before));
            }
        };
        for item in &file.items {
            match &item.kind {
                ItemKind::Use(_) => {}
                ItemKind::Dims(dims) => {
                    for entry in &dims.entries {
                        fresh(&entry.key, errors);
                        replace(&mut self.dims, entry.clone(), |other| other.key.text == entry.key.text);
                    }
                }
                ItemKind::Let(one) => {
                    one.names.iter().for_each(|name| fresh(name, errors));
                    replace(&mut self.lets, one.clone(), |other| {
                        other.names.iter().any(|name| one.names.iter().any(|new| new.text == name.text))
                    });
                }
                ItemKind::Layer(layer) => {
                    fresh(&layer.name, errors);
                    replace(&mut self.layers, (layer.clone(), root), |(other, _)| other.name.text == layer.name.text);
                }
                ItemKind::Model(model) => {
                    fresh(&model.name, errors);
                    if let Some(before) = self.model.as_ref().filter(|before| before.name.span.file == model.name.span.file) {
                        errors.push(names::two_models(model, before));
                    }
                    self.model = Some(model.clone());
                }
                ItemKind::Block(block) => self.blocks.push(block.clone()),
            }
        }
    }
}

/// Puts `new` in the place of the entry that it overrides, or at the end.
fn replace<T>(list: &mut Vec<T>, new: T, overridden: impl Fn(&T) -> bool) {
    match list.iter().position(overridden) {
        Some(at) => list[at] = new,
        None => list.push(new),
    }
}
