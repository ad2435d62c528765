//! `cross_entropy`.
//!
//! Requires real logits and targets that range over one of their dims. Ensures that no scatter is needed: the target's logit is picked by comparison.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, operators};
use crate::op::{Dim, Element, Map, Reduce, Value};

impl Elaborator<'_> {
    /// `cross_entropy(logits, targets)`, in nats: log of the sum of exp(logits), less the target's logit.
    pub fn cross_entropy(&mut self, args: &mut Args) -> Fallible<Value> {
        let logits = self.real_argument(args, "logits")?;
        let expr = args.next(self, "targets")?;
        let targets = self.tensor(expr)?.value;
        args.finish(self)?;
        let (ty, index) = (self.tape.ty(logits).clone(), self.tape.ty(targets).clone());
        let Element::Index(classes) = index.element else {
            return Err(self.errors.stop(wrong::element(expr.span, &self.tape, "the targets of `cross_entropy`", "an index", &index)));
        };
        if !ty.has(classes) {
            return Err(self.errors.stop(operators::index_dim(args.span, &self.tape, classes, &ty)));
        }
        let extra: Vec<Dim> = index.dims.iter().filter(|dim| !ty.has(**dim) || **dim == classes).copied().collect();
        if !extra.is_empty() {
            return Err(self.errors.stop(wrong::unexpected(expr.span, &self.tape, "the logits of `cross_entropy`", &index, &extra)));
        }
        self.here(args.span);
        let shifted = self.shifted(logits, &[classes]);
        let powers = self.tape.real_map(Map::Exp, &[shifted]);
        let sum = self.tape.reduce(Reduce::Sum, powers, &[classes]);
        let log = self.tape.real_map(Map::Log, &[sum]);
        let hit = self.equals_position(targets, classes);
        let zero = self.tape.real(0.0);
        let only = self.tape.map(Map::Where, &[hit, shifted, zero], Element::Real);
        let picked = self.tape.reduce(Reduce::Sum, only, &[classes]);
        Ok(self.tape.real_map(Map::Sub, &[log, picked]))
    }
}
