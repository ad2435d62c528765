//! `meshwright verify SPEC`: does the mesh, or a GPU, compute what one device of the CPU computes?
//!
//! The model is made as small as its mesh allows, runs on virtual devices (or with all its ranks on one GPU) and on one, from the same weights and on
//! the same random inputs, and loss and gradients are compared.

use crate::outcome::{Failure, Outcome, print_json, print_text};
use crate::spec::{SpecArguments, alone, placed};
use crate::target::{self, Target};
use meshwright_compiler::model::settings::Precision;
use meshwright_compiler::shrink::{self, Shrunk};
use meshwright_compiler::{self as compiler, Compiled};
use meshwright_grammar::Sources;
use meshwright_plan::print::{human, mesh_text};
use meshwright_runtime::device::cuda::Context;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::execute::compare::{self, Compared, Granted};
use meshwright_runtime::pool::Pool;
use serde_json::json;
use std::sync::Arc;

/// More virtual devices than this take longer than a person waits.
const MOST_RANKS: u64 = 1024;

/// Losses that are compared.
const STEPS: u64 = 4;

/// Differences that are named.
const NAMED: usize = 5;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArguments,
    /// Run the model at its own size.
    #[arg(long)]
    full: bool,
    /// Compare in bf16, within what its roundings leave open; a model that is made smaller is else compared in f32.
    #[arg(long)]
    bf16: bool,
    /// Seed of weights and inputs.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// What the mesh runs on: cpu; cuda; or cuda:sm_90. All ranks share one GPU, and are compared with one device of the CPU.
    #[arg(long, default_value = "cpu")]
    target: Target,
}

/// What was found.
struct Verdict {
    name: String,
    mesh: String,
    ranks: u64,
    /// Whose ranks they are.
    place: &'static str,
    shrunk: Shrunk,
    granted: Granted,
    /// Of each step: on the mesh, on one device.
    losses: Vec<[f64; 2]>,
    same_weights: bool,
    gradients: Vec<Compared>,
}

/// Shrinks, runs twice, compares.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let opened = arguments.spec.open()?;
    let (many, one) = (arguments.target.plans(), compiler::Target::Cpu);
    let mesh = opened.compile(one, &[])?.plan.mesh;
    let ranks = mesh.ranks();
    if ranks == 1 && arguments.target == Target::Cpu {
        return Err(Failure::Usage(format!(
            "{} has no mesh, so there is nothing to compare; give it one, as in 'mesh {{ data = 2 }}' and 'shard {{ Batch -> data }}'",
            arguments.spec.spec.display()
        )));
    }
    if ranks > MOST_RANKS {
        let sizes = mesh_text(&mesh);
        return Err(Failure::Usage(format!(
            "{ranks} ranks ({sizes}) are more than the {MOST_RANKS} that run here; make axes smaller with --set mesh.AXIS=2"
        )));
    }
    let gpu = arguments.target.open()?;
    let mut shrunk = if arguments.full { Shrunk::default() } else { shrink::shrink(&opened.tree, &opened.overrides) };
    if arguments.bf16 {
        shrunk.overrides.push(("train.precision".to_string(), shrink::word("bf16")));
    }
    let single = [shrunk.overrides.clone(), alone(&mesh)].concat();
    let compiled = [opened.compile(many, &shrunk.overrides)?, opened.compile(one, &single)?];
    let verdict = compare((compiled, &opened.sources), gpu, shrunk, arguments.seed)?;
    if json {
        print_json(&verdict.json());
    } else {
        print_text(&verdict.text());
    }
    verdict.outcome()
}

fn compare(
    (compiled, sources): ([Compiled; 2], &Sources),
    gpu: Option<Arc<dyn Context>>,
    shrunk: Shrunk,
    seed: u64,
) -> Result<Verdict, Failure> {
    let plan = &compiled[0].plan;
    let granted = match compiled[0].model.settings.train.precision {
        Precision::F32 => compare::EXACT,
        Precision::Bf16 => compare::ROUNDED,
    };
    let (name, mesh, ranks) = (plan.name.clone(), plan.mesh.clone(), plan.mesh.ranks());
    let place = if gpu.is_some() { "of the GPU" } else { "of this machine" };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut fleets = Vec::new();
    for (compiled, gpu) in compiled.into_iter().zip([gpu, None]) {
        let device = target::device(gpu, &compiled.plan, &|error| placed(error, &compiled.behind, sources))?;
        let mut fleet = Fleet::on(device, compiled.plan, Pool::new(threads, false), seed)?;
        fleet.initialise();
        compare::fill(&mut fleet, seed);
        fleets.push(fleet);
    }
    let [many, one] = &mut fleets[..] else { unreachable!("two plans make two fleets") };
    let same_weights = compare::equal_weights(many, one);
    let mut losses = vec![[compare::loss(many, 1)?, compare::loss(one, 1)?]];
    let gradients = compare::gradients(many, one, &granted);
    for step in 2..=STEPS {
        losses.push([compare::loss(many, step)?, compare::loss(one, step)?]);
    }
    Ok(Verdict { name, mesh: mesh_text(&mesh), ranks, place, shrunk, granted, losses, same_weights, gradients })
}

