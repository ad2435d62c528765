//! Random graphs of elementwise work and reductions.
//!
//! Requires and ensures what the parent module does.

use super::build::Build;
use super::check;
use crate::graph::ir::Role;
use crate::op::{Dim, Map, Op, Reduce, Shape, Value};
use proptest::prelude::*;

/// One step: what is done to which earlier values.
#[derive(Clone, Debug)]
struct Step(u8, usize, usize, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..10, 0usize..64, 0usize..64, 0u8..8).prop_map(|(a, b, c, d)| Step(a, b, c, d)), 1..14)
}

fn apply(b: &mut Build, values: &[Value], step: &Step, dims: [Dim; 3]) -> Value {
    let (x, y) = (values[step.1 % values.len()], values[step.2 % values.len()]);
    let own = b.ty(x).dims.clone();
    let dim = own.get(step.3 as usize % own.len().max(1)).copied();
    match (step.0, dim) {
        (0, _) => b.add(x, y),
        (1, _) => b.mul(x, y),
        (2, _) => {
            let bounded = b.map(Map::Tanh, &[x]);
            b.sub(bounded, y)
        }
        (3, Some(dim)) => b.sum(x, &[dim]),
        (4, Some(dim)) => b.reduce(Reduce::Max, x, &[dim]),
        (5, Some(_)) => b.sum(x, &own[..own.len().min(2)]),
        (6, Some(dim)) => b.shape(Shape::Roll { dim, by: 1 }, &[x], &own),
        (7, Some(dim)) => {
            let position = b.position(dim);
            let position = b.op(Op::Map(Map::Real), &[position], crate::op::Element::Real, &[dim]);
            b.mul(x, position)
        }
        (8, Some(dim)) => b.op(Op::Index(crate::op::Index::Cumsum(dim)), &[x], crate::op::Element::Real, &own),
        (9, _) => {
            let mut order = dims.to_vec();
            order.rotate_left(step.3 as usize % 3);
            b.op(Op::Shape(Shape::Expand), &[x], crate::op::Element::Real, &order)
        }
        _ => b.scale(x, 0.5),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fused_equals_unfused(steps in steps(), outputs in prop::collection::vec((0usize..64, 0u8..4), 1..5), sizes in [1u64..4, 1..4, 1..5]) {
        let (mut b, dims) = Build::new([("A", sizes[0]), ("B", sizes[1]), ("C", sizes[2])]);
        let [a, c, d] = dims;
        let mut values = vec![b.input(Role::Param(0), &[a, c, d]), b.input(Role::Param(1), &[a, c]), b.input(Role::Weight(0), &[d])];
        for step in &steps {
            let value = apply(&mut b, &values, step, dims);
            values.push(value);
        }
        for (number, (at, role)) in outputs.iter().enumerate() {
            let value = values[values.len() - 1 - at % values.len()];
            let number = number as u32;
            let role = match role {
                0 => Role::Result(number),
                1 => Role::Stash(number),
                2 => Role::ParamGrad(number),
                _ => Role::WeightGrad(number),
            };
            b.output(role, value);
        }
        check(&b);
    }
}
