//! The models of the benchmark, and how one is made ready to step.
//!
//! Ensures: GPT-2 is the 10M GPT's spec with other numbers, so that AdamW decays every weight and nothing is clipped, as in the peers.

use crate::table::Spread;
use clap::ValueEnum;
use meshwright_compiler::Compiled;
use meshwright_grammar::Sources;
use meshwright_grammar::tree::Expr;
use meshwright_plan::{Element, Input, Plan};
use meshwright_runtime::data::Slot;
use meshwright_runtime::device::Device;
use meshwright_runtime::device::cuda::{self, Cuda};
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::pool::Pool;
use meshwright_runtime::state::philox::Key;
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

const GPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gpt-10m.mesh");

/// The dims that give the models of the table their shapes; peers take them as options.
pub const DIMS: [&str; 6] = ["Batch", "Seq", "Embed", "Heads", "Vocab", "Layers"];

/// A spec with overrides.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// The spec's file.
    pub spec: String,
    /// `KEY=VALUE` each.
    pub set: Vec<String>,
    /// Sizes of `DIMS`, for models of the table.
    pub shape: Option<[u64; 6]>,
}

/// Seconds of each stage of compiling, in order.
pub type Stages = Vec<(&'static str, f64)>;

impl Case {
    /// The models of the table.
    pub fn all() -> [Case; 3] {
        let case = |name: &str, shape: [u64; 6]| {
            let set = DIMS.iter().zip(shape).map(|(dim, size)| format!("dims.{dim}={size}"));
            Case { name: name.into(), spec: GPT.into(), set: set.collect(), shape: Some(shape) }
        };
        [
            case("gpt-10m", [8, 256, 384, 6, 65, 6]),
            case("gpt2-4x64", [4, 64, 768, 12, 50304, 12]),
            case("gpt2-1x512", [1, 512, 768, 12, 50304, 12]),
        ]
    }

    /// The same model on meshes of two virtual devices, which are measured beside it: one thread each where one device has two.
    pub fn meshes(&self) -> Vec<Case> {
        let on = |mesh: &str| {
            let spec = format!("{}/benches/{}-{mesh}.mesh", env!("CARGO_MANIFEST_DIR"), self.name);
            Case { name: format!("{}-{mesh}", self.name), spec, ..self.clone() }
        };
        if self.name == "gpt-10m" { vec![on("data2"), on("zero3")] } else { Vec::new() }
    }

    /// A model of the table, or a spec from disk, with more overrides.
    pub fn find(name: &str, set: &[String]) -> Result<Case, String> {
        let all = Case::all().into_iter().flat_map(|case| [case.meshes(), vec![case]].concat());
        let known = all.into_iter().find(|case| case.name == name);
        let on_disk = || Path::new(name).exists().then(|| Case { name: name.into(), spec: name.into(), set: Vec::new(), shape: None });
        let names = || Case::all().map(|case| case.name).join(", ");
        let mut case = known.or_else(on_disk).ok_or_else(|| format!("'{name}' is neither of {} nor a spec's path", names()))?;
        case.set.extend_from_slice(set);
        Ok(case)
    }

    /// Compiles it for what it runs on; gives the time of every stage too.
    pub fn compile(&self, target: Target) -> Result<(Compiled, Stages), String> {
        let began = Instant::now();
        let (mut sources, tree) =
            meshwright_grammar::load(&self.spec, &mut |name| std::fs::read_to_string(name).map_err(|why| why.to_string()));
        let overrides = self.overrides(&mut sources)?;
        let shown = |sources: &Sources, wrong: &[meshwright_grammar::Diagnostic]| meshwright_grammar::render(wrong, sources, false, 100);
        let tree = tree.map_err(|wrong| shown(&sources, &wrong))?;
        let mut marks = vec![("parse", began)];
        let compiled = meshwright_compiler::compile(&tree, &overrides, target.plans(), &mut |stage| marks.push((stage, Instant::now())));
        marks.push(("", Instant::now()));
        let compiled = compiled.map_err(|wrong| shown(&sources, &wrong))?;
        let stages = marks.windows(2).map(|pair| (pair[0].0, (pair[1].1 - pair[0].1).as_secs_f64()));
        Ok((compiled, stages.collect()))
    }

    fn overrides(&self, sources: &mut Sources) -> Result<Vec<(String, Expr)>, String> {
        let mut overrides = Vec::new();
        for set in &self.set {
            let (key, value) = set.split_once('=').ok_or_else(|| format!("--set takes KEY=VALUE; got '{set}'"))?;
            let file = sources.add(format!("--set {set}"), value);
            let value =
                meshwright_grammar::parse_value(file, value).map_err(|wrong| meshwright_grammar::render(&wrong, sources, false, 100))?;
            overrides.push((key.to_string(), value));
        }
        Ok(overrides)
    }
}

/// What steps run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// This machine's processor.
    Cpu,
    /// The first GPU; all ranks of a mesh share it.
    Cuda,
}

impl Target {
    fn plans(self) -> meshwright_compiler::Target {
        match self {
            Target::Cpu => meshwright_compiler::Target::Cpu,
            Target::Cuda => meshwright_compiler::Target::Cuda,
        }
    }
}

/// A plan with weights and a fixed batch of random inputs, on pinned threads or a GPU.
pub fn ready(plan: Plan, threads: usize, target: Target) -> Result<Fleet, String> {
    let device = match target {
        Target::Cpu => Device::cpu(&plan),
        Target::Cuda => cuda::take(None).and_then(|context| Cuda::load(&plan, context)).map(Device::Cuda),
    };
    let fleet = device.and_then(|device| Fleet::on(device, plan, Pool::new(threads, target == Target::Cpu), 1));
    let mut fleet = fleet.map_err(|why| format!("{why}; {}", why.help()))?;
    fleet.initialise();
    for at in 0..fleet.plan().inputs.len() {
        let input = fleet.plan().inputs[at].clone();
        if input.element == Element::Bool {
            return Err(format!("input '{}' is of truth values, which the benchmark does not fill", input.name));
        }
        let Ok(()) = fleet.fill(at, |slot| {
            fill(&input, slot);
            Ok::<(), Infallible>(())
        });
    }
    Ok(fleet)
}

/// The batch of an input: random, the same each time.
pub fn fill(input: &Input, slot: Slot<'_>) {
    let key = Key::new(1, &input.name);
    match slot {
        Slot::Index(places) => {
            let bound = input.bound.unwrap_or(2) as u32;
            places.iter_mut().enumerate().for_each(|(i, place)| *place = (key.at(0, i as u64)[0] % bound) as i32);
        }
        Slot::Real(places) => {
            let number = |i: usize| f32::from(key.at(0, i as u64)[0] as u16) / 32768.0 - 1.0;
            places.iter_mut().enumerate().for_each(|(i, place)| *place = number(i));
        }
    }
}

/// Seconds of a step, over `seconds` of steps, at least five, after two that do not count.
pub fn step_seconds(seconds: f64, step: &mut dyn FnMut()) -> Spread {
    (0..2).for_each(|_| step());
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 5 || began.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step();
        samples.push(start.elapsed().as_secs_f64());
    }
    Spread::of(samples)
}
