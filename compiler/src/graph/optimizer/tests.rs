//! Optimizers over 20 steps against formulas written out by hand, rates at their corners, groups, norm and clipping.

use super::update;
use crate::graph::interpret::graph::Weights;
use crate::graph::interpret::update::{Moments, scalars, update as apply};
use crate::graph::interpret::{Mode, Tensor};
use crate::graph::ir::{Graph, Update};
use crate::model::ir::{Weight, WeightData};
use crate::model::settings::{Optimizer, Rate, Train};
use crate::op::{Dim, DimData, Dims, Origin, Type};
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::Init;

fn weight(name: &str, dim: Dim, arrow: bool) -> WeightData {
    let (inputs, outputs) = if arrow { (vec![dim], vec![]) } else { (vec![], vec![dim]) };
    let init = Init::Constant(0.0);
    let stacked = Vec::new();
    WeightData {
        path: name.to_string(),
        layers: name.to_string(),
        count: 1,
        inputs,
        outputs,
        stacked,
        init,
        arrow,
        decay: None,
        frozen: false,
        state: false,
        rate: 1.0,
        span: None,
    }
}

/// A graph of weights only: `matrix` (decays), `gain`, `slow` (own rate and decay), `still` (frozen), of four numbers each.
fn graph(train: &Train, divide_by: Option<usize>) -> Graph {
    let mut dims = Dims::new();
    let dim = dims.push(DimData { name: "D".to_string(), size: 4, span: None, axes: Vec::new() });
    let mut weights = PrimaryMap::new();
    weights.push(weight("matrix", dim, true));
    weights.push(weight("gain", dim, false));
    weights.push(WeightData { rate: 0.5, decay: Some(0.3), ..weight("slow", dim, false) });
    weights.push(WeightData { frozen: true, ..weight("still", dim, true) });
    let update = update(train, &weights, &mut dims, Origin::from_u32(0), divide_by);
    Graph {
        name: "weights".to_string(),
        dims,
        origins: PrimaryMap::new(),
        batch: dim,
        microbatches: 1,
        inputs: Vec::new(),
        ports: PrimaryMap::new(),
        weights,
        segments: PrimaryMap::new(),
        calls: Vec::new(),
        result: None,
        reports: Vec::new(),
        update: Some(update),
    }
}

fn tensors(graph: &Graph, value: impl Fn(usize, usize) -> f64) -> Weights {
    let one = |weight: Weight, data: &WeightData| {
        let values = (0..4).map(|i| value(weight.index(), i)).collect();
        ((weight, 0), Tensor::new(&Type::real(data.dims()), &graph.dims, values))
    };
    graph.weights.iter().map(|(weight, data)| one(weight, data)).collect()
}

fn start(weight: usize, i: usize) -> f64 {
    (weight as f64 + 1.3 * i as f64).cos()
}

fn gradient(step: u64, weight: usize, i: usize) -> f64 {
    (step as f64 * 0.7 + weight as f64 * 1.9 + i as f64).sin() * [1.0, 1e-3, 0.0, 2.0][i]
}

/// Runs 20 steps and compares every weight with `reference(gradients of the steps, start, decay, rate factor)`.
fn compare(train: &Train, reference: impl Fn(&[f64], f64, f64, f64) -> f64) {
    let graph = graph(train, None);
    let mut weights = tensors(&graph, start);
    let mut moments = Moments::new();
    for step in 1..=20 {
        apply(&graph, &mut weights, &mut moments, &tensors(&graph, |w, i| gradient(step, w, i)), step, None, Mode::F64);
        let decay = super::decay(&train.optimizer);
        for (w, (decay, factor)) in [(decay, 1.0), (0.0, 1.0), (0.3, 0.5)].into_iter().enumerate() {
            for i in 0..4 {
                let gradients: Vec<f64> = (1..=step).map(|step| gradient(step, w, i)).collect();
                let wanted = reference(&gradients, start(w, i), decay, factor);
                let found = weights[&(Weight::new(w), 0)].data[i];
                assert!((found - wanted).abs() < 1e-12, "step {step}, weight {w}[{i}]: {found} {wanted}");
            }
        }
    }
    assert_eq!(weights[&(Weight::new(3), 0)], tensors(&graph, start)[&(Weight::new(3), 0)]);
}

fn train(optimizer: Optimizer) -> Train {
    Train { steps: 20, optimizer, rate: Rate::Constant { peak: 0.02, warmup: 5 }, ..Train::default() }
}

/// The rate of those runs.
fn rate(t: usize) -> f64 {
    if t <= 5 { 0.02 * t as f64 / 5.0 } else { 0.02 }
}

#[test]
fn adamw_is_pytorchs() {
    compare(&train(Optimizer::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 }), |gradients, start, decay, factor| {
        let (mut p, mut m, mut v) = (start, 0.0, 0.0);
        for (at, g) in gradients.iter().enumerate() {
            let (t, lr) = (at as i32 + 1, rate(at + 1) * factor);
            p *= 1.0 - lr * decay;
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let (corrected_m, corrected_v): (f64, f64) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.95f64.powi(t)));
            p -= lr * corrected_m / (corrected_v.sqrt() + 1e-8);
        }
        p
    });
}

