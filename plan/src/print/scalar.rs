//! The scalars of a plan as text: `scalar rate = where(step < 100.0, step * 0.00001, 0.001)`.

use super::{Text, name};
use crate::Plan;
use crate::scalar::{Binary, Expr, Unary};

/// One line per definition.
pub(super) fn print(plan: &Plan, text: &mut Text) {
    if !plan.scalars.is_empty() {
        text.blank();
    }
    for definition in &plan.scalars {
        text.line(0, &[format!("scalar {} = {}", name::quoted(&definition.name), expression(&definition.value, 0))]);
    }
}

/// Comparison, sum, product, sign, atom: how tightly it binds, loosest first.
fn binary(op: Binary) -> (u8, &'static str, bool) {
    match op {
        Binary::Lt => (1, "<", true),
        Binary::Add => (2, "+", true),
        Binary::Sub => (2, "-", true),
        Binary::Mul => (3, "*", true),
        Binary::Div => (3, "/", true),
        Binary::Pow => (5, "pow", false),
        Binary::Min => (5, "min", false),
        Binary::Max => (5, "max", false),
    }
}

fn expression(value: &Expr, tightness: u8) -> String {
    let (own, text) = match value {
        Expr::Const(value) => (if value.is_sign_negative() { 4 } else { 5 }, format!("{value:?}")),
        Expr::Step => (5, "step".to_owned()),
        // the word alone is the step's number
        Expr::Name(name) if name == "step" => (5, "\"step\"".to_owned()),
        Expr::Name(name) => (5, name::quoted(name)),
        Expr::Unary(Unary::Neg, arg) if matches!(**arg, Expr::Const(_)) => (4, format!("-({})", expression(arg, 0))),
        Expr::Unary(Unary::Neg, arg) => (4, format!("-{}", expression(arg, 5))),
        Expr::Unary(Unary::Cos, arg) => (5, format!("cos({})", expression(arg, 0))),
        Expr::Unary(Unary::Sqrt, arg) => (5, format!("sqrt({})", expression(arg, 0))),
        Expr::Binary(op, left, right) => match binary(*op) {
            (own, sign, true) => {
                let first = expression(left, if own == 1 { 2 } else { own });
                (own, format!("{first} {sign} {}", expression(right, own + 1)))
            }
            (own, word, false) => (own, format!("{word}({}, {})", expression(left, 0), expression(right, 0))),
        },
        Expr::Select(condition, then, otherwise) => {
            (5, format!("where({}, {}, {})", expression(condition, 0), expression(then, 0), expression(otherwise, 0)))
        }
    };
    if own < tightness { format!("({text})") } else { text }
}
