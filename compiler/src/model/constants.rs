//! Compile-time values: dims' sizes and the numbers that `let` defines at the top of a file.
//!
//! Requires merged definitions and overrides. Ensures that each is evaluated once, after all overrides, whatever the order in which they stand; a
//! cycle, a size that is no whole number, and an unknown name are errors.

use super::error::{Errors, dims as wrong, experts, names};
use super::merge::Merged;
use super::numbers::{self, Outcome};
use meshwright_grammar::tree::{BinaryOp, Expr, ExprKind, Name, UnaryOp};
use meshwright_grammar::{Diagnostic, Span, unit};
use std::collections::{BTreeMap, BTreeSet};

/// What makes the size of a dim of slots a bound.
pub(crate) const RAGGED: &str = "ragged";

/// A compile-time value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Constant {
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// `none`.
    None,
}

/// What a name is defined as.
#[derive(Clone, Debug)]
struct Entry {
    value: Expr,
    span: Span,
    dim: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Open,
    Done(Constant),
    Wrong,
}

/// All compile-time values of a spec.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    entries: BTreeMap<String, Entry>,
    /// Names of dims in order.
    pub dims: Vec<String>,
    /// Dims of slots whose size is a bound: `ragged(96)`.
    pub ragged: BTreeSet<String>,
    open: Vec<String>,
}

impl Constants {
    /// Evaluates all definitions after `overrides`: pairs of `dims.Name`, `Name` or `name` and a value.
    pub fn evaluate(merged: &Merged, overrides: &[(String, Expr)], errors: &mut Errors) -> Self {
        let mut all = Constants::default();
        for entry in &merged.dims {
            all.dims.push(entry.key.text.clone());
            all.define(&entry.key, &entry.value, true);
        }
        for one in &merged.lets {
            match one.names.as_slice() {
                [name] => all.define(name, &one.value, false),
                names => errors.push(names::one_name_each(names[1].span)),
            }
        }
        overrides.iter().for_each(|(key, value)| all.set(key, value, errors));
        let names: Vec<String> = all.entries.keys().cloned().collect();
        for name in names {
            if let Err(Some(reason)) = all.of(&name) {
                errors.push(reason);
            }
        }
        all
    }

    fn define(&mut self, name: &Name, value: &Expr, dim: bool) {
        let entry = Entry { value: value.clone(), span: name.span, dim, state: State::Waiting };
        self.entries.insert(name.text.clone(), entry);
    }

    fn set(&mut self, key: &str, value: &Expr, errors: &mut Errors) {
        let name = key.strip_prefix("dims.").unwrap_or(key);
        if name.contains('.') {
            return;
        }
        match self.entries.get_mut(name) {
            Some(entry) if entry.dim || !key.starts_with("dims.") => entry.value = value.clone(),
            Some(_) | None => errors.push(names::unknown_override(key, value.span, self.entries.keys().map(String::as_str))),
        }
    }

    /// The value of a definition that was evaluated; none if there is none, or it is wrong and reported.
    pub fn get(&self, name: &str) -> Option<Constant> {
        match self.entries.get(name)?.state {
            State::Done(value) => Some(value),
            State::Waiting | State::Open | State::Wrong => None,
        }
    }

