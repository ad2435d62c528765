//! The language's operations, as `model` expands them, against figures worked out by hand or in plain loops.

use super::{Context, Mode, Tensor, run};
use crate::model::ir::Model;
use crate::model::{self, elaborate};
use crate::op::{Element, Value};
use meshwright_grammar::{FileId, parse};

/// The model of a spec that must be right.
fn model(text: &str, training: bool) -> Model {
    let file = parse(FileId(0), text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"));
    let mode = model::Mode { training, batch: None };
    elaborate(&[file], &[], mode).unwrap_or_else(|errors| panic!("{text}\n{errors:?}")).0
}

/// The first step of a run, in f64.
fn context(model: &Model) -> Context {
    Context {
        mode: Mode::F64,
        seed: 1,
        step: 1,
        iteration: 0,
        microbatch: 0,
        microbatches: 1,
        batch: Some(model.batch),
        scalars: Vec::new(),
    }
}

/// Runs a spec whose model is one function without weights; inputs by name, result row-major.
fn result(text: &str, inputs: &[(&str, Vec<f64>)]) -> Vec<f64> {
    let model = model(text, false);
    assert_eq!(model.calls.len(), 1, "one function");
    let call = &model.calls[0];
    let function = &model.functions[call.function];
    let mut bound: Vec<(Value, Tensor)> = Vec::new();
    for (param, port) in function.params.iter().zip(&call.args) {
        let input = model.inputs.iter().find(|input| input.port == *port).unwrap();
        let (_, data) = inputs.iter().find(|(name, _)| *name == input.name).unwrap();
        bound.push((*param, Tensor::new(function.body.ty(*param), &model.dims, data.clone())));
    }
    let context = context(&model);
    let wanted = function.results[0];
    run(&function.body, &model.dims, &bound, &context, &[wanted])[0].data.clone()
}

/// A spec that returns an expression of x [Batch 1, A 4], k [Batch, C 2], i index(A)[Batch], without weights.
fn value(expression: &str, dims: &str) -> Vec<f64> {
    let text = format!(
        "dims {{ Batch = 1, A = 4, C = 2, D = 2 }}\n\
         model M(x: real[Batch, A], k: real[Batch, C], i: index(A)[Batch]) -> {dims} {{\n\
         weight w: []\nlet out = {expression}\nloss sum(x, A) * w + sum(k, C) + cast(i, real)\nreturn out\n}}"
    );
    let model = model(&text, true);
    let call = &model.calls[0];
    let function = &model.functions[call.function];
    let mut bound: Vec<(Value, Tensor)> = vec![(function.weights[0], Tensor::scalar(1.0))];
    for (param, port) in function.params.iter().zip(&call.args) {
        let name = &model.inputs.iter().find(|input| input.port == *port).unwrap().name;
        let data = match name.as_str() {
            "x" => vec![1.0, -2.0, 0.5, 3.0],
            "k" => vec![2.0, -1.0],
            _ => vec![2.0],
        };
        bound.push((*param, Tensor::new(function.body.ty(*param), &model.dims, data)));
    }
    let context = context(&model);
    let found = run(&function.body, &model.dims, &bound, &context, &[function.results[0]])[0].clone();
    assert!(matches!(found.element, Element::Real | Element::Bool | Element::Index(_) | Element::Integer));
    found.data
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{found:?} {expected:?}");
    }
}

#[test]
fn reductions() {
    close(&value("sum(x, A)", "[Batch]"), &[2.5]);
    close(&value("mean(x, A)", "[Batch]"), &[0.625]);
    close(&value("max(x, A)", "[Batch]"), &[3.0]);
    close(&value("min(x, over: A)", "[Batch]"), &[-2.0]);
    close(&value("cast(argmax(x, A), real)", "[Batch]"), &[3.0]);
    close(&value("cumsum(x, A)", "[Batch, A]"), &[1.0, -1.0, -0.5, 2.5]);
    close(&value("dot(x, x, over: A)", "[Batch]"), &[14.25]);
    let powers: Vec<f64> = [1.0f64, -2.0, 0.5, 3.0].iter().map(|x| x.exp()).collect();
    let sum: f64 = powers.iter().sum();
    close(&value("softmax(x, A)", "[Batch, A]"), &powers.iter().map(|power| power / sum).collect::<Vec<_>>());
    close(&value("log_softmax(x, A)", "[Batch, A]"), &powers.iter().map(|power| (power / sum).ln()).collect::<Vec<_>>());
}

