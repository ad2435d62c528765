//! Mixtures of experts: against a plain reference, against finite differences, and whatever the number of microbatches.
//!
//! Requires scores without ties (random ones). Ensures that slots overflow in every case, so that dropping is tested too.

use super::{check_gradients, check_microbatches, distance, graph, trained};
use crate::graph::interpret::graph::{Weights, evaluate};
use crate::graph::interpret::{Mode, Tensor};
use crate::graph::tests::models::{inputs, weights};
use crate::model::ir::Model;
use crate::model::settings::Precision;
use crate::model::tests::model;

const MOE: &str = "
dims { Batch = 4, Seq = 7, Embed = 5, Mlp = 3, Route = 3, Expert = 3, TopK = 2, Slot = 4 }
layer Feed(x: [.., Embed]) -> [.., Embed] {
    weight up: [Embed -> Mlp]
    weight down: [Mlp -> Embed]
    return gelu(x @ up) @ down
}
model Moe(x: real[Batch, Seq, Embed], y: real[Batch, Seq, Embed]) -> [Batch, Seq, Embed] {
    weight route: [Embed -> Route]
    weight first: [Embed]
    let h = x * first
    let score = softmax(h @ route, Route)
    CHOICE
    let load = mean(LOAD, Seq)
    loss 0.01 * Route * sum(load * mean(score, Seq), Route)
    let slots, spot = dispatch(h, choice, over: Seq, to: Expert, slots: Slot)
    let z = combine(each Expert: Feed(slots), spot, SHARE)
    loss (z - y) ^ 2
    return z
}
";

fn several() -> String {
    let text = MOE.replace("CHOICE", "let value, choice = top_k(score, Route, into: TopK)");
    text.replace("LOAD", "sum(one_hot(choice, Route), TopK)").replace("SHARE", "value / sum(value, TopK)")
}

/// One choice by `argmax`: no dim of choices.
fn one() -> String {
    MOE.replace("CHOICE", "let choice = argmax(score, Route)\nlet value = max(score, Route)")
        .replace("LOAD", "one_hot(choice, Route)")
        .replace("SHARE", "value")
        .replace(", TopK = 2, Slot = 4", ", Slot = 2")
}

/// Every token's choices twice the same: the second finds its slot behind the first.
fn doubled() -> String {
    several()
        .replace("let value, choice", "let value, picked")
        .replace("    let load", "    let best = argmax(score, Route)\n    let choice = where(index(TopK) < 2, best, picked)\n    let load")
}

#[test]
fn gradients_of_experts() {
    for text in [several(), one(), doubled()] {
        check_gradients(&model(&text));
        check_gradients(&model(&text.replace("Slot = ", "Slot = 1 + ")));
    }
}

#[test]
fn microbatches_do_not_change_who_finds_a_slot() {
    check_microbatches(&model(&several()));
}

/// What is measured is the smallest capacity that drops nothing, whatever the number of microbatches.
#[test]
fn a_ragged_dim_measures_the_capacity_that_drops_nothing() {
    for text in [several(), one(), doubled()] {
        let with = |slots: &str| model(&text.replace("Slot = 4", slots).replace("Slot = 2", slots));
        let sum = |model: &Model| {
            let graph = graph(model, true);
            evaluate(&graph, &weights(model), &inputs(model), 7, 1, Mode::F64)
        };
        let ragged = with("Slot = ragged(TopK * Seq)".replace("TopK", if text.contains("TopK") { "TopK" } else { "1" }).as_str());
        let whole = sum(&ragged);
        let wanted = *whole.peaks.values().next().expect("a peak");
        let close = |slots: f64| (sum(&with(&format!("Slot = {slots}"))).loss - whole.loss).abs() < 1e-12;
        assert!(close(wanted) && !close(wanted - 1.0), "{wanted} slots are just enough\n{text}");
        for count in [2, 4] {
            let mut cut = ragged.clone();
            cut.settings.train.microbatches = count;
            assert_eq!(trained(&cut).peaks, whole.peaks, "{count} microbatches");
        }
    }
}

