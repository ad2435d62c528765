//! What training steps consist of, and into how many kernels it goes.
//!
//! Requires and ensures what the parent module does.

use super::build::Build;
use super::{check, names};
use crate::graph::ir::Role;
use crate::op::{Dim, Element, Index, Map, Op, Random, Reduce, Shape, Value};

/// Mean, reciprocal deviation and normalised value over a dim.
fn normalise(b: &mut Build, x: Value, over: Dim) -> (Value, Value, Value) {
    let size = b.dims[over].size as f64;
    let sum = b.sum(x, &[over]);
    let mean = b.scale(sum, 1.0 / size);
    let c = b.sub(x, mean);
    let square = b.mul(c, c);
    let sum = b.sum(square, &[over]);
    let variance = b.scale(sum, 1.0 / size);
    let epsilon = b.constant(1e-5);
    let shifted = b.add(variance, epsilon);
    let rstd = b.map(Map::Rsqrt, &[shifted]);
    let h = b.mul(c, rstd);
    (mean, rstd, h)
}

fn gelu(b: &mut Build, x: Value) -> Value {
    let scaled = b.scale(x, std::f64::consts::FRAC_1_SQRT_2);
    let erf = b.map(Map::Erf, &[scaled]);
    let one = b.constant(1.0);
    let sum = b.add(erf, one);
    let half = b.scale(sum, 0.5);
    b.mul(x, half)
}

#[test]
fn norm_forward_with_residual() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 8)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    let a = b.input(Role::Param(1), &[batch, seq, embed]);
    let gain = b.input(Role::Weight(0), &[embed]);
    let shift = b.input(Role::Weight(1), &[embed]);
    let y = b.add(x, a);
    let (mean, rstd, h) = normalise(&mut b, y, embed);
    let h = b.mul(h, gain);
    let h = b.add(h, shift);
    b.output(Role::Result(0), y);
    b.output(Role::Result(1), h);
    b.output(Role::Stash(0), mean);
    b.output(Role::Stash(1), rstd);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn norm_backward() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 8)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    let gain = b.input(Role::Weight(0), &[embed]);
    let mean = b.input(Role::Stash(0), &[batch, seq]);
    let rstd = b.input(Role::Stash(1), &[batch, seq]);
    let dy = b.input(Role::ResultGrad(0), &[batch, seq, embed]);
    let c = b.sub(x, mean);
    let h = b.mul(c, rstd);
    let dgain = b.mul(dy, h);
    let dgain = b.sum(dgain, &[batch, seq]);
    let dshift = b.sum(dy, &[batch, seq]);
    let dh = b.mul(dy, gain);
    let weighted = b.mul(dh, h);
    let dot = b.sum(weighted, &[embed]);
    let dot = b.scale(dot, 1.0 / 8.0);
    let sum = b.sum(dh, &[embed]);
    let sum = b.scale(sum, 1.0 / 8.0);
    let along = b.mul(h, dot);
    let d = b.sub(dh, sum);
    let d = b.sub(d, along);
    let dx = b.mul(d, rstd);
    b.output(Role::ParamGrad(0), dx);
    b.output(Role::WeightGrad(0), dgain);
    b.output(Role::WeightGrad(1), dshift);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn gelu_with_bias() {
    let (mut b, [batch, mlp]) = Build::new([("Batch", 6), ("Mlp", 8)]);
    let up = b.input(Role::Param(0), &[batch, mlp]);
    let bias = b.input(Role::Weight(0), &[mlp]);
    let x = b.add(up, bias);
    let y = gelu(&mut b, x);
    b.output(Role::Result(0), y);
    b.output(Role::Stash(0), x);
    assert_eq!(names(&check(&b)), "gelu");
}

