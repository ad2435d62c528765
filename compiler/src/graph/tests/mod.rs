//! Whole graphs against finite differences of the loss, whatever is kept, recomputed or cut into microbatches.

mod experts;
mod models;
mod reference;

use super::interpret::Mode;
use super::interpret::graph::{Outcome, Weights, evaluate, step};
use super::ir::{Graph, Role};
use super::{build, print, verify};
use crate::model::ir::{Loss, Model};
use crate::model::settings::{Pattern, Precision, Remat};
use crate::op::{Element, Map, Op, Reduce, Shape, Type};
use models::{Builder, gpt, inputs, weights};

fn graph(model: &Model, train: bool) -> Graph {
    let graph = build(model, train).unwrap_or_else(|errors| panic!("{errors:?}"));
    verify::graph(&graph).unwrap_or_else(|error| panic!("{error}\n{}", print::graph(&graph)));
    graph
}

fn trained(model: &Model) -> Outcome {
    step(&graph(model, true), &weights(model), &inputs(model), 7, 1, Mode::F64)
}

fn codes(model: &Model) -> Vec<&'static str> {
    build(model, true).err().unwrap_or_default().iter().map(|error| error.code).collect()
}

fn distance(a: &Weights, b: &Weights) -> f64 {
    assert!(a.keys().eq(b.keys()), "the same gradients");
    let pairs = a.values().zip(b.values()).flat_map(|(a, b)| a.data.iter().zip(&b.data));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Every gradient against central differences of the evaluated loss, along random directions in each weight.
fn check_gradients(model: &Model) {
    let (outcome, evaluation) = (trained(model), graph(model, false));
    let (weights, inputs) = (weights(model), inputs(model));
    let loss = |weights: &Weights| evaluate(&evaluation, weights, &inputs, 7, 1, Mode::F64).loss;
    assert!((outcome.loss - loss(&weights)).abs() < 1e-12, "step and evaluation give one loss");
    let mut next = models::numbers(11);
    for (key, gradient) in outcome.gradients.iter().chain(&outcome.gradients) {
        let direction: Vec<f64> = gradient.data.iter().map(|_| 2.0 * next() - 1.0).collect();
        let moved = |by: f64| {
            let mut weights = weights.clone();
            let tensor = weights.get_mut(key).expect("it is a weight");
            tensor.data.iter_mut().zip(&direction).for_each(|(element, step)| *element += by * step);
            loss(&weights)
        };
        let found: f64 = gradient.data.iter().zip(&direction).map(|(a, b)| a * b).sum();
        let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((found - expected).abs() < 1e-8 * (1.0 + expected.abs()), "{key:?}: {found}, by differences {expected}");
    }
}

/// Loss, gradients and reports against the same step in two and four microbatches.
fn check_microbatches(whole: &Model) {
    let expected = trained(whole);
    for count in [2, 4] {
        let mut cut = whole.clone();
        cut.settings.train.microbatches = count;
        let found = trained(&cut);
        assert!((found.loss - expected.loss).abs() < 1e-12);
        assert!(distance(&found.gradients, &expected.gradients) < 1e-12);
        assert_eq!(found.reports.len(), expected.reports.len());
        for (found, expected) in found.reports.iter().zip(&expected.reports) {
            assert!((found.1 - expected.1).abs() < 1e-12);
        }
    }
}

fn with_rule(mut model: Model, pattern: &[&str], remat: Remat) -> Model {
    let parts = pattern.iter().map(|part| part.to_string()).collect();
    model.settings.remat.push((Pattern { parts, span: None }, remat));
    model
}

#[test]
fn gradients_of_a_small_gpt() {
    check_gradients(&gpt(2).builder.model);
}

#[test]
fn segments_keep_what_backward_reads() {
    let graph = graph(&gpt(2).builder.model, true);
    let segments: Vec<String> = graph.segments.values().map(|segment| print::segment(segment, &graph.dims)).collect();
    insta::assert_snapshot!(segments.join("\n"));
}

#[test]
fn norms_read_their_input_again() {
    let mut model = gpt(2).builder.model;
    let embed = model.dims.iter().find(|(_, data)| data.name == "Embed").map(|(dim, _)| dim).expect("a dim");
    model.dims[embed].size = 64;
    let graph = graph(&model, true);
    let block = graph.segments.values().find(|segment| segment.name == "Block").expect("a block");
    assert_eq!(block.kept, [0], "the residual stream is in memory anyway");
    let names: Vec<&str> = block.stash.iter().map(|slot| slot.name.as_str()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".sub") || name.ends_with(".tanh")), "{names:?}");
}

