//! Rules on elementwise functions.

use super::{New, Rewriter};
use crate::graph::interpret::map_element;
use crate::op::{Element, Map, Op, Shape, Type, Value};

impl Rewriter<'_> {
    /// The rule for `op`, if what it gives still has all dims of the result.
    pub(super) fn map(&mut self, op: Map, args: &[Value], ty: &Type) -> Option<New> {
        match self.map_rule(op, args, ty)? {
            New::Inst(op, args) => self.covers(&args, ty).then_some(New::Inst(op, args)),
            New::Value(value) => Some(New::Value(value)),
        }
    }

    fn covers(&self, args: &[Value], ty: &Type) -> bool {
        ty.dims.iter().all(|dim| args.iter().any(|arg| self.ty(*arg).has(*dim)))
    }

    fn map_rule(&mut self, op: Map, args: &[Value], ty: &Type) -> Option<New> {
        if let Some(folded) = self.fold(op, args, ty) {
            return Some(folded);
        }
        if let Some(bare) = self.unexpanded(args, ty) {
            return Some(New::Inst(Op::Map(op), bare));
        }
        if let Some(once) = self.before_expand(op, args, ty) {
            return Some(once);
        }
        match *args {
            [x] => self.unary(op, x),
            [a, b] if commutes(op) && self.constant(a).is_some() && self.constant(b).is_none() => Some(New::Inst(Op::Map(op), vec![b, a])),
            [a, b] => self.binary(op, a, b),
            [condition, a, b] => self.select(condition, a, b),
            _ => None,
        }
    }

    /// A function of constants is a constant.
    fn fold(&mut self, op: Map, args: &[Value], ty: &Type) -> Option<New> {
        let values: Vec<f64> = args.iter().map(|arg| self.constant(*arg)).collect::<Option<_>>()?;
        let real = args.iter().any(|arg| self.ty(*arg).element == Element::Real);
        self.number(map_element(op, &values, real), ty.element).map(New::Value)
    }

    /// What `value` repeats, or itself.
    fn bare(&self, value: Value) -> Value {
        let expand = self.def(value).filter(|def| def.op == Op::Shape(Shape::Expand));
        expand.map_or(value, |def| def.args[0])
    }

    /// Arguments without their `Expand`, where the others have all dims of the result.
    fn unexpanded(&self, args: &[Value], ty: &Type) -> Option<Vec<Value>> {
        for (place, arg) in args.iter().enumerate() {
            let mut fewer = args.to_vec();
            fewer[place] = self.bare(*arg);
            if fewer[place] != *arg && self.covers(&fewer, ty) {
                return Some(fewer);
            }
        }
        None
    }

    /// A function of repeated values only is computed once, then repeated.
    fn before_expand(&mut self, op: Map, args: &[Value], ty: &Type) -> Option<New> {
        let bare: Vec<Value> = args.iter().map(|arg| self.bare(*arg)).collect();
        if bare == args || self.covers(&bare, ty) {
            return None;
        }
        let dims = ty.dims.iter().copied().filter(|dim| bare.iter().any(|arg| self.ty(*arg).has(*dim))).collect();
        Some(New::Value(self.make(Op::Map(op), bare, Type { element: ty.element, dims })))
    }

    /// The arguments of the definition of `value`, if that is `op`.
    fn args_of(&self, value: Value, op: Map) -> Option<&[Value]> {
        self.def(value).filter(|def| def.op == Op::Map(op)).map(|def| &def.args[..])
    }

    /// What `value` negates.
    fn negated(&self, value: Value) -> Option<Value> {
        self.args_of(value, Map::Neg).map(|args| args[0])
    }

    fn unary(&mut self, op: Map, x: Value) -> Option<New> {
        let inner = |inner: Map| self.args_of(x, inner).map(|args| args[0]);
        match op {
            Map::Neg => self.negation(x),
            Map::Not => inner(Map::Not).map(New::Value),
            Map::Abs => match inner(Map::Neg) {
                Some(x) => Some(New::Inst(Op::Map(Map::Abs), vec![x])),
                None => inner(Map::Abs).map(|_| New::Value(x)),
            },
            Map::RoundBf16 => inner(Map::RoundBf16).map(|_| New::Value(x)),
            Map::Int => inner(Map::Real).map(New::Value),
            Map::Floor => inner(Map::Floor).map(|_| New::Value(x)),
            Map::Sign | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf | Map::Sqrt | Map::Rsqrt | Map::Real => None,
            Map::Add
            | Map::Sub
            | Map::Mul
            | Map::Div
            | Map::Rem
            | Map::Pow
            | Map::Min
            | Map::Max
            | Map::Lt
            | Map::Le
            | Map::Eq
            | Map::Ne
            | Map::And
            | Map::Or
            | Map::Where => None,
        }
    }

    fn negation(&mut self, x: Value) -> Option<New> {
        if let Some(x) = self.negated(x) {
            return Some(New::Value(x));
        }
        if let Some(&[a, b]) = self.args_of(x, Map::Sub) {
            return Some(New::Inst(Op::Map(Map::Sub), vec![b, a]));
        }
        let &[a, b] = self.args_of(x, Map::Mul)? else { return None };
        let factor = self.constant(b)?;
        let factor = self.number(-factor, self.ty(b).element)?;
        Some(New::Inst(Op::Map(Map::Mul), vec![a, factor]))
    }

    fn binary(&mut self, op: Map, a: Value, b: Value) -> Option<New> {
        match op {
            Map::Add => self.sum(a, b),
            Map::Sub => self.difference(a, b),
            Map::Mul => self.product(a, b),
            Map::Div => self.quotient(a, b),
            Map::Pow => self.power(a, b),
            Map::Min | Map::Max | Map::And | Map::Or if a == b => Some(New::Value(a)),
            Map::And => self.neutral(a, true, b).or_else(|| self.neutral(b, true, a)),
            Map::Or => self.neutral(a, false, b).or_else(|| self.neutral(b, false, a)),
            Map::Rem | Map::Min | Map::Max | Map::Lt | Map::Le | Map::Eq | Map::Ne => None,
            Map::Neg
            | Map::Abs
            | Map::Sign
            | Map::Floor
            | Map::Exp
            | Map::Log
            | Map::Sin
            | Map::Cos
            | Map::Tanh
            | Map::Erf
            | Map::Sqrt
            | Map::Rsqrt
            | Map::Not
            | Map::Where
            | Map::Real
            | Map::Int
            | Map::RoundBf16 => None,
        }
    }

    fn sum(&self, a: Value, b: Value) -> Option<New> {
        if self.constant(b) == Some(0.0) {
            return Some(New::Value(a));
        }
        match (self.negated(a), self.negated(b)) {
            (_, Some(b)) => Some(New::Inst(Op::Map(Map::Sub), vec![a, b])),
            (Some(a), None) => Some(New::Inst(Op::Map(Map::Sub), vec![b, a])),
            (None, None) => None,
        }
    }

    fn difference(&self, a: Value, b: Value) -> Option<New> {
        if self.constant(b) == Some(0.0) {
            return Some(New::Value(a));
        }
        if self.constant(a) == Some(0.0) {
            return Some(New::Inst(Op::Map(Map::Neg), vec![b]));
        }
        self.negated(b).map(|b| New::Inst(Op::Map(Map::Add), vec![a, b]))
    }

    fn product(&mut self, a: Value, b: Value) -> Option<New> {
        if let (Some(a), Some(b)) = (self.negated(a), self.negated(b)) {
            return Some(New::Inst(Op::Map(Map::Mul), vec![a, b]));
        }
        let factor = self.constant(b)?;
        if factor == 1.0 {
            return Some(New::Value(a));
        }
        if factor == -1.0 {
            return Some(New::Inst(Op::Map(Map::Neg), vec![a]));
        }
        let element = self.ty(b).element;
        let (x, inner) = match (self.negated(a), self.args_of(a, Map::Mul)) {
            (Some(x), _) => (x, -1.0),
            (None, Some(&[x, inner])) => (x, self.constant(inner)?),
            (None, _) => return None,
        };
        let factor = self.number(factor * inner, element)?;
        Some(New::Inst(Op::Map(Map::Mul), vec![x, factor]))
    }

    fn quotient(&mut self, a: Value, b: Value) -> Option<New> {
        let real = self.ty(b).element == Element::Real;
        if let (Some(1.0), Some(&[x])) = (self.constant(a), self.args_of(b, Map::Sqrt)) {
            return Some(New::Inst(Op::Map(Map::Rsqrt), vec![x]));
        }
        let divisor = self.constant(b)?;
        if divisor == 1.0 {
            return Some(New::Value(a));
        }
        if !real || !power_of_two(divisor) {
            return None;
        }
        let factor = self.number(1.0 / divisor, Element::Real)?;
        Some(New::Inst(Op::Map(Map::Mul), vec![a, factor]))
    }

    fn power(&mut self, a: Value, b: Value) -> Option<New> {
        let exponent = self.constant(b)?;
        if exponent == 1.0 {
            return Some(New::Value(a));
        }
        if exponent == -1.0 {
            let one = self.number(1.0, Element::Real)?;
            return Some(New::Inst(Op::Map(Map::Div), vec![one, a]));
        }
        let unary = |op: Map| Some(New::Inst(Op::Map(op), vec![a]));
        if exponent == 2.0 {
            Some(New::Inst(Op::Map(Map::Mul), vec![a, a]))
        } else if exponent == 0.5 {
            unary(Map::Sqrt)
        } else if exponent == -0.5 {
            unary(Map::Rsqrt)
        } else {
            None
        }
    }

    fn select(&mut self, condition: Value, a: Value, b: Value) -> Option<New> {
        if a == b {
            return Some(New::Value(a));
        }
        match self.truth(condition) {
            Some(true) => return Some(New::Value(a)),
            Some(false) => return Some(New::Value(b)),
            None => {}
        }
        let &[inner] = self.args_of(condition, Map::Not)? else { return None };
        Some(New::Inst(Op::Map(Map::Where), vec![inner, b, a]))
    }

    /// The truth value that every element of a condition has, if it follows from constants.
    fn truth(&self, condition: Value) -> Option<bool> {
        let inst = self.def(condition)?;
        match &inst.op {
            Op::Shape(Shape::Expand) => self.truth(inst.args[0]),
            Op::Map(op @ (Map::Lt | Map::Le | Map::Eq | Map::Ne)) => {
                let values: Vec<f64> = inst.args.iter().map(|arg| self.constant(*arg)).collect::<Option<_>>()?;
                Some(map_element(*op, &values, true) != 0.0)
            }
            Op::Map(Map::Not) => self.truth(inst.args[0]).map(|truth| !truth),
            Op::Map(_) | Op::Shape(_) | Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Reduce(..) | Op::Contract(_) => None,
            Op::Index(_) | Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
        }
    }

    /// `other`, if `condition` is known to be `value`, which changes nothing.
    fn neutral(&self, condition: Value, value: bool, other: Value) -> Option<New> {
        (self.truth(condition) == Some(value)).then_some(New::Value(other))
    }
}

fn commutes(op: Map) -> bool {
    matches!(op, Map::Add | Map::Mul | Map::Eq | Map::Ne)
}

/// Whether a division by `x` is a multiplication by `1 / x`, exactly, in f32.
fn power_of_two(x: f64) -> bool {
    x.to_bits() & ((1 << 52) - 1) == 0 && (2f64.powi(-100)..2f64.powi(100)).contains(&x.abs())
}
