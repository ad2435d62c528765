//! Expressions of a body: compile-time values stay values, tensors become instructions.
//!
//! Requires an open frame. Ensures that an error is reported where it stands and that what depends on it stops quietly.

mod activation;
mod arguments;
mod attention;
mod builtin;
mod contract;
mod elementwise;
pub(crate) mod experts;
mod indexing;
mod loss;
mod random;
mod reduce;
mod rotary;
mod shape;

use super::elaborate::Elaborator;
use super::error::{Fallible, Stop, names};
use super::item::{Item, Tensor};
use super::standard;
use crate::op::Dim;
use builtin::Builtin;
use meshwright_grammar::tree::{Arg, Expr, ExprKind, Path};
use meshwright_grammar::{Span, unit};

impl Elaborator<'_> {
    /// What an expression stands for.
    pub fn eval(&mut self, expr: &Expr) -> Fallible<Item> {
        match &expr.kind {
            ExprKind::Number(number) => {
                let factor = number.unit.as_ref().and_then(|name| unit::find(&name.text)).map_or(1.0, |unit| unit.factor);
                Ok(Item::Number(number.value * factor))
            }
            ExprKind::Bool(value) => Ok(Item::Bool(*value)),
            ExprKind::None => Ok(Item::None),
            ExprKind::Path(path) => self.name(path),
            ExprKind::Call { callee, args } => self.call(callee, args, expr.span),
            ExprKind::Unary { op, operand, .. } => self.unary(*op, operand, expr.span),
            ExprKind::Binary { op, left, right, op_span } => self.binary(*op, left, right, expr.span, *op_span),
            ExprKind::If { arms, otherwise } => self.choose(arms, otherwise),
            ExprKind::Each { dim, callee, args } => self.each(dim, callee, args, expr.span),
            ExprKind::Text(_) => Err(self.errors.stop(names::wrong_kind(expr.span, "a text", "a value", "texts stand in `data { … }`"))),
            ExprKind::List(_) => Err(self.errors.stop(names::wrong_kind(
                expr.span,
                "a list",
                "a value",
                "lists of dims stand after `over:`, `into:` and the like",
            ))),
            ExprKind::Rest => Err(self.errors.stop(names::wrong_kind(expr.span, "`*`", "a value", "`*` stands in `mesh { … }`"))),
        }
    }

    fn name(&mut self, path: &Path) -> Fallible<Item> {
        let name = path.text();
        match self.resolve(&name) {
            Some(Item::Unknown) => Err(Stop),
            Some(item) => Ok(item),
            None if self.layers.contains_key(&name) => {
                let help = format!("call it: `{name}(…)`");
                Err(self.errors.stop(names::wrong_kind(path.span, "a layer", "a value", &help)))
            }
            None => {
                let all = self.all_names();
                Err(self.errors.stop(names::unknown_name(&name, path.span, all.iter().map(String::as_str))))
            }
        }
    }

    fn choose(&mut self, arms: &[(Expr, Expr)], otherwise: &Expr) -> Fallible<Item> {
        for (condition, value) in arms {
            match self.eval(condition)? {
                Item::Bool(true) => return self.eval(value),
                Item::Bool(false) => {}
                other => return Err(self.errors.stop(names::not_compile_time(condition.span, other.what()))),
            }
        }
        self.eval(otherwise)
    }

    /// A call of a layer, an instance or a primitive.
    pub fn call(&mut self, callee: &Path, args: &[Arg], span: Span) -> Fallible<Item> {
        let name = callee.text();
        match self.resolve(&name) {
            Some(Item::Unknown) => return Err(Stop),
            Some(Item::Instance(instance)) => return self.call_instance(*instance, args, span),
            Some(Item::Layer(layer)) => return self.call_layer(layer, args, span),
            Some(Item::Tensor(_) | Item::Several(_)) if Builtin::find(&name).is_none() => {
                return Err(self.errors.stop(names::wrong_kind(
                    callee.span,
                    "a tensor",
                    "a layer or operation",
                    "a tensor cannot be called; multiply with `*` or `@`",
                )));
            }
            Some(Item::Number(_) | Item::Bool(_) | Item::None | Item::Dim(_) | Item::Tensor(_) | Item::Several(_)) | None => {}
        }
        if let Some(layer) = self.layers.get(&name) {
            return self.call_layer(*layer, args, span);
        }
        match Builtin::find(&name) {
            Some(_) => self.builtin(&name, args, span),
            None => Err(self.unknown_callee(&name, callee.span)),
        }
    }

    /// Reports a callee that does not exist, with the module that has it or the nearest name.
    pub fn unknown_callee(&mut self, name: &str, span: Span) -> Stop {
        let header = format!("layer {name}(");
        let module = standard::MODULES.iter().find(|(_, text)| text.contains(&header)).map(|(module, _)| *module);
        let mut all: Vec<String> = self.layers.keys().cloned().collect();
        all.extend(Builtin::ALL.iter().map(|(name, _, _)| name.to_string()));
        all.extend(self.frame().names.keys().cloned());
        self.errors.stop(names::unknown_callee(name, span, all.iter().map(String::as_str), module))
    }

    /// An expression as a tensor; a number becomes a constant.
    pub fn tensor(&mut self, expr: &Expr) -> Fallible<Tensor> {
        let item = self.eval(expr)?;
        self.tensor_of(item, expr.span)
    }

    /// An item as a tensor; a number becomes a constant.
    pub fn tensor_of(&mut self, item: Item, span: Span) -> Fallible<Tensor> {
        match item {
            Item::Tensor(tensor) => Ok(tensor),
            Item::Number(value) => {
                self.here(span);
                Ok(Tensor::plain(self.tape.real(value)))
            }
            Item::Dim(dim) => {
                self.here(span);
                let size = self.tape.size(dim) as f64;
                Ok(Tensor::plain(self.tape.real(size)))
            }
            Item::Unknown => Err(Stop),
            Item::Several(_) | Item::Bool(_) | Item::None | Item::Layer(_) | Item::Instance(_) => {
                Err(self.errors.stop(names::wrong_kind(span, item.what(), "a tensor", "give it one tensor")))
            }
        }
    }

    /// The number that an item is, if it is one; a dim is its size.
    pub fn as_number(&self, item: &Item) -> Option<f64> {
        match item {
            Item::Number(value) => Some(*value),
            Item::Dim(dim) => Some(self.tape.size(*dim) as f64),
            Item::Bool(_) | Item::None | Item::Tensor(_) | Item::Several(_) | Item::Layer(_) | Item::Instance(_) | Item::Unknown => None,
        }
    }

    /// A name that stands for a number.
    pub fn numeric(&mut self, name: &str) -> Option<f64> {
        super::numbers::FUNCTIONS.iter().find(|(function, _)| *function == name).map(|(_, count)| *count as f64)
    }

    /// An expression as a compile-time number.
    pub fn number(&mut self, expr: &Expr) -> Fallible<f64> {
        let item = self.eval(expr)?;
        match self.as_number(&item) {
            Some(value) => Ok(value),
            None => Err(self.errors.stop(names::wrong_kind(expr.span, item.what(), "a compile-time number", "use numbers and dims"))),
        }
    }

    /// An expression as a compile-time number, or none.
    pub fn optional_number(&mut self, expr: Option<&Expr>) -> Fallible<Option<f64>> {
        let Some(expr) = expr else { return Ok(None) };
        match self.eval(expr)? {
            Item::None => Ok(None),
            item => match self.as_number(&item) {
                Some(value) => Ok(Some(value)),
                None => Err(self.errors.stop(names::wrong_kind(
                    expr.span,
                    item.what(),
                    "a compile-time number or `none`",
                    "use numbers and dims",
                ))),
            },
        }
    }

    /// An expression as a compile-time truth value.
    pub fn truth(&mut self, expr: &Expr) -> Fallible<bool> {
        match self.eval(expr)? {
            Item::Bool(value) => Ok(value),
            item => Err(self.errors.stop(names::wrong_kind(expr.span, item.what(), "`true` or `false`", "use a comparison of numbers"))),
        }
    }

    /// An expression as a dim.
    pub fn dim(&mut self, expr: &Expr) -> Fallible<Dim> {
        if let ExprKind::Path(path) = &expr.kind
            && let Some(name) = path.single()
        {
            return self.dim_named(name);
        }
        let item = self.eval(expr)?;
        Err(self.errors.stop(names::wrong_kind(expr.span, item.what(), "a dim", "name a dim of `dims { … }`")))
    }

    /// A dim or a list of dims.
    pub fn dims(&mut self, expr: &Expr) -> Fallible<Vec<Dim>> {
        match &expr.kind {
            ExprKind::List(list) => list.iter().map(|one| self.dim(one)).collect(),
            _ => Ok(vec![self.dim(expr)?]),
        }
    }
}
