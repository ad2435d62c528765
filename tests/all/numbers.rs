//! Numbers are PyTorch's: loss, every gradient, 20 steps of AdamW, and states after them, on the CPU device and in the plain interpreter.
//!
//! Requires the fixtures of `tests/numbers`, whose README states the tolerances. Ensures them for several numbers of threads and of
//! microbatches.

use super::fixture::Fixture;
use super::{folder, spec};
use meshwright_compiler::Compiled;
use meshwright_compiler::graph::interpret::graph::{Outcome, Weights, evaluate, step as interpret};
use meshwright_compiler::graph::interpret::update::{Moments, next, update};
use meshwright_compiler::graph::interpret::{Mode, Tensor};
use meshwright_runtime::data::Slot;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::pool::Pool;
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Relative error of the loss that is granted.
const LOSS: f64 = 1e-5;
/// The same for each loss of the curve.
const CURVE: f64 = 1e-4;
/// Error of a state's elements that is granted.
const STATE: f64 = 1e-6;
/// A gradient's error, as a share of its own norm and of the norm of all gradients.
const GRADIENT: (f64, f64) = (1e-4, 1e-6);

/// Gradients (or weights) by the weight's stable name.
type Named = BTreeMap<String, Vec<f64>>;

/// One model of the fixtures, compiled.
struct Case {
    name: &'static str,
    fixture: Fixture,
    compiled: Compiled,
}

impl Case {
    fn open(name: &'static str, microbatches: u64) -> Case {
        let folder = folder::root().join("tests/numbers");
        let fixture = Fixture::open(&folder.join(format!("{name}.safetensors")));
        let compiled = spec::compile(&folder.join(format!("{name}.mesh")), &[("train.microbatches", &microbatches.to_string())]);
        Case { name, fixture, compiled }
    }