#[test]
fn gelu_backward_with_bias_gradient() {
    let (mut b, [batch, mlp]) = Build::new([("Batch", 6), ("Mlp", 8)]);
    let x = b.input(Role::Stash(0), &[batch, mlp]);
    let dy = b.input(Role::ResultGrad(0), &[batch, mlp]);
    let scaled = b.scale(x, std::f64::consts::FRAC_1_SQRT_2);
    let erf = b.map(Map::Erf, &[scaled]);
    let square = b.mul(x, x);
    let square = b.scale(square, -0.5);
    let bell = b.map(Map::Exp, &[square]);
    let bell = b.mul(bell, x);
    let bell = b.scale(bell, 0.398_942_28);
    let half = b.scale(erf, 0.5);
    let slope = b.add(half, bell);
    let dx = b.mul(dy, slope);
    let dbias = b.sum(dx, &[batch]);
    b.output(Role::ParamGrad(0), dx);
    b.output(Role::WeightGrad(0), dbias);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

/// The mean cross-entropy of logits, with its gradient.
fn cross_entropy(b: &mut Build, logits: Value, targets: Value, [batch, seq, vocab]: [Dim; 3]) -> Value {
    let most = b.reduce(Reduce::Max, logits, &[vocab]);
    let shifted = b.sub(logits, most);
    let e = b.map(Map::Exp, &[shifted]);
    let total = b.sum(e, &[vocab]);
    let log = b.map(Map::Log, &[total]);
    let right = b.gather(shifted, targets, vocab, &[batch, seq]);
    let loss = b.sub(log, right);
    let loss = b.scale(loss, 1.0 / 6.0);
    let loss = b.sum(loss, &[batch, seq]);
    b.output(Role::Report(0), loss);
    let share = b.map(Map::Div, &[e, total]);
    let one = b.constant(1.0);
    let hot = b.op(Op::Index(Index::Scatter { into: vocab }), &[targets, one], Element::Real, &[batch, seq, vocab]);
    let d = b.sub(share, hot);
    b.scale(d, 1.0 / 6.0)
}

#[test]
fn cross_entropy_with_gradient() {
    let (mut b, [batch, seq, embed, vocab]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 4), ("Vocab", 8)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    let table = b.input(Role::Weight(0), &[vocab, embed]);
    let targets = b.typed(Role::Param(1), Element::Index(vocab), &[batch, seq]);
    let logits = b.contract(x, table, &[embed], &[batch, seq, vocab]);
    let d = cross_entropy(&mut b, logits, targets, [batch, seq, vocab]);
    let dx = b.contract(d, table, &[vocab], &[batch, seq, embed]);
    let dtable = b.contract(d, x, &[batch, seq], &[vocab, embed]);
    b.output(Role::ParamGrad(0), dx);
    b.output(Role::WeightGrad(0), dtable);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn adamw() {
    let (mut b, [flat]) = Build::new([("flat", 12 * 1024)]);
    let [w, g, m, v] = [Role::Rest, Role::Gradient, Role::Moment(0), Role::Moment(1)].map(|role| b.input(role, &[flat]));
    let factor = b.input(Role::Factor, &[]);
    let g = b.mul(g, factor);
    let (old, new) = (b.scale(m, 0.9), b.scale(g, 0.1));
    let m = b.add(old, new);
    let square = b.mul(g, g);
    let (old, new) = (b.scale(v, 0.95), b.scale(square, 0.05));
    let v = b.add(old, new);
    let [rate, correct1, correct2] =
        ["rate", "correct1", "correct2"].map(|name| b.op(Op::Scalar(name.to_string()), &[], Element::Real, &[]));
    let (first, second) = (b.mul(m, correct1), b.mul(v, correct2));
    let square = b.map(Map::Abs, &[second]);
    let root = b.map(Map::Sqrt, &[square]);
    let epsilon = b.constant(1e-8);
    let root = b.add(root, epsilon);
    let step = b.map(Map::Div, &[first, root]);
    let decay = b.scale(w, 0.1);
    let step = b.add(step, decay);
    let step = b.mul(step, rate);
    let w = b.sub(w, step);
    b.output(Role::Rest, w);
    b.output(Role::Moment(0), m);
    b.output(Role::Moment(1), v);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn square_sum() {
    let (mut b, [flat]) = Build::new([("flat", 20 * 1024)]);
    let g = b.input(Role::Gradient, &[flat]);
    let square = b.mul(g, g);
    let sum = b.sum(square, &[flat]);
    b.output(Role::SquareSum, sum);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn ranges_of_unsuitable_size_have_a_rest() {
    for size in [4099, 8 * 1024 + 2] {
        let (mut b, [flat]) = Build::new([("flat", size)]);
        let g = b.input(Role::Gradient, &[flat]);
        let square = b.mul(g, g);
        let sum = b.sum(square, &[flat]);
        b.output(Role::SquareSum, sum);
        b.output(Role::Rest, square);
        assert_eq!(names(&check(&b)), "update update");
    }
}

#[test]
fn embedding() {
    let (mut b, [batch, seq, embed, vocab]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 4), ("Vocab", 8)]);
    let tokens = b.typed(Role::Param(0), Element::Index(vocab), &[batch, seq]);
    let table = b.input(Role::Weight(0), &[vocab, embed]);
    let place = b.input(Role::Weight(1), &[seq, embed]);
    let x = b.gather(table, tokens, vocab, &[batch, seq, embed]);
    let x = b.add(x, place);
    b.output(Role::Result(0), x);
    assert_eq!(names(&check(&b)), "lookup");
}

#[test]
fn embedding_backward() {
    let (mut b, [batch, seq, embed, vocab]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 4), ("Vocab", 8)]);
    let tokens = b.typed(Role::Param(0), Element::Index(vocab), &[batch, seq]);
    let dx = b.input(Role::ResultGrad(0), &[batch, seq, embed]);
    let dtable = b.op(Op::Index(Index::Scatter { into: vocab }), &[tokens, dx], Element::Real, &[vocab, embed]);
    let dplace = b.sum(dx, &[batch]);
    b.output(Role::WeightGrad(0), dtable);
    b.output(Role::WeightGrad(1), dplace);
    assert_eq!(names(&check(&b)), "scatter sum");
}

