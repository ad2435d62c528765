//! States: `state` declares one, `next` says what it is in the next step.
//!
//! A state is a weight without a gradient: it has a path, copies, an initial value, and is written with the weights. Requires that each has at
//! most one `next`. Ensures that what a `next` takes from the batch enters through sums over it ([`Next::totals`], which microbatches add
//! up), and that everything after those sums stands in the piece of the `next`, so that it can be computed once, at the end of the step.

use super::check::Flow;
use super::elaborate::Elaborator;
use super::error::{Fallible, Stop, states as wrong};
use super::item::Item;
use super::tape::Next;
use crate::op::{Element, Index, Op, Value};
use cranelift_entity::SecondaryMap;
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Expr, Name};

impl Elaborator<'_> {
    /// `next bias = bias + 0.001 * sign(mean(load, Route) - load)`
    pub fn next(&mut self, name: &Name, value: &Expr) -> Fallible<()> {
        let state = self.state_named(name)?;
        let new = self.tensor(value)?.value;
        let (ty, wanted) = (self.tape.ty(new).clone(), self.tape.ty(state).clone());
        if ty.element != Element::Real || !ty.same_set(&wanted) {
            return Err(self.errors.stop(wrong::next_type(value.span, &self.tape, &name.text, &ty, &wanted)));
        }
        if let Some(before) = self.tape.nexts.iter().find(|next| next.state == state) {
            let before = before.span;
            return Err(self.errors.stop(wrong::next_twice(name, before)));
        }
        self.here(value.span);
        let value = if ty.dims == wanted.dims { new } else { self.tape.anchor(new, wanted.dims) };
        let piece = self.tape.pieces.len() - 1;
        self.tape.nexts.push(Next { state, value, totals: Vec::new(), span: name.span, piece });
        Ok(())
    }

    fn state_named(&mut self, name: &Name) -> Fallible<Value> {
        let value = match self.resolve(&name.text) {
            Some(Item::Tensor(tensor)) => Some(tensor.value),
            Some(Item::Unknown) => return Err(Stop),
            Some(_) | None => None,
        };
        let found = self.weights.all.iter().find(|one| one.state && Some(one.value) == value);
        match found {
            Some(state) => Ok(state.value),
            None => {
                let all = self.all_names();
                Err(self.errors.stop(wrong::no_state(name, all.iter().map(String::as_str))))
            }
        }
    }
}

/// Finds the sums over the batch that each `next` is made of, and states that never change.
pub(crate) fn check(elaborator: &mut Elaborator, flows: &SecondaryMap<Value, Flow>) {
    let mut defined: SecondaryMap<Value, Option<usize>> = SecondaryMap::new();
    for (at, inst) in elaborator.tape.body.insts.iter().enumerate() {
        inst.results.iter().for_each(|result| defined[*result] = Some(at));
    }
    for at in 0..elaborator.tape.nexts.len() {
        let next = &elaborator.tape.nexts[at];
        let mut walk =
            Walk { elaborator, flows, defined: &defined, span: next.span, piece: next.piece, seen: Vec::new(), totals: Vec::new() };
        match walk.visit(next.value) {
            Ok(()) => elaborator.tape.nexts[at].totals = walk.totals,
            Err(Fault::Batch(span)) => {
                let error = wrong::next_batch(span, next.span, &elaborator.tape);
                elaborator.errors.push(error);
            }
            Err(Fault::Place(span)) => {
                let error = wrong::next_place(span, next.span);
                elaborator.errors.push(error);
            }
        }
    }
    let changed = |value: Value| elaborator.tape.nexts.iter().any(|next| next.state == value);
    let still: Vec<_> = elaborator.weights.all.iter().filter(|one| one.state && !changed(one.value)).collect();
    let warnings: Vec<_> = still.into_iter().map(|one| wrong::still(one.span, &one.template)).collect();
    warnings.into_iter().for_each(|one| elaborator.errors.push(one));
}

/// Why a `next` cannot be computed at the end of the step.
enum Fault {
    /// It takes something from the batch that is no sum over it.
    Batch(Span),
    /// It takes something that another piece computed.
    Place(Span),
}

/// A walk from the value of a `next` back to what it is made of.
struct Walk<'a, 'e> {
    elaborator: &'a Elaborator<'e>,
    flows: &'a SecondaryMap<Value, Flow>,
    defined: &'a SecondaryMap<Value, Option<usize>>,
    span: Span,
    piece: usize,
    seen: Vec<Value>,
    totals: Vec<Value>,
}

impl Walk<'_, '_> {
    fn visit(&mut self, value: Value) -> Result<(), Fault> {
        if self.seen.contains(&value) {
            return Ok(());
        }
        self.seen.push(value);
        let tape = &self.elaborator.tape;
        let cut = |value: Value| tape.ty(value).dims.iter().any(|dim| tape.outer.contains(dim));
        let Some(at) = self.defined[value] else {
            return if cut(value) { Err(Fault::Batch(self.span)) } else { Ok(()) };
        };
        let inst = &tape.body.insts[at];
        let span = tape.origins[inst.origin].span.unwrap_or_default();
        if cut(value) {
            return Err(Fault::Batch(span));
        }
        let again = matches!(inst.op, Op::Const(_) | Op::Integer(_) | Op::Index(Index::Position(_)));
        let (sums, elsewhere) = (inst.args.iter().any(|arg| cut(*arg)), !again && tape.piece_of(at) != self.piece);
        match self.flows[value] {
            Flow::Linear(_) if sums || elsewhere => {
                self.totals.push(value);
                Ok(())
            }
            _ if sums => Err(Fault::Batch(span)),
            _ if elsewhere => Err(Fault::Place(span)),
            _ => inst.args.iter().try_for_each(|arg| self.visit(*arg)),
        }
    }
}