    fn fleet(&self, threads: usize) -> Fleet {
        let mut fleet = Fleet::new(self.compiled.plan.clone(), Pool::new(threads, false), 0).expect("a fleet");
        for weight in self.compiled.plan.weights.clone() {
            let sizes: Vec<u64> = weight.dims.iter().map(|dim| dim.size).collect();
            for copy in 0..weight.count {
                let given = self.fixture.get(&format!("weight/{}", weight.name(copy)));
                assert_eq!(given.dims, sizes, "{}: dims of {}", self.name, weight.name(copy));
                let write = |values: &mut [f32]| {
                    values.iter_mut().zip(&given.data).for_each(|(place, value)| *place = *value as f32);
                    Ok::<(), Infallible>(())
                };
                fleet.set_weight(&weight, copy, write).expect("writing cannot fail");
            }
        }
        for (at, input) in self.compiled.plan.inputs.iter().enumerate() {
            let given = &self.fixture.get(&format!("input/{}", input.name)).data;
            let write = |slot: Slot<'_>| {
                match slot {
                    Slot::Real(places) => places.iter_mut().zip(given).for_each(|(place, value)| *place = *value as f32),
                    Slot::Index(places) => places.iter_mut().zip(given).for_each(|(place, value)| *place = *value as i32),
                }
                Ok::<(), Infallible>(())
            };
            fleet.fill(at, write).expect("writing cannot fail");
        }
        fleet
    }

    fn gradients(&self, fleet: &Fleet) -> Named {
        let mut found = Named::new();
        for weight in &fleet.plan().weights {
            for copy in 0..weight.count {
                if let Some(values) = fleet.gradient(weight, copy) {
                    found.insert(weight.name(copy), values.iter().map(|value| f64::from(*value)).collect());
                }
            }
        }
        found
    }

    fn check_loss(&self, what: &str, loss: f64) {
        let wanted = self.fixture.get("loss").data[0];
        let off = (loss - wanted).abs() / wanted.abs();
        assert!(off <= LOSS, "{} {what}: loss {loss}, PyTorch has {wanted}: {off:.2e} relative", self.name);
    }

    fn check_gradients(&self, what: &str, found: &Named) {
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, self.fixture.names("grad"), "{}: weights with gradients", self.name);
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let all = norm(&mut names.iter().flat_map(|name| self.fixture.get(&format!("grad/{name}")).data.clone()));
        let mut bad = Vec::new();
        for (name, values) in found {
            let wanted = &self.fixture.get(&format!("grad/{name}")).data;
            assert_eq!(values.len(), wanted.len(), "{}: elements of {name}", self.name);
            let off = norm(&mut values.iter().zip(wanted).map(|(a, b)| a - b));
            let granted = GRADIENT.0 * norm(&mut wanted.iter().copied()) + GRADIENT.1 * all;
            if off.is_nan() || off > granted {
                bad.push(format!("{name}: off by {off:.3e}, granted {granted:.3e}"));
            }
        }
        assert!(bad.is_empty(), "{} {what}: gradients differ from PyTorch's\n{}", self.name, bad.join("\n"));
    }

    /// States after the steps of the curve.
    fn check_states(&self, what: &str, found: &Named) {
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, self.fixture.names("state"), "{}: states", self.name);
        for (name, values) in found {
            let wanted = &self.fixture.get(&format!("state/{name}")).data;
            let off = values.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= STATE, "{} {what}: the state {name} is {values:?}, PyTorch has {wanted:?}", self.name);
        }
    }

    fn check_curve(&self, what: &str, curve: &[f64]) {
        let wanted = &self.fixture.get("curve").data;
        assert_eq!(curve.len(), wanted.len());
        for (step, (loss, wanted)) in curve.iter().zip(wanted).enumerate() {
            let off = (loss - wanted).abs() / wanted.abs();
            assert!(off <= CURVE, "{} {what}: loss {loss} before step {}, PyTorch has {wanted}: {off:.2e} relative", self.name, step + 1);
        }
    }

    /// Loss, gradients and curve on the CPU device.
    fn check_device(&self, threads: usize, microbatches: u64) {
        let what = format!("with {threads} threads and {microbatches} microbatches");
        let mut fleet = self.fleet(threads);
        fleet.run("step", 1).expect("a step");
        let mut curve = vec![fleet.readout("loss").expect("a loss")];
        self.check_loss(&what, curve[0]);
        self.check_gradients(&what, &self.gradients(&fleet));
        for step in 2..=self.fixture.get("curve").data.len() as u64 {
            fleet.run("step", step).expect("a step");
            curve.push(fleet.readout("loss").expect("a loss"));
        }
        self.check_curve(&what, &curve);
        let mut states = Named::new();
        for weight in fleet.plan().weights.iter().filter(|weight| weight.gradient.is_none()) {
            let copies = 0..weight.count;
            let values = |copy| fleet.weight(weight, copy).iter().map(|value| f64::from(*value)).collect();
            states.extend(copies.map(|copy| (weight.name(copy), values(copy))));
        }
        self.check_states(&what, &states);
    }

    /// Weights and inputs for the interpreter.
    fn given(&self) -> (Weights, Vec<(String, Tensor)>) {
        let graph = &self.compiled.graph;
        let mut weights = Weights::new();
        for (weight, data) in graph.weights.iter() {
            for copy in 0..data.count {
                let name = format!("weight/{}", data.path.replacen("[*]", &format!("[{copy}]"), 1));
                let element = meshwright_compiler::op::Element::Real;
                weights.insert((weight, copy), Tensor { element, dims: data.dims(), data: self.fixture.get(&name).data.clone() });
            }
        }
        let input = |(name, port): &(String, _)| {
            let ty = &graph.ports[*port];
            let data = self.fixture.get(&format!("input/{name}")).data.clone();
            (name.clone(), Tensor { element: ty.element, dims: ty.dims.clone(), data })
        };
        (weights, graph.inputs.iter().map(input).collect())
    }

    fn named(&self, outcome: &Outcome) -> Named {
        let path = |weight| &self.compiled.graph.weights[weight].path;
        let name = |weight, copy| str::replacen(path(weight), "[*]", &format!("[{copy}]"), 1);
        // The interpreter keeps a gradient in its own order of dims; PyTorch's are in the order of the declaration.
        let arranged =
            |weight, tensor: &Tensor| tensor.arranged(&self.compiled.graph.weights[weight].dims(), &self.compiled.graph.dims).data;
        outcome.gradients.iter().map(|((weight, copy), tensor)| (name(*weight, *copy), arranged(*weight, tensor))).collect()
    }

    /// Loss, gradients and curve in the interpreter.
    fn check_interpreter(&self, mode: Mode) {
        let what = format!("interpreted in {mode:?}");
        let graph = &self.compiled.graph;
        let (mut weights, inputs) = self.given();
        let mut moments = Moments::new();
        let mut curve = Vec::new();
        for step in 1..=self.fixture.get("curve").data.len() as u64 {
            let outcome = interpret(graph, &weights, &inputs, 0, step, mode);
            if step == 1 {
                self.check_loss(&what, outcome.loss);
                self.check_gradients(&what, &self.named(&outcome));
                let forward = evaluate(graph, &weights, &inputs, 0, step, mode);
                self.check_loss(&format!("{what}, forward only"), forward.loss);
            }
            curve.push(outcome.loss);
            next(graph, &mut weights, &outcome.totals, mode);
            update(graph, &mut weights, &mut moments, &outcome.sums, step, None, mode);
        }
        self.check_curve(&what, &curve);
        let state = |key: &(_, u64)| graph.weights[key.0].state;
        let states = Outcome { gradients: weights.into_iter().filter(|(key, _)| state(key)).collect(), ..Outcome::default() };
        self.check_states(&what, &self.named(&states));
    }
}

/// On the device: every number of microbatches that divides Batch, and several numbers of threads.
fn device(name: &'static str, microbatches: &[u64]) {
    for &parts in microbatches {
        let case = Case::open(name, parts);
        let threads: &[usize] = if parts == 1 { &[1, 2, 3] } else { &[2] };
        threads.iter().for_each(|threads| case.check_device(*threads, parts));
    }
}

#[test]
fn gpt_on_the_device() {
    device("gpt", &[1, 2, 4]);
}

#[test]
fn llama_on_the_device() {
    device("llama", &[1, 2, 4]);
}

#[test]
fn mixer_on_the_device() {
    device("mixer", &[1, 2, 3, 6]);
}

#[test]
fn price_on_the_device() {
    device("price", &[1, 2, 4, 8]);
}

#[test]
fn alternating_on_the_device() {
    device("alternating", &[1, 3]);
}

#[test]
fn moe_on_the_device() {
    device("moe", &[1, 2, 4]);
}

#[test]
fn gpt_interpreted() {
    Case::open("gpt", 2).check_interpreter(Mode::F64);
}

#[test]
fn llama_interpreted() {
    Case::open("llama", 4).check_interpreter(Mode::F64);
}

#[test]
fn mixer_interpreted() {
    Case::open("mixer", 1).check_interpreter(Mode::F32);
}

#[test]
fn price_interpreted() {
    Case::open("price", 2).check_interpreter(Mode::F32);
}

#[test]
fn alternating_interpreted() {
    Case::open("alternating", 1).check_interpreter(Mode::F32);
}

#[test]
fn moe_interpreted() {
    Case::open("moe", 2).check_interpreter(Mode::F32);
}