#[test]
fn rotary() {
    let (mut b, [batch, seq, head]) = Build::new([("Batch", 2), ("Seq", 5), ("Head", 6)]);
    let x = b.input(Role::Param(0), &[batch, seq, head]);
    let (at, feature) = (b.position(seq), b.position(head));
    let at = b.op(Op::Map(Map::Real), &[at], Element::Real, &[seq]);
    let three = b.op(Op::Integer(3), &[], Element::Integer, &[]);
    let pair = b.map(Map::Rem, &[feature, three]);
    let pair = b.op(Op::Map(Map::Real), &[pair], Element::Real, &[head]);
    let angle = b.mul(at, pair);
    let (cos, sin) = (b.map(Map::Cos, &[angle]), b.map(Map::Sin, &[angle]));
    let turned = b.shape(Shape::Roll { dim: head, by: 3 }, &[x], &[batch, seq, head]);
    let low = b.map(Map::Lt, &[feature, three]);
    let minus = b.map(Map::Neg, &[turned]);
    let turned = b.map(Map::Where, &[low, minus, turned]);
    let (straight, across) = (b.mul(x, cos), b.mul(turned, sin));
    let y = b.add(straight, across);
    b.output(Role::Result(0), y);
    check(&b);
}

#[test]
fn dropout() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 4)]);
    let x = b.input(Role::Param(0), &[seq, batch, embed]);
    let site = "Gpt.Block.dropout0".to_string();
    let random = b.op(Op::Random(Random::Uniform { site, cuts: Vec::new() }), &[], Element::Real, &[seq, batch, embed]);
    let rate = b.constant(0.25);
    let keep = b.map(Map::Le, &[rate, random]);
    let zero = b.constant(0.0);
    let scaled = b.scale(x, 1.0 / 0.75);
    let y = b.op(Op::Map(Map::Where), &[keep, scaled, zero], Element::Real, &[seq, batch, embed]);
    b.output(Role::Result(0), y);
    assert_eq!(names(&check(&b)), "dropout");
}