#[test]
fn what_is_kept_changes_nothing() {
    let model = gpt(2).builder.model;
    let kept = trained(&model);
    for (pattern, remat) in
        [(&["Block"][..], Remat::Recompute), (&["Feed"], Remat::Recompute), (&["**"], Remat::Recompute), (&["Block"], Remat::Save)]
    {
        let other = trained(&with_rule(model.clone(), pattern, remat));
        assert_eq!(kept.loss, other.loss, "{pattern:?}");
        assert!(distance(&kept.gradients, &other.gradients) < 1e-12, "{pattern:?}");
    }
}

#[test]
fn recompute_keeps_only_inputs() {
    let graph = graph(&with_rule(gpt(2).builder.model, &["Block"], Remat::Recompute), true);
    let block = graph.segments.values().find(|segment| segment.name == "Block").expect("a block");
    assert!(block.stash.is_empty() && block.kept == [0]);
    let products = |segment: &super::ir::SegmentData| {
        let backward = segment.backward.as_ref().expect("a backward program");
        backward.body.insts.iter().filter(|inst| matches!(inst.op, Op::Contract(_) | Op::Attention(_))).count()
    };
    // Forward has 6 matrix products and one attention; the last product is not needed again; each product has two gradients.
    assert_eq!(products(block), 6 + 12);
}

#[test]
fn microbatches_change_nothing() {
    let model = gpt(4).builder.model;
    assert_eq!(trained(&model).reports.len(), 2, "a metric beside the loss");
    check_microbatches(&model);
}

#[test]
fn a_batch_that_does_not_divide_is_refused() {
    let mut model = gpt(3).builder.model;
    model.settings.train.microbatches = 2;
    assert_eq!(codes(&model), ["graph::microbatches"]);
}

#[test]
fn frozen_weights_have_no_gradient() {
    let mut small = gpt(2);
    let all = trained(&small.builder.model).gradients;
    small.builder.model.weights[small.table].frozen = true;
    let some = trained(&small.builder.model).gradients;
    assert_eq!(some.len(), all.len() - 1);
    assert!(some.iter().all(|(key, gradient)| all[key] == *gradient));
    for weight in small.builder.model.weights.values_mut() {
        weight.frozen = true;
    }
    assert_eq!(codes(&small.builder.model), ["graph::no_loss"]);
}

#[test]
fn weights_without_influence_are_refused() {
    let mut small = gpt(2);
    small.builder.weight("extra", 1, &[]);
    assert_eq!(codes(&small.builder.model), ["graph::untrained"]);
}

#[test]
fn gradients_stop_where_nothing_is_trained() {
    let mut small = gpt(2);
    for weight in small.builder.model.weights.values_mut().take(2) {
        weight.frozen = true;
    }
    let graph = graph(&small.builder.model, true);
    let of =
        |call: usize| &graph.segments[cranelift_entity::EntityRef::new(cranelift_entity::EntityRef::index(graph.calls[call].function))];
    assert!(of(0).backward.as_ref().is_some_and(|program| program.outputs.is_empty()), "the embedding has nothing to do");
    assert_eq!(of(1).differentiable, [false], "the first block's input is constant");
    assert_eq!(of(2).differentiable, [true], "the second block's is not");
    check_gradients(&small.builder.model);
}

