//! Expressions of the syntax tree.
//!
//! Requires nothing. Ensures that precedence is in the tree's shape and that brackets survive as a mark only.

use super::{Name, Path};
use crate::source::Span;

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
