//! What an expression stands for while a model is elaborated: compile-time constants, dims, tensors, layers.
//!
//! Requires nothing. Ensures that compile-time values and tensors are told apart before any operator is typed.

use super::scope::Path;
use crate::op::{Dim, Value};

/// What a name or an expression stands for.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A compile-time number.
    Number(f64),
    /// A compile-time truth value.
    Bool(bool),
    /// `none`.
    None,
    /// A dim.
    Dim(Dim),
    /// A tensor.
    Tensor(Tensor),
    /// Several tensors: what a layer with several results gives.
    Several(Vec<Tensor>),
    /// A layer by its number in the spec.
    Layer(usize),
    /// A declared instance of a layer.
    Instance(Box<Instance>),
    /// Its definition was wrong, which has been reported; whatever uses it is silent.
    Unknown,
}

/// A value of the tape, and its arrow where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// The value.
    pub value: Value,
    /// What goes in and what comes out, of a weight with an arrow.
    pub arrow: Option<Arrow>,
}

/// The two sides of a weight's arrow, as dims of the weight's type (a dim on both sides is primed on the right).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    /// Left of the arrow.
    pub inputs: Vec<Dim>,
    /// Right of it.
    pub outputs: Vec<Dim>,
}

/// A declared instance: its layer, the arguments it was declared with, and where its weights are.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Number of the layer in the spec.
    pub layer: usize,
    /// Parameters that the declaration gives, by name.
    pub bound: Vec<(String, Item)>,
    /// Where its weights are.
    pub path: Path,
    /// Dims that `each` adds to its weights.
    pub stacked: Vec<Dim>,
}

impl Tensor {
    /// A tensor without an arrow.
    pub fn plain(value: Value) -> Self {
        Tensor { value, arrow: None }
    }
}

impl Item {
    /// What it is, for messages: `a number`, `a tensor`.
    pub fn what(&self) -> &'static str {
        match self {
            Item::Number(_) => "a number",
            Item::Bool(_) => "a truth value",
            Item::None => "`none`",
            Item::Dim(_) => "a dim",
            Item::Tensor(_) => "a tensor",
            Item::Several(_) => "several tensors",
            Item::Layer(_) => "a layer",
            Item::Instance(_) => "an instance of a layer",
            Item::Unknown => "unknown",
        }
    }
}