#[test]
fn places_beyond_256_are_exact_in_bf16() {
    let text = several().replace("Batch = 4, Seq = 7", "Batch = 1, Seq = 701").replace("Slot = 4", "Slot = 500");
    // Another piece after the experts, so that theirs keeps its places for the backward pass.
    let text = text
        .replace("model Moe", "layer Last(x: [.., Embed]) -> [.., Embed] {\n    weight last: [Embed]\n    return x * last\n}\nmodel Moe");
    let text = text.replace("loss (z - y) ^ 2", "let u = Last(z)\n    loss (u - y) ^ 2");
    let mut model = model(&text);
    let exact = trained(&model);
    model.settings.train.precision = Precision::Bf16;
    let found = trained(&model);
    let size = exact.gradients.values().flat_map(|tensor| &tensor.data).map(|x| x.abs()).fold(0.0, f64::max);
    let off = distance(&exact.gradients, &found.gradients);
    assert!(found.loss != exact.loss && off < 0.02 * size, "off by {off} of {size}");
}

/// Sizes of the spec above.
const SEQ: usize = 7;
const EMBED: usize = 5;
const MLP: usize = 3;
const EXPERTS: usize = 3;

/// The weights of the model by the last part of their path.
struct Plain<'a> {
    model: &'a Model,
    weights: &'a Weights,
}

impl Plain<'_> {
    fn weight(&self, name: &str) -> &[f64] {
        let found = self.model.weights.iter().find(|(_, data)| data.path.rsplit('.').next() == Some(name));
        &self.weights[&(found.expect("a weight").0, 0)].data
    }

    fn feed(&self, expert: usize, token: &[f64]) -> Vec<f64> {
        let (up, down) = (self.weight("up"), self.weight("down"));
        let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
        let inner = |m: usize| gelu((0..EMBED).map(|d| token[d] * up[(expert * EMBED + d) * MLP + m]).sum());
        let hidden: Vec<f64> = (0..MLP).map(inner).collect();
        (0..EMBED).map(|d| (0..MLP).map(|m| hidden[m] * down[(expert * MLP + m) * EMBED + d]).sum()).collect()
    }

    fn scores(&self, token: &[f64]) -> Vec<f64> {
        let route = self.weight("route");
        let logit = |r: usize| (0..EMBED).map(|d| token[d] * route[d * EXPERTS + r]).sum::<f64>().exp();
        let powers: Vec<f64> = (0..EXPERTS).map(logit).collect();
        powers.iter().map(|power| power / powers.iter().sum::<f64>()).collect()
    }

    /// One sequence, token by token; how many choices found no slot comes back too.
    fn sequence(&self, x: &[f64], choices: usize, slots: usize) -> (Vec<f64>, usize) {
        let (mut taken, mut dropped, mut out) = ([0; EXPERTS], 0, Vec::new());
        for position in 0..SEQ {
            let token: Vec<f64> = x[position * EMBED..][..EMBED].iter().zip(self.weight("first")).map(|(x, w)| x * w).collect();
            let scores = self.scores(&token);
            let mut order: Vec<usize> = (0..EXPERTS).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            let total: f64 = order[..choices].iter().map(|expert| scores[*expert]).sum();
            let mut sum = vec![0.0; EMBED];
            for expert in &order[..choices] {
                if taken[*expert] == slots {
                    dropped += 1;
                    continue;
                }
                taken[*expert] += 1;
                let share = if choices == 1 { scores[*expert] } else { scores[*expert] / total };
                sum.iter_mut().zip(self.feed(*expert, &token)).for_each(|(sum, out)| *sum += share * out);
            }
            out.extend(sum);
        }
        (out, dropped)
    }
}

#[test]
fn experts_by_hand() {
    for (text, choices, slots) in [(several(), 2, 4), (one(), 1, 2)] {
        let model = model(&text);
        let (weights, inputs) = (weights(&model), inputs(&model));
        let result = evaluate(&graph(&model, false), &weights, &inputs, 7, 1, Mode::F64).result.expect("a result");
        let plain = Plain { model: &model, weights: &weights };
        let x: &Tensor = &inputs[0].1;
        let mut dropped = 0;
        for (found, x) in result.data.chunks(SEQ * EMBED).zip(x.data.chunks(SEQ * EMBED)) {
            let (expected, lost) = plain.sequence(x, choices, slots);
            dropped += lost;
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12, "{found:?}, by hand {expected:?}");
        }
        assert!(dropped > 0, "some choice finds no slot");
    }
}
