//! Graphs of real specs, interpreted, against PyTorch's figures (`tests/numbers`): loss, every gradient, and steps of AdamW.
//!
//! This holds model, graph and optimizer to the reference without kernels or runtime; the whole program has its own such test.

use crate::graph::interpret::graph::{Weights, step};
use crate::graph::interpret::update::{Moments, next, update};
use crate::graph::interpret::{Mode, Tensor};
use crate::graph::{build, verify};
use crate::model;
use crate::model::ir::Model;
use crate::model::settings::{Optimizer, Rate};
use crate::op::Type;

/// Steps of the curve that are compared: the interpreter is slow, and later ones follow.
const STEPS: usize = 5;

/// A fixture: the header's text and the data after it (the safetensors layout).
struct Fixture {
    header: String,
    data: &'static [u8],
}

impl Fixture {
    fn new(bytes: &'static [u8]) -> Fixture {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        Fixture { header: String::from_utf8_lossy(&bytes[8..8 + length]).into_owned(), data: &bytes[8 + length..] }
    }

    /// A tensor's elements; f32 and i32 become f64.
    fn get(&self, name: &str) -> Vec<f64> {
        let entry = self.header.split(&format!("\"{name}\":{{")).nth(1).unwrap_or_else(|| panic!("{name} is in the fixture"));
        let entry = entry.split('}').next().unwrap_or("");
        let range = entry.split("\"data_offsets\":[").nth(1).and_then(|range| range.split(']').next()).expect("a range");
        let ends: Vec<usize> = range.split(',').map(|end| end.trim().parse().expect("a number")).collect();
        let words = self.data[ends[0]..ends[1]].chunks(4).map(|word| <[u8; 4]>::try_from(word).expect("four bytes"));
        let whole = entry.contains("\"I32\"");
        words.map(|word| if whole { f64::from(i32::from_le_bytes(word)) } else { f64::from(f32::from_le_bytes(word)) }).collect()
    }

    /// The metadata's number.
    fn number(&self, name: &str) -> f64 {
        let rest = self.header.split(&format!("\"{name}\":\"")).nth(1).expect("it is in the metadata");
        rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

fn path(model: &Model, key: (model::ir::Weight, u64)) -> String {
    model.weights[key.0].path.replace("[*]", &format!("[{}]", key.1))
}

fn weights(model: &Model, fixture: &Fixture) -> Weights {
    let all = model.weights.iter().flat_map(|(weight, data)| (0..data.count).map(move |copy| (weight, copy)));
    let tensor = |key: (model::ir::Weight, u64)| {
        let ty = Type::real(model.weights[key.0].dims());
        (key, Tensor::new(&ty, &model.dims, fixture.get(&format!("weight/{}", path(model, key)))))
    };
    all.map(tensor).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn compare(text: &str, bytes: &'static [u8]) {
    let fixture = Fixture::new(bytes);
    let mut model = model::tests::model(text);
    model.settings.train.rate = Rate::Constant { peak: fixture.number("rate"), warmup: 0 };
    model.settings.train.optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 };
    model.settings.train.microbatches = 1;
    model.settings.train.clip = None;
    let graph = build(&model, true).expect("the model has a graph");
    assert_eq!(verify::graph(&graph), Ok(()));
    let mut weights = weights(&model, &fixture);
    let input = |input: &model::ir::Input| {
        let values = fixture.get(&format!("input/{}", input.name));
        (input.name.clone(), Tensor::new(&model.ports[input.port], &model.dims, values))
    };
    let inputs: Vec<(String, Tensor)> = model.inputs.iter().map(input).collect();
    let first = step(&graph, &weights, &inputs, 0, 1, Mode::F64);
    gradients(&model, &fixture, &first.gradients);
    let mut moments = Moments::new();
    for (at, expected) in fixture.get("curve").into_iter().take(STEPS).enumerate() {
        let outcome = step(&graph, &weights, &inputs, 0, at as u64 + 1, Mode::F64);
        assert!((outcome.loss - expected).abs() <= 1e-5 * expected.abs(), "step {at}: loss {}, PyTorch's is {expected}", outcome.loss);
        next(&graph, &mut weights, &outcome.totals, Mode::F64);
        update(&graph, &mut weights, &mut moments, &outcome.sums, at as u64 + 1, None, Mode::F64);
    }
}

/// Every weight's gradient, by the norm of the difference.
fn gradients(model: &Model, fixture: &Fixture, found: &Weights) {
    assert_eq!(
        found.len() as u64,
        model.weights.values().filter(|data| !data.state).map(|data| data.count).sum::<u64>(),
        "every weight has a gradient"
    );
    let all = norm(found.values().flat_map(|tensor| tensor.data.iter().copied()));
    for (key, gradient) in found {
        let expected = fixture.get(&format!("grad/{}", path(model, *key)));
        let difference = norm(gradient.data.iter().zip(&expected).map(|(a, b)| a - b));
        let bound = 1e-4 * norm(expected.iter().copied()) + 1e-6 * all;
        assert!(difference <= bound, "{}: off by {difference}, {bound} is granted", path(model, *key));
    }
}

macro_rules! reference {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../../../../tests/numbers/", stringify!($name), ".mesh"));
            compare(text, include_bytes!(concat!("../../../../tests/numbers/", stringify!($name), ".safetensors")));
        }
    )*};
}

reference!(gpt llama mixer price alternating moe);
