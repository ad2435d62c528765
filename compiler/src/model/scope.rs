//! Names and paths while a body is elaborated.
//!
//! Requires that frames are pushed and popped in step with layer calls and iterations. Ensures that a body sees its own names and,
//! inside a `repeat`, those around it up to its layer's, and that a path names a weight by where its layer or instance was declared.

use super::item::Item;
use crate::op::{Dim, Value};
use meshwright_grammar::Span;
use std::collections::BTreeMap;

/// Where weights are declared: a path with the iteration's number as `[*]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// With `[*]` for the outermost repeat and literal numbers for repeats inside it.
    pub template: String,
    /// Without numbers.
    pub plain: String,
    /// The same with the layers' names in place of their instances'.
    pub layers: String,
    /// Goes to the next part: `[*]`, `[*][3]`.
    pub pending: String,
    /// The iteration that `[*]` stands for, and how many there are.
    pub star: Option<(u64, u64)>,
}

impl Path {
    /// The path of the model itself.
    pub fn root(name: &str) -> Self {
        Path { template: name.to_string(), plain: name.to_string(), layers: name.to_string(), pending: String::new(), star: None }
    }

    /// One part deeper.
    pub fn join(&self, name: &str) -> Self {
        self.join_instance(name, name)
    }

    /// One part deeper, into an instance of a layer.
    pub fn join_instance(&self, name: &str, layer: &str) -> Self {
        Path {
            template: format!("{}.{name}{}", self.template, self.pending),
            plain: format!("{}.{name}", self.plain),
            layers: format!("{}.{layer}", self.layers),
            pending: String::new(),
            star: self.star,
        }
    }

    /// Inside iteration `at` of `count`: the next part carries its number.
    pub fn iteration(&self, at: u64, count: u64) -> Self {
        let mut path = self.clone();
        if path.star.is_none() {
            path.star = Some((at, count));
            path.pending.push_str("[*]");
        } else {
            path.pending.push_str(&format!("[{at}]"));
        }
        path
    }
}

/// The names of one body.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// What is bound here.
    pub names: BTreeMap<String, Binding>,
    /// What `..` means here.
    pub rest: Option<Vec<Dim>>,
    /// Where weights of this body go.
    pub path: Path,
    /// Dims that `each` adds to the weights declared here.
    pub stacked: Vec<Dim>,
    /// Layers called here without an instance, weights and instances declared here, and where: what gives paths their names.
    pub called: BTreeMap<String, Span>,
    /// The same of `repeat`s in this body.
    pub repeated: BTreeMap<String, Span>,
    /// Names around it are visible: the body of a `repeat`.
    pub open: bool,
    /// What the iteration hands on: name, value, span.
    pub carried: Vec<(String, Value, Span)>,
    /// What `return` gave.
    pub returned: Option<(Vec<Item>, Span)>,
    /// Index of the layer, or none for the model.
    pub layer: Option<usize>,
}

/// A bound name.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// What it stands for.
    pub item: Item,
    /// Where it was bound.
    pub span: Span,
    /// Whether it was read.
    pub read: bool,
}

impl Frame {
    /// An empty body of a layer or model.
    pub fn closed(path: Path, stacked: Vec<Dim>, layer: Option<usize>) -> Self {
        Frame {
            names: BTreeMap::new(),
            rest: None,
            path,
            stacked,
            called: BTreeMap::new(),
            repeated: BTreeMap::new(),
            open: false,
            carried: Vec::new(),
            returned: None,
            layer,
        }
    }

    /// An empty body of a `repeat` inside `self`.
    pub fn iteration(&self, path: Path) -> Self {
        Frame { open: true, rest: self.rest.clone(), ..Frame::closed(path, self.stacked.clone(), self.layer) }
    }

    /// Binds a name, replacing what it stood for.
    pub fn bind(&mut self, name: &str, item: Item, span: Span) {
        self.names.insert(name.to_string(), Binding { item, span, read: false });
    }
}
