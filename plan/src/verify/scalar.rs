//! Scalars: defined before use, finite.

use super::{Report, Rule};
use crate::Plan;
use crate::scalar::Expr;
use std::collections::BTreeSet;

/// All definitions, in order.
pub(super) fn scalars(plan: &Plan, report: &mut Report) {
    report.at("scalars");
    report.unique(plan.scalars.iter().map(|definition| definition.name.as_str()));
    let mut known = BTreeSet::new();
    for definition in &plan.scalars {
        report.at(&format!("scalar {}", definition.name));
        expression(&definition.value, &known, report);
        known.insert(definition.name.as_str());
    }
}

fn expression(value: &Expr, known: &BTreeSet<&str>, report: &mut Report) {
    let mut inner = |parts: &[&Expr]| parts.iter().for_each(|part| expression(part, known, report));
    match value {
        Expr::Unary(_, arg) => inner(&[arg]),
        Expr::Binary(_, left, right) => inner(&[left, right]),
        Expr::Select(condition, then, otherwise) => inner(&[condition, then, otherwise]),
        Expr::Step => {}
        Expr::Const(value) => report.check(value.is_finite(), Rule::Number, || format!("{value} is not finite")),
        Expr::Name(name) => {
            report.check(known.contains(name.as_str()), Rule::ScalarOrder, || format!("{name} is not defined above"));
        }
    }
}
