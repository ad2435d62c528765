//! Statements of a body.
//!
//! Requires an open frame. Ensures that a wrong statement binds its names to [`Item::Unknown`] and the next ones are looked at.

use super::elaborate::Elaborator;
use super::error::{Fallible, Stop, dims as wrong, layers, names};
use super::item::{Item, Tensor};
use super::tape::Report;
use crate::op::{Element, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Body, Definition, Expr, ExprKind, Let, Name, Statement, StatementKind, Type};

impl Elaborator<'_> {
    /// All statements of a layer or model; its results.
    pub fn body(&mut self, body: &Body, definition: &Definition) -> Fallible<Vec<Tensor>> {
        let before = self.errors.count();
        self.statements(body);
        let Some((items, span)) = self.frame_mut().returned.take() else {
            // A `return` that came to nothing has its own error, or that of a dim or number that was told before.
            let written = body.statements.iter().any(|statement| matches!(statement.kind, StatementKind::Return(_)));
            if !definition.results.is_empty() && !written && self.errors.count() == before {
                self.errors.push(layers::no_return(definition));
            }
            return if definition.results.is_empty() { Ok(Vec::new()) } else { Err(Stop) };
        };
        let mut results = Vec::new();
        for item in items {
            results.push(self.tensor_of(item, span)?);
        }
        if !definition.results.is_empty() && results.len() != definition.results.len() {
            let what = format!("results of `{}`", definition.name.text);
            return Err(self.errors.stop(layers::result_count(span, results.len(), definition.results.len(), &what)));
        }
        for (result, declared) in results.iter().zip(&definition.results) {
            let what = format!("the result of `{}`", definition.name.text);
            self.check_declared(result, declared, &what, span)?;
        }
        Ok(results)
    }

    /// Checks a tensor against the type written for it; dims that `each` adds are not written.
    fn check_declared(&mut self, tensor: &Tensor, written: &Type, what: &str, span: Span) -> Fallible<()> {
        let (rest, stacked) = (self.frame().rest.clone(), self.frame().stacked.clone());
        let declared = self.type_of(written, rest.as_deref())?;
        let found = self.tape.ty(tensor.value).clone();
        let visible = |ty: &crate::op::Type| crate::op::Type {
            element: ty.element,
            dims: ty.dims.iter().filter(|dim| !stacked.contains(dim)).copied().collect(),
        };
        match visible(&found).same_set(&visible(&declared)) {
            true => Ok(()),
            false => Err(self.errors.stop(wrong::not_declared(span, written.span, &self.tape, what, &found, &declared))),
        }
    }

    /// Statements in order.
    pub fn statements(&mut self, body: &Body) {
        for (at, statement) in body.statements.iter().enumerate() {
            if matches!(statement.kind, StatementKind::Return(_)) && at + 1 < body.statements.len() {
                self.errors.push(layers::return_place(statement.span, "stands before other statements"));
            }
            if self.statement(statement).is_err() {
                self.give_up(statement);
            }
        }
    }

    /// Binds the names of a wrong statement, so that their uses are not errors of their own.
    fn give_up(&mut self, statement: &Statement) {
        let names: &[Name] = match &statement.kind {
            StatementKind::Let(one) => &one.names,
            StatementKind::Weight(one) | StatementKind::State(one) => &one.names,
            StatementKind::Instance(one) => &one.names,
            StatementKind::Next { .. }
            | StatementKind::Loss { .. }
            | StatementKind::Metric { .. }
            | StatementKind::Carry { .. }
            | StatementKind::Repeat { .. }
            | StatementKind::Return(_) => &[],
        };
        for name in names {
            self.frame_mut().bind(&name.text, Item::Unknown, name.span);
        }
    }

    fn statement(&mut self, statement: &Statement) -> Fallible<()> {
        match &statement.kind {
            StatementKind::Let(one) => self.let_(one),
            StatementKind::Weight(one) => self.declare_weights(one, false),
            StatementKind::Instance(one) => self.declare_instances(one),
            StatementKind::State(one) => self.declare_weights(one, true),
            StatementKind::Next { name, value } => self.next(name, value),
            StatementKind::Loss { value, mask } => self.loss(value, mask.as_ref(), statement.span),
            StatementKind::Metric { name, value, mask } => self.metric(name, value, mask.as_ref()),
            StatementKind::Carry { names, value } => self.carry(names, value, statement.span),
            StatementKind::Repeat { dim, index, body } => self.repeat(dim, index.as_ref(), body, statement.span),
            StatementKind::Return(values) => self.return_(values, statement.span),
        }
    }

    fn let_(&mut self, one: &Let) -> Fallible<()> {
        let own = self.own_piece(&one.value);
        if let Some(name) = &own {
            self.tape.cut(Some(name.clone()), 0);
        }
        let item = self.eval(&one.value);
        if own.is_some() {
            self.tape.cut(None, 0);
        }
        let items = self.spread(item?, one.names.len(), one.value.span)?;
        for (name, item) in one.names.iter().zip(items) {
            if let (Item::Tensor(tensor), Some(annotation)) = (&item, &one.annotation) {
                self.check_declared(tensor, annotation, &format!("`{}`", name.text), one.value.span)?;
            } else if let Some(annotation) = &one.annotation {
                return Err(self.errors.stop(names::wrong_kind(annotation.span, item.what(), "a tensor", "leave the type out")));
            }
            if let Item::Tensor(tensor) = &item {
                self.name_value(tensor.value, &name.text);
            }
            self.bound.entry(name.span).or_insert_with(|| (name.text.clone(), false));
            self.bind(name, item);
        }
        Ok(())
    }

    /// The name of the piece that a statement of the model's own body makes: its value is one call of a layer.
    fn own_piece(&mut self, value: &Expr) -> Option<String> {
        if self.frames.len() > 1 || self.iteration.is_some() {
            return None;
        }
        let ExprKind::Call { callee, .. } = &value.kind else { return None };
        let name = callee.single()?.text.clone();
        let called = matches!(self.visible(&name), Some((_, Item::Instance(_) | Item::Layer(_)))) || self.layers.contains_key(&name);
        called.then_some(name)
    }

    /// One item for each of several names.
    pub fn spread(&mut self, item: Item, count: usize, span: Span) -> Fallible<Vec<Item>> {
        let items = match item {
            Item::Several(tensors) => tensors.into_iter().map(Item::Tensor).collect(),
            Item::Unknown => return Err(Stop),
            one => vec![one],
        };
        match items.len() == count {
            true => Ok(items),
            false => Err(self.errors.stop(layers::result_count(span, items.len(), count, "values for the names on the left"))),
        }
    }

    /// Gives a value without a name its name.
    pub fn name_value(&mut self, value: Value, name: &str) {
        let data = &mut self.tape.body.values[value];
        if data.name.is_empty() {
            data.name = name.to_string();
        }
    }

    fn loss(&mut self, value: &Expr, mask: Option<&Expr>, span: Span) -> Fallible<()> {
        let tensor = self.tensor(value)?;
        let ty = self.tape.ty(tensor.value).clone();
        if ty.element != Element::Real {
            return Err(self.errors.stop(wrong::element(value.span, &self.tape, "a loss", "real", &ty)));
        }
        let mask = match mask {
            Some(mask) => Some(self.mask(mask, tensor.value)?),
            None => None,
        };
        self.report(None, tensor.value, mask, span);
        Ok(())
    }

    fn mask(&mut self, mask: &Expr, of: Value) -> Fallible<Value> {
        let tensor = self.tensor(mask)?;
        let (ty, whole) = (self.tape.ty(tensor.value).clone(), self.tape.ty(of).clone());
        if !matches!(ty.element, Element::Real | Element::Bool) {
            return Err(self.errors.stop(wrong::element(mask.span, &self.tape, "a mask", "bool", &ty)));
        }
        let extra: Vec<_> = ty.dims.iter().filter(|dim| !whole.has(**dim)).copied().collect();
        match extra.is_empty() {
            true => Ok(tensor.value),
            false => Err(self.errors.stop(wrong::unexpected(mask.span, &self.tape, "the mask of this loss", &ty, &extra))),
        }
    }

    fn metric(&mut self, name: &Name, value: &Expr, mask: Option<&Expr>) -> Fallible<()> {
        if let Some(mask) = mask {
            let help = "multiply by the mask, and report the mask's mean as a metric of its own";
            return Err(self.errors.stop(names::not_supported(mask.span, "a metric with `where`", help)));
        }
        let tensor = self.tensor(value)?;
        self.here(value.span);
        let real = self.tape.as_real(tensor.value);
        self.report(Some(name.text.clone()), real, None, name.span);
        Ok(())
    }

    fn report(&mut self, metric: Option<String>, value: Value, mask: Option<Value>, span: Span) {
        let piece = self.tape.pieces.len() - 1;
        self.tape.reports.push(Report { metric, value, mask, span, piece });
    }

    fn return_(&mut self, values: &[Expr], span: Span) -> Fallible<()> {
        if self.frame().open {
            return Err(self.errors.stop(layers::return_place(span, "cannot stand in a `repeat`")));
        }
        let mut items = Vec::new();
        for value in values {
            let item = self.eval(value)?;
            match item {
                Item::Several(tensors) => items.extend(tensors.into_iter().map(Item::Tensor)),
                one => items.push(one),
            }
        }
        self.frame_mut().returned = Some((items, span));
        Ok(())
    }

    /// What follows comes from `span` in the innermost body.
    pub fn here(&mut self, span: Span) {
        let path = self.frame().path.plain.clone();
        self.tape.at(span, &path);
    }
}
