//! What happens at the end of a step: the optimizer's settings as programs and scalars.
//!
//! Requires checked settings (shares below 1, warmup within the steps). Ensures an [`Update`] whose programs are elementwise over one flat
//! dim of placeholder size, and whose scalars leave only multiplications to kernels.
//!
//! - AdamW (Loshchilov and Hutter 2019) with PyTorch's formula, in its order: `p *= 1 - rate * decay`; `m += (g - m) * (1 - beta1)`;
//!   `v = v * beta2 + g * g * (1 - beta2)`; `p -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)`.
//! - SGD with momentum as PyTorch's (no dampening, not Nesterov's): `m = m * momentum + g; p -= rate * m`. Decay is decoupled as above, where
//!   PyTorch adds `decay * p` to the gradient.
//! - Lion (Chen et al. 2023): `p *= 1 - rate * decay; p -= rate * sign(m * beta1 + g * (1 - beta1)); m = m * beta2 + g * (1 - beta2)`.
//!
//! Clipping is PyTorch's `clip_grad_norm_`: gradients times `min(1, clip / (norm + 1e-6))`. Only weights with an arrow decay, unless `tune`
//! says otherwise.

mod program;
mod rate;
#[cfg(test)]
mod tests;

use super::ir::{Report, Role, Update, UpdateGroup};
use crate::model::ir::{Weight, WeightData};
use crate::model::settings::{Optimizer, Train};
use crate::op::{Dim, DimData, Dims, Element, Map, Op, Origin, Reduce, Type};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use meshwright_plan::scalar::{Binary, Definition, Expr, Unary};
use program::Maker;

/// Size of the flat dim until `schedule` gives it one.
const PLACEHOLDER: u64 = 1024;

/// The update for `weights`. Adds the flat dim to `dims`; `divide_by` is the report whose count divides all gradients.
pub fn update(
    train: &Train,
    weights: &PrimaryMap<Weight, WeightData>,
    dims: &mut Dims,
    origin: Origin,
    divide_by: Option<usize>,
) -> Update {
    let flat = flat_dim(dims);
    let mut scalars = vec![Definition { name: "rate".to_string(), value: rate::rate(&train.rate, train.steps) }];
    scalars.extend(corrections(&train.optimizer));
    let mut kinds: Vec<(f64, f64)> = Vec::new();
    let mut group_of = SecondaryMap::new();
    for (weight, data) in weights.iter().filter(|(_, data)| !data.frozen) {
        let kind = (data.decay.unwrap_or(if data.arrow { decay(&train.optimizer) } else { 0.0 }), data.rate);
        let at = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        group_of[weight] = Some(at as u32);
    }
    let mut groups = Vec::new();
    for (at, (decay, rate)) in kinds.into_iter().enumerate() {
        let names = Names { rate: format!("rate{at}"), keep: (decay != 0.0).then(|| format!("keep{at}")) };
        scalars.extend(names.definitions(&train.optimizer, decay, rate));
        let program = program::group(&train.optimizer, &names, flat, origin);
        groups.push(UpdateGroup { name: title(&train.optimizer, decay, rate), flat, program });
    }
    let moments = match train.optimizer {
        Optimizer::AdamW { .. } => 2,
        Optimizer::Sgd { momentum, .. } => u32::from(momentum != 0.0),
        Optimizer::Lion { .. } => 1,
    };
    let (square_sum, factor) = (square_sum(flat, origin), factor(train.clip, divide_by.is_some(), flat, origin));
    Update { scalars, clip: train.clip, divide_by, moments, group_of, groups, square_sum, factor }
}

/// Which report's count divides all gradients: that of the masked loss whose programs give sums only, if there is one.
pub fn divide_by(reports: &[Report]) -> Option<usize> {
    reports.iter().position(|report| report.name == "loss" && report.count.is_some())
}

/// A dim with a name that no user's dim has.
fn flat_dim(dims: &mut Dims) -> Dim {
    let mut name = "Flat'".to_string();
    while dims.values().any(|dim| dim.name == name) {
        name.push('\'');
    }
    dims.push(DimData { name, size: PLACEHOLDER, span: None, axes: Vec::new() })
}

/// Names of a group's scalars.
struct Names {
    /// What the update is multiplied by.
    rate: String,
    /// What the weight is multiplied by first, if it decays.
    keep: Option<String>,
}