#[test]
fn sgd_keeps_a_velocity() {
    for momentum in [0.0, 0.8] {
        compare(&train(Optimizer::Sgd { momentum, decay: 0.1 }), |gradients, start, decay, factor| {
            let (mut p, mut velocity) = (start, 0.0);
            for (at, g) in gradients.iter().enumerate() {
                velocity = momentum * velocity + g;
                p = p * (1.0 - rate(at + 1) * factor * decay) - rate(at + 1) * factor * velocity;
            }
            p
        });
    }
}

#[test]
fn lion_takes_signs() {
    compare(&train(Optimizer::Lion { beta1: 0.9, beta2: 0.99, decay: 0.1 }), |gradients, start, decay, factor| {
        let (mut p, mut m) = (start, 0.0);
        for (at, g) in gradients.iter().enumerate() {
            let between: f64 = 0.9 * m + 0.1 * g;
            let sign = if between == 0.0 { 0.0 } else { between.signum() };
            p = p * (1.0 - rate(at + 1) * factor * decay) - rate(at + 1) * factor * sign;
            m = 0.99 * m + 0.01 * g;
        }
        p
    });
}

#[test]
fn groups_differ_in_decay_and_rate_only() {
    let graph = graph(&train(Optimizer::Sgd { momentum: 0.0, decay: 0.1 }), None);
    let update: &Update = graph.update.as_ref().expect("it trains");
    let names: Vec<&str> = update.groups.iter().map(|group| &group.name[..]).collect();
    assert_eq!((names, update.moments), (vec!["sgd decay 0.1", "sgd", "sgd decay 0.3 rate 0.5"], 0));
    let of: Vec<Option<u32>> = graph.weights.keys().map(|weight| update.group_of[weight]).collect();
    assert_eq!(of, [Some(0), Some(1), Some(2), None]);
}

/// With plain SGD at rate 1, the change of a weight is the factor times its gradient.
fn norm_and_factor(clip: Option<f64>, count: Option<f64>) -> (f64, f64) {
    let optimizer = Optimizer::Sgd { momentum: 0.0, decay: 0.0 };
    let train = Train { clip, optimizer, rate: Rate::Constant { peak: 1.0, warmup: 0 }, ..Train::default() };
    let graph = graph(&train, count.map(|_| 0));
    let mut weights = tensors(&graph, |_, _| 0.0);
    let sums = tensors(&graph, |w, i| if w < 2 && i == 0 { [3.0, 4.0][w] } else { f64::from(u8::from(w == 3)) });
    let norm = apply(&graph, &mut weights, &mut Moments::new(), &sums, 1, count, Mode::F64);
    (norm, -weights[&(Weight::new(0), 0)].data[0] / 3.0)
}

#[test]
fn the_norm_is_of_trained_weights_and_divided_gradients() {
    assert_eq!(norm_and_factor(None, None), (5.0, 1.0));
    assert_eq!(norm_and_factor(Some(6.0), None), (5.0, 1.0));
    let (norm, factor) = norm_and_factor(Some(1.0), None);
    assert!(norm == 5.0 && (factor - 1.0 / (5.0 + 1e-6)).abs() < 1e-15);
    assert_eq!(norm_and_factor(None, Some(4.0)), (1.25, 0.25));
    assert_eq!(norm_and_factor(None, Some(0.0)), (5.0, 1.0));
    let (norm, factor) = norm_and_factor(Some(1.0), Some(4.0));
    assert!(norm == 1.25 && (factor - 0.25 / (1.25 + 1e-6)).abs() < 1e-15);
}

#[test]
fn rates_at_their_corners() {
    let at = |rate: Rate, step: u64| {
        let graph = graph(&Train { steps: 100, rate, ..train(Optimizer::Sgd { momentum: 0.0, decay: 0.0 }) }, None);
        scalars(graph.update.as_ref().expect("it trains"), step, Mode::F64)[0].1
    };
    let check = |rate: Rate, wanted: &[(u64, f64)]| {
        for (step, wanted) in wanted {
            let found = at(rate, *step);
            assert!((found - wanted).abs() < 1e-12, "{rate:?} at {step}: {found} {wanted}");
        }
    };
    check(Rate::Constant { peak: 2.0, warmup: 0 }, &[(1, 2.0), (100, 2.0)]);
    check(Rate::Constant { peak: 2.0, warmup: 10 }, &[(1, 0.2), (10, 2.0), (11, 2.0)]);
    check(Rate::Linear { peak: 2.0, warmup: 20, floor: 1.0 }, &[(10, 1.0), (20, 2.0), (60, 1.5), (100, 1.0), (120, 1.0)]);
    check(Rate::Cosine { peak: 2.0, warmup: 20, floor: 1.0 }, &[(1, 0.1), (20, 2.0), (60, 1.5), (100, 1.0), (101, 1.0)]);
    check(Rate::Cosine { peak: 2.0, warmup: 0, floor: 0.0 }, &[(50, 1.0), (25, 1.0 + 0.5f64.sqrt()), (100, 0.0)]);
    check(Rate::Wsd { peak: 2.0, warmup: 10, decay: 20, floor: 0.5 }, &[(5, 1.0), (10, 2.0), (80, 2.0), (90, 1.25), (100, 0.5)]);
    check(Rate::Wsd { peak: 2.0, warmup: 90, decay: 20, floor: 0.0 }, &[(90, 2.0), (95, 1.0), (100, 0.0)]);
}
