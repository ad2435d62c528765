//! Elementwise operators: arithmetic, comparisons, choices.
//!
//! Requires that one operand's dims contain the other's; dims of `each` and, in a mask, the two position dims may be added freely. Ensures that
//! what is known at compile time stays a compile-time value.

use super::arguments::Args;
use super::builtin::Builtin;
use crate::model::constants::{self, Constant};
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, Stop, dims as wrong, operators};
use crate::model::item::{Item, Tensor};
use crate::model::numbers;
use crate::op::{Dim, Element, Map, Op, Reduce, Type, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{BinaryOp, Expr, UnaryOp};

impl Elaborator<'_> {
    /// `-x`, `not x`
    pub fn unary(&mut self, op: UnaryOp, operand: &Expr, span: Span) -> Fallible<Item> {
        let item = self.eval(operand)?;
        match (op, &item) {
            (UnaryOp::Not, Item::Bool(value)) => return Ok(Item::Bool(!value)),
            (UnaryOp::Negate, _) => {
                if let Some(value) = self.as_number(&item) {
                    return Ok(Item::Number(-value));
                }
            }
            (UnaryOp::Not, _) => {}
        }
        let arg = self.tensor_of(item, operand.span)?.value;
        self.here(span);
        let element = self.tape.ty(arg).element;
        let value = match (op, element) {
            (UnaryOp::Not, Element::Bool) => self.tape.map(Map::Not, &[arg], Element::Bool),
            (UnaryOp::Negate, Element::Real | Element::Half) => self.tape.real_map(Map::Neg, &[arg]),
            (UnaryOp::Negate, Element::Index(_) | Element::Integer) => self.tape.map(Map::Neg, &[arg], Element::Integer),
            (UnaryOp::Negate, Element::Bool) | (UnaryOp::Not, Element::Real | Element::Half | Element::Index(_) | Element::Integer) => {
                let needed = if op == UnaryOp::Not { "bool" } else { "real" };
                let ty = self.tape.ty(arg).clone();
                return Err(self.errors.stop(wrong::element(
                    operand.span,
                    &self.tape,
                    &format!("the operand of `{}`", op.text()),
                    needed,
                    &ty,
                )));
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// `a + b` and all other operators between two operands.
    pub fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: Span, op_span: Span) -> Fallible<Item> {
        let (l, r) = (self.eval(left)?, self.eval(right)?);
        if op == BinaryOp::Contract {
            let (l, r) = (self.tensor_of(l, left.span)?, self.tensor_of(r, right.span)?);
            return Ok(Item::Tensor(Tensor::plain(self.contract(l, r, span, op_span)?)));
        }
        if let (Some(a), Some(b)) = (self.constant(&l), self.constant(&r)) {
            return match constants::binary(op, a, b) {
                Some(Constant::Number(value)) => Ok(Item::Number(value)),
                Some(Constant::Bool(value)) => Ok(Item::Bool(value)),
                Some(Constant::None) | None => {
                    let found = format!("{} and {}", l.what(), r.what());
                    Err(self.errors.stop(operators::operands(op_span, op.text(), &found, "use it with numbers, or with tensors")))
                }
            };
        }
        if op == BinaryOp::Power {
            return self.power(l, r, left, right, span);
        }
        let (a, b) = (self.operand(l, left.span)?, self.operand(r, right.span)?);
        self.here(span);
        let value = self.arithmetic(op, a.value, b.value, span, op_span)?;
        Ok(Item::Tensor(self.keep_arrow(value, &a, &b)))
    }

    /// Compile-time values; a dim is its size.
    fn constant(&self, item: &Item) -> Option<Constant> {
        match item {
            Item::Bool(value) => Some(Constant::Bool(*value)),
            Item::None => Some(Constant::None),
            _ => self.as_number(item).map(Constant::Number),
        }
    }

    /// An operand as a tensor; a truth value becomes a comparison of constants.
    fn operand(&mut self, item: Item, span: Span) -> Fallible<Tensor> {
        let Item::Bool(value) = item else { return self.tensor_of(item, span) };
        self.here(span);
        let (zero, other) = (self.tape.integer(0), self.tape.integer(if value { 0 } else { 1 }));
        Ok(Tensor::plain(self.tape.map(Map::Eq, &[zero, other], Element::Bool)))
    }

    /// A scaled weight keeps its arrow.
    fn keep_arrow(&self, value: Value, a: &Tensor, b: &Tensor) -> Tensor {
        let arrow = match (&a.arrow, &b.arrow) {
            (Some(arrow), None) | (None, Some(arrow)) => Some(arrow.clone()),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let dims = &self.tape.ty(value).dims;
        let whole = |tensor: &Tensor| tensor.arrow.is_some() && self.tape.ty(tensor.value).dims.len() == dims.len();
        Tensor { value, arrow: arrow.filter(|_| whole(a) || whole(b)) }
    }

    fn arithmetic(&mut self, op: BinaryOp, a: Value, b: Value, span: Span, op_span: Span) -> Fallible<Value> {
        let dims = self.broadcast(a, b, span)?;
        let logical = matches!(op, BinaryOp::And | BinaryOp::Or);
        let (ea, eb) = (self.tape.ty(a).element, self.tape.ty(b).element);
        let bools = [ea, eb].iter().filter(|element| **element == Element::Bool).count();
        if (logical && bools < 2) || (!logical && bools > 0 && !(bools == 2 && matches!(op, BinaryOp::Equal | BinaryOp::NotEqual))) {
            let found = format!("{} and {}", self.tape.spell(self.tape.ty(a)), self.tape.spell(self.tape.ty(b)));
            let help = if logical { "compare first: `x > 0 and y > 0`" } else { "turn truth values into numbers with `cast(…, real)`" };
            return Err(self.errors.stop(operators::operands(op_span, op.text(), &found, help)));
        }
        let (a, b, joint) = self.same_element(a, b, op == BinaryOp::Divide);
        let (map, args, element) = match op {
            BinaryOp::Add => (Map::Add, [a, b], joint),
            BinaryOp::Subtract => (Map::Sub, [a, b], joint),
            BinaryOp::Multiply => (Map::Mul, [a, b], joint),
            BinaryOp::Divide => (Map::Div, [a, b], joint),
            BinaryOp::Equal => (Map::Eq, [a, b], Element::Bool),
            BinaryOp::NotEqual => (Map::Ne, [a, b], Element::Bool),
            BinaryOp::Less => (Map::Lt, [a, b], Element::Bool),
            BinaryOp::LessEqual => (Map::Le, [a, b], Element::Bool),
            BinaryOp::Greater => (Map::Lt, [b, a], Element::Bool),
            BinaryOp::GreaterEqual => (Map::Le, [b, a], Element::Bool),
            BinaryOp::And => (Map::And, [a, b], Element::Bool),
            BinaryOp::Or => (Map::Or, [a, b], Element::Bool),
            BinaryOp::Power => (Map::Pow, [a, b], Element::Real),
            BinaryOp::Contract => return Err(self.errors.stop(operators::no_arrow(op_span, false))),
        };
        Ok(self.tape.push(Op::Map(map), args.to_vec(), Type { element, dims }))
    }

    /// Both operands with one element: real if one is real or `real` is asked for, else integer.
    pub fn same_element(&mut self, a: Value, b: Value, real: bool) -> (Value, Value, Element) {
        let (ea, eb) = (self.tape.ty(a).element, self.tape.ty(b).element);
        if ea == Element::Bool && eb == Element::Bool {
            return (a, b, Element::Bool);
        }
        let whole = |this: &Self, value: Value| match this.tape.ty(value).element {
            Element::Real | Element::Half => this.tape.whole_constant(value),
            Element::Index(_) | Element::Integer | Element::Bool => None,
        };
        if !real && (ea != Element::Real || eb != Element::Real) {
            let (wa, wb) = (whole(self, a), whole(self, b));
            if (ea != Element::Real || wa.is_some()) && (eb != Element::Real || wb.is_some()) {
                let a = wa.map_or(a, |value| self.tape.integer(value));
                let b = wb.map_or(b, |value| self.tape.integer(value));
                return (a, b, Element::Integer);
            }
        }
        (self.tape.as_real(a), self.tape.as_real(b), Element::Real)
    }

    /// Dims of an elementwise result.
    pub fn broadcast(&mut self, a: Value, b: Value, span: Span) -> Fallible<Vec<Dim>> {
        let (left, right) = (self.tape.ty(a), self.tape.ty(b));
        let lacking = |from: &Type, to: &Type| from.dims.iter().filter(|dim| !to.has(**dim)).all(|dim| self.loose.contains(dim));
        let contained = |from: &Type, to: &Type| from.dims.iter().all(|dim| to.has(*dim));
        let loose = lacking(left, right) || lacking(right, left);
        if contained(left, right) || contained(right, left) || loose {
            return Ok(self.tape.union(&[a, b]));
        }
        let (left, right) = (left.clone(), right.clone());
        Err(self.errors.stop(wrong::not_contained(span, &self.tape, &left, &right)))
    }

    /// `x ^ n`: small whole powers are products, halves are roots.
    fn power(&mut self, l: Item, r: Item, left: &Expr, right: &Expr, span: Span) -> Fallible<Item> {
        let exponent = self.as_number(&r);
        let base = self.real_operand(l, left.span)?;
        self.here(span);
        let square = |this: &mut Self, x: Value| this.tape.real_map(Map::Mul, &[x, x]);
        let value = match exponent {
            Some(1.0) => base,
            Some(2.0) => square(self, base),
            Some(3.0) => {
                let two = square(self, base);
                self.tape.real_map(Map::Mul, &[two, base])
            }
            Some(4.0) => {
                let two = square(self, base);
                square(self, two)
            }
            Some(0.5) => self.tape.real_map(Map::Sqrt, &[base]),
            Some(-0.5) => self.tape.real_map(Map::Rsqrt, &[base]),
            Some(-1.0) => {
                let one = self.tape.real(1.0);
                self.tape.real_map(Map::Div, &[one, base])
            }
            Some(_) | None => {
                let exponent = self.real_operand(r, right.span)?;
                self.here(span);
                let dims = self.broadcast(base, exponent, span)?;
                self.tape.push(Op::Map(Map::Pow), vec![base, exponent], Type::real(dims))
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// An operand as a real tensor.
    fn real_operand(&mut self, item: Item, span: Span) -> Fallible<Value> {
        let value = self.tensor_of(item, span)?.value;
        let ty = self.tape.ty(value).clone();
        if ty.element == Element::Bool {
            return Err(self.errors.stop(wrong::element(span, &self.tape, "this operand", "real", &ty)));
        }
        self.here(span);
        Ok(self.tape.as_real(value))
    }

    /// The next argument as a real tensor.
    pub fn real_argument(&mut self, args: &mut Args, name: &str) -> Fallible<Value> {
        let expr = args.next(self, name)?;
        let item = self.eval(expr)?;
        self.real_operand(item, expr.span)
    }

    /// `exp(x)` and the like; of a compile-time number a compile-time number.
    pub fn unary_map(&mut self, map: Map, args: &mut Args) -> Fallible<Item> {
        let expr = args.next(self, "x")?;
        args.finish(self)?;
        let item = self.eval(expr)?;
        if let Some(result) = self.as_number(&item).and_then(|value| numbers::call(args.callee, &[value])) {
            return Ok(Item::Number(result));
        }
        let arg = self.tensor_of(item, expr.span)?.value;
        self.here(args.span);
        let element = self.tape.ty(arg).element;
        let integral = matches!(element, Element::Index(_) | Element::Integer) && matches!(map, Map::Abs | Map::Sign);
        let value = match (integral, element) {
            (true, _) => self.tape.map(map, &[arg], Element::Integer),
            (false, Element::Bool) => {
                let ty = self.tape.ty(arg).clone();
                return Err(self.errors.stop(wrong::element(
                    expr.span,
                    &self.tape,
                    &format!("the argument of `{}`", args.callee),
                    "real",
                    &ty,
                )));
            }
            (false, Element::Real | Element::Half | Element::Index(_) | Element::Integer) => {
                let real = self.tape.as_real(arg);
                self.tape.real_map(map, &[real])
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// `ceil(x)`, `round(x)`
    pub fn rounding(&mut self, builtin: Builtin, args: &mut Args) -> Fallible<Item> {
        let expr = args.next(self, "x")?;
        args.finish(self)?;
        let item = self.eval(expr)?;
        if let Some(result) = self.as_number(&item).and_then(|value| numbers::call(args.callee, &[value])) {
            return Ok(Item::Number(result));
        }
        let real = self.real_operand(item, expr.span)?;
        self.here(args.span);
        let value = match builtin == Builtin::Ceil {
            true => {
                let minus = self.tape.real_map(Map::Neg, &[real]);
                let floor = self.tape.real_map(Map::Floor, &[minus]);
                self.tape.real_map(Map::Neg, &[floor])
            }
            false => {
                let moved = self.tape.with(Map::Add, real, 0.5);
                self.tape.real_map(Map::Floor, &[moved])
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// `mod(a, b)`, with the sign of `b`
    pub fn modulo(&mut self, args: &mut Args) -> Fallible<Item> {
        let (left, right) = (args.next(self, "a")?, args.next(self, "b")?);
        args.finish(self)?;
        let (l, r) = (self.eval(left)?, self.eval(right)?);
        if let (Some(a), Some(b)) = (self.as_number(&l), self.as_number(&r)) {
            return Ok(Item::Number(numbers::call("mod", &[a, b]).unwrap_or(f64::NAN)));
        }
        let (a, b) = (self.tensor_of(l, left.span)?.value, self.tensor_of(r, right.span)?.value);
        self.here(args.span);
        let dims = self.broadcast(a, b, args.span)?;
        let (a, b, element) = self.same_element(a, b, false);
        let value = match element {
            Element::Integer | Element::Index(_) => self.tape.push(Op::Map(Map::Rem), vec![a, b], Type { element: Element::Integer, dims }),
            Element::Real | Element::Half | Element::Bool => {
                let quotient = self.tape.push(Op::Map(Map::Div), vec![a, b], Type::real(dims.clone()));
                let whole = self.tape.real_map(Map::Floor, &[quotient]);
                let part = self.tape.push(Op::Map(Map::Mul), vec![whole, b], Type::real(dims.clone()));
                self.tape.push(Op::Map(Map::Sub), vec![a, part], Type::real(dims))
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// `max(x, D)` reduces, `max(a, b)` compares.
    pub fn extreme(&mut self, reduce: Reduce, map: Map, args: &mut Args) -> Fallible<Item> {
        let first = args.next(self, "x")?;
        let item = self.eval(first)?;
        if let Item::Tensor(tensor) = &item
            && args.over_dims(self)
        {
            let dims = self.reduced(args, tensor.value)?;
            self.here(args.span);
            return Ok(Item::Tensor(Tensor::plain(self.tape.reduce(reduce, tensor.value, &dims))));
        }
        let second = args.next(self, "b")?;
        args.finish(self)?;
        let other = self.eval(second)?;
        if let (Some(a), Some(b)) = (self.as_number(&item), self.as_number(&other)) {
            return numbers::call(args.callee, &[a, b]).map(Item::Number).ok_or(Stop);
        }
        let (a, b) = (self.tensor_of(item, first.span)?.value, self.tensor_of(other, second.span)?.value);
        self.here(args.span);
        let value = self.pair(map, a, b, args.span)?;
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// An elementwise operation on two numbers of one element.
    fn pair(&mut self, map: Map, a: Value, b: Value, span: Span) -> Fallible<Value> {
        let dims = self.broadcast(a, b, span)?;
        let (a, b, element) = self.same_element(a, b, false);
        Ok(self.tape.push(Op::Map(map), vec![a, b], Type { element, dims }))
    }

    /// `clamp(x, low, high)`
    pub fn clamp(&mut self, args: &mut Args) -> Fallible<Item> {
        let mut exprs = Vec::new();
        for name in ["x", "low", "high"] {
            exprs.push(args.next(self, name)?);
        }
        args.finish(self)?;
        let mut items = Vec::new();
        for expr in &exprs {
            items.push(self.eval(expr)?);
        }
        let constants: Option<Vec<f64>> = items.iter().map(|item| self.as_number(item)).collect();
        if let Some(result) = constants.and_then(|constants| numbers::call("clamp", &constants)) {
            return Ok(Item::Number(result));
        }
        let mut values = Vec::new();
        for (item, expr) in items.into_iter().zip(&exprs) {
            values.push(self.tensor_of(item, expr.span)?.value);
        }
        self.here(args.span);
        let low = self.pair(Map::Max, values[0], values[1], args.span)?;
        let value = self.pair(Map::Min, low, values[2], args.span)?;
        Ok(Item::Tensor(Tensor::plain(value)))
    }

    /// `where(condition, a, b)`
    pub fn where_(&mut self, args: &mut Args) -> Fallible<Value> {
        let condition_expr = args.next(self, "condition")?;
        let condition = self.tensor(condition_expr)?.value;
        let (a, b) = (args.tensor(self, "a")?, args.tensor(self, "b")?);
        args.finish(self)?;
        self.here(args.span);
        let ty = self.tape.ty(condition).clone();
        if ty.element != Element::Bool {
            return Err(self.errors.stop(wrong::element(condition_expr.span, &self.tape, "the condition of `where`", "bool", &ty)));
        }
        let (a, b, element) = match self.tape.ty(a).element == self.tape.ty(b).element {
            true => (a, b, self.tape.ty(a).element),
            false => self.same_element(a, b, false),
        };
        self.broadcast(a, b, args.span)?;
        let branches = self.tape.union(&[a, b]);
        let inside = |dims: &[Dim], other: &[Dim]| dims.iter().all(|dim| other.contains(dim) || self.loose.contains(dim));
        if !inside(&ty.dims, &branches) && !inside(&branches, &ty.dims) {
            let values = Type { element, dims: branches };
            return Err(self.errors.stop(wrong::not_contained(args.span, &self.tape, &ty, &values)));
        }
        Ok(self.tape.map(Map::Where, &[condition, a, b], element))
    }
}
