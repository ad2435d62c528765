//! Shapes: split, merge, rename, concat, slice, take, shift, expand.
//!
//! Requires dims of the argument. Ensures that sizes fit and that the batch dim stays whole.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, layers, operators};
use crate::op::{Dim, Element, Map, Op, Shape, Type, Value};

impl Elaborator<'_> {
    /// Reports a dim that the value lacks.
    fn has(&mut self, args: &Args, ty: &Type, dim: Dim) -> Fallible<()> {
        match ty.has(dim) {
            true => Ok(()),
            false => Err(self.lacks(args.span, &format!("`{}`", args.callee), ty, &[dim])),
        }
    }

    /// Reports a dim that the value has already.
    fn lacks_yet(&mut self, args: &Args, ty: &Type, dim: Dim) -> Fallible<()> {
        match ty.has(dim) {
            true => Err(self.errors.stop(wrong::already(args.span, &self.tape, dim, ty))),
            false => Ok(()),
        }
    }

    /// `Embed = 768, Heads * Head = 12 * 63 = 756`
    fn product_fits(&mut self, args: &Args, whole: Dim, parts: &[Dim]) -> Fallible<()> {
        let product = parts.iter().fold(1, |product: u64, dim| product.saturating_mul(self.tape.size(*dim)));
        if product == self.tape.size(whole) {
            return Ok(());
        }
        let names: Vec<String> = parts.iter().map(|dim| self.tape.dims[*dim].name.clone()).collect();
        let sizes: Vec<String> = parts.iter().map(|dim| self.tape.size(*dim).to_string()).collect();
        let whole = &self.tape.dims[whole];
        let arithmetic = format!("{} = {}, {} = {} = {product}", whole.name, whole.size, names.join(" * "), sizes.join(" * "));
        Err(self.errors.stop(wrong::sizes(args.span, "the parts do not multiply to the whole", &arithmetic)))
    }

    /// The argument `D: value` whose name is a dim's.
    fn dim_argument<'e>(&mut self, args: &mut Args<'e>) -> Fallible<(Dim, &'e meshwright_grammar::tree::Expr)> {
        let Some((name, expr)) = args.dim_named() else {
            return Err(self.errors.stop(layers::missing_argument(args.callee, "D: …", args.span, &format!("`{}`", args.form))));
        };
        args.finish(self)?;
        Ok((self.dim_named(name)?, expr))
    }

    /// `split(x, Embed: [Heads, Head])`
    pub fn split(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let (from, expr) = self.dim_argument(args)?;
        let into = self.dims(expr)?;
        let ty = self.tape.ty(value).clone();
        self.has(args, &ty, from)?;
        for dim in &into {
            self.lacks_yet(args, &ty, *dim)?;
        }
        self.product_fits(args, from, &into)?;
        if self.tape.outer.contains(&from) {
            self.tape.outer.extend(into.first());
        }
        self.here(args.span);
        let dims = ty.dims.iter().flat_map(|dim| if *dim == from { into.clone() } else { vec![*dim] }).collect();
        Ok(self.tape.shape(Shape::Split { from, into }, value, dims))
    }

    /// `merge(x, [Heads, Head], into: Embed)`
    pub fn merge(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let into = args.needed(self, "into")?;
        let into = self.dim(into)?;
        let from = args.dims(self)?;
        args.finish(self)?;
        let ty = self.tape.ty(value).clone();
        if from.is_empty() {
            return Err(self.errors.stop(operators::no_dim(args.span, args.callee, &self.tape, &ty)));
        }
        for dim in &from {
            self.has(args, &ty, *dim)?;
        }
        self.refuse_batch(args, &from[1..])?;
        self.lacks_yet(args, &ty, into)?;
        self.product_fits(args, into, &from)?;
        if self.tape.outer.contains(&from[0]) {
            self.tape.outer.insert(into);
        }
        self.here(args.span);
        let mut dims = Vec::new();
        for dim in &ty.dims {
            match from.contains(dim) {
                true if !dims.contains(&into) => dims.push(into),
                true => {}
                false => dims.push(*dim),
            }
        }
        Ok(self.tape.shape(Shape::Merge { from, into }, value, dims))
    }

    /// `rename(x, Seq: Key)`
    pub fn rename(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let (from, expr) = self.dim_argument(args)?;
        let to = self.dim(expr)?;
        let ty = self.tape.ty(value).clone();
        self.has(args, &ty, from)?;
        self.refuse_batch(args, &[from])?;
        self.lacks_yet(args, &ty, to)?;
        self.product_fits(args, from, &[to])?;
        self.here(args.span);
        Ok(self.tape.rename(value, from, to))
    }

    /// `concat(a, b, from: [A, B], into: D)`
    pub fn concat(&mut self, args: &mut Args) -> Fallible<Value> {
        let into = args.needed(self, "into")?;
        let into = self.dim(into)?;
        let from = args.needed(self, "from")?;
        let from = self.dims(from)?;
        let mut values = Vec::new();
        while let Some(expr) = args.maybe() {
            values.push(self.tensor(expr)?.value);
        }
        args.finish(self)?;
        if values.len() != from.len() || values.is_empty() {
            return Err(self.errors.stop(layers::result_count(args.span, from.len(), values.len(), "dims after `from:`")));
        }
        self.refuse_batch(args, &from)?;
        self.parts_fit(args, into, &from)?;
        let first = self.tape.ty(values[0]).clone();
        for (value, dim) in values.iter().zip(&from) {
            let ty = self.tape.ty(*value).clone();
            self.has(args, &ty, *dim)?;
            let renamed = Type { element: ty.element, dims: ty.dims.iter().map(|one| if one == dim { from[0] } else { *one }).collect() };
            if !renamed.same_set(&first) {
                return Err(self.errors.stop(wrong::not_contained(args.span, &self.tape, &first, &ty)));
            }
        }
        self.here(args.span);
        let dims = first.dims.iter().map(|dim| if *dim == from[0] { into } else { *dim }).collect();
        Ok(self.tape.push(Op::Shape(Shape::Concat { from, into }), values, Type { element: first.element, dims }))
    }

    /// Sizes of parts add up to the whole.
    fn parts_fit(&mut self, args: &Args, into: Dim, from: &[Dim]) -> Fallible<()> {
        let sum = from.iter().fold(0, |sum: u64, dim| sum.saturating_add(self.tape.size(*dim)));
        if sum == self.tape.size(into) {
            return Ok(());
        }
        let names: Vec<String> = from.iter().map(|dim| self.tape.dims[*dim].name.clone()).collect();
        let sizes: Vec<String> = from.iter().map(|dim| self.tape.size(*dim).to_string()).collect();
        let whole = &self.tape.dims[into];
        let arithmetic = format!("{} = {}, {} = {} = {sum}", whole.name, whole.size, names.join(" + "), sizes.join(" + "));
        Err(self.errors.stop(wrong::sizes(args.span, "the parts do not add up to the whole", &arithmetic)))
    }

    /// `slice(x, Seq, from: 0, into: First)`
    pub fn slice(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let into = args.needed(self, "into")?;
        let into = self.dim(into)?;
        let start_expr = args.named("from");
        let start = self.optional_number(start_expr)?.unwrap_or(0.0);
        let from = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[from])?;
        let ty = self.tape.ty(value).clone();
        self.lacks_yet(args, &ty, into)?;
        let (whole, part) = (self.tape.size(from), self.tape.size(into));
        if start < 0.0 || start != start.trunc() || (start as u64).saturating_add(part) > whole {
            let arithmetic =
                format!("{start} + {} = {start} + {part} of {} = {whole}", self.tape.dims[into].name, self.tape.dims[from].name);
            return Err(self.errors.stop(wrong::sizes(args.span, "the slice does not lie inside", &arithmetic)));
        }
        self.here(args.span);
        let dims = ty.dims.iter().map(|dim| if *dim == from { into } else { *dim }).collect();
        Ok(self.tape.shape(Shape::Slice { from, start: start as u64, into }, value, dims))
    }

    /// `take(x, Seq, at: 0)`; a negative number counts from the end.
    pub fn take(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let at_expr = args.needed(self, "at")?;
        let at = self.number(at_expr)?;
        let from = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[from])?;
        let size = self.tape.size(from) as f64;
        let place = if at < 0.0 { at + size } else { at };
        if place != place.trunc() || !(0.0..size).contains(&place) {
            let range = format!("a whole number in {}..{}", -size, size);
            return Err(self.errors.stop(operators::range(at_expr.span, "the element to take", &range, at)));
        }
        self.here(args.span);
        let dims = self.tape.ty(value).dims.iter().filter(|dim| **dim != from).copied().collect();
        Ok(self.tape.shape(Shape::Take { from, at: place as u64 }, value, dims))
    }

    /// `shift(x, Seq, by: 1)`: element i is the argument's i - by, 0 outside
    pub fn shift(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let by_expr = args.needed(self, "by")?;
        let by = self.number(by_expr)?;
        let dim = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[dim])?;
        if by != by.trunc() || by.abs() > 1e9 {
            return Err(self.errors.stop(operators::range(by_expr.span, "the distance", "a whole number", by)));
        }
        self.here(args.span);
        let dims = self.tape.ty(value).dims.clone();
        Ok(self.tape.shape(Shape::Shift { dim, by: by as i64 }, value, dims))
    }

    /// `window(x, Seq, into: Tap, before: 2)`: element t of Tap is the argument's i - before + t, 0 outside; `before` is the size of Tap less
    /// one, so that nothing later is seen.
    pub fn window(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = self.real_argument(args, "x")?;
        let into = args.needed(self, "into")?;
        let into = self.dim(into)?;
        let before_expr = args.named("before");
        let taps = self.tape.size(into) as i64;
        let before = self.optional_number(before_expr)?.unwrap_or((taps - 1) as f64);
        let dim = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[dim])?;
        let ty = self.tape.ty(value).clone();
        self.lacks_yet(args, &ty, into)?;
        self.few(args, into)?;
        if before != before.trunc() || before.abs() > 1e9 {
            return Err(self.errors.stop(operators::range(args.span, "the distance", "a whole number", before)));
        }
        self.here(args.span);
        let dims = self.tape.arrange(ty.dims.iter().copied().chain([into]));
        let place = self.tape.position(into);
        let mut taken = None;
        for tap in 0..taps {
            let by = before as i64 - tap;
            let moved = if by == 0 { value } else { self.tape.shape(Shape::Shift { dim, by }, value, ty.dims.clone()) };
            let tap = self.tape.integer(tap);
            let here = self.tape.map(Map::Eq, &[place, tap], Element::Bool);
            let args = vec![here, moved, taken.unwrap_or(moved)];
            taken = Some(self.tape.push(Op::Map(Map::Where), args, Type::real(dims.clone())));
        }
        Ok(taken.unwrap_or(value))
    }

    /// `expand(x, D)`
    pub fn expand(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let new = args.dims(self)?;
        args.finish(self)?;
        let ty = self.tape.ty(value).clone();
        if new.is_empty() {
            return Err(self.errors.stop(operators::no_dim(args.span, args.callee, &self.tape, &ty)));
        }
        for dim in &new {
            self.lacks_yet(args, &ty, *dim)?;
        }
        self.here(args.span);
        let dims = self.tape.arrange(ty.dims.into_iter().chain(new));
        Ok(self.tape.shape(Shape::Expand, value, dims))
    }
}
