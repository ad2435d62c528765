//! Reductions: sum, mean, max, min, argmax, softmax, running sums.
//!
//! Requires that the argument has the dims it is reduced over. Ensures that a softmax is stable: the maximum is taken off without a gradient.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, Stop, dims as wrong, operators};
use crate::op::{Dim, Element, Index, Map, Op, Reduce, Type, Value};
use meshwright_grammar::Span;

impl Elaborator<'_> {
    /// Reports dims that a value lacks.
    pub fn lacks(&mut self, span: Span, what: &str, ty: &Type, lacking: &[Dim]) -> Stop {
        let error = wrong::missing(span, &self.tape, what, ty, lacking);
        self.errors.stop(error)
    }

    /// The dims that a reduction names, at least one, all of them the value's; nothing else may be left.
    pub fn reduced(&mut self, args: &mut Args, value: Value) -> Fallible<Vec<Dim>> {
        let dims = args.dims(self)?;
        args.finish(self)?;
        let ty = self.tape.ty(value).clone();
        if dims.is_empty() {
            return Err(self.errors.stop(operators::no_dim(args.span, args.callee, &self.tape, &ty)));
        }
        let lacking: Vec<Dim> = dims.iter().filter(|dim| !ty.has(**dim)).copied().collect();
        if !lacking.is_empty() {
            return Err(self.lacks(args.span, &format!("`{}`", args.callee), &ty, &lacking));
        }
        if let Some(dim) = dims.iter().enumerate().find(|(at, dim)| dims[..*at].contains(dim)).map(|(_, dim)| *dim) {
            let name = self.tape.dims[dim].name.clone();
            return Err(self.errors.stop(wrong::twice(args.span, &name)));
        }
        if ty.element == Element::Bool {
            return Err(self.errors.stop(wrong::element(
                args.span,
                &self.tape,
                &format!("the argument of `{}`", args.callee),
                "real",
                &ty,
            )));
        }
        Ok(dims)
    }

    /// `sum(x, D)`, `mean(x, D)`
    pub fn sum(&mut self, args: &mut Args, mean: bool) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let counted = if self.tape.ty(value).element == Element::Bool { self.tape.as_real(value) } else { value };
        let dims = self.reduced(args, counted)?;
        self.here(args.span);
        let value = if mean { self.tape.as_real(counted) } else { counted };
        let element = match self.tape.ty(value).element {
            Element::Real | Element::Half | Element::Bool => Element::Real,
            Element::Index(_) | Element::Integer => Element::Integer,
        };
        let left = self.tape.ty(value).dims.iter().filter(|dim| !dims.contains(dim)).copied().collect();
        let sum = self.tape.push(Op::Reduce(Reduce::Sum, dims.clone()), vec![value], Type { element, dims: left });
        Ok(match mean {
            true => self.tape.with(Map::Mul, sum, 1.0 / self.tape.count(&dims)),
            false => sum,
        })
    }

    /// `argmax(x, D)`: the first position of the maximum
    pub fn argmax(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let dim = args.dim_of(self, value)?;
        args.finish(self)?;
        self.here(args.span);
        Ok(self.tape.reduce(Reduce::Argmax, value, &[dim]))
    }

    /// `cumsum(x, D)`
    pub fn cumsum(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = self.real_argument(args, "x")?;
        let dim = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[dim])?;
        self.here(args.span);
        let ty = self.tape.ty(value).clone();
        Ok(self.tape.push(Op::Index(Index::Cumsum(dim)), vec![value], ty))
    }

    /// Refuses the batch dim where an operation moves samples or mixes them.
    pub fn refuse_batch(&mut self, args: &Args, dims: &[Dim]) -> Fallible<()> {
        match dims.iter().find(|dim| self.tape.outer.contains(dim)).copied() {
            Some(batch) => Err(self.errors.stop(wrong::batch_moved(args.span, &self.tape, &format!("`{}`", args.callee), batch))),
            None => Ok(()),
        }
    }

    /// `softmax(x, D)`, `log_softmax(x, D)`
    pub fn softmax_call(&mut self, args: &mut Args, log: bool) -> Fallible<Value> {
        let value = self.real_argument(args, "x")?;
        let dims = self.reduced(args, value)?;
        self.here(args.span);
        Ok(if log { self.log_softmax(value, &dims) } else { self.softmax(value, &dims) })
    }

    /// The value without its maximum, which gets no gradient: the result of a softmax does not depend on it.
    pub fn shifted(&mut self, value: Value, dims: &[Dim]) -> Value {
        let most = self.tape.reduce(Reduce::Max, value, dims);
        let ty = self.tape.ty(most).clone();
        let most = self.tape.push(Op::Stop, vec![most], ty);
        self.tape.real_map(Map::Sub, &[value, most])
    }

    /// Softmax over dims.
    pub fn softmax(&mut self, value: Value, dims: &[Dim]) -> Value {
        let shifted = self.shifted(value, dims);
        let powers = self.tape.real_map(Map::Exp, &[shifted]);
        let sum = self.tape.reduce(Reduce::Sum, powers, dims);
        self.tape.real_map(Map::Div, &[powers, sum])
    }

    /// Logarithm of the softmax.
    pub fn log_softmax(&mut self, value: Value, dims: &[Dim]) -> Value {
        let shifted = self.shifted(value, dims);
        let powers = self.tape.real_map(Map::Exp, &[shifted]);
        let sum = self.tape.reduce(Reduce::Sum, powers, dims);
        let log = self.tape.real_map(Map::Log, &[sum]);
        self.tape.real_map(Map::Sub, &[shifted, log])
    }
}