#[test]
fn elementwise() {
    let x = [1.0f64, -2.0, 0.5, 3.0];
    let each = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).collect::<Vec<_>>();
    close(&value("relu(x)", "[Batch, A]"), &each(&|x| x.max(0.0)));
    close(&value("silu(x)", "[Batch, A]"), &each(&|x| x / (1.0 + (-x).exp())));
    close(&value("sigmoid(x)", "[Batch, A]"), &each(&|x| 1.0 / (1.0 + (-x).exp())));
    close(&value("softplus(x)", "[Batch, A]"), &each(&|x| (1.0 + x.exp()).ln()));
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    close(&value("gelu(x)", "[Batch, A]"), &each(&gelu));
    close(&value("x ^ 3 - 2 * x / 4 + A", "[Batch, A]"), &each(&|x| x.powi(3) - 0.5 * x + 4.0));
    close(&value("clamp(x, -1, 1)", "[Batch, A]"), &each(&|x| x.clamp(-1.0, 1.0)));
    close(&value("max(x, 0) + min(x, 0)", "[Batch, A]"), &each(&|x| x));
    close(&value("where(x > 0 and not x > 2, 1, 0)", "[Batch, A]"), &[1.0, 0.0, 1.0, 0.0]);
    close(&value("mod(x, 2)", "[Batch, A]"), &each(&|x| x.rem_euclid(2.0)));
    close(&value("ceil(x) + round(x)", "[Batch, A]"), &[2.0, -4.0, 2.0, 6.0]);
    close(&value("cast(mod(index(A), 2), real) + x * 0", "[Batch, A]"), &[0.0, 1.0, 0.0, 1.0]);
}

#[test]
fn indices_and_shapes() {
    close(&value("gather(x, i)", "[Batch]"), &[0.5]);
    close(&value("one_hot(i, A)", "[Batch, A]"), &[0.0, 0.0, 1.0, 0.0]);
    close(&value("merge(split(x, A: [C, D]), [D, C], into: A)", "[Batch, A]"), &[1.0, 0.5, -2.0, 3.0]);
    close(&value("take(x, A, at: -1)", "[Batch]"), &[3.0]);
    close(&value("slice(x, A, from: 1, into: C)", "[Batch, C]"), &[-2.0, 0.5]);
    close(&value("shift(x, A, by: 1)", "[Batch, A]"), &[0.0, 1.0, -2.0, 0.5]);
    close(&value("window(x, A, into: C)", "[Batch, A, C]"), &[0.0, 1.0, 1.0, -2.0, -2.0, 0.5, 0.5, 3.0]);
    close(&value("window(x, A, into: C, before: 0)", "[Batch, A, C]"), &[1.0, -2.0, -2.0, 0.5, 0.5, 3.0, 3.0, 0.0]);
    close(&value("concat(k, rename(k, C: D), from: [C, D], into: A)", "[Batch, A]"), &[2.0, -1.0, 2.0, -1.0]);
    close(&value("expand(k, D)", "[Batch, C, D]"), &[2.0, 2.0, -1.0, -1.0]);
}

#[test]
fn top_k_gives_values_and_places() {
    let text = |what: &str| {
        format!(
            "dims {{ Batch = 1, A = 4, K = 2 }}\nmodel M(x: real[Batch, A]) -> [Batch, K] {{\n\
             let value, place = top_k(x, A, into: K)\nlet out = {what}\nloss sum(value, K) + sum(cast(place, real), K)\nreturn out\n}}"
        )
    };
    let inputs = [("x", vec![1.0, -2.0, 0.5, 3.0])];
    close(&result(&text("value"), &inputs), &[3.0, 1.0]);
    close(&result(&text("cast(place, real)"), &inputs), &[3.0, 0.0]);
}

#[test]
fn cross_entropy_is_the_log_of_the_softmax() {
    let sum: f64 = [1.0f64, -2.0, 0.5, 3.0].iter().map(|x| x.exp()).sum();
    close(&value("cross_entropy(x, i)", "[Batch]"), &[sum.ln() - 0.5]);
}

