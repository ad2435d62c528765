//! `meshwright generate RUN --prompt TEXT`: samples from a trained run.
//!
//! The run's own plan (of a run on a mesh, the plan of one device that stands beside it) is read back, and its entry `predict` runs on the last window of the text, padded on the right: with causal attention
//! what stands behind a position does not change it.

use crate::outcome::{Failure, Outcome, print_json, print_text};
use crate::target::{self, Target};
use meshwright_plan::{DimSize, Element, Plan};
use meshwright_runtime::data::Slot;
use meshwright_runtime::data::{Tokenizer, TokenizerChoice};
use meshwright_runtime::device::cuda::Context;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::execute::train::restore;
use meshwright_runtime::pool::Pool;
use meshwright_runtime::report::{RunFolder, Sampler};
use serde_json::json;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Arguments {
    /// The run's folder.
    run: PathBuf,
    /// What the text begins with.
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// How many tokens to add.
    #[arg(long, default_value_t = 400)]
    tokens: u64,
    /// 0 always takes the most likely token; 1 samples as the model says.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Sample among so many of the most likely tokens.
    #[arg(long)]
    top_k: Option<usize>,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// What to run on: cpu; cuda; or cuda:sm_90, which refuses other GPUs.
    #[arg(long, default_value = "cpu")]
    target: Target,
}

/// A run that can be asked for the next token.
struct Writer {
    fleet: Fleet,
    /// Number of the input that takes tokens.
    tokens: usize,
    window: usize,
    vocabulary: usize,
}

/// Samples and prints as it goes.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let folder = RunFolder::open(&arguments.run)?;
    let choice = match folder.tokenizer() {
        Some(_) => TokenizerChoice::Hf("tokenizer.json".into()),
        None => TokenizerChoice::Bytes,
    };
    let tokenizer = Tokenizer::open(folder.path(), &choice)?;
    let mut writer = Writer::open(read(&folder)?, &folder, arguments.target.open()?, arguments.threads)?;
    let mut sampler = Sampler::new(arguments.temperature, arguments.top_k, arguments.seed)?;
    let mut ids = tokenizer.encode(&arguments.prompt);
    if ids.is_empty() {
        return Err(Failure::Usage("the prompt is empty; give at least one character".into()));
    }
    let mut decoder = meshwright_runtime::data::Decoder::default();
    let mut text = arguments.prompt.clone();
    if !json {
        print_text(&text);
    }
    for place in 0..arguments.tokens {
        let known = writer.vocabulary.min(tokenizer.entries() as usize);
        let next = sampler.draw(place, &writer.logits(&ids)?[..known])?;
        ids.push(next);
        let piece = decoder.push(&tokenizer, next);
        if !json {
            print_text(&piece);
        }
        text.push_str(&piece);
    }
    if json {
        print_json(&json!({ "text": text, "tokens": ids.len() }));
    } else {
        print_text("\n");
    }
    Ok(())
}

impl Writer {
    fn open(plan: Plan, folder: &RunFolder, gpu: Option<Arc<dyn Context>>, threads: Option<usize>) -> Result<Writer, Failure> {
        let (tokens, window, vocabulary) = shape(&plan)?;
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        let device = target::device(gpu, &plan, &Failure::from)?;
        let mut fleet = Fleet::on(device, plan, Pool::new(threads.max(1), false), 0)?;
        restore(&mut fleet, &folder.weights())?;
        Ok(Writer { fleet, tokens, window, vocabulary })
    }

    /// The logits of the token after `ids`.
    fn logits(&mut self, ids: &[u32]) -> Result<Cow<'_, [f32]>, Failure> {
        let start = ids.len().saturating_sub(self.window);
        let seen = &ids[start..];
        self.fleet.fill(self.tokens, |slot| {
            let Slot::Index(input) = slot else { return Err(Failure::Run("the plan's tokens are not whole numbers".into())) };
            input.iter_mut().enumerate().for_each(|(at, place)| *place = seen.get(at).map_or(0, |id| *id as i32));
            Ok(())
        })?;
        self.fleet.run("predict", 1)?;
        let last = seen.len() - 1;
        let all = self.fleet.output("result").ok_or_else(|| Failure::Run("the plan's result is missing".into()))?;
        let range = last * self.vocabulary..(last + 1) * self.vocabulary;
        let short = || Failure::Run("the plan's result is too short".into());
        match all {
            Cow::Borrowed(all) => all.get(range).map(Cow::Borrowed).ok_or_else(short),
            Cow::Owned(all) => all.get(range).map(|logits| Cow::Owned(logits.to_vec())).ok_or_else(short),
        }
    }
}

/// The run's plan of one device.
fn read(folder: &RunFolder) -> Result<Plan, Failure> {
    let path = folder.prediction();
    let text = std::fs::read_to_string(&path).map_err(|why| Failure::Run(format!("cannot read {}: {why}", path.display())))?;
    let plan = meshwright_plan::parse::parse(&text).map_err(|why| Failure::Run(format!("{}: {why}", path.display())))?;
    meshwright_plan::verify::verify(&plan).map_err(|why| Failure::Run(format!("{}: {}", path.display(), first(&why))))?;
    Ok(plan)
}

fn first<T: std::fmt::Display>(errors: &[T]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

/// The input of tokens, the window's length and the vocabulary, if the plan is of a language model.
fn shape(plan: &Plan) -> Result<(usize, usize, usize), Failure> {
    let unfit = || Failure::Usage("generate needs a model from tokens [Batch, Seq] to logits [Batch, Seq, Vocab]".into());
    let takes_tokens = |input: &meshwright_plan::Input| input.name == "tokens" && input.element == Element::I32 && input.dims.len() == 2;
    let tokens = plan.inputs.iter().position(takes_tokens).ok_or_else(unfit)?;
    let whole = |dim: &DimSize| dim.whole(&plan.mesh);
    let window = whole(&plan.inputs[tokens].dims[1]);
    let output = plan.outputs.first().ok_or_else(unfit)?;
    match output.dims.as_slice() {
        [_, seq, vocabulary] if whole(seq) == window => Ok((tokens, window as usize, whole(vocabulary) as usize)),
        _ => Err(unfit()),
    }
}
