//! Every primitive against values computed by hand.

use super::map::{apply, erf, round_bf16};
use super::{Context, Mode, Tensor, random, run};
use crate::op::{Attention, Body, Dim, DimData, Dims, Element, Index, Map, Op, OriginData, Origins, Random, Reduce, Shape, Type};

fn dims(sizes: &[u64]) -> (Dims, Vec<Dim>) {
    let mut dims = Dims::new();
    let all = sizes
        .iter()
        .enumerate()
        .map(|(i, size)| dims.push(DimData { name: format!("D{i}"), size: *size, span: None, axes: Vec::new() }))
        .collect();
    (dims, all)
}

fn count(from: usize, to: usize) -> Vec<f64> {
    (from..to).map(|i| i as f64).collect()
}

/// Runs one instruction on real inputs laid out as given.
fn one(op: Op, args: &[(&[Dim], Vec<f64>)], ty: Type, dims: &Dims) -> Vec<f64> {
    let typed: Vec<(Type, Vec<f64>)> = args.iter().map(|(own, data)| (Type::real(own.to_vec()), data.clone())).collect();
    many(op, &typed, vec![ty], dims, &Context::default()).remove(0).data
}

fn many(op: Op, args: &[(Type, Vec<f64>)], types: Vec<Type>, dims: &Dims, context: &Context) -> Vec<Tensor> {
    let mut origins = Origins::new();
    let origin = origins.push(OriginData { span: None, path: String::new() });
    let mut body = Body::default();
    let inputs: Vec<_> = args.iter().map(|(ty, data)| (body.input(ty.clone(), ""), Tensor::new(ty, dims, data.clone()))).collect();
    let results = body.push_many(op, inputs.iter().map(|(value, _)| *value).collect(), types, origin);
    run(&body, dims, &inputs, context, &results)
}

fn integer(element: Element, own: &[Dim]) -> Type {
    Type { element, dims: own.to_vec() }
}

#[test]
fn maps() {
    let cases: [(Map, &[f64], f64); 24] = [
        (Map::Add, &[2.0, 3.0], 5.0),
        (Map::Sub, &[2.0, 3.0], -1.0),
        (Map::Mul, &[2.0, 3.0], 6.0),
        (Map::Div, &[3.0, 2.0], 1.5),
        (Map::Pow, &[2.0, -3.0], 0.125),
        (Map::Min, &[2.0, 3.0], 2.0),
        (Map::Max, &[2.0, 3.0], 3.0),
        (Map::Neg, &[2.0], -2.0),
        (Map::Abs, &[-2.0], 2.0),
        (Map::Sign, &[-2.0], -1.0),
        (Map::Sign, &[0.0], 0.0),
        (Map::Floor, &[-1.5], -2.0),
        (Map::Sqrt, &[16.0], 4.0),
        (Map::Rsqrt, &[16.0], 0.25),
        (Map::Lt, &[2.0, 2.0], 0.0),
        (Map::Le, &[2.0, 2.0], 1.0),
        (Map::Eq, &[2.0, 2.0], 1.0),
        (Map::Ne, &[2.0, 2.0], 0.0),
        (Map::And, &[1.0, 0.0], 0.0),
        (Map::Or, &[1.0, 0.0], 1.0),
        (Map::Not, &[1.0], 0.0),
        (Map::Where, &[0.0, 5.0, 7.0], 7.0),
        (Map::Real, &[3.0], 3.0),
        (Map::Int, &[-1.7], -1.0),
    ];
    for (op, args, wanted) in cases {
        assert_eq!(apply(op, args, true), wanted, "{op:?} {args:?}");
    }
    assert_eq!(apply(Map::Div, &[-7.0, 2.0], false), -3.0);
    assert_eq!(apply(Map::Rem, &[-7.0, 3.0], false), 2.0);
    assert_eq!(apply(Map::Rem, &[7.0, -3.0], false), -2.0);
    assert!(apply(Map::Max, &[f64::NAN, 1.0], true).is_nan() && apply(Map::Min, &[1.0, f64::NAN], true).is_nan());
    let close = |op: Map, x: f64, wanted: f64| assert!((apply(op, &[x], true) - wanted).abs() < 1e-12, "{op:?}");
    close(Map::Exp, 1.0, std::f64::consts::E);
    close(Map::Log, std::f64::consts::E, 1.0);
    close(Map::Sin, std::f64::consts::FRAC_PI_6, 0.5);
    close(Map::Cos, std::f64::consts::FRAC_PI_3, 0.5);
    close(Map::Tanh, 0.5f64.ln() / -2.0, 1.0 / 3.0);
}

