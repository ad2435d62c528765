//! Whole training steps, beside the peers in the same run.
//!
//! Ensures: every system is a warm process of its own and they take turns, a round of seconds each, with the peak of multiply-adds measured in every
//! round, so that a drift of the machine meets all of them; ratios are medians of the rounds' own.

use crate::cases::{Case, DIMS};
use crate::machine;
use crate::stepper::clock;
use crate::table::{Figure, Spread, Table, median};
use meshwright_runtime::pool::Pool;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");

/// How to measure.
pub struct Course<'a> {
    /// Threads of every system.
    pub threads: usize,
    /// Turns of every system.
    pub rounds: usize,
    /// Seconds of a turn.
    pub seconds: f64,
    /// The Python that has the peers.
    pub python: Option<&'a Path>,
    /// Their names.
    pub systems: &'a [String],
}

/// A warm system.
struct System {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it said when it was warm.
    about: Value,
    /// Seconds of a step, of each round.
    steps: Vec<Spread>,
    memory: Option<f64>,
    allocations: Option<u64>,
}

impl System {
    fn start(name: &str, command: &mut Command) -> Result<System, String> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|why| format!("{name} does not start: {why}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("a process without output")?);
        let output = BufReader::new(output);
        let name = name.to_string();
        let mut system = System { name, child, input, output, about: Value::Null, steps: Vec::new(), memory: None, allocations: None };
        system.about = system.answer()?;
        Ok(system)
    }

    /// The next line that is JSON.
    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).map_err(|why| why.to_string())? > 0 {
            if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                return Ok(value);
            }
            line.clear();
        }
        Err(format!("{} ended early; what it said is above", self.name))
    }

    fn round(&mut self, seconds: f64) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("a process without input")?;
        writeln!(input, "{seconds}").and_then(|()| input.flush()).map_err(|why| format!("{}: {why}", self.name))?;
        let answer = self.answer()?;
        let samples: Vec<f64> = answer["seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if samples.is_empty() {
            return Err(format!("{} made no step", self.name));
        }
        self.memory = answer["memory"].as_f64().or(self.memory);
        self.allocations = answer["allocations"].as_u64().map(|count| count + self.allocations.unwrap_or(0));
        self.steps.push(Spread::of(samples));
        Ok(())
    }

    /// Over all rounds: the median of medians, the least of all.
    fn step(&self) -> Spread {
        across(&self.steps)
    }
}

/// The median of medians, the least of all.
fn across(rounds: &[Spread]) -> Spread {
    let least = rounds.iter().map(|round| round.least).fold(f64::INFINITY, f64::min);
    Spread { median: median(rounds.iter().map(|round| round.median).collect()), least }
}

impl Drop for System {
    fn drop(&mut self) {
        // The end of its input ends it; a process that is gone already is no error.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Prints the part `models`.
pub fn run(course: &Course<'_>, cases: &[Case], table: &mut Table) -> Result<(), String> {
    let about = format!("training steps on {} threads, {} rounds of {} s each in turn", course.threads, course.rounds, course.seconds);
    table.part("models", &about);
    for case in cases {
        model(course, case, table)?;
    }
    Ok(())
}

fn model(course: &Course<'_>, case: &Case, table: &mut Table) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let stepper = |case: &Case| {
        let mut command = Command::new(&own);
        command.args(["--stepper", &case.name, "--threads", &course.threads.to_string(), "--since", &clock().to_string()]);
        command
    };
    let mut systems = vec![System::start("meshwright", &mut stepper(case))?];
    for mesh in case.meshes() {
        systems.push(System::start(&format!("meshwright on {}", mesh.name), &mut stepper(&mesh))?);
    }
    for name in course.python.map_or(&[][..], |_| course.systems) {
        match System::start(name, &mut peer(course, case, name)?) {
            Ok(system) => systems.push(system),
            Err(why) => eprintln!("{why}"),
        }
    }
    let mut peaks = Vec::new();
    for _ in 0..course.rounds {
        // Dropped before the others run: a pinned pool would have them share its processor.
        peaks.push(machine::peak(&Pool::new(course.threads, true), 5));
        for system in &mut systems {
            system.round(course.seconds)?;
        }
    }
    print(case, &systems, across(&peaks), table);
    Ok(())
}

fn print(case: &Case, systems: &[System], peak: Spread, table: &mut Table) {
    let ours = &systems[0];
    let number = |key: &str| ours.about[key].as_f64().unwrap_or(f64::NAN);
    let (tokens, gflop) = (number("tokens"), 6.0 * number("parameters") * number("tokens") / 1e9);
    for system in systems {
        let step = system.step();
        let mut figures =
            vec![Figure("tokens/s", tokens / step.median), Figure("ms", step.median * 1e3), Figure("ms best", step.least * 1e3)];
        figures.push(Figure("of peak", gflop * peak.median / step.median));
        figures.push(Figure("of peak, best to best", gflop * peak.least / step.least));
        figures.extend(system.memory.map(|bytes| Figure("MiB", (bytes / f64::from(1 << 20)).round())));
        if system.name != ours.name {
            let rounds = ours.steps.iter().zip(&system.steps).map(|(own, peer)| peer.median / own.median);
            figures.push(Figure("times slower than ours", median(rounds.collect())));
            figures.push(Figure("times, best to best", step.least / ours.step().least));
        }
        figures.extend(system.allocations.map(|count| Figure("allocations", count as f64)));
        figures.extend(system.about["first_step"].as_f64().map(|seconds| Figure("s to first step", seconds)));
        figures.extend(system.about["loss"].as_f64().map(|loss| Figure("first loss", loss)));
        table.line(&format!("{} {}", case.name, system.name), &figures);
    }
    table.line(&format!("{} peak of multiply-adds", case.name), &[Figure("GFLOP/s", 1.0 / peak.median), Figure("best", 1.0 / peak.least)]);
    let stages = ours.about["stages"].as_array().into_iter().flatten();
    let stages: Vec<Figure<'_>> = stages.filter_map(|stage| Some(Figure(stage[0].as_str()?, stage[1].as_f64()? * 1e3))).collect();
    table.line(&format!("{} stages, ms", case.name), &stages);
}

/// The command of a peer, on the shape that the spec's dims give.
fn peer(course: &Course<'_>, case: &Case, system: &str) -> Result<Command, String> {
    let shape = case.shape.ok_or_else(|| format!("{} is not a model that the peers have", case.name))?;
    let mut command = Command::new(course.python.unwrap_or(Path::new("python3")));
    command.args([PEERS, system, "--threads", &course.threads.to_string()]);
    for (dim, size) in DIMS.iter().zip(shape) {
        command.args([format!("--{}", dim.to_lowercase()), size.to_string()]);
    }
    Ok(command)
}
