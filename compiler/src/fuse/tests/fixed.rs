//! Contractions, attention and scatters.
//!
//! Requires and ensures what the parent module does.

use super::build::Build;
use super::{check, names};
use crate::graph::ir::Role;
use crate::op::{Attention, Element, Index, Map, Op, Reduce, Shape};
use meshwright_plan::kernel::Skeleton;
use meshwright_plan::program::Accumulate;

#[test]
fn projections_and_their_gradients() {
    let (mut b, [batch, seq, embed, heads, head]) = Build::new([("Batch", 2), ("Seq", 3), ("Embed", 8), ("Heads", 2), ("Head", 4)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    let w = b.input(Role::Weight(0), &[embed, heads, head]);
    let out = b.input(Role::Weight(1), &[heads, head, embed]);
    let q = b.contract(x, w, &[embed], &[batch, seq, heads, head]);
    let y = b.contract(q, out, &[heads, head], &[batch, seq, embed]);
    let dw = b.contract(x, q, &[batch, seq], &[embed, heads, head]);
    b.output(Role::Result(0), y);
    b.output(Role::WeightGrad(0), dw);
    let fused = check(&b);
    insta::assert_snapshot!(super::print::print(&fused));
}

#[test]
fn sums_of_products_add_in_place() {
    let (mut b, [batch, embed, one, two]) = Build::new([("Batch", 4), ("Embed", 8), ("One", 3), ("Two", 5)]);
    let u = b.input(Role::ResultGrad(0), &[batch, one]);
    let v = b.input(Role::ResultGrad(1), &[batch, two]);
    let [wu, wv] = [(0, one), (1, two)].map(|(at, dim)| b.input(Role::Weight(at), &[embed, dim]));
    let first = b.contract(u, wu, &[one], &[batch, embed]);
    let second = b.contract(v, wv, &[two], &[batch, embed]);
    let third = b.contract(v, wv, &[two], &[embed, batch]);
    let sum = b.add(first, second);
    let sum = b.add(sum, third);
    b.output(Role::ParamGrad(0), sum);
    let fused = check(&b);
    let adds: Vec<Accumulate> = fused.launches.iter().map(|launch| launch.accumulate).collect();
    assert_eq!(adds, [Accumulate::ByCall, Accumulate::Add, Accumulate::Add]);
}

#[test]
fn summed_dims_that_lie_apart_are_brought_together() {
    let (mut b, [batch, a, c, n]) = Build::new([("Batch", 4), ("A", 3), ("C", 5), ("N", 6)]);
    let x = b.input(Role::Param(0), &[a, batch, c]);
    let w = b.input(Role::Weight(0), &[c, n, a]);
    let y = b.contract(x, w, &[a, c], &[batch, n]);
    b.output(Role::Result(0), y);
    check(&b);
}

#[test]
fn thin_products_are_rows() {
    let (mut b, [batch, hidden]) = Build::new([("Batch", 4), ("Hidden", 6)]);
    let h = b.input(Role::Param(0), &[batch, hidden]);
    let w = b.input(Role::Weight(0), &[hidden]);
    let d = b.input(Role::ResultGrad(0), &[batch]);
    let y = b.contract(h, w, &[hidden], &[batch]);
    let dw = b.contract(d, h, &[batch], &[hidden]);
    let dh = b.contract(d, w, &[], &[batch, hidden]);
    b.output(Role::Result(0), y);
    b.output(Role::WeightGrad(0), dw);
    b.output(Role::ParamGrad(0), dh);
    let fused = check(&b);
    assert!(fused.launches.iter().all(|launch| matches!(launch.kernel.skeleton, Skeleton::Rows(_))));
}

#[test]
fn attention_by_name() {
    let (mut b, [batch, seq, kv, group, head, key]) =
        Build::new([("Batch", 2), ("Seq", 4), ("KvHeads", 2), ("Group", 3), ("Head", 2), ("Seq'", 4)]);
    let q = b.input(Role::Param(0), &[batch, seq, kv, group, head]);
    let k = b.input(Role::Param(1), &[batch, seq, kv, head]);
    let v = b.input(Role::Param(2), &[batch, seq, kv, head]);
    let (k, v) = (b.rename(k, seq, key), b.rename(v, seq, key));
    let attention = Attention { scale: 0.7, causal: true, window: Some(3), ..Attention::new(seq, key, head) };
    let whole = [batch, seq, kv, group, head];
    let got = b.many(Op::Attention(attention.clone()), &[q, k, v], &[&whole, &[batch, seq, kv, group]]);
    let dout = b.input(Role::ResultGrad(0), &whole);
    let keys = [batch, key, kv, head];
    let grads = b.many(Op::AttentionGrad(attention), &[q, k, v, got[0], got[1], dout], &[&whole, &keys, &keys]);
    b.output(Role::Result(0), got[0]);
    b.output(Role::ParamGrad(0), grads[0]);
    let (dk, dv) = (b.rename(grads[1], key, seq), b.rename(grads[2], key, seq));
    b.output(Role::ParamGrad(1), dk);
    b.output(Role::Stash(0), dv);
    check(&b);
}

/// As many results wait as one kernel takes, and the sum: what a ring of any length holds at a time.
#[test]
fn sums_over_attentions_are_taken_step_by_step() {
    let (mut b, [batch, seq, head, key]) = Build::new([("Batch", 2), ("Seq", 4), ("Head", 3), ("Seq'", 4)]);
    let attention = Attention { scale: 0.7, causal: true, ..Attention::new(seq, key, head) };
    let q = b.input(Role::Param(0), &[batch, seq, head]);
    let mut all = None;
    for step in 1..=6 {
        let k = b.input(Role::Param(step), &[batch, seq, head]);
        let k = b.rename(k, seq, key);
        let part = b.many(Op::Attention(attention.clone()), &[q, k, k], &[&[batch, seq, head], &[batch, seq]])[0];
        all = Some(all.map_or(part, |all| b.add(all, part)));
    }
    b.output(Role::Result(0), all.expect("there are steps"));
    let fused = check(&b);
    let sums = fused.launches.iter().filter(|launch| matches!(launch.kernel.skeleton, Skeleton::Rows(_)));
    assert_eq!(sums.map(|launch| launch.kernel.operands.len()).collect::<Vec<_>>(), [3, 4, 4]);
}

#[test]
fn attention_by_primitives() {
    let (mut b, [batch, seq, heads, head, key]) = Build::new([("Batch", 2), ("Seq", 4), ("Heads", 2), ("Head", 3), ("Seq'", 4)]);
    let [q, k, v] = [0, 1, 2].map(|at| b.input(Role::Param(at), &[batch, seq, heads, head]));
    let (k, v) = (b.rename(k, seq, key), b.rename(v, seq, key));
    let scores = b.contract(q, k, &[head], &[batch, heads, seq, key]);
    let scores = b.scale(scores, 0.5);
    let (i, j) = (b.position(seq), b.position(seq));
    let j = b.rename(j, seq, key);
    let seen = b.op(Op::Map(Map::Le), &[j, i], Element::Bool, &[seq, key]);
    let low = b.constant(-1e9);
    let scores = b.op(Op::Map(Map::Where), &[seen, scores, low], Element::Real, &[batch, heads, seq, key]);
    let most = b.reduce(Reduce::Max, scores, &[key]);
    let scores = b.sub(scores, most);
    let e = b.map(Map::Exp, &[scores]);
    let total = b.sum(e, &[key]);
    let share = b.map(Map::Div, &[e, total]);
    let out = b.contract(share, v, &[key], &[batch, seq, heads, head]);
    b.output(Role::Result(0), out);
    assert_eq!(names(&check(&b)), "product softmax product");
}

#[test]
fn scatters() {
    let (mut b, [batch, seq, choice, route, embed]) = Build::new([("Batch", 2), ("Seq", 3), ("Choice", 2), ("Route", 4), ("Embed", 3)]);
    let index = b.typed(Role::Param(0), Element::Index(route), &[batch, seq, choice]);
    let value = b.input(Role::Param(1), &[batch, seq, choice, embed]);
    let scatter = |into| Op::Index(Index::Scatter { into });
    let apart = b.op(scatter(route), &[index, value], Element::Real, &[batch, seq, route, embed]);
    let partly = b.op(scatter(route), &[index, value], Element::Real, &[embed, route, batch]);
    let together = b.op(scatter(route), &[index, value], Element::Real, &[route, embed]);
    b.output(Role::Result(0), apart);
    b.output(Role::Result(1), partly);
    b.output(Role::WeightGrad(0), together);
    check(&b);
}

#[test]
fn a_dim_that_merges_after_a_product_costs_nothing() {
    let (mut b, [batch, embed, heads, head, whole]) = Build::new([("Batch", 4), ("Embed", 5), ("Heads", 2), ("Head", 3), ("Whole", 6)]);
    let x = b.input(Role::Param(0), &[batch, embed]);
    let w = b.input(Role::Weight(0), &[embed, heads, head]);
    let y = b.contract(x, w, &[embed], &[batch, heads, head]);
    let y = b.shape(Shape::Merge { from: vec![heads, head], into: whole }, &[y], &[batch, whole]);
    b.output(Role::Result(0), y);
    assert_eq!(names(&check(&b)), "product");
}

#[test]
fn attention_with_values_that_all_samples_share() {
    let (mut b, [batch, seq, head, key]) = Build::new([("Batch", 2), ("Seq", 3), ("Head", 2), ("Seq'", 3)]);
    let q = b.input(Role::Param(0), &[batch, seq, head]);
    let k = b.input(Role::Param(1), &[batch, key, head]);
    let v = b.input(Role::Weight(0), &[key, head]);
    let attention = Attention { scale: 0.7, ..Attention::new(seq, key, head) };
    let whole = [batch, seq, head];
    let got = b.many(Op::Attention(attention.clone()), &[q, k, v], &[&whole, &[batch, seq]]);
    let dout = b.input(Role::ResultGrad(0), &whole);
    let grads = b.many(Op::AttentionGrad(attention), &[q, k, v, got[0], got[1], dout], &[&whole, &[batch, key, head], &[key, head]]);
    b.output(Role::Result(0), got[0]);
    b.output(Role::ParamGrad(0), grads[0]);
    b.output(Role::ParamGrad(1), grads[1]);
    b.output(Role::WeightGrad(0), grads[2]);
    check(&b);
}

#[test]
fn scatters_that_keep_several_dims() {
    let (mut b, [batch, route, x, y]) = Build::new([("Batch", 5), ("Route", 4), ("X", 3), ("Y", 2)]);
    let index = b.typed(Role::Param(0), Element::Index(route), &[batch]);
    let value = b.input(Role::Param(1), &[y, batch, x]);
    let narrow = b.input(Role::Param(2), &[batch, x]);
    let scatter = || Op::Index(Index::Scatter { into: route });
    let (a, c) =
        (b.op(scatter(), &[index, value], Element::Real, &[x, route, y]), b.op(scatter(), &[index, narrow], Element::Real, &[route, x, y]));
    b.output(Role::Result(0), a);
    b.output(Role::WeightGrad(0), c);
    for launch in check(&b).launches {
        let lanes = launch.kernel.dims.values().filter(|dim| dim.role == meshwright_plan::kernel::Role::Lane).count();
        assert!(lanes <= 1);
    }
}

#[test]
fn factors_of_products_are_part_of_them() {
    let (mut b, [batch, embed, one, two]) = Build::new([("Batch", 4), ("Embed", 8), ("One", 3), ("Two", 5)]);
    let u = b.input(Role::ResultGrad(0), &[batch, one]);
    let v = b.input(Role::ResultGrad(1), &[batch, two]);
    let [wu, wv] = [(0, one), (1, two)].map(|(at, dim)| b.input(Role::Weight(at), &[embed, dim]));
    let first = b.contract(u, wu, &[one], &[batch, embed]);
    let first = b.scale(first, 0.5);
    let second = b.contract(v, wv, &[two], &[batch, embed]);
    let sum = b.add(first, second);
    let third = b.contract(sum, wu, &[embed], &[batch, one]);
    let third = b.scale(third, -2.0);
    b.output(Role::ParamGrad(0), sum);
    b.output(Role::Result(0), third);
    let fused = check(&b);
    let alphas: Vec<f32> = fused
        .launches
        .iter()
        .filter_map(|launch| match launch.kernel.skeleton {
            Skeleton::Contract { alpha } => Some(alpha),
            _ => None,
        })
        .collect();
    assert_eq!(alphas, [0.5, 1.0, -2.0]);
}
