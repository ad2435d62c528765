//! The five reference models against PyTorch's figures in `tests/numbers`: loss, every gradient, and the first steps of AdamW.

use super::graph::{Outcome, Weights, divisor, step};
use super::update::{Moments, update};
use super::{Mode, Tensor};
use crate::graph::ir::Graph;
use crate::model;
use crate::model::ir::Weight;
use crate::model::settings::{Optimizer, Rate, Train};
use crate::op::{Element, Type};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A file of the safetensors format: each tensor's elements by name, and what the script wrote beside them.
struct Fixture {
    tensors: BTreeMap<String, Vec<f64>>,
    metadata: Json,
}

fn fixture(bytes: &[u8]) -> Fixture {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let header: BTreeMap<String, Json> = serde_json::from_slice(header).expect("the header is JSON");
    let read = |entry: &Json| {
        let at = |i: usize| entry["data_offsets"][i].as_u64().expect("an offset") as usize;
        let real = entry["dtype"] == "F32";
        let words = data[at(0)..at(1)].chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).expect("four bytes"));
        words.map(|word| if real { f64::from(f32::from_le_bytes(word)) } else { f64::from(i32::from_le_bytes(word)) }).collect()
    };
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__").map(|(name, entry)| (name.clone(), read(entry)));
    Fixture { tensors: tensors.collect(), metadata: header["__metadata__"].clone() }
}

impl Fixture {
    fn number(&self, name: &str) -> f64 {
        self.metadata[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} is a number"))
    }

    /// The settings that the script used.
    fn train(&self, microbatches: u64) -> Train {
        let [beta1, beta2, epsilon, decay] = ["beta1", "beta2", "eps", "decay"].map(|name| self.number(name));
        let optimizer = Optimizer::AdamW { beta1, beta2, epsilon, decay };
        Train { steps: 20, microbatches, optimizer, rate: Rate::Constant { peak: self.number("rate"), warmup: 0 }, ..Train::default() }
    }

    /// One tensor for every weight copy.
    fn weights(&self, kind: &str, graph: &Graph) -> Weights {
        let copies = graph.weights.iter().flat_map(|(weight, data)| (0..data.count).map(move |copy| (weight, copy)));
        let tensor = |key: (Weight, u64)| {
            let name = format!("{kind}/{}", name(graph, key));
            let data = self.tensors.get(&name).unwrap_or_else(|| panic!("there is {name}")).clone();
            (key, Tensor::new(&Type::real(graph.weights[key.0].dims()), &graph.dims, data))
        };
        copies.map(tensor).collect()
    }

    fn inputs(&self, graph: &Graph) -> Vec<(String, Tensor)> {
        let tensor = |(name, port): &(String, _)| {
            let dims = graph.ports[*port].dims.clone();
            (name.clone(), Tensor { element: Element::Real, dims, data: self.tensors[&format!("input/{name}")].clone() })
        };
        graph.inputs.iter().map(tensor).collect()
    }
}

fn name(graph: &Graph, (weight, copy): (Weight, u64)) -> String {
    graph.weights[weight].path.replacen("[*]", &format!("[{copy}]"), 1)
}

fn length(data: impl Iterator<Item = f64>) -> f64 {
    data.map(|x| x * x).sum::<f64>().sqrt()
}

fn graph(spec: &str, train: Train) -> Graph {
    let mut model = model::tests::model(spec);
    model.settings.train = train;
    crate::graph::build(&model, true).expect("the model can be trained")
}

/// Loss within 1e-5, every gradient within 1e-4 of itself and 1e-6 of all.
fn check_gradients(graph: &Graph, found: &Outcome, fixture: &Fixture) {
    let loss = fixture.tensors["loss"][0];
    assert!((found.loss - loss).abs() <= 1e-5 * loss.abs(), "loss {} instead of {loss}", found.loss);
    let wanted = fixture.weights("grad", graph);
    let all = length(wanted.values().flat_map(|tensor| tensor.data.iter().copied()));
    for (key, wanted) in &wanted {
        let own = found.gradients[key].arranged(&wanted.dims, &graph.dims);
        let off = length(own.data.iter().zip(&wanted.data).map(|(a, b)| a - b));
        let norm = length(wanted.data.iter().copied());
        assert!(off <= 1e-4 * norm + 1e-6 * all, "gradient of {}: off by {off}, its norm {norm}", name(graph, *key));
    }
}

/// The first steps of 20 on the one batch: the interpreter is slow.
fn check_curve(graph: &Graph, fixture: &Fixture) {
    let (mut weights, mut moments) = (fixture.weights("weight", graph), Moments::new());
    for (at, wanted) in fixture.tensors["curve"].iter().enumerate().take(5) {
        let at = at as u64 + 1;
        let outcome = step(graph, &weights, &fixture.inputs(graph), 0, at, Mode::F64);
        assert!((outcome.loss - wanted).abs() <= 1e-4 * wanted.abs(), "step {at}: loss {} instead of {wanted}", outcome.loss);
        update(graph, &mut weights, &mut moments, &outcome.sums, at, divisor(graph, &outcome), Mode::F64);
    }
}

/// In f64 at once, and in f32 in `microbatches` parts.
fn check(spec: &str, bytes: &[u8], microbatches: u64) {
    let fixture = fixture(bytes);
    for (parts, mode) in [(1, Mode::F64), (microbatches, Mode::F32)] {
        let graph = graph(spec, fixture.train(parts));
        let weights = fixture.weights("weight", &graph);
        check_gradients(&graph, &step(&graph, &weights, &fixture.inputs(&graph), 0, 1, mode), &fixture);
    }
    check_curve(&graph(spec, fixture.train(1)), &fixture);
}

macro_rules! model {
    ($name:ident, $microbatches:literal) => {
        #[test]
        fn $name() {
            let spec = include_str!(concat!("../../../../tests/numbers/", stringify!($name), ".mesh"));
            check(spec, include_bytes!(concat!("../../../../tests/numbers/", stringify!($name), ".safetensors")), $microbatches);
        }
    };
}

model!(gpt, 2);
model!(llama, 2);
model!(mixer, 2);
model!(price, 2);
model!(alternating, 3);
