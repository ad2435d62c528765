//! Sums of complete and partial terms: partial ones are added up first, so that each sum is reduced once, whatever the order of its terms.
//!
//! Requires terms of one type. Ensures that a sum nobody wants by itself is not computed.

use super::ir::Placement;
use super::partition::Walk;
use crate::op::{Inst, Map, Op, Origin, Reduce, Value};

/// A sum that is yet to be computed.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Terms that are complete, as the body with whole dims has them.
    complete: Vec<Value>,
    /// The local sum of the others, and where it stands.
    parts: (Placement, Value),
    origin: Origin,
}

impl Walk<'_, '_> {
    /// Takes an addition of a complete and a partial term as a sum that is yet to be computed; false if it is none.
    pub(super) fn postpone(&mut self, inst: &Inst) -> bool {
        let alike = inst.args.iter().all(|arg| self.old.ty(*arg).same_set(self.old.ty(inst.results[0])));
        if inst.op != Op::Map(Map::Add) || !alike {
            return false;
        }
        let [left, right] = [inst.args[0], inst.args[1]].map(|arg| self.terms(arg));
        let pending = match (left, right) {
            (Some(left), Some(right)) if left.parts.0 == right.parts.0 && !(left.complete.is_empty() && right.complete.is_empty()) => {
                let ty = self.body.ty(left.parts.1).clone();
                let sum = self.body.push(Op::Map(Map::Add), vec![left.parts.1, right.parts.1], ty, inst.origin);
                Pending { complete: [left.complete, right.complete].concat(), parts: (left.parts.0, sum), origin: inst.origin }
            }
            (Some(some), None) => with(some, inst.args[1], inst.origin),
            (None, Some(some)) => with(some, inst.args[0], inst.origin),
            (Some(_), Some(_)) | (None, None) => return false,
        };
        let result = inst.results[0];
        self.raw[result] = self.own(result);
        self.pending[result] = Some(pending);
        true
    }

    /// The terms of a value that nobody else reads, if some are partial.
    fn terms(&self, value: Value) -> Option<Pending> {
        if let Some(pending) = &self.pending[value] {
            return (self.uses[value] == 1).then(|| pending.clone());
        }
        let (placement, local) = self.held[value].first()?;
        let sum = matches!(placement.partial, Some((_, Reduce::Sum))) && self.uses[value] == 1;
        sum.then(|| Pending {
            complete: Vec::new(),
            parts: (placement.clone(), *local),
            origin: self.origins[value].unwrap_or(Origin::from_u32(0)),
        })
    }

    /// Computes a sum that somebody wants after all: the parts are reduced, then the rest is added.
    pub(super) fn settle(&mut self, value: Value) {
        let Some(pending) = self.pending[value].take() else { return };
        let own = self.raw[value].clone();
        let mut sum = self.reshard(value, pending.parts.0, &own, pending.parts.1, pending.origin);
        for term in pending.complete {
            let term = self.want(term, &own, pending.origin);
            let ty = self.part.ty(self.old.ty(value), &own);
            sum = self.body.push(Op::Map(Map::Add), vec![term, sum], ty, pending.origin);
        }
        self.body.values[sum].name = self.old.values[value].name.clone();
        self.hold(value, own, sum);
    }
}

fn with(mut pending: Pending, term: Value, origin: Origin) -> Pending {
    pending.complete.push(term);
    Pending { origin, ..pending }
}