#[test]
fn the_error_function() {
    let known = [(0.0, 0.0), (0.5, 0.520_499_877_813_046_5), (-1.0, -0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4), (9.0, 1.0)];
    for (x, wanted) in known {
        assert!((erf(x) - wanted).abs() < 1e-14, "erf({x}) = {}", erf(x));
    }
}

#[test]
fn bf16_ties_go_to_even() {
    let step = 2.0f64.powi(-7);
    assert_eq!(round_bf16(1.0 + step / 2.0), 1.0);
    assert_eq!(round_bf16(1.0 + 1.5 * step), 1.0 + 2.0 * step);
    assert_eq!(round_bf16(1.0 + 0.51 * step), 1.0 + step);
    assert_eq!(round_bf16(-3.0), -3.0);
    assert!(round_bf16(f64::NAN).is_nan());
}

#[test]
fn maps_broadcast_by_name_and_round_in_f32() {
    let (dims, d) = dims(&[2, 3]);
    let args: [(&[Dim], Vec<f64>); 2] = [(&[d[1], d[0]], count(0, 6)), (&[d[1]], vec![10.0, 20.0, 30.0])];
    let sum = one(Op::Map(Map::Add), &args, Type::real(vec![d[0], d[1]]), &dims);
    assert_eq!(sum, [10.0, 22.0, 34.0, 11.0, 23.0, 35.0]);
    let context = Context { mode: Mode::F32, ..Context::default() };
    let tenth = many(Op::Const(0.1), &[], vec![Type::real(vec![])], &dims, &context);
    assert_eq!(tenth[0].item(), f64::from(0.1f32));
}

#[test]
fn reductions() {
    let (dims, d) = dims(&[2, 3]);
    let data = vec![1.0, 5.0, 5.0, -2.0, -3.0, 0.5];
    let over = |op, dim: usize, left: usize| {
        let ty = if op == Reduce::Argmax { integer(Element::Index(d[dim]), &[d[left]]) } else { Type::real(vec![d[left]]) };
        one(Op::Reduce(op, vec![d[dim]]), &[(&[d[0], d[1]], data.clone())], ty, &dims)
    };
    assert_eq!(over(Reduce::Sum, 1, 0), [11.0, -4.5]);
    assert_eq!(over(Reduce::Sum, 0, 1), [-1.0, 2.0, 5.5]);
    assert_eq!(over(Reduce::Max, 1, 0), [5.0, 0.5]);
    assert_eq!(over(Reduce::Min, 1, 0), [1.0, -3.0]);
    assert_eq!(over(Reduce::Argmax, 1, 0), [1.0, 2.0]);
    let all = one(Op::Reduce(Reduce::Sum, vec![d[0], d[1]]), &[(&[d[0], d[1]], data.clone())], Type::real(vec![]), &dims);
    assert_eq!(all, [6.5]);
}

#[test]
fn contractions_with_a_batch_dim() {
    let (dims, d) = dims(&[2, 2, 3]);
    // result[b, n] = sum over k of a[b, k] * b[k, n, b]
    let args: [(&[Dim], Vec<f64>); 2] = [(&[d[0], d[2]], count(1, 7)), (&[d[2], d[1], d[0]], count(0, 12))];
    let out = one(Op::Contract(vec![d[2]]), &args, Type::real(vec![d[0], d[1]]), &dims);
    assert_eq!(out, [1. * 0. + 2. * 4. + 3. * 8., 1. * 2. + 2. * 6. + 3. * 10., 4. + 5. * 5. + 6. * 9., 4. * 3. + 5. * 7. + 6. * 11.]);
}

#[test]
fn positions_are_global_along_the_batch() {
    let (dims, d) = dims(&[2, 3]);
    let context = Context { batch: Some(d[0]), microbatch: 3, microbatches: 4, ..Context::default() };
    let at = |dim: Dim| many(Op::Index(Index::Position(dim)), &[], vec![integer(Element::Index(dim), &[dim])], &dims, &context);
    assert_eq!(at(d[0])[0].data, [6.0, 7.0]);
    assert_eq!(at(d[1])[0].data, [0.0, 1.0, 2.0]);
}

