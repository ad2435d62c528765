//! `rotary`: positions as turns of pairs (Su et al. 2021).
//!
//! Requires a feature dim of even size. Ensures that the pair (i, i + size / 2) turns by position · base^(-2i / size).

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, operators};
use crate::op::{Dim, Element, Map, Op, Shape, Type, Value};

impl Elaborator<'_> {
    /// `rotary(x, sequence: Seq, feature: Head, base: 10000, position: index(Seq))`
    pub fn rotary(&mut self, args: &mut Args) -> Fallible<Value> {
        let x = self.real_argument(args, "x")?;
        let sequence = args.needed(self, "sequence")?;
        let sequence = self.dim(sequence)?;
        let feature = args.needed(self, "feature")?;
        let feature = self.dim(feature)?;
        let base = args.named("base");
        let base = self.optional_number(base)?.unwrap_or(10000.0);
        let position = match args.named("position") {
            Some(expr) => Some(self.tensor(expr)?.value),
            None => None,
        };
        args.finish(self)?;
        let ty = self.tape.ty(x).clone();
        let lacking: Vec<Dim> = [sequence, feature].into_iter().filter(|dim| !ty.has(*dim)).collect();
        if !lacking.is_empty() {
            return Err(self.lacks(args.span, "`rotary`", &ty, &lacking));
        }
        let (name, size) = (self.tape.dims[feature].name.clone(), self.tape.size(feature));
        if size % 2 == 1 {
            return Err(self.errors.stop(operators::odd_feature(args.span, &name, size)));
        }
        self.here(args.span);
        let position = match position {
            Some(position) => self.tape.as_real(position),
            None => {
                let position = self.tape.position(sequence);
                self.tape.as_real(position)
            }
        };
        Ok(self.turn(x, position, feature, base))
    }

    /// x · cos + (x half a turn of the dim further) · ±sin
    fn turn(&mut self, x: Value, position: Value, feature: Dim, base: f64) -> Value {
        let (size, half) = (self.tape.size(feature), self.tape.size(feature) / 2);
        let place = self.tape.position(feature);
        let middle = self.tape.integer(half as i64);
        let pair = self.tape.map(Map::Rem, &[place, middle], Element::Integer);
        let pair = self.tape.as_real(pair);
        let exponent = self.tape.with(Map::Mul, pair, -2.0 * base.ln() / size as f64);
        let speed = self.tape.real_map(Map::Exp, &[exponent]);
        let dims = self.tape.arrange(self.tape.ty(position).dims.iter().copied().chain([feature]));
        let angle = self.tape.push(Op::Map(Map::Mul), vec![position, speed], Type::real(dims));
        let cos = self.tape.real_map(Map::Cos, &[angle]);
        let sin = self.tape.real_map(Map::Sin, &[angle]);
        let first = self.tape.map(Map::Lt, &[place, middle], Element::Bool);
        let minus = self.tape.real_map(Map::Neg, &[sin]);
        let sin = self.tape.map(Map::Where, &[first, minus, sin], Element::Real);
        let dims = self.tape.ty(x).dims.clone();
        let rolled = self.tape.shape(Shape::Roll { dim: feature, by: half }, x, dims);
        let straight = self.tape.real_map(Map::Mul, &[x, cos]);
        let across = self.tape.real_map(Map::Mul, &[rolled, sin]);
        self.tape.real_map(Map::Add, &[straight, across])
    }
}
