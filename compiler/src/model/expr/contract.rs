//! `@` and `dot`.
//!
//! Requires a weight with an arrow on the right of `@`. Ensures that exactly one whole side of the arrow is contracted, and that a square weight's
//! result has the dim's own name again.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, layers, operators};
use crate::model::item::Tensor;
use crate::op::{Dim, Element, Value};
use meshwright_grammar::Span;

impl Elaborator<'_> {
    /// `x @ w`
    pub fn contract(&mut self, x: Tensor, w: Tensor, span: Span, op_span: Span) -> Fallible<Value> {
        let Some(arrow) = w.arrow.clone() else {
            return Err(self.errors.stop(operators::no_arrow(op_span, x.arrow.is_some())));
        };
        let ty = self.tape.ty(x.value).clone();
        if ty.element != Element::Real {
            return Err(self.errors.stop(wrong::element(span, &self.tape, "the left operand of `@`", "real", &ty)));
        }
        let plain: Vec<Dim> = arrow.outputs.iter().map(|dim| self.tape.unprime(*dim)).collect();
        let square = arrow.outputs.iter().any(|dim| self.tape.unprime(*dim) != *dim);
        let fits = |side: &[Dim]| !side.is_empty() && side.iter().all(|dim| ty.has(*dim));
        let (left, right) = (fits(&arrow.inputs), fits(&plain));
        let (over, new) = match (left, right) {
            (true, false) => (arrow.inputs, arrow.outputs),
            (true, true) if square => (arrow.inputs, arrow.outputs),
            (false, true) if !square => (arrow.outputs, arrow.inputs),
            (true, true) => return Err(self.errors.stop(operators::both_sides(op_span, &self.tape, &arrow.inputs, &plain))),
            (false, _) => return Err(self.errors.stop(operators::no_side(op_span, &self.tape, &ty, &arrow.inputs, &plain))),
        };
        let kept: Vec<Dim> = new.iter().map(|dim| self.tape.unprime(*dim)).filter(|dim| ty.has(*dim) && !over.contains(dim)).collect();
        if !kept.is_empty() {
            return Err(self.errors.stop(operators::kept_dim(op_span, &self.tape, &kept, &over)));
        }
        self.here(span);
        let mut value = self.tape.contract(x.value, w.value, &over);
        for dim in new {
            let own = self.tape.unprime(dim);
            if own != dim {
                value = self.tape.rename(value, dim, own);
            }
        }
        Ok(value)
    }

    /// `dot(a, b, over: D)`
    pub fn dot(&mut self, args: &mut Args) -> Fallible<Value> {
        let (a, b) = (self.real_argument(args, "a")?, self.real_argument(args, "b")?);
        let dims = args.dims(self)?;
        args.finish(self)?;
        if dims.is_empty() {
            return Err(self.errors.stop(layers::missing_argument("dot", "over", args.span, &format!("`{}`", args.form))));
        }
        for value in [a, b] {
            let ty = self.tape.ty(value).clone();
            let lacking: Vec<Dim> = dims.iter().filter(|dim| !ty.has(**dim)).copied().collect();
            if !lacking.is_empty() {
                return Err(self.lacks(args.span, "each operand of `dot`", &ty, &lacking));
            }
        }
        self.here(args.span);
        Ok(self.tape.contract(a, b, &dims))
    }
}