impl Verdict {
    fn loss_passes(&self, step: usize) -> bool {
        let [found, wanted] = self.losses[step];
        let granted = if step == 0 { self.granted.loss } else { self.granted.curve };
        (found - wanted).abs() <= granted * wanted.abs()
    }

    /// What differs, the worst first.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.same_weights {
            wrong.push("initial weights differ".to_string());
        }
        let losses = (0..self.losses.len()).filter(|step| !self.loss_passes(*step));
        wrong.extend(losses.map(|step| {
            format!("the loss of step {}: {} on the mesh, {} on one device", step + 1, self.losses[step][0], self.losses[step][1])
        }));
        let mut bad: Vec<&Compared> = self.gradients.iter().filter(|one| !one.passes()).collect();
        bad.sort_by(|a, b| (b.off / b.granted).total_cmp(&(a.off / a.granted)));
        wrong.extend(
            bad.into_iter().map(|one| format!("the gradient of {}: off by {:.1e}, granted {:.1e}", one.worst, one.off, one.granted)),
        );
        wrong
    }

    fn outcome(&self) -> Outcome {
        let wrong = self.wrong();
        if wrong.is_empty() {
            return Ok(());
        }
        let more = if wrong.len() > NAMED { format!(", and {} more", wrong.len() - NAMED) } else { String::new() };
        let first = wrong.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        Err(Failure::Run(format!("the mesh does not compute what one device computes: {first}{more}")))
    }

    fn text(&self) -> String {
        let Verdict { name, ranks, mesh, place, .. } = self;
        let mut out = match ranks {
            1 => format!("{name} on one rank {place}, and on the CPU\n"),
            _ => format!("{name} on {ranks} ranks {place} ({mesh}), and on one device\n"),
        };
        let changes: Vec<String> = self.shrunk.changes.iter().map(|(name, before, now)| format!("{name} {before} -> {now}")).collect();
        if !changes.is_empty() {
            out.push_str(&format!("made smaller: {}\n", changes.join(", ")));
        }
        for (step, [found, wanted]) in self.losses.iter().enumerate() {
            let relative = (found - wanted).abs() / wanted.abs();
            out.push_str(&format!("loss of step {}  {found:.6}  {wanted:.6}  error {relative:.1e}\n", step + 1));
        }
        let width = self.gradients.iter().map(|one| one.path.chars().count()).max().unwrap_or(0).max("gradient of".len());
        out.push_str(&format!("{:width$}  {:>9}  {:>8}  {:>8}  of what is granted\n", "gradient of", "bytes", "norm", "error"));
        for one in &self.gradients {
            let share = format!("{:.1} %", 100.0 * one.off / one.granted);
            let (bytes, norm, relative) = (human(4 * one.elements), one.norm, one.relative());
            out.push_str(&format!(
                "{:width$}  {bytes:>9}  {norm:8.1e}  {relative:8.1e}  {share:>7}{}\n",
                one.path,
                if one.passes() { "" } else { "  differs" }
            ));
        }
        if self.wrong().is_empty() {
            out.push_str(&format!("OK: {} losses and {} gradients agree\n", self.losses.len(), self.gradients.len()));
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let changes = |(name, before, now): &(String, u64, u64)| json!({ "name": name, "before": before, "now": now });
        let gradient = |one: &Compared| {
            json!({
                "weight": one.path, "elements": one.elements, "worst": one.worst, "norm": one.norm, "off": one.off,
                "granted": one.granted, "passes": one.passes(),
            })
        };
        json!({
            "model": self.name, "mesh": self.mesh, "ranks": self.ranks, "shrunk": self.shrunk.changes.iter().map(changes).collect::<Vec<_>>(),
            "losses": self.losses, "gradients": self.gradients.iter().map(gradient).collect::<Vec<_>>(), "differs": self.wrong(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(off: f64) -> Verdict {
        let gradient = |path: &str, off| Compared { path: path.into(), elements: 4, worst: path.into(), off, norm: 1.0, granted: 1e-5 };
        Verdict {
            name: "Gpt".into(),
            mesh: "data 2".into(),
            ranks: 2,
            place: "of this machine",
            shrunk: Shrunk::default(),
            granted: compare::EXACT,
            losses: vec![[1.0, 1.0]],
            same_weights: true,
            gradients: vec![gradient("Gpt.table", 1e-7), gradient("Gpt.head", off)],
        }
    }

    #[test]
    fn a_difference_fails_and_is_named() {
        assert!(verdict(1e-6).outcome().is_ok());
        for off in [1e-3, f64::INFINITY] {
            let Err(Failure::Run(message)) = verdict(off).outcome() else { panic!("{off} is too far off") };
            assert!(message.contains("the gradient of Gpt.head: off by") && !message.contains("Gpt.table"), "{message}");
        }
    }
}
