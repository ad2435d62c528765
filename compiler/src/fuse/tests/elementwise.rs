//! Elementwise work, reductions, shapes and roles.
//!
//! Requires and ensures what the parent module does.

use super::build::Build;
use super::{check, names};
use crate::graph::ir::Role;
use crate::op::{Element, Index, Map, Op, Reduce, Shape};

#[test]
fn slices_and_concats() {
    let (mut b, [batch, whole, left, right]) = Build::new([("Batch", 3), ("Whole", 7), ("Left", 3), ("Right", 4)]);
    let x = b.input(Role::Param(0), &[batch, whole]);
    let y = b.input(Role::Param(1), &[batch, left]);
    let low = b.shape(Shape::Slice { from: whole, start: 4, into: left }, &[x], &[batch, left]);
    let high = b.shape(Shape::Slice { from: whole, start: 0, into: right }, &[x], &[batch, right]);
    let low = b.mul(low, y);
    let all = b.shape(Shape::Concat { from: vec![left, right], into: whole }, &[low, high], &[batch, whole]);
    let again = b.mul(all, x);
    let one = b.shape(Shape::Take { from: whole, at: 2 }, &[again], &[batch]);
    b.output(Role::Result(0), all);
    b.output(Role::Result(1), one);
    b.output(Role::Result(2), again);
    check(&b);
}

#[test]
fn pads_shifts_and_rolls() {
    let (mut b, [batch, whole, left]) = Build::new([("Batch", 3), ("Whole", 7), ("Left", 3)]);
    let x = b.input(Role::Param(0), &[batch, left]);
    let flag = b.typed(Role::Param(1), Element::Bool, &[left, batch]);
    let y = b.input(Role::Param(2), &[batch, whole]);
    let padded = b.shape(Shape::Pad { from: left, start: 2, into: whole }, &[x], &[batch, whole]);
    let flags = b.shape(Shape::Pad { from: left, start: 4, into: whole }, &[flag], &[whole, batch]);
    let later = b.shape(Shape::Shift { dim: whole, by: 2 }, &[y], &[batch, whole]);
    let sooner = b.shape(Shape::Shift { dim: whole, by: -1 }, &[y], &[batch, whole]);
    let rolled = b.shape(Shape::Roll { dim: whole, by: 3 }, &[y], &[batch, whole]);
    let sum = b.add(padded, later);
    let sum = b.add(sum, sooner);
    let sum = b.add(sum, rolled);
    b.output(Role::Result(0), sum);
    b.output(Role::Result(1), flags);
    check(&b);
}

#[test]
fn running_sums() {
    let (mut b, [batch, seq]) = Build::new([("Batch", 3), ("Seq", 7)]);
    let x = b.input(Role::Param(0), &[batch, seq]);
    let n = b.typed(Role::Param(1), Element::Integer, &[seq, batch]);
    let up = b.op(Op::Index(Index::Cumsum(seq)), &[x], Element::Real, &[batch, seq]);
    let down = b.op(Op::Index(Index::CumsumReverse(seq)), &[up], Element::Real, &[batch, seq]);
    let across = b.op(Op::Index(Index::Cumsum(batch)), &[x], Element::Real, &[batch, seq]);
    let count = b.op(Op::Index(Index::CumsumReverse(seq)), &[n], Element::Integer, &[seq, batch]);
    b.output(Role::Result(0), down);
    b.output(Role::Result(1), across);
    b.output(Role::Result(2), count);
    check(&b);
}

#[test]
fn reductions_of_all_kinds() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 3), ("Seq", 2), ("Embed", 5)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    for (at, over) in
        [vec![embed], vec![seq], vec![batch], vec![batch, embed], vec![seq, embed], vec![batch, seq, embed]].iter().enumerate()
    {
        let sum = b.sum(x, over);
        let most = b.reduce(Reduce::Max, x, over);
        let least = b.reduce(Reduce::Min, x, over);
        let both = b.sub(most, least);
        b.output(Role::Result(2 * at as u32), sum);
        b.output(Role::Result(2 * at as u32 + 1), both);
    }
    let which = b.reduce(Reduce::Argmax, x, &[embed]);
    let other = b.reduce(Reduce::Argmax, x, &[seq]);
    b.output(Role::Result(20), which);
    b.output(Role::Result(21), other);
    check(&b);
}

