//! The primitives and the functions made of them: what model, graph, shard and fuse all speak.
//!
//! A [`Body`] is a list of instructions in SSA form over values with named dims. Instructions stand in an order in which every argument
//! is defined before it is used. A dim is nominal: two dims of equal size are different dims. A value's dims are a set to the mathematics; their
//! order in [`Type::dims`] is the memory layout (row-major, first is outermost). There is no transpose: layouts are chosen freely.

mod kind;

pub use kind::*;

use cranelift_entity::{PrimaryMap, entity_impl};
use meshwright_grammar::Span;
pub use meshwright_plan::kernel::{Map, Reduce};

/// A named dim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(u32);
entity_impl!(Dim, "dim");

/// A value of a body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);
entity_impl!(Value, "v");

/// Where an instruction came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(u32);
entity_impl!(Origin, "origin");

/// One dim: the user's name and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimData {
    /// As written; compiler-made dims (the key side of self-attention, parts of a split) end in `'` and the like, and stay unique.
    pub name: String,
    /// Number of elements.
    pub size: u64,
    /// Where it was declared.
    pub span: Option<Span>,
    /// The mesh axes that cut it, major first: it is one rank's part of a whole dim. Only local programs have such dims.
    pub axes: Vec<String>,
}

/// All dims of a compilation.
pub type Dims = PrimaryMap<Dim, DimData>;

/// A source position and the layer call that an instruction belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginData {
    /// The expression in the user's text (none for what the compiler adds).
    pub span: Option<Span>,
    /// Path of the enclosing layer call without iteration numbers: `Gpt.Block.Attention`.
    pub path: String,
}

/// All origins of a compilation.
pub type Origins = PrimaryMap<Origin, OriginData>;

/// What one element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// A number that can be differentiated.
    Real,
    /// The same, rounded to bf16 and kept in two bytes. Only the stage `memory` makes such types, for targets that have them.
    Half,
    /// A truth value.
    Bool,
    /// An integer that ranges over a dim.
    Index(Dim),
    /// Any other integer: what arithmetic on positions gives.
    Integer,
}

impl Element {
    /// Whether it is a real number, however it is stored.
    pub fn is_real(self) -> bool {
        match self {
            Element::Real | Element::Half => true,
            Element::Bool | Element::Index(_) | Element::Integer => false,
        }
    }
}

/// Element type and dims in layout order (no dim twice).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    /// What one element is.
    pub element: Element,
    /// Its dims, outermost first.
    pub dims: Vec<Dim>,
}

impl Type {
    /// A real tensor.
    pub fn real(dims: Vec<Dim>) -> Self {
        Type { element: Element::Real, dims }
    }

    /// Number of elements.
    pub fn elements(&self, dims: &Dims) -> u64 {
        self.dims.iter().map(|dim| dims[*dim].size).product()
    }

    /// Whether `dim` is one of its dims.
    pub fn has(&self, dim: Dim) -> bool {
        self.dims.contains(&dim)
    }

    /// Whether both have the same element and the same set of dims, whatever the layout.
    pub fn same_set(&self, other: &Type) -> bool {
        self.element == other.element && self.dims.len() == other.dims.len() && self.dims.iter().all(|dim| other.has(*dim))
    }
}

/// A value: its type and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueData {
    /// Element and dims.
    pub ty: Type,
    /// Its name in the user's text, for printing; empty if it has none.
    pub name: String,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What it defines (one value for all operators but attention and its gradient).
    pub results: Vec<Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// Values and instructions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// All values, inputs included.
    pub values: PrimaryMap<Value, ValueData>,
    /// In order.
    pub insts: Vec<Inst>,
}

impl Body {
    /// A value that no instruction defines: an input.
    pub fn input(&mut self, ty: Type, name: &str) -> Value {
        self.values.push(ValueData { ty, name: name.to_string() })
    }

    /// Appends an instruction with one result of type `ty`.
    pub fn push(&mut self, op: Op, args: Vec<Value>, ty: Type, origin: Origin) -> Value {
        let result = self.values.push(ValueData { ty, name: String::new() });
        self.insts.push(Inst { op, args, results: vec![result], origin });
        result
    }

    /// Appends an instruction with several results.
    pub fn push_many(&mut self, op: Op, args: Vec<Value>, types: Vec<Type>, origin: Origin) -> Vec<Value> {
        let results: Vec<Value> = types.into_iter().map(|ty| self.values.push(ValueData { ty, name: String::new() })).collect();
        self.insts.push(Inst { op, args, results: results.clone(), origin });
        results
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        &self.values[value].ty
    }
}

/// The number that stands for a random site: FNV-1a over its path, stable over versions and machines.
pub fn site_hash(path: &str) -> u64 {
    path.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}
