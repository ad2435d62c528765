//! The programs of update groups, and a maker of small programs over a flat dim.
//!
//! Requires scalars of the names given. Ensures elementwise programs `Rest, Gradient, Moment(..), Factor → Rest, Moment(..)`.

use super::Names;
use crate::graph::ir::{Program, Role};
use crate::model::settings::Optimizer;
use crate::op::{Dim, Map, Op, Origin, Type, Value};

/// A program under construction.
pub struct Maker {
    /// So far.
    pub program: Program,
    flat: Dim,
    origin: Origin,
}

impl Maker {
    /// An empty program.
    pub fn new(flat: Dim, origin: Origin) -> Self {
        Maker { program: Program::default(), flat, origin }
    }

    fn input(&mut self, role: Role, dims: Vec<Dim>) -> Value {
        let value = self.program.body.input(Type::real(dims), "");
        self.program.inputs.push((role, value));
        value
    }

    /// An input over the flat dim.
    pub fn flat(&mut self, role: Role) -> Value {
        self.input(role, vec![self.flat])
    }

    /// An input without dims.
    pub fn scalar_input(&mut self, role: Role) -> Value {
        self.input(role, Vec::new())
    }

    /// Appends an instruction.
    pub fn push(&mut self, op: Op, args: Vec<Value>, ty: Type) -> Value {
        self.program.body.push(op, args, ty, self.origin)
    }

    /// A constant.
    pub fn number(&mut self, value: f64) -> Value {
        self.push(Op::Const(value), Vec::new(), Type::real(Vec::new()))
    }

    /// A scalar of the step.
    pub fn scalar(&mut self, name: &str) -> Value {
        self.push(Op::Scalar(name.to_string()), Vec::new(), Type::real(Vec::new()))
    }

    /// An elementwise function; flat if an argument is.
    pub fn map(&mut self, op: Map, args: &[Value]) -> Value {
        let flat = args.iter().any(|arg| self.program.body.ty(*arg).has(self.flat));
        self.push(Op::Map(op), args.to_vec(), Type::real(if flat { vec![self.flat] } else { Vec::new() }))
    }

    /// `a * number`.
    fn times(&mut self, a: Value, number: f64) -> Value {
        let number = self.number(number);
        self.map(Map::Mul, &[a, number])
    }

    /// `a * x + b * y`, both factors numbers.
    fn mix(&mut self, x: Value, a: f64, y: Value, b: f64) -> Value {
        let (x, y) = (self.times(x, a), self.times(y, b));
        self.map(Map::Add, &[x, y])
    }

    /// An output.
    pub fn output(&mut self, role: Role, value: Value) {
        self.program.outputs.push((role, value));
    }
}

/// The program of a group.
pub fn group(optimizer: &Optimizer, names: &Names, flat: Dim, origin: Origin) -> Program {
    let mut make = Maker::new(flat, origin);
    let mut rest = make.flat(Role::Rest);
    let sum = make.flat(Role::Gradient);
    let factor = make.scalar_input(Role::Factor);
    let gradient = make.map(Map::Mul, &[sum, factor]);
    if let Some(keep) = &names.keep {
        let keep = make.scalar(keep);
        rest = make.map(Map::Mul, &[rest, keep]);
    }
    let direction = match *optimizer {
        Optimizer::AdamW { beta1, beta2, epsilon, .. } => adam(&mut make, gradient, beta1, beta2, epsilon),
        Optimizer::Sgd { momentum, .. } => velocity(&mut make, gradient, momentum),
        Optimizer::Lion { beta1, beta2, .. } => lion(&mut make, gradient, beta1, beta2),
    };
    let rate = make.scalar(&names.rate);
    let change = make.map(Map::Mul, &[direction, rate]);
    let rest = make.map(Map::Sub, &[rest, change]);
    make.output(Role::Rest, rest);
    make.program
}

fn adam(make: &mut Maker, gradient: Value, beta1: f64, beta2: f64, epsilon: f64) -> Value {
    let (first, second) = (make.flat(Role::Moment(0)), make.flat(Role::Moment(1)));
    let away = make.map(Map::Sub, &[gradient, first]);
    let step = make.times(away, 1.0 - beta1);
    let first = make.map(Map::Add, &[first, step]);
    let square = make.map(Map::Mul, &[gradient, gradient]);
    let second = make.mix(second, beta2, square, 1.0 - beta2);
    make.output(Role::Moment(0), first);
    make.output(Role::Moment(1), second);
    let (root, correct, epsilon) = (make.map(Map::Sqrt, &[second]), make.scalar("correct2"), make.number(epsilon));
    let scaled = make.map(Map::Mul, &[root, correct]);
    let below = make.map(Map::Add, &[scaled, epsilon]);
    make.map(Map::Div, &[first, below])
}

fn velocity(make: &mut Maker, gradient: Value, momentum: f64) -> Value {
    if momentum == 0.0 {
        return gradient;
    }
    let moment = make.flat(Role::Moment(0));
    let slowed = make.times(moment, momentum);
    let moment = make.map(Map::Add, &[slowed, gradient]);
    make.output(Role::Moment(0), moment);
    moment
}

fn lion(make: &mut Maker, gradient: Value, beta1: f64, beta2: f64) -> Value {
    let moment = make.flat(Role::Moment(0));
    let between = make.mix(moment, beta1, gradient, 1.0 - beta1);
    let moment = make.mix(moment, beta2, gradient, 1.0 - beta2);
    make.output(Role::Moment(0), moment);
    make.map(Map::Sign, &[between])
}