/// `loss (x @ w - y)^2 where m`, and `others` times a loss without mask.
fn masked(mask: Element, others: usize, microbatches: u64) -> Model {
    let mut b = Builder::new(4);
    let (batch, feature, out) = (b.model.batch, b.dim("Feature", 3), b.dim("Out", 2));
    let x = b.input("x", Type::real(vec![batch, feature]));
    let m = b.input("m", Type { element: mask, dims: vec![batch] });
    let w = b.weight("w", 1, &[feature, out]);
    let mut p = b.piece("all", "Test");
    let (px, pm, pw) =
        (p.param(Type::real(vec![batch, feature])), p.param(Type { element: mask, dims: vec![batch] }), p.weight(&[feature, out]));
    let y = p.contract(px, pw, &[feature], &[batch, out]);
    let square = p.map(Map::Mul, &[y, y]);
    p.data.losses.push(Loss { value: square, mask: Some(pm), span: None });
    for _ in 0..others {
        let decay = p.map(Map::Abs, &[pw]);
        p.data.losses.push(Loss { value: decay, mask: None, span: None });
    }
    let all = b.function(p);
    b.call(all, &[x, m], &[(w, 0)], 0);
    b.model.settings.train.microbatches = microbatches;
    b.model
}

#[test]
fn masks_weigh_entries_over_the_whole_step() {
    for element in [Element::Bool, Element::Real] {
        check_gradients(&masked(element, 0, 1));
        check_gradients(&masked(element, 1, 1));
        let (whole, parts) = (trained(&masked(element, 0, 1)), trained(&masked(element, 0, 2)));
        assert!((whole.loss - parts.loss).abs() < 1e-12);
    }
}

#[test]
fn an_auxiliary_loss_without_batch_counts_once() {
    let (mut whole, mut parts) = (masked(Element::Bool, 1, 1), masked(Element::Bool, 1, 4));
    for model in [&mut whole, &mut parts] {
        model.functions.values_mut().for_each(|function| function.losses[0].mask = None);
    }
    let (whole, parts) = (trained(&whole), trained(&parts));
    assert!((whole.loss - parts.loss).abs() < 1e-12);
    assert!(distance(&whole.gradients, &parts.gradients) < 1e-12);
}

#[test]
fn masks_that_cannot_be_divided_are_refused() {
    assert_eq!(codes(&masked(Element::Bool, 1, 2)), ["graph::mixed_masks"]);
    let mut model = masked(Element::Bool, 0, 1);
    for function in model.functions.values_mut() {
        function.losses[0].mask = Some(function.losses[0].value);
    }
    assert_eq!(codes(&model), ["graph::mask_gradient"]);
}

#[test]
fn sums_over_the_batch_are_scaled() {
    // loss sum(x @ w, Batch) / 4, linear in the batch.
    let model = |microbatches: u64| {
        let mut b = Builder::new(4);
        let (batch, feature) = (b.model.batch, b.dim("Feature", 3));
        let (x, w) = (b.input("x", Type::real(vec![batch, feature])), b.weight("w", 1, &[feature]));
        let mut p = b.piece("all", "Test");
        let (px, pw) = (p.param(Type::real(vec![batch, feature])), p.weight(&[feature]));
        let y = p.contract(px, pw, &[feature], &[batch]);
        let y = p.map(Map::Exp, &[y]);
        let sum = p.reduce(Reduce::Sum, y, batch);
        let quarter = p.number(0.25);
        let mean = p.map(Map::Mul, &[sum, quarter]);
        p.data.losses.push(Loss { value: mean, mask: None, span: None });
        let all = b.function(p);
        b.call(all, &[x], &[(w, 0)], 0);
        b.model.settings.train.microbatches = microbatches;
        b.model
    };
    let (whole, parts) = (trained(&model(1)), trained(&model(2)));
    assert!((whole.loss - parts.loss).abs() < 1e-12);
    assert!(distance(&whole.gradients, &parts.gradients) < 1e-12);
}

