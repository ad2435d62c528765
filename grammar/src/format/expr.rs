//! Expressions and types in the one layout.
//!
//! Requires a tree that was parsed, so brackets are marked where precedence needs them. Ensures spaces around binary
//! operators, none inside brackets, and breaks only inside brackets and after operators.

use super::Printer;
use super::doc::Doc;
use crate::tree::{Arg, DimRef, Element, Expr, ExprKind, Name, Path, Type, UnaryOp};

/// `a, b`
pub(super) fn names(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
    names.join(", ")
}

/// `index(Vocab)[Batch, Seq]`, `[Embed -> Heads, Head]`
pub(super) fn tensor(kind: &Type) -> String {
    let element = match &kind.element {
        None => String::new(),
        Some(Element::Real(_)) => "real".to_string(),
        Some(Element::Bool(_)) => "bool".to_string(),
        Some(Element::Index(dim, _)) => format!("index({})", dim.text),
    };
    match &kind.to {
        None => format!("{element}[{}]", dims(&kind.dims)),
        Some(to) => format!("{element}[{} -> {}]", dims(&kind.dims), dims(to)),
    }
}

fn dims(refs: &[DimRef]) -> String {
    let text = |dim: &DimRef| match dim {
        DimRef::Named(name) => name.text.clone(),
        DimRef::Rest(_) => "..".to_string(),
    };
    refs.iter().map(text).collect::<Vec<String>>().join(", ")
}

impl Printer<'_> {
    pub(super) fn expr(&self, expr: &Expr) -> Doc {
        let inner = self.inner(expr);
        if expr.grouped { Doc::group(vec![Doc::text("("), Doc::nest(vec![Doc::Soft, inner]), Doc::Soft, Doc::text(")")]) } else { inner }
    }

    fn inner(&self, expr: &Expr) -> Doc {
        match &expr.kind {
            ExprKind::Number(number) => match &number.unit {
                Some(unit) => Doc::text(format!("{} {}", number.text, unit.text)),
                None => Doc::text(&number.text),
            },
            ExprKind::Text(_) => Doc::text(self.source(expr.span)),
            ExprKind::Bool(value) => Doc::text(value.to_string()),
            ExprKind::None => Doc::text("none"),
            ExprKind::Rest => Doc::text("*"),
            ExprKind::Path(path) => Doc::text(path.text()),
            ExprKind::Call { callee, args } => self.call("", callee, args),
            ExprKind::Each { dim, callee, args } => self.call(&format!("each {}: ", dim.text), callee, args),
            ExprKind::List(items) => Doc::bracketed("[", items.iter().map(|item| self.expr(item)).collect(), "]"),
            ExprKind::Unary { op, operand, .. } => {
                let space = if *op == UnaryOp::Not { " " } else { "" };
                Doc::list(vec![Doc::text(format!("{}{space}", op.text())), self.expr(operand)])
            }
            ExprKind::Binary { op, left, right, .. } => {
                let right = Doc::group(vec![Doc::nest(vec![Doc::Line, self.expr(right)])]);
                Doc::list(vec![self.expr(left), Doc::text(format!(" {}", op.text())), right])
            }
            ExprKind::If { arms, otherwise } => self.choice(arms, otherwise),
        }
    }

    pub(super) fn call(&self, lead: &str, callee: &Path, args: &[Arg]) -> Doc {
        Doc::bracketed(format!("{lead}{}(", callee.text()), args.iter().map(|arg| self.arg(arg)).collect(), ")")
    }

    fn arg(&self, arg: &Arg) -> Doc {
        match &arg.name {
            Some(name) => Doc::list(vec![Doc::text(format!("{}: ", name.text)), self.expr(&arg.value)]),
            None => self.expr(&arg.value),
        }
    }

    fn choice(&self, arms: &[(Expr, Expr)], otherwise: &Expr) -> Doc {
        let mut docs = Vec::new();
        for (at, (condition, value)) in arms.iter().enumerate() {
            docs.push(Doc::text(if at == 0 { "if " } else { " else if " }));
            docs.extend([self.expr(condition), Doc::text(" {"), Doc::nest(vec![Doc::Line, self.expr(value)]), Doc::Line, Doc::text("}")]);
        }
        docs.extend([Doc::text(" else {"), Doc::nest(vec![Doc::Line, self.expr(otherwise)]), Doc::Line, Doc::text("}")]);
        Doc::group(docs)
    }
}
