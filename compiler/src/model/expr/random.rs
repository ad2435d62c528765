//! Random numbers and gradients' ends: `dropout`, `random`, `stop`, `cast`.
//!
//! Requires nothing. Ensures that every site's name is unique among those that an iteration draws from.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, names, operators};
use crate::op::{Dim, Element, Map, Op, Random, Type, Value};
use meshwright_grammar::tree::ExprKind;

impl Elaborator<'_> {
    /// A fresh site: `Gpt.Block.Feed.dropout0`. Iterations of one `repeat` share it; another `repeat` of the same instance gets its own.
    fn site(&mut self, what: &str) -> String {
        let base = format!("{}.{what}", self.frame().path.plain);
        let at = self.iteration.unwrap_or((0, 0));
        let (users, counts) = self.sites.entry(base.clone()).or_default();
        let group = match users.iter().position(|user| *user == at.0) {
            Some(group) => group,
            None => {
                users.push(at.0);
                users.len() - 1
            }
        };
        let count = counts.entry(at).or_insert(0);
        *count += 1;
        match group {
            0 => format!("{base}{}", *count - 1),
            _ => format!("{base}{}'{group}", *count - 1),
        }
    }

    fn uniform(&mut self, what: &str, dims: Vec<Dim>) -> Value {
        let site = self.site(what);
        self.tape.push(Op::Random(Random::Uniform { site, cuts: Vec::new() }), Vec::new(), Type::real(dims))
    }

    /// `dropout(x, 0.1)`: each element is 0 with this probability and scaled otherwise; the identity when not training.
    pub fn dropout(&mut self, args: &mut Args) -> Fallible<Value> {
        let x = self.real_argument(args, "x")?;
        let expr = args.next(self, "probability")?;
        let probability = self.number(expr)?;
        args.finish(self)?;
        if !(0.0..1.0).contains(&probability) {
            return Err(self.errors.stop(operators::range(expr.span, "the probability", "from 0 and below 1", probability)));
        }
        if !self.training || probability == 0.0 {
            return Ok(x);
        }
        self.here(args.span);
        let dims = self.tape.ty(x).dims.clone();
        let drawn = self.uniform("dropout", dims);
        let bound = self.tape.real(probability);
        let dropped = self.tape.map(Map::Lt, &[drawn, bound], Element::Bool);
        let scaled = self.tape.with(Map::Mul, x, 1.0 / (1.0 - probability));
        let zero = self.tape.real(0.0);
        Ok(self.tape.map(Map::Where, &[dropped, zero, scaled], Element::Real))
    }

    /// `random(A, B)`: uniform in 0..1
    pub fn random(&mut self, args: &mut Args) -> Fallible<Value> {
        let dims = args.dims(self)?;
        args.finish(self)?;
        self.here(args.span);
        let dims = self.tape.arrange(dims);
        Ok(self.uniform("random", dims))
    }

    /// `stop(x)`: no gradient passes
    pub fn stop_gradient(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        args.finish(self)?;
        self.here(args.span);
        let ty = self.tape.ty(value).clone();
        Ok(self.tape.push(Op::Stop, vec![value], ty))
    }

    /// `cast(x, real)`
    pub fn cast(&mut self, args: &mut Args) -> Fallible<Value> {
        let value = args.tensor(self, "x")?;
        let target = args.next(self, "real")?;
        args.finish(self)?;
        let real = matches!(&target.kind, ExprKind::Path(path) if path.text() == "real");
        if !real {
            return Err(self.errors.stop(names::wrong_kind(target.span, "another type", "`real`", "write `cast(x, real)`")));
        }
        self.here(args.span);
        Ok(self.tape.as_real(value))
    }
}
