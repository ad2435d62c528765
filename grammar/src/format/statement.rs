//! Layers, models and statements in the one layout.
//!
//! Requires a tree that was parsed. Ensures one statement a line; only a `repeat` of one statement may share its
//! braces' line.

use super::Printer;
use super::doc::Doc;
use super::expr::{names, tensor};
use super::lines::{Align, Line};
use super::{INDENT, WIDTH};
use crate::source::Span;
use crate::tree::{Body, Definition, Expr, Let, Name, Param, ParamKind, Statement, StatementKind, Weight};

impl Printer<'_> {
    pub(super) fn definition(&mut self, span: Span, word: &str, definition: &Definition) {
        let start = span.start as usize;
        if self.short(start, &definition.body, |printer| printer.header(word, definition)) {
            return;
        }
        self.open(start, definition.body.span, |printer| printer.header(word, definition));
        self.statements(&definition.body);
        self.close(definition.body.span);
    }

    fn header(&self, word: &str, definition: &Definition) -> Doc {
        let params = definition.params.iter().map(|param| self.param(param)).collect();
        let params = Doc::bracketed(format!("{word} {}(", definition.name.text), params, ")");
        let results: Vec<String> = definition.results.iter().map(tensor).collect();
        let arrow = if results.is_empty() { String::new() } else { format!(" -> {}", results.join(", ")) };
        Doc::list(vec![params, Doc::text(arrow)])
    }

    fn param(&self, param: &Param) -> Doc {
        let kind = match &param.kind {
            ParamKind::Tensor(kind) => tensor(kind),
            ParamKind::Dim => "dim".to_string(),
            ParamKind::Number => "number".to_string(),
            ParamKind::Bool => "bool".to_string(),
            ParamKind::Layer => "layer".to_string(),
        };
        let mut docs = vec![Doc::text(format!("{}: {kind}", param.name.text))];
        if let Some(default) = &param.default {
            docs.extend([Doc::text(" = "), self.expr(default)]);
        }
        Doc::list(docs)
    }

    fn statements(&mut self, body: &Body) {
        for statement in &body.statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        if let StatementKind::Repeat { dim, index, body } = &statement.kind {
            return self.repeat(statement.span, dim, index.as_ref(), body);
        }
        self.element(statement.span, Align::None, |printer| (printer.simple(statement), None));
    }

    /// A statement without braces of its own.
    fn simple(&self, statement: &Statement) -> Doc {
        match &statement.kind {
            StatementKind::Let(bound) => self.bound(bound),
            StatementKind::Weight(weight) => self.weight("weight", weight),
            StatementKind::State(state) => self.weight("state", state),
            StatementKind::Instance(instance) => {
                self.call(&format!("weight {}: ", names(&instance.names)), &instance.layer, &instance.args)
            }
            StatementKind::Next { name, value } => self.set(format!("next {} = ", name.text), value),
            StatementKind::Carry { names: carried, value } => self.set(format!("carry {} = ", names(carried)), value),
            StatementKind::Loss { value, mask } => self.masked("loss ".to_string(), value, mask.as_ref()),
            StatementKind::Metric { name, value, mask } => self.masked(format!("metric {} = ", name.text), value, mask.as_ref()),
            StatementKind::Return(values) => {
                let mut docs = vec![Doc::text("return ")];
                for (at, value) in values.iter().enumerate() {
                    docs.extend([Doc::text(if at == 0 { "" } else { ", " }), self.expr(value)]);
                }
                Doc::list(docs)
            }
            // printed with its braces by `repeat`; on one line it is only its header
            StatementKind::Repeat { dim, index, .. } => Doc::text(repeat_header(dim, index.as_ref())),
        }
    }

    pub(super) fn bound(&self, bound: &Let) -> Doc {
        let annotation = bound.annotation.as_ref().map(|kind| format!(": {}", tensor(kind))).unwrap_or_default();
        self.set(format!("let {}{annotation} = ", names(&bound.names)), &bound.value)
    }

    fn weight(&self, word: &str, weight: &Weight) -> Doc {
        let lead = format!("{word} {}: {}", names(&weight.names), tensor(&weight.kind));
        match &weight.init {
            Some(init) => self.set(format!("{lead} = "), init),
            None => Doc::text(lead),
        }
    }

    fn set(&self, lead: String, value: &Expr) -> Doc {
        Doc::list(vec![Doc::text(lead), self.expr(value)])
    }

    fn masked(&self, lead: String, value: &Expr, mask: Option<&Expr>) -> Doc {
        let mut docs = vec![Doc::text(lead), self.expr(value)];
        if let Some(mask) = mask {
            docs.extend([Doc::text(" where "), self.expr(mask)]);
        }
        Doc::list(docs)
    }

    fn repeat(&mut self, span: Span, dim: &Name, index: Option<&Name>, body: &Body) {
        let header = repeat_header(dim, index);
        if self.short(span.start as usize, body, |_| Doc::text(header.clone())) {
            return;
        }
        self.open(span.start as usize, body.span, |_| Doc::text(header));
        self.statements(body);
        self.close(body.span);
    }

    /// Prints a body of one plain statement on its header's line, if it was written so and fits.
    fn short(&mut self, start: usize, body: &Body, header: impl FnOnce(&Self) -> Doc) -> bool {
        let inner = match body.statements.as_slice() {
            [] => Doc::text("}"),
            [one] if !matches!(one.kind, StatementKind::Repeat { .. }) => {
                Doc::list(vec![Doc::text(" "), self.simple(one), Doc::text(" }")])
            }
            _ => return false,
        };
        if !self.on_one_line(start, body.span) {
            return false;
        }
        let indent = self.indent * INDENT;
        let text = Doc::list(vec![header(self), Doc::text(" {"), inner]).print(indent, indent);
        if text.contains('\n') || indent + text.chars().count() > WIDTH {
            return false;
        }
        self.lead(start);
        self.gap(start);
        self.lines.push(Line::plain(indent, text));
        self.trail(body.span.end as usize);
        true
    }
}

fn repeat_header(dim: &Name, index: Option<&Name>) -> String {
    let index = index.map(|index| format!(" as {}", index.text)).unwrap_or_default();
    format!("repeat {}{index}", dim.text)
}
