//! Positions and lookups: `index`, `lookup`, `gather`, `one_hot`, `top_k`.
//!
//! Requires an index whose range is a dim, by its type or by `over:`. Ensures that a lookup's dims are the index's, then the table's.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, layers, operators};
use crate::model::item::{Item, Tensor};
use crate::op::{Dim, Element, Index, Map, Op, Reduce, Type, Value};
use meshwright_grammar::Span;

impl Elaborator<'_> {
    /// `index(D)`
    pub fn position(&mut self, args: &mut Args) -> Fallible<Value> {
        let expr = args.next(self, "D")?;
        args.finish(self)?;
        let dim = self.dim(expr)?;
        self.here(args.span);
        Ok(self.tape.position(dim))
    }

    /// `lookup(table, index)`, `gather(table, index)`
    pub fn lookup(&mut self, args: &mut Args) -> Fallible<Value> {
        let table = args.tensor(self, "table")?;
        let index_expr = args.next(self, "index")?;
        let index = self.tensor(index_expr)?.value;
        let said = args.named("over");
        args.finish(self)?;
        let said = match said {
            Some(expr) => Some(self.dim(expr)?),
            None => None,
        };
        let over = self.range_of(args, index, said, index_expr.span)?;
        let (table_type, index_type) = (self.tape.ty(table).clone(), self.tape.ty(index).clone());
        if !table_type.has(over) {
            return Err(self.errors.stop(operators::index_dim(args.span, &self.tape, over, &table_type)));
        }
        self.refuse_batch(args, &[over])?;
        if index_type.has(over) {
            return Err(self.errors.stop(wrong::already(index_expr.span, &self.tape, over, &index_type)));
        }
        self.here(args.span);
        let dims = self.tape.arrange(index_type.dims.iter().chain(&table_type.dims).copied().filter(|dim| *dim != over));
        Ok(self.tape.push(Op::Index(Index::Gather { over }), vec![table, index], Type { element: table_type.element, dims }))
    }

    /// The dim that an index ranges over.
    fn range_of(&mut self, args: &Args, index: Value, said: Option<Dim>, span: Span) -> Fallible<Dim> {
        let ty = self.tape.ty(index).clone();
        match (ty.element, said) {
            (Element::Index(dim), Some(said)) if dim != said => {
                let table = Type::real(vec![said]);
                Err(self.errors.stop(operators::index_dim(span, &self.tape, dim, &table)))
            }
            (Element::Index(dim), _) => Ok(dim),
            (Element::Integer, Some(said)) => Ok(said),
            (Element::Integer, None) => Err(self.errors.stop(operators::index_range(span, args.callee))),
            (Element::Real | Element::Half | Element::Bool, _) => {
                Err(self.errors.stop(wrong::element(span, &self.tape, "an index", "an index", &ty)))
            }
        }
    }

    /// `one_hot(index, D)`
    pub fn one_hot(&mut self, args: &mut Args) -> Fallible<Value> {
        let index_expr = args.next(self, "index")?;
        let index = self.tensor(index_expr)?.value;
        let said = match args.maybe() {
            Some(expr) => Some(self.dim(expr)?),
            None => None,
        };
        args.finish(self)?;
        let dim = self.range_of(args, index, said, index_expr.span)?;
        let ty = self.tape.ty(index).clone();
        if ty.has(dim) {
            return Err(self.errors.stop(wrong::already(index_expr.span, &self.tape, dim, &ty)));
        }
        self.here(args.span);
        let hit = self.equals_position(index, dim);
        Ok(self.tape.as_real(hit))
    }

    /// `[.., dim]`: whether the index is this position.
    pub fn equals_position(&mut self, index: Value, dim: Dim) -> Value {
        let position = self.tape.position(dim);
        let dims = self.tape.arrange(self.tape.ty(index).dims.iter().copied().chain([dim]));
        self.tape.push(Op::Map(Map::Eq), vec![index, position], Type { element: Element::Bool, dims })
    }

    /// `top_k(x, D, into: K)`: the K largest along D, and where they are; by taking the maximum away again and again.
    pub fn top_k(&mut self, args: &mut Args) -> Fallible<Item> {
        let value = self.real_argument(args, "x")?;
        let into = args.needed(self, "into")?;
        let into = self.dim(into)?;
        let over = args.dim_of(self, value)?;
        args.finish(self)?;
        self.refuse_batch(args, &[over])?;
        let ty = self.tape.ty(value).clone();
        if ty.has(into) {
            return Err(self.errors.stop(wrong::already(args.span, &self.tape, into, &ty)));
        }
        let (all, wanted) = (self.tape.size(over), self.tape.size(into));
        if wanted > all {
            let arithmetic = format!("{} = {wanted} of {} = {all}", self.tape.dims[into].name, self.tape.dims[over].name);
            return Err(self.errors.stop(wrong::sizes(args.span, "`top_k` cannot take more than there are", &arithmetic)));
        }
        self.few(args, into)?;
        self.here(args.span);
        let (values, indices) = self.largest(value, over, into);
        Ok(Item::Several(vec![Tensor::plain(values), Tensor::plain(indices)]))
    }

    /// Refuses a dim whose elements are made one by one if it has too many.
    pub fn few(&mut self, args: &Args, dim: Dim) -> Fallible<()> {
        let (name, size) = (self.tape.dims[dim].name.clone(), self.tape.size(dim));
        match size > 1024 {
            true => Err(self.errors.stop(layers::too_many(args.span, &name, size))),
            false => Ok(()),
        }
    }

    fn largest(&mut self, value: Value, over: Dim, into: Dim) -> (Value, Value) {
        let place = self.tape.position(into);
        let mut left = value;
        let mut found: Option<(Value, Value)> = None;
        for at in 0..self.tape.size(into) {
            let index = self.tape.reduce(Reduce::Argmax, left, &[over]);
            let hit = self.equals_position(index, over);
            let zero = self.tape.real(0.0);
            let only = self.tape.map(Map::Where, &[hit, value, zero], Element::Real);
            let best = self.tape.reduce(Reduce::Sum, only, &[over]);
            let least = self.tape.real(-1e30);
            left = self.tape.map(Map::Where, &[hit, least, left], Element::Real);
            let at = self.tape.integer(at as i64);
            let here = self.tape.map(Map::Eq, &[place, at], Element::Bool);
            let (values, indices) = found.unwrap_or((best, index));
            let dims = self.tape.arrange(self.tape.ty(best).dims.iter().copied().chain([into]));
            let real = Type::real(dims.clone());
            let whole = Type { element: Element::Index(over), dims };
            found = Some((
                self.tape.push(Op::Map(Map::Where), vec![here, best, values], real),
                self.tape.push(Op::Map(Map::Where), vec![here, index, indices], whole),
            ));
        }
        found.expect("a dim has at least one element")
    }
}