/// The mathematics of attention with mask, bias and softcap is that of the primitive.
#[test]
fn open_attention_is_attention() {
    let spec = |how: &str| {
        format!(
            "dims {{ Batch = 1, S = 3, H = 2, G = 2, F = 2 }}\n\
             model M(q: real[Batch, S, H, G, F], k: real[Batch, S, H, F]) -> [Batch, S, H, G, F] {{\n\
             let out = attention(q, k, k, sequence: S, feature: F, {how})\nloss sum(out, [S, H, G, F])\nreturn out\n}}"
        )
    };
    let wave = |count: usize, speed: f64| (0..count).map(|at| (at as f64 * speed).sin()).collect::<Vec<_>>();
    let inputs = [("q", wave(24, 0.7)), ("k", wave(12, 1.3))];
    let pairs = [
        ("causal: true", "mask: index(Key) <= index(S)"),
        ("causal: true, window: 2", "mask: index(Key) <= index(S) and index(S) - index(Key) < 2"),
        ("scale: 0.5", "scale: 0.5, bias: 0 * cast(index(Key), real)"),
        ("causal: true", "causal: true, softcap: 1e9"),
    ];
    for (closed, open) in pairs {
        let (a, b) = (result(&spec(closed), &inputs), result(&spec(open), &inputs));
        a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{closed}: {a} {b}"));
    }
}

/// Packed documents: a query sees its own document only; the keys of another sequence have a dim of their own.
#[test]
fn masks_compare_documents_and_keys_may_be_another_sequence() {
    let spec = |how: &str| {
        format!(
            "dims {{ Batch = 1, S = 4, T = 4, D = 3, F = 2 }}\n\
             model M(q: real[Batch, S, F], k: real[Batch, {how}, F], d: index(D)[Batch, S]) -> [Batch, S, F] {{\n"
        )
    };
    let wave = |count: usize, speed: f64| (0..count).map(|at| (at as f64 * speed).sin()).collect::<Vec<_>>();
    let inputs = [("q", wave(8, 0.7)), ("k", wave(8, 1.3)), ("d", vec![0.0, 0.0, 2.0, 2.0])];
    let masked = format!(
        "{}let out = attention(q, k, k, sequence: S, feature: F, mask: d == rename(d, S: Key))\nreturn out + 0 * cast(d, real)\n}}",
        spec("S")
    );
    let found = result(&masked, &inputs);
    let half = |from: usize| {
        let text = "dims { Batch = 1, S = 2, F = 2 }\nmodel M(q: real[Batch, S, F], k: real[Batch, S, F]) -> [Batch, S, F] {\n\
                    return attention(q, k, k, sequence: S, feature: F)\n}";
        let part = |data: &[f64]| data[from * 4..from * 4 + 4].to_vec();
        result(text, &[("q", part(&inputs[0].1)), ("k", part(&inputs[1].1))])
    };
    close(&found, &[half(0), half(1)].concat());
    let rest = "let out = attention(q, k, k, sequence: S, feature: F, keys: T)\nreturn out + 0 * cast(d, real)\n}";
    let own = "let out = attention(q, k, k, sequence: S, feature: F)\nreturn out + 0 * cast(d, real)\n}";
    close(&result(&format!("{}{rest}", spec("T")), &inputs), &result(&format!("{}{own}", spec("S")), &inputs));
}

#[test]
fn rotary_turns_pairs() {
    let text = "dims { Batch = 1, S = 3, F = 4 }\nmodel M(x: real[Batch, S, F]) -> [Batch, S, F] {\n\
                let out = rotary(x, sequence: S, feature: F, base: 100)\nloss sum(out, [S, F])\nreturn out\n}";
    let x: Vec<f64> = (0..12).map(|at| (at as f64 * 0.9).cos()).collect();
    let mut expected = vec![0.0; 12];
    for s in 0..3 {
        for i in 0..2 {
            let angle = s as f64 * 100f64.powf(-2.0 * i as f64 / 4.0);
            let (first, second) = (x[s * 4 + i], x[s * 4 + i + 2]);
            expected[s * 4 + i] = first * angle.cos() - second * angle.sin();
            expected[s * 4 + i + 2] = second * angle.cos() + first * angle.sin();
        }
    }
    close(&result(text, &[("x", x)]), &expected);
}