#[test]
fn lookups_and_their_transposes() {
    let (dims, d) = dims(&[4, 2, 3]);
    let index = (integer(Element::Index(d[0]), &[d[2]]), vec![3.0, 0.0, 3.0]);
    let table = (Type::real(vec![d[0], d[1]]), count(0, 8));
    let context = Context::default();
    let out = many(Op::Index(Index::Gather { over: d[0] }), &[table, index.clone()], vec![Type::real(vec![d[2], d[1]])], &dims, &context);
    assert_eq!(out[0].data, [6.0, 7.0, 0.0, 1.0, 6.0, 7.0]);
    let value = (Type::real(vec![d[1], d[2]]), count(1, 7));
    let sum = many(Op::Index(Index::Scatter { into: d[0] }), &[index.clone(), value], vec![Type::real(vec![d[0], d[1]])], &dims, &context);
    assert_eq!(sum[0].data, [2.0, 5.0, 0.0, 0.0, 0.0, 0.0, 4.0, 10.0]);
    // A dim that both have is matched: one element per row, and back.
    let logits = (Type::real(vec![d[2], d[0]]), count(0, 12));
    let chosen = many(Op::Index(Index::Gather { over: d[0] }), &[logits, index.clone()], vec![Type::real(vec![d[2]])], &dims, &context);
    assert_eq!(chosen[0].data, [3.0, 4.0, 11.0]);
    let ones = (Type::real(vec![d[2]]), vec![1.0; 3]);
    let hot = many(Op::Index(Index::Scatter { into: d[0] }), &[index, ones], vec![Type::real(vec![d[2], d[0]])], &dims, &context);
    assert_eq!(hot[0].data, [0., 0., 0., 1., 1., 0., 0., 0., 0., 0., 0., 1.]);
}

#[test]
fn running_sums() {
    let (dims, d) = dims(&[2, 3]);
    let run = |op| one(Op::Index(op), &[(&[d[1], d[0]], count(0, 6))], Type::real(vec![d[0], d[1]]), &dims);
    assert_eq!(run(Index::Cumsum(d[1])), [0.0, 2.0, 6.0, 1.0, 4.0, 9.0]);
    assert_eq!(run(Index::CumsumReverse(d[1])), [6.0, 6.0, 4.0, 9.0, 8.0, 5.0]);
}

