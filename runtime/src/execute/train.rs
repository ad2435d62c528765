//! The training loop: data, step, report, validation, weights.
//!
//! Ensures: which batch a step sees, and all that it computes, depends on the plan, the data and the seed alone. Weights are written at the
//! end, when asked to stop, every so many steps, and when a limit stops the run: then those of the last whole step.

use super::{Fleet, Outcome};
use crate::data::{Data, Part};
use crate::error::Error;
use crate::report::{Metrics, MetricsFile, Progress, RunFolder, signal};
use crate::state::pieces;
use crate::state::weights::{self, Tensor};
use meshwright_plan::Element;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// How long to train and what to do on the way.
#[derive(Clone, Debug)]
pub struct Course {
    /// Optimizer steps.
    pub steps: u64,
    /// Steps between validations; none: only after the last.
    pub validate_every: Option<u64>,
    /// Batches of one validation; 0: no validation at all.
    pub validate_batches: u64,
    /// Steps between written weights; none: only after the last.
    pub checkpoint_every: Option<u64>,
    /// Stop after so many seconds of training.
    pub seconds: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ending {
    /// Steps done.
    pub steps: u64,
    /// Steps in which the loss or the gradient was not finite and the weights stayed as they were.
    pub skipped: u64,
    /// Whether it was asked to stop before its last step.
    pub stopped: bool,
    /// The last step's loss.
    pub loss: Option<f64>,
    /// The last validation's loss.
    pub validation_loss: Option<f64>,
    /// Seconds of training.
    pub seconds: f64,
    /// Tokens (rows, for tables) trained on.
    pub tokens: u64,
}

/// A run in progress.
pub struct Run<'a> {
    /// What trains.
    pub fleet: &'a mut Fleet,
    /// On what.
    pub data: &'a Data,
    /// Where it writes.
    pub folder: &'a RunFolder,
    /// What it shows.
    pub progress: &'a mut Progress,
    /// The spec's own metrics, by name.
    pub own: Vec<String>,
}

impl Run<'_> {
    /// Trains to the end of the course, or until it is asked to stop.
    pub fn train(&mut self, course: &Course) -> Result<Ending, Error> {
        let mut file = MetricsFile::create(&self.folder.metrics())?;
        let began = Instant::now();
        let mut ending = Ending::default();
        let per_step = tokens_per_step(self.fleet);
        while ending.steps < course.steps && !ending.stopped {
            let step_began = Instant::now();
            self.fill(Part::Train, ending.steps)?;
            ending.steps += 1;
            match self.fleet.run("step", ending.steps) {
                Ok(Outcome::Skipped) => ending.skipped += 1,
                Ok(Outcome::Done | Outcome::Exceeded) => {}
                Err(error) => return Err(self.halted(error, ending.steps - 1)),
            }
            ending.tokens += per_step;
            ending.stopped = signal::stop_requested() || course.seconds.is_some_and(|most| began.elapsed().as_secs_f64() >= most);
            let mut metrics = self.metrics(&ending, per_step, step_began.elapsed().as_secs_f64());
            let last = ending.steps == course.steps || ending.stopped;
            if due(course.validate_every, ending.steps, last) {
                metrics.validation_loss = self.validate(course.validate_batches).map_err(|error| self.halted(error, ending.steps))?;
                ending.validation_loss = metrics.validation_loss.or(ending.validation_loss);
            }
            metrics.seconds = began.elapsed().as_secs_f64();
            ending.loss = metrics.loss;
            file.write(&metrics)?;
            self.progress.step(&metrics);
            if due(course.checkpoint_every, ending.steps, last) {
                save(self.fleet, &self.folder.weights(), ending.steps)?;
            }
        }
        self.progress.finish();
        ending.seconds = began.elapsed().as_secs_f64();
        Ok(ending)
    }

    /// The error that ends the run; the weights of the last whole step are written if they are as they should be.
    fn halted(&mut self, error: Error, steps: u64) -> Error {
        self.progress.finish();
        match &error {
            Error::Slots { .. } => save(self.fleet, &self.folder.weights(), steps).err().unwrap_or(error),
            _ => error,
        }
    }

    /// Mean loss over the first validation batches; none if there are none.
    pub fn validate(&mut self, batches: u64) -> Result<Option<f64>, Error> {
        let batches = batches.min(self.data.validation_batches());
        if batches == 0 || !self.fleet.has("evaluate") {
            return Ok(None);
        }
        let mut total = 0.0;
        for batch in 0..batches {
            self.fill(Part::Validation, batch)?;
            self.fleet.run("evaluate", 1)?;
            total += self.fleet.readout("validation_loss").unwrap_or(f64::NAN);
        }
        Ok(Some(total / batches as f64))
    }

    fn fill(&mut self, part: Part, batch: u64) -> Result<(), Error> {
        for input in 0..self.fleet.plan().inputs.len() {
            self.fleet.fill(input, |slot| self.data.fill(part, batch, 0..self.data.batch(), input, slot))?;
        }
        Ok(())
    }

    fn metrics(&self, ending: &Ending, per_step: u64, seconds: f64) -> Metrics {
        let finite = |name: &str| self.fleet.readout(name).filter(|value| value.is_finite());
        Metrics {
            step: ending.steps,
            loss: finite("loss"),
            grad_norm: finite("grad_norm"),
            rate: self.fleet.scalar("rate").unwrap_or(0.0),
            tokens: ending.tokens,
            tokens_per_second: per_step as f64 / seconds,
            own: self.own.iter().filter_map(|name| Some((name.clone(), finite(name)?))).collect(),
            ..Metrics::default()
        }
    }
}

fn due(every: Option<u64>, step: u64, last: bool) -> bool {
    last || every.is_some_and(|every| every > 0 && step.is_multiple_of(every))
}

/// Tokens of a step over the whole mesh: entries of the largest index input, or rows where there is none.
pub fn tokens_per_step(fleet: &Fleet) -> u64 {
    let (mesh, inputs) = (&fleet.plan().mesh, &fleet.plan().inputs);
    let index = inputs.iter().filter(|input| input.element == Element::I32).map(|input| pieces::elements(mesh, &input.dims)).max();
    let rows = inputs.first().map_or(1, |input| pieces::elements(mesh, &input.dims[..input.dims.len().min(1)]));
    index.unwrap_or(rows).max(rows)
}

/// Writes all weights of record, each gathered on its own.
pub fn save(fleet: &Fleet, path: &Path, step: u64) -> Result<(), Error> {
    let mut named = Vec::new();
    for weight in &fleet.plan().weights {
        named.extend((0..weight.count).map(|copy| (weight, copy, weight.name(copy), fleet.dims(weight))));
    }
    let tensors: Vec<Tensor> = named.iter().map(|(_, _, name, dims)| Tensor { name, dims }).collect();
    let values = |at: usize| fleet.weight(named[at].0, named[at].1);
    weights::write(path, &[("model", &fleet.plan().name), ("step", &step.to_string())], &tensors, &values)
}

/// Reads all weights of record; a file that holds others too is refused.
pub fn restore(fleet: &mut Fleet, path: &Path) -> Result<(), Error> {
    let file = weights::WeightFile::open(path)?;
    let known: BTreeSet<String> = fleet.plan().weights.iter().flat_map(|weight| (0..weight.count).map(|copy| weight.name(copy))).collect();
    file.only(&|name| known.contains(name))?;
    for weight in fleet.plan().weights.clone() {
        let dims = fleet.dims(&weight);
        for copy in 0..weight.count {
            fleet.set_weight(&weight, copy, |values| file.read(&weight.name(copy), &dims, values))?;
        }
    }
    Ok(())
}
