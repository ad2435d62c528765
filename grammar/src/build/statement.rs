//! Layers, models and their statements.
//!
//! Requires pairs of `layer_item`, `model_item`, `body`, `statement`. Ensures one statement for each that the
//! language has; those that only look like one are reported and left out.

use super::Builder;
use crate::error;
use crate::rules::{Pair, Parts, Rule};
use crate::tree::{Body, Definition, Expr, Instance, Let, Name, Param, ParamKind, Statement, StatementKind, Type, Weight};

impl Builder<'_> {
    pub(super) fn definition(&mut self, pair: Pair, what: &str) -> Definition {
        let start = self.span(&pair);
        let mut parts = Parts::of(pair);
        let signature = parts.find(Rule::signature).expect("a layer has a signature");
        let mut header = self.span(&signature);
        header.start = start.start;
        let body = self.body(parts.find(Rule::body).expect("a layer has a body"));
        let mut parts = Parts::of(signature);
        let name = self.name(&parts.find(Rule::name).expect("a signature has a name"));
        self.capital(&name, what);
        let params = parts.find(Rule::params).expect("a signature has parameters");
        let params = Parts::of(params).all(Rule::param).map(|param| self.param(param)).collect();
        let results = parts.find(Rule::results).map(|results| self.results(results)).unwrap_or_default();
        Definition { name, params, results, body, header }
    }

    fn results(&mut self, pair: Pair) -> Vec<Type> {
        Parts::of(pair).all(Rule::tensor).map(|tensor| self.tensor(tensor)).collect()
    }

    fn param(&mut self, pair: Pair) -> Param {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let name = self.name(&parts.find(Rule::name).expect("a parameter has a name"));
        parts.take(Rule::colon);
        let kind = match parts.take(Rule::tensor) {
            Some(tensor) => ParamKind::Tensor(self.tensor(tensor)),
            None => self.param_kind(&parts.find(Rule::name).expect("a parameter has a kind")),
        };
        match kind {
            ParamKind::Dim => self.capital(&name, "dim"),
            ParamKind::Layer => self.capital(&name, "layer"),
            ParamKind::Tensor(_) | ParamKind::Number | ParamKind::Bool => self.small(&name, "value"),
        }
        let default = parts.find(Rule::expr).map(|value| self.expr(value));
        Param { name, kind, default, span }
    }

    fn param_kind(&mut self, pair: &Pair) -> ParamKind {
        match pair.as_str() {
            "dim" => ParamKind::Dim,
            "number" => ParamKind::Number,
            "bool" => ParamKind::Bool,
            "layer" => ParamKind::Layer,
            other => {
                let span = self.span(pair);
                self.report(error::parameter(span, other));
                ParamKind::Number
            }
        }
    }

    fn body(&mut self, pair: Pair) -> Body {
        let span = self.span(&pair);
        let statements = Parts::of(pair).all(Rule::statement).filter_map(|statement| self.statement(statement)).collect();
        Body { statements, span }
    }

    /// One statement; none where it is a slip, which is reported.
    pub fn statement(&mut self, pair: Pair) -> Option<Statement> {
        let span = self.span(&pair);
        let inner = pair.into_inner().next().expect("a statement is one of its kinds");
        let kind = match inner.as_rule() {
            Rule::let_item => StatementKind::Let(self.let_item(inner)),
            Rule::weight => self.weight(inner),
            Rule::state => StatementKind::State(self.state(inner)),
            Rule::next => {
                let (name, value, _) = self.named_value(inner);
                StatementKind::Next { name, value }
            }
            Rule::loss => {
                let mut parts = Parts::of(inner);
                let value = self.next_expr(&mut parts);
                StatementKind::Loss { value, mask: self.mask(parts) }
            }
            Rule::metric => {
                let (name, value, mask) = self.named_value(inner);
                StatementKind::Metric { name, value, mask }
            }
            Rule::carry => {
                let mut parts = Parts::of(inner);
                let names = self.small_names(&mut parts, "value");
                StatementKind::Carry { names, value: self.next_expr(&mut parts) }
            }
            Rule::repeat => self.repeat(inner),
            Rule::return_ => StatementKind::Return(Parts::of(inner).all(Rule::expr).map(|value| self.expr(value)).collect()),
            Rule::missing_let => {
                let names = Parts::of(inner).find(Rule::names).expect("names stand before the `=`");
                self.report(error::missing_let(self.span(&names), names.as_str().trim()));
                return None;
            }
            _ => {
                self.report(error::bare(span));
                Parts::of(inner).all(Rule::expr).for_each(|value| drop(self.expr(value)));
                return None;
            }
        };
        Some(Statement { kind, span })
    }

    pub(super) fn let_item(&mut self, pair: Pair) -> Let {
        let mut parts = Parts::of(pair);
        let names = self.small_names(&mut parts, "value");
        parts.take(Rule::colon);
        let annotation = parts.take(Rule::tensor).map(|tensor| self.tensor(tensor));
        let value = self.next_expr(&mut parts);
        Let { names, annotation, value }
    }

    fn weight(&mut self, pair: Pair) -> StatementKind {
        let mut parts = Parts::of(pair);
        if let Some(slip) = parts.take(Rule::weights_slip) {
            self.report(error::weights(self.span(&slip)));
        }
        let names = self.small_names(&mut parts, "weight");
        parts.take(Rule::colon);
        if let Some(tensor) = parts.take(Rule::tensor) {
            let kind = self.tensor(tensor);
            let init = parts.find(Rule::expr).map(|value| self.expr(value));
            return StatementKind::Weight(Weight { names, kind, init });
        }
        let instance = parts.find(Rule::instance).expect("a weight has a type or a layer");
        let span = self.span(&instance);
        let mut inner = Parts::of(instance);
        let layer = self.path(&inner.find(Rule::path).expect("an instance has a layer"));
        let args = self.arguments(inner.find(Rule::arguments).expect("an instance has brackets"));
        if let Some(init) = parts.find(Rule::expr) {
            self.report(error::instance_init(self.span(&init)));
        }
        StatementKind::Instance(Instance { names, layer, args, span })
    }

    fn state(&mut self, pair: Pair) -> Weight {
        let mut parts = Parts::of(pair);
        let names = self.small_names(&mut parts, "state");
        let tensor = parts.find(Rule::tensor).expect("a state has a type");
        let kind = self.tensor(tensor);
        let init = parts.find(Rule::expr).map(|value| self.expr(value));
        Weight { names, kind, init }
    }

    fn named_value(&mut self, pair: Pair) -> (Name, Expr, Option<Expr>) {
        let mut parts = Parts::of(pair);
        let name = self.name(&parts.find(Rule::name).expect("a name stands before the `=`"));
        self.small(&name, "value");
        let value = self.next_expr(&mut parts);
        (name, value, self.mask(parts))
    }

    fn mask(&mut self, mut parts: Parts) -> Option<Expr> {
        let mask = parts.find(Rule::mask)?;
        Some(self.next_expr(&mut Parts::of(mask)))
    }

    fn repeat(&mut self, pair: Pair) -> StatementKind {
        let mut parts = Parts::of(pair);
        let dim = self.name(&parts.find(Rule::name).expect("a repeat has a dim"));
        self.capital(&dim, "dim");
        let index = parts.take(Rule::as_word).and_then(|_| parts.take(Rule::name)).map(|name| self.name(&name));
        if let Some(index) = &index {
            self.small(index, "number");
        }
        let body = self.body(parts.find(Rule::body).expect("a repeat has a body"));
        StatementKind::Repeat { dim, index, body }
    }

    fn small_names(&mut self, parts: &mut Parts, what: &str) -> Vec<Name> {
        let names = parts.find(Rule::names).expect("names stand here");
        let names = self.names(names);
        names.iter().for_each(|name| self.small(name, what));
        names
    }

    pub(super) fn next_expr(&mut self, parts: &mut Parts) -> Expr {
        let value = parts.find(Rule::expr).expect("a value stands here");
        self.expr(value)
    }
}
