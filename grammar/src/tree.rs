//! The syntax tree: what a spec says, before any name means anything.
//!
//! Requires nothing. Ensures that every node carries the [`Span`] it was read from, that names are as written, that
//! numbers keep their text and unit, and that all comments are in [`File::comments`] in order of position.

mod block;
mod expr;

pub use block::{Block, BlockForm, BlockKind, Entry, Modifier, Pattern, PatternPart, Range, Rule};
pub use expr::{Arg, BinaryOp, Expr, ExprKind, Number, UnaryOp};

use crate::source::{FileId, Span};

/// A name as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The letters.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// Names joined by dots: `std.norm`, `teacher.Gpt`.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// At least one name.
    pub parts: Vec<Name>,
    /// The whole path.
    pub span: Span,
}

impl Path {
    /// The name, when the path is a single one.
    pub fn single(&self) -> Option<&Name> {
        match self.parts.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// The path as written, with dots.
    pub fn text(&self) -> String {
        let parts: Vec<&str> = self.parts.iter().map(|name| name.text.as_str()).collect();
        parts.join(".")
    }
}

/// A comment, with its slashes.
#[derive(Debug, Clone, PartialEq)]
pub struct Comment {
    /// From the slashes to the end of the line, trailing blanks cut.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// `///` rather than `//`.
    pub doc: bool,
    /// Nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Which file.
    pub file: FileId,
    /// Its items, in order.
    pub items: Vec<Item>,
    /// Every comment, in order of position; doc comments too.
    pub comments: Vec<Comment>,
}

/// One item at the top of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// The lines of the `///` comments that stand right before it, without slashes.
    pub docs: Vec<String>,
    /// From its keyword to its end.
    pub span: Span,
}

/// The kinds of items.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemKind {
    /// `use …`
    Use(Use),
    /// `dims { Batch = 64 }`
    Dims(Dims),
    /// `let init = 0.02`
    Let(Let),
    /// `layer Feed(x: [.., Embed]) -> [.., Embed] { … }`
    Layer(Definition),
    /// `model Gpt(…) -> … { … }`
    Model(Definition),
    /// `train { … }`, `shard { … }` and so on.
    Block(Block),
}

/// `use std.norm`, `use "gpt2.mesh"`, `use "big.mesh" as teacher with Batch, Seq`.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// What is brought in.
    pub target: UseTarget,
    /// The name after `as`.
    pub alias: Option<Name>,
    /// The dims after `with`, shared with the other file.
    pub with: Vec<Name>,
}

/// What a `use` names.
#[derive(Debug, Clone, PartialEq)]
pub enum UseTarget {
    /// A file, relative to the one that uses it.
    File(Text),
    /// A module built into the compiler: `std.norm`.
    Module(Path),
}

/// A string, without its quotes and with its escapes resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// What it says.
    pub value: String,
    /// Where it stands, quotes included.
    pub span: Span,
}

/// `dims { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Dims {
    /// `Name = size`, in order.
    pub entries: Vec<Setting>,
    /// From `{` to `}`.
    pub body: Span,
}

/// `key = value`, or `key: value` in a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// What is set.
    pub key: Name,
    /// To what.
    pub value: Expr,
    /// Both.
    pub span: Span,
}

/// `layer` or `model`: a name, parameters, results and a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The name, capitalised.
    pub name: Name,
    /// The parameters.
    pub params: Vec<Param>,
    /// The types after `->`; empty when there is no arrow.
    pub results: Vec<Type>,
    /// The statements.
    pub body: Body,
    /// From the keyword to the end of the results, before `{`.
    pub header: Span,
}

/// Statements in braces.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The statements, in order.
    pub statements: Vec<Statement>,
    /// From `{` to `}`.
    pub span: Span,
}

/// A parameter of a layer or model.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Name,
    /// What may be given.
    pub kind: ParamKind,
    /// The value when nothing is given.
    pub default: Option<Expr>,
    /// All of it.
    pub span: Span,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamKind {
    /// A tensor of this type.
    Tensor(Type),
    /// `D: dim`
    Dim,
    /// `eps: number`
    Number,
    /// `causal: bool`, a compile-time constant.
    Bool,
    /// `Inner: layer`
    Layer,
}

/// The type of a tensor: `[.., Seq, Embed]`, `index(Vocab)[Batch, Seq]`, `[Embed -> Heads, Head]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// The element type; none where it is not written (`real`).
    pub element: Option<Element>,
    /// The dims; of a weight with an arrow, those before it.
    pub dims: Vec<DimRef>,
    /// The dims after the arrow; only weights have one.
    pub to: Option<Vec<DimRef>>,
    /// All of it.
    pub span: Span,
}

/// An element type.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// `real`
    Real(Span),
    /// `bool`
    Bool(Span),
    /// `index(Vocab)`
    Index(Name, Span),
}

/// A dim in a type.
#[derive(Debug, Clone, PartialEq)]
pub enum DimRef {
    /// A dim by name.
    Named(Name),
    /// `..`: the same dims throughout a signature, without those it names.
    Rest(Span),
}

/// A statement in the body of a layer, model or `repeat`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// All of it.
    pub span: Span,
}

/// The kinds of statements.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `let a, b = …`
    Let(Let),
    /// `weight query, key: [Embed -> Heads, Head] = normal(init)`
    Weight(Weight),
    /// `weight before, after: LayerNorm(Embed)`
    Instance(Instance),
    /// `state bias: [Route] = zeros`
    State(Weight),
    /// `next bias = …`
    Next {
        /// The state.
        name: Name,
        /// Its value in the next step.
        value: Expr,
    },
    /// `loss e where m`
    Loss {
        /// What is averaged.
        value: Expr,
        /// The weights of the mean.
        mask: Option<Expr>,
    },
    /// `metric name = e where m`
    Metric {
        /// Its name in the reports.
        name: Name,
        /// What is averaged.
        value: Expr,
        /// The weights of the mean.
        mask: Option<Expr>,
    },
    /// `carry x = Block(x)`
    Carry {
        /// The values handed to the next iteration.
        names: Vec<Name>,
        /// One call or value.
        value: Expr,
    },
    /// `repeat Layers as i { … }`
    Repeat {
        /// The dim that counts the iterations.
        dim: Name,
        /// The name of the iteration's number.
        index: Option<Name>,
        /// The statements of an iteration.
        body: Body,
    },
    /// `return a, b`
    Return(Vec<Expr>),
}

/// `let a, b: T = value`, in a body or at the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Let {
    /// The names that are bound.
    pub names: Vec<Name>,
    /// A type that is written down and checked.
    pub annotation: Option<Type>,
    /// The value.
    pub value: Expr,
}

/// Tensors that are kept: weights or states, all of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Their names.
    pub names: Vec<Name>,
    /// Their type.
    pub kind: Type,
    /// How they start.
    pub init: Option<Expr>,
}

/// Instances of a layer: `weight before, after: LayerNorm(Embed)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Their names.
    pub names: Vec<Name>,
    /// The layer.
    pub layer: Path,
    /// Its dims and numbers.
    pub args: Vec<Arg>,
    /// The layer and its arguments.
    pub span: Span,
}