impl Names {
    fn definitions(&self, optimizer: &Optimizer, decay: f64, factor: f64) -> Vec<Definition> {
        let rate = || times(Expr::Name("rate".to_string()), factor);
        let size = match optimizer {
            Optimizer::AdamW { .. } => binary(Binary::Div, rate(), Expr::Name("correct1".to_string())),
            Optimizer::Sgd { .. } | Optimizer::Lion { .. } => rate(),
        };
        let keep = binary(Binary::Sub, Expr::Const(1.0), times(rate(), decay));
        let mut all = vec![Definition { name: self.rate.clone(), value: size }];
        all.extend(self.keep.iter().map(|name| Definition { name: name.clone(), value: keep.clone() }));
        all
    }
}

/// Adam's bias corrections, the second one as what the root of the second moment is multiplied by.
fn corrections(optimizer: &Optimizer) -> Vec<Definition> {
    let rest = |beta: f64| binary(Binary::Sub, Expr::Const(1.0), binary(Binary::Pow, Expr::Const(beta), Expr::Step));
    match *optimizer {
        Optimizer::AdamW { beta1, beta2, .. } => {
            let root = binary(Binary::Div, Expr::Const(1.0), Expr::Unary(Unary::Sqrt, Box::new(rest(beta2))));
            vec![Definition { name: "correct1".to_string(), value: rest(beta1) }, Definition { name: "correct2".to_string(), value: root }]
        }
        Optimizer::Sgd { .. } | Optimizer::Lion { .. } => Vec::new(),
    }
}

fn decay(optimizer: &Optimizer) -> f64 {
    match optimizer {
        Optimizer::AdamW { decay, .. } | Optimizer::Sgd { decay, .. } | Optimizer::Lion { decay, .. } => *decay,
    }
}

fn title(optimizer: &Optimizer, decay: f64, rate: f64) -> String {
    let mut title = match optimizer {
        Optimizer::AdamW { .. } => "adamw",
        Optimizer::Sgd { .. } => "sgd",
        Optimizer::Lion { .. } => "lion",
    }
    .to_string();
    if decay != 0.0 {
        title += &format!(" decay {decay}");
    }
    if rate != 1.0 {
        title += &format!(" rate {rate}");
    }
    title
}

fn binary(op: Binary, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

fn times(expr: Expr, factor: f64) -> Expr {
    if factor == 1.0 { expr } else { binary(Binary::Mul, expr, Expr::Const(factor)) }
}

/// `Gradient → SquareSum`.
fn square_sum(flat: Dim, origin: Origin) -> super::ir::Program {
    let mut make = Maker::new(flat, origin);
    let gradient = make.flat(Role::Gradient);
    let square = make.map(Map::Mul, &[gradient, gradient]);
    let sum = make.push(Op::Reduce(Reduce::Sum, vec![flat]), vec![square], Type::real(Vec::new()));
    make.output(Role::SquareSum, sum);
    make.program
}

/// `SquareSum, count → Factor, norm`.
fn factor(clip: Option<f64>, divide: bool, flat: Dim, origin: Origin) -> super::ir::Program {
    let mut make = Maker::new(flat, origin);
    let sum = make.scalar_input(Role::SquareSum);
    let one = make.number(1.0);
    let share = divide.then(|| {
        // A step without a single unmasked entry has sums of zero: it is divided by one, as where the program itself divides.
        let (count, zero) = (make.scalar_input(Role::Report(1)), make.number(0.0));
        let empty = make.push(Op::Map(Map::Eq), vec![count, zero], Type { element: Element::Bool, dims: Vec::new() });
        let count = make.map(Map::Where, &[empty, one, count]);
        make.map(Map::Div, &[one, count])
    });
    let mut norm = make.map(Map::Sqrt, &[sum]);
    if let Some(share) = share {
        norm = make.map(Map::Mul, &[norm, share]);
    }
    let mut factor = clip.map(|clip| {
        let (clip, little) = (make.number(clip), make.number(1e-6));
        let bound = make.map(Map::Add, &[norm, little]);
        let ratio = make.map(Map::Div, &[clip, bound]);
        make.map(Map::Min, &[ratio, one])
    });
    if let Some(share) = share {
        factor = Some(factor.map_or(share, |factor| make.map(Map::Mul, &[factor, share])));
    }
    make.output(Role::Factor, factor.unwrap_or(one));
    make.output(Role::Report(0), norm);
    make.program
}
