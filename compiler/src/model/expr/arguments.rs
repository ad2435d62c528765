//! Arguments of a primitive: positions first, then names.
//!
//! Requires the call's arguments. Ensures that each is taken once and that what nobody takes is an error.

use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, layers, operators};
use crate::model::item::Item;
use crate::op::{Dim, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Arg, Expr, ExprKind, Name};

/// Arguments that are left.
pub(crate) struct Args<'e> {
    /// The primitive's name.
    pub callee: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// The whole call.
    pub span: Span,
    positional: Vec<&'e Expr>,
    named: Vec<(&'e Name, &'e Expr)>,
    asked: Vec<String>,
}

impl<'e> Args<'e> {
    /// All arguments of a call.
    pub fn new(callee: &'static str, form: &'static str, span: Span, args: &'e [Arg]) -> Self {
        let positional = args.iter().filter(|arg| arg.name.is_none()).map(|arg| &arg.value).collect();
        let named = args.iter().filter_map(|arg| arg.name.as_ref().map(|name| (name, &arg.value))).collect();
        Args { callee, form, span, positional, named, asked: Vec::new() }
    }

    /// The next one by position.
    pub fn next(&mut self, this: &mut Elaborator, name: &str) -> Fallible<&'e Expr> {
        if self.positional.is_empty() {
            return Err(this.errors.stop(layers::missing_argument(self.callee, name, self.span, &format!("`{}`", self.form))));
        }
        Ok(self.positional.remove(0))
    }

    /// The next one by position, if there is one.
    pub fn maybe(&mut self) -> Option<&'e Expr> {
        if self.positional.is_empty() { None } else { Some(self.positional.remove(0)) }
    }

    /// The next one by position, as a tensor.
    pub fn tensor(&mut self, this: &mut Elaborator, name: &str) -> Fallible<Value> {
        let expr = self.next(this, name)?;
        Ok(this.tensor(expr)?.value)
    }

    /// The one of that name.
    pub fn named(&mut self, name: &str) -> Option<&'e Expr> {
        self.asked.push(name.to_string());
        let at = self.named.iter().position(|(given, _)| given.text == name)?;
        Some(self.named.remove(at).1)
    }

    /// The one of that name, which must be there.
    pub fn needed(&mut self, this: &mut Elaborator, name: &str) -> Fallible<&'e Expr> {
        match self.named(name) {
            Some(expr) => Ok(expr),
            None => Err(this.errors.stop(layers::missing_argument(self.callee, name, self.span, &format!("`{}`", self.form)))),
        }
    }

    /// One whose name is a dim's: `Embed: [Heads, Head]`.
    pub fn dim_named(&mut self) -> Option<(&'e Name, &'e Expr)> {
        let at = self.named.iter().position(|(name, _)| name.text.starts_with(|letter: char| letter.is_uppercase()))?;
        Some(self.named.remove(at))
    }

    /// The dims that are left by position, and those of `over:`.
    pub fn dims(&mut self, this: &mut Elaborator) -> Fallible<Vec<Dim>> {
        let mut dims = Vec::new();
        for expr in std::mem::take(&mut self.positional) {
            dims.extend(this.dims(expr)?);
        }
        if let Some(over) = self.named("over") {
            dims.extend(this.dims(over)?);
        }
        Ok(dims)
    }

    /// Whether the next argument names a dim, or `over:` is given.
    pub fn over_dims(&mut self, this: &mut Elaborator) -> bool {
        let is_dim = |expr: &Expr| match &expr.kind {
            ExprKind::Path(path) => matches!(this.resolve(&path.text()), Some(Item::Dim(_))),
            ExprKind::List(_) => true,
            _ => false,
        };
        self.named.iter().any(|(name, _)| name.text == "over") || self.positional.first().copied().is_some_and(is_dim)
    }

    /// Exactly one dim, which `value` has.
    pub fn dim_of(&mut self, this: &mut Elaborator, value: Value) -> Fallible<Dim> {
        let dims = self.dims(this)?;
        let ty = this.tape.ty(value).clone();
        match dims.as_slice() {
            [dim] if ty.has(*dim) => Ok(*dim),
            [dim] => Err(this.lacks(self.span, &format!("`{}`", self.callee), &ty, &[*dim])),
            [] => Err(this.errors.stop(operators::no_dim(self.span, self.callee, &this.tape, &ty))),
            _ => Err(this.errors.stop(layers::surplus_argument(self.callee, self.span, &format!("`{}`", self.form)))),
        }
    }

    /// Reports what nobody took.
    pub fn finish(&mut self, this: &mut Elaborator) -> Fallible<()> {
        if let Some((name, _)) = self.named.first() {
            let twice = self.asked.contains(&name.text);
            return Err(this.errors.stop(match twice {
                true => layers::argument_twice(self.callee, &name.text, name.span),
                false => layers::unknown_argument(self.callee, name, &self.asked),
            }));
        }
        match self.positional.first() {
            Some(surplus) => Err(this.errors.stop(layers::surplus_argument(self.callee, surplus.span, &format!("`{}`", self.form)))),
            None => Ok(()),
        }
    }
}