#[test]
fn one_value_under_many_roles() {
    let (mut b, [batch, embed]) = Build::new([("Batch", 3), ("Embed", 5)]);
    let x = b.input(Role::Param(0), &[batch, embed]);
    let one = b.constant(1.0);
    let y = b.add(x, one);
    let total = b.sum(y, &[batch, embed]);
    let z = b.mul(y, total);
    b.output(Role::Result(0), y);
    b.output(Role::Stash(0), y);
    b.output(Role::ParamGrad(0), y);
    b.output(Role::ParamGrad(1), z);
    b.output(Role::ParamGrad(1), y);
    b.output(Role::Result(1), x);
    b.output(Role::Result(2), one);
    b.output(Role::Report(0), total);
    check(&b);
}

#[test]
fn values_in_place_are_written_last() {
    let (mut b, [flat]) = Build::new([("flat", 64)]);
    let w = b.input(Role::Rest, &[flat]);
    let m = b.input(Role::Moment(0), &[flat]);
    let turned = b.shape(Shape::Roll { dim: flat, by: 3 }, &[w], &[flat]);
    let next = b.add(w, m);
    let moment = b.mul(turned, next);
    b.output(Role::Rest, next);
    b.output(Role::Moment(0), moment);
    check(&b);
}

#[test]
fn layouts_that_differ_are_read_by_strides() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 3), ("Seq", 2), ("Embed", 5)]);
    let x = b.input(Role::Param(0), &[batch, seq, embed]);
    let y = b.input(Role::Param(1), &[embed, batch, seq]);
    let z = b.op(Op::Map(Map::Add), &[x, y], Element::Real, &[seq, embed, batch]);
    let w = b.op(Op::Anchor, &[z], Element::Real, &[batch, seq, embed]);
    b.output(Role::Result(0), z);
    b.output(Role::Result(1), w);
    check(&b);
}

#[test]
fn siblings_share_a_kernel() {
    let (mut b, [batch, embed]) = Build::new([("Batch", 3), ("Embed", 5)]);
    let x = b.input(Role::Param(0), &[batch, embed]);
    let y = b.map(Map::Exp, &[x]);
    let z = b.map(Map::Neg, &[x]);
    b.output(Role::Result(0), y);
    b.output(Role::Result(1), z);
    assert_eq!(names(&check(&b)), "map");
}

#[test]
fn splits_and_merges() {
    let (mut b, [batch, heads, head, whole]) = Build::new([("Batch", 3), ("Heads", 2), ("Head", 4), ("Whole", 8)]);
    let x = b.input(Role::Param(0), &[batch, whole]);
    let y = b.input(Role::Param(1), &[heads, batch, head]);
    let split = b.shape(Shape::Split { from: whole, into: vec![heads, head] }, &[x], &[batch, heads, head]);
    let sum = b.add(split, y);
    let apart = b.op(Op::Map(Map::Neg), &[sum], Element::Real, &[heads, batch, head]);
    let merged = b.shape(Shape::Merge { from: vec![heads, head], into: whole }, &[apart], &[batch, whole]);
    let both = b.add(merged, x);
    b.output(Role::Result(0), both);
    b.output(Role::Result(1), split);
    check(&b);
}

#[test]
fn repeated_values() {
    let (mut b, [batch, seq, embed]) = Build::new([("Batch", 3), ("Seq", 2), ("Embed", 5)]);
    let x = b.input(Role::Param(0), &[batch]);
    let wide = b.op(Op::Shape(Shape::Expand), &[x], Element::Real, &[batch, seq, embed]);
    let (lane, row, all) = (b.sum(wide, &[embed]), b.sum(wide, &[batch]), b.sum(wide, &[batch, seq, embed]));
    b.output(Role::Result(0), wide);
    b.output(Role::Result(1), lane);
    b.output(Role::WeightGrad(0), row);
    b.output(Role::Report(0), all);
    check(&b);
}
