//! Losses and metrics of a function: what it reports, and the cotangents that differentiation starts from.
//!
//! Requires dims of one microbatch. Ensures the meaning over a whole step: `loss e` reports the sum of `e` over one microbatch divided by the
//! entries of the whole step, so that reports over microbatches add up to the mean, and its seed is that constant. `loss e where m` is the sum
//! of `e * m` over the sum of `m` (over all entries of `e`): with one microbatch the program divides; with several, sum and count are reported,
//! the seed is `m`, and gradients are divided once, at the update ([`Masked`]).

use crate::model::ir::{FunctionData, Loss};
use crate::op::{Body, Dims, Element, Map, Op, Origin, Reduce, Shape, Type, Value};

/// Where the sum over a mask is divided by its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Masked {
    /// In the program: the step is one microbatch.
    InProgram,
    /// At the update: the loss is the only one of the model.
    AtUpdate,
}

/// By what sums are divided.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Microbatches of a step.
    pub microbatches: u64,
    /// Calls of the function: a metric is the mean over them, losses add up.
    pub calls: u64,
    /// How masked losses are divided.
    pub masked: Masked,
}

/// One number to report.
#[derive(Clone, Debug)]
pub struct Reported {
    /// `loss` or the metric's name.
    pub name: String,
    /// Sum over the entries of a microbatch.
    pub sum: Value,
    /// Sum of the mask, if that is still to be divided by.
    pub count: Option<Value>,
}

/// A value of the body with the cotangent that a loss gives it.
pub type Seed = (Value, Value, Origin);

/// Appends what `function` reports to a copy of its body, and with `train` the seeds.
pub fn append(
    body: &mut Body,
    dims: &Dims,
    function: &FunctionData,
    shares: Shares,
    own: Origin,
    train: bool,
) -> (Vec<Reported>, Vec<Seed>) {
    let (mut reported, mut seeds) = (Vec::new(), Vec::new());
    for loss in &function.losses {
        let mut site = Site { origin: origin_of(body, loss.value, own), body, dims, shares };
        let (report, seed) = site.loss(loss, train);
        reported.push(report);
        seeds.extend(seed.map(|seed| (loss.value, seed, site.origin)));
    }
    for (name, value) in &function.metrics {
        let mut site = Site { origin: origin_of(body, *value, own), body, dims, shares };
        let share = site.share(*value) / shares.calls as f64;
        let sum = site.scaled_sum(*value, share);
        reported.push(Reported { name: name.clone(), sum, count: None });
    }
    (reported, seeds)
}

fn origin_of(body: &Body, value: Value, own: Origin) -> Origin {
    body.insts.iter().find(|inst| inst.results.contains(&value)).map_or(own, |inst| inst.origin)
}

/// One `loss` or `metric`.
struct Site<'a> {
    body: &'a mut Body,
    dims: &'a Dims,
    origin: Origin,
    shares: Shares,
}

impl Site<'_> {
    fn loss(&mut self, loss: &Loss, train: bool) -> (Reported, Option<Value>) {
        let ty = self.body.ty(loss.value).clone();
        let (sum, count, seed) = match loss.mask {
            None => {
                let share = self.share(loss.value);
                (self.scaled_sum(loss.value, share), None, train.then(|| self.constant(share)))
            }
            Some(mask) => self.masked(loss.value, mask, train),
        };
        let report = Reported { name: "loss".to_string(), sum, count };
        (report, seed.map(|seed| self.push(Op::Shape(Shape::Expand), &[seed], ty)))
    }

    /// Sum, count that remains to be divided by, and seed (perhaps without some dims of the value).
    fn masked(&mut self, value: Value, mask: Value, train: bool) -> (Value, Option<Value>, Option<Value>) {
        let weight = self.number(mask);
        let ty = self.body.ty(value).clone();
        let chosen = self.chosen(mask, value, &ty);
        let sum = self.sum(chosen);
        let every = self.push(Op::Shape(Shape::Expand), &[weight], ty.clone());
        let count = self.sum(every);
        match self.shares.masked {
            Masked::AtUpdate => (sum, Some(count), train.then_some(weight)),
            Masked::InProgram => {
                let scalar = Type::real(Vec::new());
                let (zero, one) = (self.constant(0.0), self.constant(1.0));
                let empty = self.push(Op::Map(Map::Eq), &[count, zero], Type { element: Element::Bool, dims: Vec::new() });
                let divisor = self.push(Op::Map(Map::Where), &[empty, one, count], scalar.clone());
                let mean = self.push(Op::Map(Map::Div), &[sum, divisor], scalar);
                let of_mask = self.body.ty(weight).clone();
                (mean, None, train.then(|| self.push(Op::Map(Map::Div), &[weight, divisor], of_mask)))
            }
        }
    }

    /// A mask as a real number.
    fn number(&mut self, mask: Value) -> Value {
        let ty = self.body.ty(mask).clone();
        match ty.element {
            Element::Real | Element::Half => mask,
            Element::Bool | Element::Index(_) | Element::Integer => self.push(Op::Map(Map::Real), &[mask], Type::real(ty.dims)),
        }
    }

    /// The value where the mask holds, else 0 (so that what is masked may be infinite); times the mask if that is a number.
    fn chosen(&mut self, mask: Value, value: Value, ty: &Type) -> Value {
        if self.body.ty(mask).element != Element::Bool {
            return self.push(Op::Map(Map::Mul), &[value, mask], ty.clone());
        }
        let zero = self.constant(0.0);
        self.push(Op::Map(Map::Where), &[mask, value, zero], ty.clone())
    }

    /// One entry's share of the mean over the whole step.
    fn share(&self, value: Value) -> f64 {
        1.0 / (self.body.ty(value).elements(self.dims) as f64 * self.shares.microbatches as f64)
    }

    fn scaled_sum(&mut self, value: Value, share: f64) -> Value {
        let (sum, share) = (self.sum(value), self.constant(share));
        self.push(Op::Map(Map::Mul), &[sum, share], Type::real(Vec::new()))
    }

    fn sum(&mut self, value: Value) -> Value {
        let over = self.body.ty(value).dims.clone();
        if over.is_empty() {
            return value;
        }
        self.push(Op::Reduce(Reduce::Sum, over), &[value], Type::real(Vec::new()))
    }

    fn constant(&mut self, number: f64) -> Value {
        self.push(Op::Const(number), &[], Type::real(Vec::new()))
    }

    fn push(&mut self, op: Op, args: &[Value], ty: Type) -> Value {
        self.body.push(op, args.to_vec(), ty, self.origin)
    }
}