    /// Whether there is a definition of that name.
    pub fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Where a name is defined.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.entries.get(name).map(|entry| entry.span)
    }

    /// All names, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The value of a name; an error without a diagnostic has been reported where it arose.
    fn of(&mut self, name: &str) -> Result<Constant, Option<Diagnostic>> {
        let Some(entry) = self.entries.get(name) else { return Err(None) };
        match entry.state {
            State::Done(value) => return Ok(value),
            State::Wrong => return Err(None),
            State::Open => {
                let from = self.open.iter().position(|open| open == name).unwrap_or(0);
                return Err(Some(wrong::cycle(entry.span, &self.open[from..], name)));
            }
            State::Waiting => {}
        }
        let (value, dim) = (entry.value.clone(), entry.dim);
        self.state(name, State::Open);
        self.open.push(name.to_string());
        let result = if dim { self.dim(name, &value) } else { self.eval(&value) };
        self.open.pop();
        self.state(name, result.as_ref().map_or(State::Wrong, |found| State::Done(*found)));
        result
    }

    fn state(&mut self, name: &str, state: State) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state = state;
        }
    }

    /// A dim's size: a number, or `ragged` with the bound that becomes it.
    fn dim(&mut self, name: &str, value: &Expr) -> Result<Constant, Option<Diagnostic>> {
        let Some(bound) = bound(value)? else {
            let found = self.eval(value)?;
            return self.size(name, value, found);
        };
        self.ragged.insert(name.to_string());
        let found = self.eval(bound)?;
        self.size(name, bound, found)
    }

    /// Checks that a dim's size is a whole number from 1.
    fn size(&self, name: &str, value: &Expr, found: Constant) -> Result<Constant, Option<Diagnostic>> {
        match found {
            Constant::Number(size) if size >= 1.0 && size == size.trunc() && size < 9e15 => Ok(found),
            Constant::Number(size) => Err(Some(wrong::size(value.span, name, &self.arithmetic(value, size)))),
            Constant::Bool(_) | Constant::None => Err(Some(wrong::size(value.span, name, "no number"))),
        }
    }

    /// `Embed / Heads = 768 / 10 = 76.8`
    fn arithmetic(&self, value: &Expr, result: f64) -> String {
        let (names, values) = (spell(value, &|name| name.to_string()), spell(value, &|name| self.number_text(name)));
        let mut steps = vec![names];
        for step in [values, numbers::spell(result)] {
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
        steps.join(" = ")
    }

    fn number_text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Constant::Number(value)) => numbers::spell(value),
            Some(Constant::Bool(_) | Constant::None) | None => name.to_string(),
        }
    }

    /// The value of an expression that may only name dims and numbers.
    pub fn eval(&mut self, expr: &Expr) -> Result<Constant, Option<Diagnostic>> {
        match &expr.kind {
            ExprKind::Number(number) => {
                let factor = number.unit.as_ref().and_then(|name| unit::find(&name.text)).map_or(1.0, |unit| unit.factor);
                Ok(Constant::Number(number.value * factor))
            }
            ExprKind::Bool(value) => Ok(Constant::Bool(*value)),
            ExprKind::None => Ok(Constant::None),
            ExprKind::Path(path) => {
                let name = path.text();
                if name == RAGGED && !self.knows(&name) {
                    return Err(Some(experts::no_bound(path.span)));
                }
                if !self.knows(&name) {
                    return Err(Some(names::unknown_constant(&name, path.span, self.names())));
                }
                self.of(&name)
            }
            ExprKind::Unary { op, operand, .. } => match (op, self.eval(operand)?) {
                (UnaryOp::Negate, Constant::Number(value)) => Ok(Constant::Number(-value)),
                (UnaryOp::Not, Constant::Bool(value)) => Ok(Constant::Bool(!value)),
                (UnaryOp::Negate | UnaryOp::Not, _) => Err(Some(wrong::not_constant(expr.span))),
            },
            ExprKind::Binary { op, left, right, .. } => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                binary(*op, left, right).ok_or(Some(wrong::not_constant(expr.span)))
            }
            ExprKind::Call { callee, .. } if callee.text() == RAGGED => Err(Some(experts::ragged_place(expr.span))),
            ExprKind::Call { callee, args } => {
                let mut values = Vec::new();
                for arg in args {
                    match self.eval(&arg.value)? {
                        Constant::Number(value) if arg.name.is_none() => values.push(value),
                        Constant::Number(_) | Constant::Bool(_) | Constant::None => return Err(Some(wrong::not_constant(arg.span))),
                    }
                }
                numbers::call(&callee.text(), &values).map(Constant::Number).ok_or(Some(wrong::not_constant(expr.span)))
            }
            ExprKind::If { arms, otherwise } => {
                for (condition, value) in arms {
                    match self.eval(condition)? {
                        Constant::Bool(true) => return self.eval(value),
                        Constant::Bool(false) => {}
                        Constant::Number(_) | Constant::None => return Err(Some(wrong::not_constant(condition.span))),
                    }
                }
                self.eval(otherwise)
            }
            ExprKind::Text(_) | ExprKind::Rest | ExprKind::List(_) | ExprKind::Each { .. } => Err(Some(wrong::not_constant(expr.span))),
        }
    }
}

/// The bound of a `ragged` dim; none if it is an ordinary size.
fn bound(value: &Expr) -> Result<Option<&Expr>, Option<Diagnostic>> {
    let ExprKind::Call { callee, args } = &value.kind else { return Ok(None) };
    if callee.text() != RAGGED {
        return Ok(None);
    }
    match &args[..] {
        [one] if one.name.is_none() => Ok(Some(&one.value)),
        _ => Err(Some(experts::one_bound(value.span, args.len()))),
    }
}

/// An operator between compile-time values; none where it does not apply.
pub(crate) fn binary(op: BinaryOp, left: Constant, right: Constant) -> Option<Constant> {
    match (left, right) {
        (Constant::Number(left), Constant::Number(right)) => match numbers::binary(op, left, right) {
            Outcome::Number(value) => Some(Constant::Number(value)),
            Outcome::Bool(value) => Some(Constant::Bool(value)),
            Outcome::NotNumbers => None,
        },
        (Constant::Bool(left), Constant::Bool(right)) if op == BinaryOp::And => Some(Constant::Bool(left && right)),
        (Constant::Bool(left), Constant::Bool(right)) if op == BinaryOp::Or => Some(Constant::Bool(left || right)),
        _ if op == BinaryOp::Equal => Some(Constant::Bool(left == right)),
        _ if op == BinaryOp::NotEqual => Some(Constant::Bool(left != right)),
        _ => None,
    }
}

/// An expression on one line, with its names spelled by `name`.
pub(crate) fn spell(expr: &Expr, name: &dyn Fn(&str) -> String) -> String {
    let inner = |expr: &Expr| match expr.grouped {
        true => format!("({})", spell(expr, name)),
        false => spell(expr, name),
    };
    match &expr.kind {
        ExprKind::Number(number) => number.text.clone(),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Path(path) => name(&path.text()),
        ExprKind::Unary { op: UnaryOp::Negate, operand, .. } => format!("-{}", inner(operand)),
        ExprKind::Unary { op: UnaryOp::Not, operand, .. } => format!("not {}", inner(operand)),
        ExprKind::Binary { op, left, right, .. } => format!("{} {} {}", inner(left), op.text(), inner(right)),
        ExprKind::Call { callee, args } => {
            let args: Vec<String> = args.iter().map(|arg| spell(&arg.value, name)).collect();
            format!("{}({})", callee.text(), args.join(", "))
        }
        ExprKind::None => "none".to_string(),
        ExprKind::Text(_) | ExprKind::Rest | ExprKind::List(_) | ExprKind::If { .. } | ExprKind::Each { .. } => "…".to_string(),
    }
}
