//! Scalars of a step: small f64 expressions of the step's number, evaluated by the executor before the step runs.
//!
//! Learning rates, bias corrections and the like are such expressions, so that no schedule is known to the runtime.

/// A named number, computed in f64 from the step and earlier definitions, handed to kernels as f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name: `rate`, `correct1`.
    pub name: String,
    /// How it is computed.
    pub value: Expr,
}

/// An f64 expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A literal.
    Const(f64),
    /// The step's number, counted from 1.
    Step,
    /// An earlier definition.
    Name(String),
    /// One argument.
    Unary(Unary, Box<Expr>),
    /// Two arguments.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `if condition { then } else { otherwise }`; the condition holds when it is not 0.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// Functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// Negation.
    Neg,
    /// Cosine (radians).
    Cos,
    /// Square root.
    Sqrt,
}

/// Functions of two arguments; comparisons give 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Power.
    Pow,
    /// Smaller one.
    Min,
    /// Larger one.
    Max,
    /// Less than.
    Lt,
}

impl Expr {
    /// The value at `step` (counted from 1), with `named` giving earlier definitions.
    pub fn eval(&self, step: u64, named: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
        Some(match self {
            Expr::Const(value) => *value,
            Expr::Step => step as f64,
            Expr::Name(name) => named(name)?,
            Expr::Unary(op, arg) => op.apply(arg.eval(step, named)?),
            Expr::Binary(op, left, right) => op.apply(left.eval(step, named)?, right.eval(step, named)?),
            Expr::Select(condition, then, otherwise) => {
                let chosen = if condition.eval(step, named)? != 0.0 { then } else { otherwise };
                chosen.eval(step, named)?
            }
        })
    }
}

impl Unary {
    fn apply(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Cos => x.cos(),
            Unary::Sqrt => x.sqrt(),
        }
    }
}

impl Binary {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            Binary::Lt => f64::from(u8::from(a < b)),
        }
    }
}