#[test]
fn shapes() {
    let (dims, d) = dims(&[6, 2, 3, 2]);
    let shape = |op, from: &[Dim], data: Vec<f64>, to: &[Dim]| one(Op::Shape(op), &[(from, data)], Type::real(to.to_vec()), &dims);
    assert_eq!(shape(Shape::Rename { from: d[1], to: d[3] }, &[d[1], d[2]], count(0, 6), &[d[2], d[3]]), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(shape(Shape::Split { from: d[0], into: vec![d[1], d[2]] }, &[d[0]], count(0, 6), &[d[2], d[1]]), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(shape(Shape::Merge { from: vec![d[2], d[1]], into: d[0] }, &[d[1], d[2]], count(0, 6), &[d[0]]), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(
        shape(Shape::Slice { from: d[0], start: 2, into: d[2] }, &[d[0], d[1]], count(0, 12), &[d[1], d[2]]),
        [4., 6., 8., 5., 7., 9.]
    );
    assert_eq!(shape(Shape::Pad { from: d[2], start: 2, into: d[0] }, &[d[2]], count(1, 4), &[d[0]]), [0., 0., 1., 2., 3., 0.]);
    assert_eq!(shape(Shape::Take { from: d[2], at: 1 }, &[d[1], d[2]], count(0, 6), &[d[1]]), [1., 4.]);
    assert_eq!(shape(Shape::Shift { dim: d[2], by: 1 }, &[d[1], d[2]], count(1, 7), &[d[1], d[2]]), [0., 1., 2., 0., 4., 5.]);
    assert_eq!(shape(Shape::Shift { dim: d[2], by: -2 }, &[d[1], d[2]], count(1, 7), &[d[1], d[2]]), [3., 0., 0., 6., 0., 0.]);
    assert_eq!(shape(Shape::Roll { dim: d[2], by: 1 }, &[d[1], d[2]], count(1, 7), &[d[1], d[2]]), [2., 3., 1., 5., 6., 4.]);
    assert_eq!(shape(Shape::Expand, &[d[1]], count(0, 2), &[d[2], d[1]]), [0., 1., 0., 1., 0., 1.]);
    let parts: [(&[Dim], Vec<f64>); 2] = [(&[d[1], d[2]], count(0, 6)), (&[d[2], d[1]], count(10, 16))];
    let joined = one(Op::Shape(Shape::Concat { from: vec![d[2], d[2]], into: d[0] }), &parts, Type::real(vec![d[1], d[0]]), &dims);
    assert_eq!(joined, [0., 1., 2., 10., 12., 14., 3., 4., 5., 11., 13., 15.]);
}

#[test]
fn identities_keep_values() {
    let (dims, d) = dims(&[2, 2]);
    for op in [Op::Anchor, Op::Stop] {
        assert_eq!(one(op, &[(&[d[0], d[1]], count(0, 4))], Type::real(vec![d[1], d[0]]), &dims), [0.0, 2.0, 1.0, 3.0]);
    }
}

#[test]
fn random_numbers_are_global() {
    assert_eq!(random::philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    let (whole, d) = dims(&[4, 3]);
    let (half, h) = dims(&[2, 3]);
    for order in [[0, 1], [1, 0]] {
        let op = || Op::Random(Random::Uniform { site: "Gpt.dropout0".to_string(), cuts: Vec::new() });
        let (ty, half_ty) = (Type::real(order.map(|i| d[i]).to_vec()), Type::real(order.map(|i| h[i]).to_vec()));
        let all = many(op(), &[], vec![ty], &whole, &Context { batch: Some(d[0]), ..Context::default() });
        let all = all[0].arranged(&[d[0], d[1]], &whole);
        assert!(all.data.iter().all(|x| (0.0..1.0).contains(x)) && all.data.windows(2).all(|pair| pair[0] != pair[1]));
        for microbatch in 0..2 {
            let context = Context { batch: Some(h[0]), microbatch, microbatches: 2, ..Context::default() };
            let part = many(op(), &[], vec![half_ty.clone()], &half, &context)[0].arranged(&[h[0], h[1]], &half);
            assert_eq!(part.data, all.data[microbatch as usize * 6..][..6]);
        }
    }
}

/// Two query heads share one key head; values pass another dim through.
fn attention() -> (Dims, Vec<Type>, Attention, Vec<Vec<f64>>) {
    let (dims, d) = dims(&[3, 3, 2, 2, 2]);
    let (query, key, feature, heads, value) = (d[0], d[1], d[2], d[3], d[4]);
    let types = vec![
        Type::real(vec![heads, query, feature]),
        Type::real(vec![key, feature]),
        Type::real(vec![value, key]),
        Type::real(vec![query, heads, value]),
        Type::real(vec![heads, query]),
    ];
    let wave = |len: usize, by: f64| (0..len).map(|i| (by * (i + 1) as f64).sin()).collect::<Vec<f64>>();
    let data = vec![wave(12, 1.3), wave(6, 0.7), wave(6, 2.1)];
    (dims, types, Attention { scale: 0.8, causal: true, window: Some(2), ..Attention::new(query, key, feature) }, data)
}

#[test]
fn attention_by_hand() {
    let (dims, types, attention, data) = attention();
    let args: Vec<_> = types.iter().cloned().zip(data.clone()).collect();
    let out = many(Op::Attention(attention), &args, types[3..].to_vec(), &dims, &Context::default());
    for head in 0..2 {
        for query in 0..3 {
            let seen: Vec<usize> = (0..3).filter(|key| *key <= query && query < key + 2).collect();
            let score = |key: usize| 0.8 * (0..2).map(|i| data[0][head * 6 + query * 2 + i] * data[1][key * 2 + i]).sum::<f64>();
            let total: f64 = seen.iter().map(|key| score(*key).exp()).sum();
            assert!((out[1].data[head * 3 + query] - total.ln()).abs() < 1e-12);
            for value in 0..2 {
                let mean: f64 = seen.iter().map(|key| score(*key).exp() / total * data[2][value * 3 + key]).sum();
                assert!((out[0].data[query * 4 + head * 2 + value] - mean).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn attention_gradient_by_finite_differences() {
    let (dims, types, attention, data) = attention();
    let weight: Vec<f64> = (0..12).map(|i| f64::from(i).cos()).collect();
    let forward = |data: &[Vec<f64>]| {
        let args: Vec<_> = types.iter().cloned().zip(data.iter().cloned()).collect();
        many(Op::Attention(attention.clone()), &args, types[3..].to_vec(), &dims, &Context::default())
    };
    let loss = |data: &[Vec<f64>]| forward(data)[0].data.iter().zip(&weight).map(|(a, b)| a * b).sum::<f64>();
    let out = forward(&data);
    let saved = [data.clone(), out.into_iter().map(|tensor| tensor.data).collect(), vec![weight.clone()]].concat();
    let args: Vec<_> = types.iter().chain([&types[3]]).cloned().zip(saved).collect();
    let grads = many(Op::AttentionGrad(attention.clone()), &args, types[..3].to_vec(), &dims, &Context::default());
    for (i, grad) in grads.iter().enumerate() {
        for place in 0..grad.data.len() {
            let moved = |by: f64| {
                let mut data = data.clone();
                data[i][place] += by;
                loss(&data)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((grad.data[place] - slope).abs() < 1e-8, "argument {i} at {place}: {} {slope}", grad.data[place]);
        }
    }
}
