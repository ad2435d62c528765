//! What a peer needs to compute the same as a model: its first weights, its batch, its gradients, its losses.
//!
//! Ensures: a safetensors file with `start.PATH` and `gradient.PATH` of every trained weight and `input.NAME`, whole numbers as f32 (so vocabularies
//! have less than 2^24 entries); on standard output one JSON line with the losses, all on that one batch.

use crate::cases::{Case, Target, fill, ready};
use meshwright_plan::{Element, Input};
use meshwright_runtime::data::Slot;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::state::weights::{self, Tensor};
use serde_json::json;
use std::borrow::Cow;
use std::path::Path;

/// A tensor with its name and dims.
type Whole = (String, Vec<usize>, Vec<f32>);

/// Runs the steps and writes the file; `what` is model, file and number of steps.
pub fn run(what: &[String], set: &[String], (threads, target): (usize, Target)) -> Result<(), String> {
    let [model, file, steps] = what else { return Err("--record takes MODEL FILE STEPS".into()) };
    let steps: u64 = steps.parse().map_err(|_| format!("a number of steps, not '{steps}'"))?;
    let (compiled, _) = Case::find(model, set)?.compile(target)?;
    let mut fleet = ready(compiled.plan, threads, target)?;
    let mut all = inputs(&fleet);
    all.extend(tensors(&fleet, "start", |fleet, at, copy| Some(fleet.weight(&fleet.plan().weights[at], copy))));
    let mut losses = Vec::new();
    for step in 1..=steps {
        fleet.run("step", step).map_err(|why| why.to_string())?;
        losses.push(fleet.readout("loss"));
        if step == 1 {
            all.extend(tensors(&fleet, "gradient", |fleet, at, copy| fleet.gradient(&fleet.plan().weights[at], copy)));
        }
    }
    let listed: Vec<Tensor<'_>> = all.iter().map(|(name, dims, _)| Tensor { name, dims }).collect();
    weights::write(Path::new(file), &[("model", &fleet.plan().name)], &listed, &|at| Cow::Borrowed(&all[at].2))
        .map_err(|why| why.to_string())?;
    println!("{}", json!({ "losses": losses }));
    Ok(())
}

/// One tensor of every copy of every weight that has it.
fn tensors<'f>(fleet: &'f Fleet, kind: &str, of: impl Fn(&'f Fleet, usize, u64) -> Option<Cow<'f, [f32]>>) -> Vec<Whole> {
    let mut all = Vec::new();
    for (at, weight) in fleet.plan().weights.iter().enumerate() {
        let copies = (0..weight.count).filter_map(|copy| Some((copy, of(fleet, at, copy)?)));
        all.extend(copies.map(|(copy, values)| (format!("{kind}.{}", weight.name(copy)), fleet.dims(weight), values.into_owned())));
    }
    all
}

/// The batch.
fn inputs(fleet: &Fleet) -> Vec<Whole> {
    let one = |input: &Input| {
        let dims: Vec<usize> = input.dims.iter().map(|dim| dim.whole(&fleet.plan().mesh) as usize).collect();
        let count = dims.iter().product();
        let mut values = vec![0.0; count];
        if input.element == Element::F32 {
            fill(input, Slot::Real(&mut values));
        } else {
            let mut places = vec![0; count];
            fill(input, Slot::Index(&mut places));
            values.iter_mut().zip(places).for_each(|(value, place)| *value = place as f32);
        }
        (format!("input.{}", input.name), dims, values)
    };
    fleet.plan().inputs.iter().map(one).collect()
}
