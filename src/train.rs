//! `meshwright train SPEC`: compile and run.

use crate::outcome::{Failure, Outcome, print_json, print_line};
use crate::spec::{Loaded, SpecArguments, placed};
use crate::target::{self, Target};
use meshwright_compiler::model::settings;
use meshwright_runtime::data::{self, Data};
use meshwright_runtime::device::cuda::Context;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::execute::train::{Course, Ending, Run, restore};
use meshwright_runtime::pool::Pool;
use meshwright_runtime::report::{Progress, RunFolder, signal};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArguments,
    /// The run's folder; by default the next `runs/SPEC-N`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Threads; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Leave the threads to the system's scheduler instead of one per core.
    #[arg(long)]
    no_pin: bool,
    /// Stop after so many seconds of training, as if it had been asked to.
    #[arg(long)]
    seconds: Option<f64>,
    /// Start from the weights of a run or of a safetensors file.
    #[arg(long)]
    from: Option<PathBuf>,
    /// What to train on: cpu; cuda; or cuda:sm_90, which refuses other GPUs.
    #[arg(long, default_value = "cpu")]
    target: Target,
}

/// Compiles, opens the data, trains, writes the weights.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let mut loaded = arguments.spec.compile(arguments.target.plans(), json)?;
    let gpu = arguments.target.open()?;
    let began = Instant::now();
    loaded.timing.begin("data");
    let data = match open(&loaded) {
        Ok(Some(data)) => data,
        Ok(None) => return Err(Failure::Usage("this spec has no data block to train on; 'check' and 'plan' work without one".into())),
        Err(error) => return Err(loaded.place(&error)),
    };
    loaded.timing.begin("kernels");
    let mut fleet = prepare(arguments, &loaded, gpu)?;
    loaded.timing.end();
    if arguments.spec.timings {
        loaded.timing.print();
    }
    let folder = RunFolder::create(arguments.out.as_deref(), Path::new("runs"), &arguments.spec.name())?;
    record(arguments, &loaded, &folder)?;
    signal::catch().map_err(|why| Failure::Run(format!("cannot catch signals: {why}")))?;
    let course = course(&loaded.compiled.model.settings, arguments.seconds);
    let bigram = data.bigram_nats();
    let mut progress = Progress::new(course.steps, std::io::stderr().is_terminal());
    progress.line(&headline(&loaded, &data, bigram, &fleet, &folder, began.elapsed().as_secs_f64()));
    let own = metric_names(&loaded);
    let ending = Run { fleet: &mut fleet, data: &data, folder: &folder, progress: &mut progress, own }.train(&course)?;
    report(&ending, bigram, &folder, json);
    if ending.stopped && arguments.seconds.is_none() { Err(Failure::Stopped) } else { Ok(()) }
}

fn prepare(arguments: &Arguments, loaded: &Loaded, gpu: Option<Arc<dyn Context>>) -> Result<Fleet, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.unwrap_or(cores);
    if threads == 0 {
        return Err(Failure::Usage("--threads takes at least 1".into()));
    }
    let plan = &loaded.compiled.plan;
    let place = |error| placed(error, &loaded.compiled.behind, &loaded.sources);
    let device = target::device(gpu, plan, &place)?;
    let pool = Pool::new(threads, !arguments.no_pin && threads <= cores);
    let mut fleet = Fleet::on(device, plan.clone(), pool, loaded.compiled.model.settings.train.seed)?;
    match &arguments.from {
        Some(path) if path.is_dir() => restore(&mut fleet, &RunFolder::open(path)?.weights())?,
        Some(path) => restore(&mut fleet, path)?,
        None => fleet.initialise(),
    }
    Ok(fleet)
}

/// The run's data; none if the spec has no data block.
fn open(loaded: &Loaded) -> Result<Option<Data>, meshwright_runtime::error::Error> {
    let settings = &loaded.compiled.model.settings;
    let Some(train) = &settings.data.train else { return Ok(None) };
    let settings = data::Settings {
        folder: loaded.folder.clone(),
        train: source(train),
        validation: settings.data.validation.as_ref().map(source),
        held_out: settings.data.held_out.unwrap_or(0.1),
        tokenizer: match &settings.data.tokenizer {
            None | Some(settings::Tokenizer::Bytes) => data::TokenizerChoice::Bytes,
            Some(settings::Tokenizer::HuggingFace(path)) => data::TokenizerChoice::Hf(path.clone()),
        },
        inputs: inputs(loaded),
        seed: settings.train.seed,
        validate: settings.validate.batches > 0,
    };
    Data::open(&settings).map(Some)
}

