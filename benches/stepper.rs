//! A process that trains one model on request: what the benchmark starts for every model, so that memory and start-up are the model's own.
//!
//! Protocol, the same as the peers': one JSON line when the model is warm, then for every line with a number on standard input, that many seconds
//! of steps and one JSON line about them; the end of the input ends the process.

use crate::cases::{Case, Target, ready, step_seconds};
use meshwright_plan::{Plan, Weight};
use meshwright_runtime::measure::allocations::allocations;
use serde_json::{Value, json};
use std::io::BufRead;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

/// Serves until the input ends. `since` is when the command was given.
pub fn serve(case: &Case, (threads, target): (usize, Target), since: u64) -> Result<(), String> {
    let (compiled, mut stages) = case.compile(target)?;
    let (parameters, tokens) = (parameters(&compiled.plan), tokens(&compiled.plan));
    let began = Instant::now();
    let mut fleet = ready(compiled.plan, threads, target)?;
    stages.push(("kernels and weights", began.elapsed().as_secs_f64()));
    let first = clock().saturating_sub(since) as f64 / 1e9;
    let mut step = 0;
    fleet.run("step", 1).map_err(|why| why.to_string())?;
    let loss = fleet.readout("loss");
    let done = clock().saturating_sub(since) as f64 / 1e9;
    let arenas = fleet.bytes().0;
    let mut one = || {
        step += 1;
        fleet.run("step", step + 1).expect("ranks agree");
        // what a GPU was given is done once the loss is known
        fleet.readout("loss");
    };
    step_seconds(0.0, &mut one);
    let about = json!({
        "parameters": parameters, "tokens": tokens, "first_step": first, "first_loss": done, "stages": stages, "loss": loss, "arenas": arenas,
    });
    println!("{about}");
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|why| why.to_string())?;
        let seconds: f64 = line.trim().parse().map_err(|_| format!("a number of seconds, not '{line}'"))?;
        println!("{}", round(seconds, &mut one));
    }
    Ok(())
}

/// Steps for so many seconds, at least three.
fn round(seconds: f64, one: &mut dyn FnMut()) -> Value {
    let began = Instant::now();
    let mut samples: Vec<f64> = Vec::with_capacity(1 << 20);
    let before = allocations();
    while samples.len() < 3 || began.elapsed().as_secs_f64() < seconds && samples.len() < samples.capacity() {
        let start = Instant::now();
        one();
        samples.push(start.elapsed().as_secs_f64());
    }
    let allocated = allocations() - before;
    json!({ "seconds": samples, "allocations": allocated, "memory": peak_memory() })
}

/// Parameters as 6·N·D counts them: learned positions take part in no matrix product.
fn parameters(plan: &Plan) -> u64 {
    let counted = plan.weights.iter().filter(|weight| !weight.path.ends_with(".place"));
    let whole = |weight: &Weight| weight.dims.iter().map(|dim| dim.whole(&plan.mesh)).product::<u64>();
    counted.map(|weight| whole(weight) * weight.count).sum()
}

/// Tokens of a step, over the whole mesh: elements of the largest input.
fn tokens(plan: &Plan) -> u64 {
    plan.inputs.iter().map(|input| input.dims.iter().map(|dim| dim.whole(&plan.mesh)).product()).max().unwrap_or(0)
}

/// Bytes of memory that this process has held at most; none where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
