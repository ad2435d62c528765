//! Activations as expansions: relu, gelu, sigmoid, silu, softplus.
//!
//! Requires a real argument. Ensures finite gradients for all finite arguments.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::Fallible;
use crate::op::{Element, Map, Value};

/// The activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    Gelu,
    Sigmoid,
    Silu,
    Softplus,
}

impl Elaborator<'_> {
    /// `gelu(x)` and the like; `gelu(x, exact: true)` by the error function instead of tanh.
    pub fn activation(&mut self, which: Activation, args: &mut Args) -> Fallible<Value> {
        let x = self.real_argument(args, "x")?;
        let exact = match (which == Activation::Gelu).then(|| args.named("exact")).flatten() {
            Some(expr) => self.truth(expr)?,
            None => false,
        };
        args.finish(self)?;
        self.here(args.span);
        Ok(match which {
            Activation::Relu => self.relu(x),
            Activation::Gelu if exact => self.gelu_exact(x),
            Activation::Gelu => self.gelu(x),
            Activation::Sigmoid => self.sigmoid(x),
            Activation::Silu => {
                let gate = self.sigmoid(x);
                self.tape.real_map(Map::Mul, &[x, gate])
            }
            Activation::Softplus => self.softplus(x),
        })
    }

    /// x where positive, else 0; its slope at 0 is 0.
    fn relu(&mut self, x: Value) -> Value {
        let zero = self.tape.real(0.0);
        let positive = self.tape.map(Map::Lt, &[zero, x], Element::Bool);
        self.tape.map(Map::Where, &[positive, x, zero], Element::Real)
    }

    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) (Hendrycks and Gimpel 2016).
    fn gelu(&mut self, x: Value) -> Value {
        let square = self.tape.real_map(Map::Mul, &[x, x]);
        let inner = self.tape.with(Map::Mul, square, 0.044715);
        let inner = self.tape.with(Map::Add, inner, 1.0);
        let inner = self.tape.real_map(Map::Mul, &[inner, x]);
        let inner = self.tape.with(Map::Mul, inner, (2.0 / std::f64::consts::PI).sqrt());
        let tanh = self.tape.real_map(Map::Tanh, &[inner]);
        self.half_of_one_plus(tanh, x)
    }

    /// x/2 · (1 + erf(x/√2)).
    fn gelu_exact(&mut self, x: Value) -> Value {
        let scaled = self.tape.with(Map::Mul, x, std::f64::consts::FRAC_1_SQRT_2);
        let erf = self.tape.real_map(Map::Erf, &[scaled]);
        self.half_of_one_plus(erf, x)
    }

    fn half_of_one_plus(&mut self, part: Value, x: Value) -> Value {
        let sum = self.tape.with(Map::Add, part, 1.0);
        let half = self.tape.with(Map::Mul, x, 0.5);
        self.tape.real_map(Map::Mul, &[half, sum])
    }

    /// By tanh, which neither overflows nor has a gradient that does.
    fn sigmoid(&mut self, x: Value) -> Value {
        let half = self.tape.with(Map::Mul, x, 0.5);
        let tanh = self.tape.real_map(Map::Tanh, &[half]);
        let half = self.tape.with(Map::Mul, tanh, 0.5);
        self.tape.with(Map::Add, half, 0.5)
    }

    /// max(x, 0) + log(1 + exp(-|x|)).
    fn softplus(&mut self, x: Value) -> Value {
        let size = self.tape.real_map(Map::Abs, &[x]);
        let minus = self.tape.real_map(Map::Neg, &[size]);
        let power = self.tape.real_map(Map::Exp, &[minus]);
        let sum = self.tape.with(Map::Add, power, 1.0);
        let log = self.tape.real_map(Map::Log, &[sum]);
        let relu = self.relu(x);
        self.tape.real_map(Map::Add, &[relu, log])
    }
}