fn inputs(loaded: &Loaded) -> Vec<data::Input> {
    let model = &loaded.compiled.model;
    let over = |name: &str| {
        let input = model.inputs.iter().find(|input| input.name == name)?;
        match model.ports[input.port].element {
            meshwright_compiler::op::Element::Index(dim) => Some(model.dims[dim].name.clone()),
            _ => None,
        }
    };
    let named =
        |input: &meshwright_plan::Input| data::Input::from_plan(input, &loaded.compiled.plan.mesh, &over(&input.name).unwrap_or_default());
    loaded.compiled.plan.inputs.iter().map(named).collect()
}

fn source(source: &settings::Source) -> data::Source {
    match source {
        settings::Source::Text(patterns) => data::Source::Text { patterns: patterns.clone() },
        settings::Source::Tokens(patterns) => data::Source::Tokens { patterns: patterns.clone() },
        settings::Source::Csv(path, columns) => {
            let columns = columns.iter().map(|(input, names)| data::Columns { input: input.clone(), names: names.clone() });
            data::Source::Csv { path: path.clone(), columns: columns.collect() }
        }
    }
}

fn course(settings: &settings::Settings, seconds: Option<f64>) -> Course {
    Course {
        steps: settings.train.steps,
        validate_every: settings.validate.every,
        validate_batches: settings.validate.batches,
        checkpoint_every: settings.checkpoint_every,
        seconds,
    }
}

fn metric_names(loaded: &Loaded) -> Vec<String> {
    let readouts = loaded.compiled.plan.readouts.iter().map(|readout| readout.name.clone());
    let mut names: Vec<String> =
        readouts.filter(|name| name != "loss" && name != "grad_norm" && !name.starts_with("validation_")).collect();
    names.sort();
    names.dedup();
    names
}

/// Writes what the run was made from.
fn record(arguments: &Arguments, loaded: &Loaded, folder: &RunFolder) -> Outcome {
    let mut text = String::new();
    for (_, file) in loaded.sources.iter() {
        text.push_str(&format!("// {}\n{}\n", file.name, file.text));
    }
    for set in &arguments.spec.set {
        text.push_str(&format!("// --set {set}\n"));
    }
    folder.write_spec(&text)?;
    folder.write_plan(&meshwright_plan::print::print(&loaded.compiled.plan))?;
    // what predicts is one processor's
    if loaded.compiled.plan.mesh.ranks() > 1 || arguments.target != Target::Cpu {
        let alone = arguments.spec.open()?.compile_alone(&loaded.compiled.plan.mesh)?;
        folder.write_prediction(&meshwright_plan::print::print(&alone.plan))?;
    }
    if let Some(settings::Tokenizer::HuggingFace(path)) = &loaded.compiled.model.settings.data.tokenizer {
        folder.keep_tokenizer(&loaded.folder.join(path))?;
    }
    Ok(())
}

fn headline(loaded: &Loaded, data: &Data, bigram: Option<f64>, fleet: &Fleet, folder: &RunFolder, seconds: f64) -> String {
    let parameters: u64 =
        fleet.plan().weights.iter().map(|weight| fleet.dims(weight).iter().product::<usize>() as u64 * weight.count).sum();
    let summary = data.summary();
    let mut text = format!(
        "{}: {parameters} parameters; {} training {}, {} held out ({}); ready in {seconds:.2} s; run in {}",
        loaded.compiled.plan.name,
        summary.train,
        summary.unit,
        summary.validation,
        summary.held,
        folder.path().display()
    );
    if let Some(bigram) = bigram {
        text.push_str(&format!("\na byte-bigram model of the same files has a validation loss of {bigram:.3} nats a byte"));
    }
    text
}

fn report(ending: &Ending, bigram: Option<f64>, folder: &RunFolder, json: bool) {
    if json {
        print_json(&json!({
            "run": folder.path(), "steps": ending.steps, "skipped": ending.skipped, "stopped": ending.stopped, "loss": ending.loss,
            "validation_loss": ending.validation_loss, "bigram_loss": bigram, "seconds": ending.seconds, "tokens": ending.tokens,
        }));
        return;
    }
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_string(), |value| format!("{value:.4}"));
    print_line(&format!(
        "{} steps in {:.1} s; loss {}, validation loss {}{}; weights in {}",
        ending.steps,
        ending.seconds,
        number(ending.loss),
        number(ending.validation_loss),
        bigram.map(|bigram| format!(" (bigram {bigram:.4})")).unwrap_or_default(),
        folder.weights().display()
    ));
    if ending.skipped > 0 {
        print_line(&format!("{} steps were skipped: their loss or gradient was not finite", ending.skipped));
    }
}
