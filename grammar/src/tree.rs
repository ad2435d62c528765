//! The syntax tree: what a spec says, before any name means anything.
//!
//! Requires nothing. Ensures that every node carries the [`Span`] it was read from, that names are as written, that
//! numbers keep their text and unit, and that all comments are in [`File::comments`] in order of position.

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

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, without brackets around it.
    pub span: Span,
    /// Whether it was written in brackets; only the formatter asks.
    pub grouped: bool,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// `6e-4`, `120 GiB`
    Number(Number),
    /// `"train.bin"`
    Text(String),
    /// `true`, `false`
    Bool(bool),
    /// `none`
    None,
    /// `x`, `Seq`, `1f1b`, `teacher.Embed`
    Path(Path),
    /// `*` as a mesh axis' size: the rest of the cluster.
    Rest,
    /// `lookup(table, tokens)`: a primitive, layer, instance or constructor.
    Call {
        /// What is called.
        callee: Path,
        /// With what.
        args: Vec<Arg>,
    },
    /// `[Groups, Member]`
    List(Vec<Expr>),
    /// `-x`, `not x`
    Unary {
        /// Which.
        op: UnaryOp,
        /// Where it stands.
        op_span: Span,
        /// Of what.
        operand: Box<Expr>,
    },
    /// `x @ query`
    Binary {
        /// Which.
        op: BinaryOp,
        /// Where it stands.
        op_span: Span,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
    },
    /// `if c { a } else if d { b } else { e }`
    If {
        /// Conditions with their values, at least one.
        arms: Vec<(Expr, Expr)>,
        /// The value when no condition holds.
        otherwise: Box<Expr>,
    },
    /// `each Expert: Feed(slots)`
    Each {
        /// The dim that is mapped over.
        dim: Name,
        /// The layer or instance.
        callee: Path,
        /// Its arguments.
        args: Vec<Arg>,
    },
}

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// Its value, before the unit.
    pub value: f64,
    /// Its digits, underscores and all.
    pub text: String,
    /// A unit from [`crate::unit::UNITS`].
    pub unit: Option<Name>,
}

/// An argument, `x` or `over: Seq`.
#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    /// The name before the colon.
    pub name: Option<Name>,
    /// The value.
    pub value: Expr,
    /// Both.
    pub span: Span,
}

/// Operators before their operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Negate,
    /// `not`
    Not,
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `@`: contracts one whole side of a weight's arrow.
    Contract,
    /// `^`
    Power,
}

impl UnaryOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            UnaryOp::Negate => "-",
            UnaryOp::Not => "not",
        }
    }
}

impl BinaryOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::Contract => "@",
            BinaryOp::Power => "^",
        }
    }
}

/// A block of settings, rules or requirements.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Which block.
    pub kind: BlockKind,
    /// The name after `before` in `shard before base { … }`.
    pub before: Option<Name>,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// The block's own word.
    pub word: Span,
    /// From `{` to `}`.
    pub body: Span,
}

/// The blocks of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    /// `mesh { tensor = 2 }`
    Mesh,
    /// `shard { Batch -> data }`
    Shard,
    /// `pipeline { schedule = 1f1b }`
    Pipeline,
    /// `remat { Block.Attention -> recompute }`
    Remat,
    /// `tune { LayerNorm.** -> decay: 0 }`
    Tune,
    /// `precision { Router.** -> f32 }`
    Precision,
    /// `train { steps = 2000 }`
    Train,
    /// `data { train = text("*.txt") }`
    Data,
    /// `validate { every = 250 }`
    Validate,
    /// `checkpoint { every = 500 }`
    Checkpoint,
    /// `cluster { device = h200 }`
    Cluster,
    /// `require { peak_memory < 120 GiB }`
    Require,
    /// `generate { temperature = 0.8 }`
    Generate,
}

/// What the entries of a block look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockForm {
    /// `key = value`
    Keyed,
    /// `path -> setting`, ordered
    Ordered,
    /// conditions
    Conditions,
}

impl BlockKind {
    /// Every block, in the order of the language's description.
    pub const ALL: [BlockKind; 13] = [
        BlockKind::Mesh,
        BlockKind::Shard,
        BlockKind::Pipeline,
        BlockKind::Remat,
        BlockKind::Tune,
        BlockKind::Precision,
        BlockKind::Train,
        BlockKind::Data,
        BlockKind::Validate,
        BlockKind::Checkpoint,
        BlockKind::Cluster,
        BlockKind::Require,
        BlockKind::Generate,
    ];

    /// The word that opens it.
    pub fn text(self) -> &'static str {
        match self {
            BlockKind::Mesh => "mesh",
            BlockKind::Shard => "shard",
            BlockKind::Pipeline => "pipeline",
            BlockKind::Remat => "remat",
            BlockKind::Tune => "tune",
            BlockKind::Precision => "precision",
            BlockKind::Train => "train",
            BlockKind::Data => "data",
            BlockKind::Validate => "validate",
            BlockKind::Checkpoint => "checkpoint",
            BlockKind::Cluster => "cluster",
            BlockKind::Require => "require",
            BlockKind::Generate => "generate",
        }
    }

    /// What its entries look like.
    pub fn form(self) -> BlockForm {
        match self {
            BlockKind::Shard | BlockKind::Remat | BlockKind::Tune | BlockKind::Precision => BlockForm::Ordered,
            BlockKind::Require => BlockForm::Conditions,
            BlockKind::Mesh
            | BlockKind::Pipeline
            | BlockKind::Train
            | BlockKind::Data
            | BlockKind::Validate
            | BlockKind::Checkpoint
            | BlockKind::Cluster
            | BlockKind::Generate => BlockForm::Keyed,
        }
    }
}

/// One entry of a block; which kind follows from [`BlockKind::form`].
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `steps = 2000`
    Setting(Setting),
    /// `Batch -> data`
    Rule(Rule),
    /// `peak_memory < 120 GiB`
    Condition(Expr),
}

/// `path, path -> target`, with modifiers or settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is about, at least one.
    pub patterns: Vec<Pattern>,
    /// The value right of the arrow (`data * tensor`, `recompute`, `frozen`), if there is one.
    pub target: Option<Expr>,
    /// `via …`, `padded`, `hold step`, after the value.
    pub modifiers: Vec<Modifier>,
    /// `decay: 0, rate: 0.1` right of the arrow.
    pub settings: Vec<Setting>,
    /// All of it.
    pub span: Span,
}

/// A path with wildcards: `Block[0..8].Attention.*`, `LayerNorm.**`, `weights.Embed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// At least one part.
    pub parts: Vec<PatternPart>,
    /// All of it.
    pub span: Span,
}

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum PatternPart {
    /// A name, perhaps only some of its repeats.
    Name(Name, Option<Range>),
    /// `*`: any one part.
    Any(Span),
    /// `**`: any parts, also none.
    AnyDepth(Span),
}

/// `[3]` is `3..4`, `[0..8]` is `0..8`.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The first repeat.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Whether it was written as one number.
    pub single: bool,
    /// With its brackets.
    pub span: Span,
}

/// What follows the axes in a shard rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Modifier {
    /// `via ring balanced`, `via heads`, `via gather`
    Via {
        /// How an operation gets a dim that it needs whole.
        how: Name,
        /// `balanced`, if written.
        balanced: Option<Span>,
    },
    /// `padded`
    Padded(Span),
    /// `hold step`
    Hold {
        /// How long gathered weights are kept.
        what: Name,
    },
}