#[test]
fn parts_of_a_split_batch_stay_whole() {
    // loss max(x @ w, Member) ^ 2 over groups of two.
    let model = |microbatches: u64, groups: u64| {
        let mut b = Builder::new(2 * groups);
        let (batch, feature) = (b.model.batch, b.dim("Feature", 3));
        let (group, member) = (b.dim("Groups", groups), b.dim("Member", 2));
        let (x, w) = (b.input("x", Type::real(vec![batch, feature])), b.weight("w", 1, &[feature]));
        let mut p = b.piece("all", "Test");
        let (px, pw) = (p.param(Type::real(vec![batch, feature])), p.weight(&[feature]));
        let y = p.contract(px, pw, &[feature], &[batch]);
        let y = p.push(Op::Shape(Shape::Split { from: batch, into: vec![group, member] }), &[y], &[group, member]);
        let y = p.reduce(Reduce::Max, y, member);
        let square = p.map(Map::Mul, &[y, y]);
        p.data.losses.push(Loss { value: square, mask: None, span: None });
        p.data.metrics.push(("best".to_string(), y));
        let all = b.function(p);
        b.call(all, &[x], &[(w, 0)], 0);
        b.model.settings.train.microbatches = microbatches;
        b.model
    };
    let (whole, parts) = (trained(&model(1, 4)), trained(&model(2, 4)));
    assert!((whole.loss - parts.loss).abs() < 1e-12 && (whole.reports[1].1 - parts.reports[1].1).abs() < 1e-12);
    assert!(distance(&whole.gradients, &parts.gradients) < 1e-12);
    check_gradients(&model(1, 4));
    // A batch of 6 can be cut in two, its 3 groups cannot.
    assert_eq!(codes(&model(2, 3)), ["graph::microbatches"]);
}

#[test]
fn operations_along_a_cut_batch_are_refused() {
    let mut model = masked(Element::Bool, 0, 2);
    let batch = model.batch;
    for function in model.functions.values_mut() {
        let (ty, origin) = (function.body.ty(function.losses[0].value).clone(), function.body.insts[0].origin);
        let shifted = function.body.push(Op::Shape(Shape::Shift { dim: batch, by: 1 }), vec![function.losses[0].value], ty, origin);
        function.losses[0].value = shifted;
    }
    assert_eq!(codes(&model), ["graph::batch_cut"]);
}

#[test]
fn remat_rules_must_match() {
    let model = gpt(2).builder.model;
    assert_eq!(codes(&with_rule(model.clone(), &["Blok"], Remat::Save)), ["graph::remat_unmatched"]);
    assert_eq!(codes(&with_rule(model, &["Gpt", "*", "Feed"], Remat::Save)), Vec::<&str>::new());
}

#[test]
fn bf16_rounds_operands_and_keeps_gradients_exact() {
    let mut model = gpt(2).builder.model;
    let exact = trained(&model);
    model.settings.train.precision = Precision::Bf16;
    let graph = graph(&model, true);
    for program in graph.segments.values().flat_map(|segment| [Some(&segment.forward), segment.backward.as_ref()]).flatten() {
        let rounded = |value: &crate::op::Value| {
            let maker = program.body.insts.iter().find(|inst| inst.results.contains(value));
            maker.is_some_and(|inst| matches!(inst.op, Op::Map(Map::RoundBf16) | Op::Shape(_)))
        };
        let stashed = |value: &crate::op::Value| program.inputs.iter().any(|(role, own)| own == value && matches!(role, Role::Stash(_)));
        for inst in program.body.insts.iter().filter(|inst| matches!(inst.op, Op::Contract(_))) {
            assert!(inst.args.iter().all(|arg| rounded(arg) || stashed(arg)), "operands are rounded");
        }
        for (role, value) in &program.outputs {
            assert!(!matches!(role, Role::WeightGrad(_)) || !rounded(value), "gradients of weights are not");
        }
        assert!(program.body.insts.iter().all(|inst| inst.op != Op::Anchor));
    }
    let found = trained(&model);
    assert!(found.loss != exact.loss && (found.loss - exact.loss).abs() < 0.02);
    assert!(distance(&found.gradients, &exact.gradients) < 0.05);
}
