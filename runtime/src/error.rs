//! What the user can be at fault in once a plan runs: data files, tables, tokenizers, weight files, run folders.
//!
//! Each error knows its code, a short lower-case message, the next edit (`help`) and, where an entry of the spec is at fault, the
//! entry's path (`setting`: `data.train`, `data.train.x`, …; a caller that knows only a prefix points there). Paths in messages are
//! shown as the user would find them. The long explanations of `meshwright explain CODE` are in `explain.rs`.

mod explain;
mod similar;

pub use explain::CODES;
pub use similar::closest;

use meshwright_plan::Kernel;
use std::fmt;
use std::path::PathBuf;

/// Why the runtime could not read, write or use what the user gave it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are named for what they hold; the variants are documented")]
pub enum Error {
    /// A pattern matches no file; `resolved` is the pattern as an absolute one.
    NoFiles { setting: String, pattern: String, resolved: String },
    /// A pattern is malformed at byte `at`.
    Pattern { setting: String, pattern: String, at: usize, why: String },
    /// A file exists and cannot be read.
    Unreadable { setting: String, path: PathBuf, why: String },
    /// All files together hold nothing.
    Empty { setting: String, files: usize },
    /// A stream is shorter than one window and its last target.
    Short { setting: String, part: &'static str, tokens: u64, seq: u64 },
    /// A token file is not what its header says.
    Corrupt { setting: String, path: PathBuf, why: String },
    /// A text file that is not UTF-8, under a tokenizer that needs it.
    Encoding { setting: String, path: PathBuf, at: usize },
    /// There is no tokenizer file.
    TokenizerMissing { path: PathBuf, why: String },
    /// The tokenizer file cannot be understood.
    TokenizerCorrupt { path: PathBuf, why: String },
    /// The tokenizer makes more ids than the dim has entries.
    Vocabulary { input: String, tokenizer: String, entries: u64, dim: String, size: u64 },
    /// A token or class in the data lies outside its dim.
    Token { setting: String, input: String, id: u64, at: String, dim: String, size: u64 },
    /// A table has no such column.
    Column { setting: String, path: PathBuf, column: String, available: Vec<String> },
    /// A table's cell is not what the input needs.
    Cell { setting: String, path: PathBuf, line: u64, column: String, text: String, wanted: &'static str },
    /// A table is malformed.
    Table { setting: String, path: PathBuf, why: String },
    /// Fewer rows (or windows) than one batch needs.
    Rows { setting: String, part: &'static str, unit: &'static str, rows: u64, batch: u64 },
    /// The number of columns is not the size of the input's dim.
    Width { setting: String, input: String, columns: usize, shape: String, size: u64 },
    /// The source does not give what a model's input asks for.
    Field { setting: String, input: String, source: &'static str, offered: Vec<String> },
    /// The source names an input that the model lacks.
    Input { setting: String, input: String, known: Vec<String> },
    /// The source gives the field in another shape or element type.
    FieldShape { setting: String, input: String, wanted: String, found: String },
    /// Training and validation sources of kinds that do not go together.
    Mixed { setting: String, train: &'static str, validation: &'static str },
    /// The held-out share is not strictly between 0 and 1.
    HeldOut { share: f64 },
    /// A weight file is not readable as safetensors.
    Weights { path: PathBuf, why: String },
    /// A weight file lacks a weight of the model.
    WeightMissing { path: PathBuf, name: String, available: Vec<String> },
    /// A weight has other dims in the file than in the model.
    WeightShape { path: PathBuf, name: String, found: Vec<usize>, wanted: Vec<usize> },
    /// A weight has an element type that is not read.
    WeightType { path: PathBuf, name: String, found: String },
    /// A weight file holds weights that the model lacks.
    WeightUnknown { path: PathBuf, names: Vec<String> },
    /// A folder is not a finished run.
    NotARun { path: PathBuf, lacks: &'static str },
    /// The folder of a new run is already a run.
    RunExists { path: PathBuf },
    /// Something could not be written.
    Write { path: PathBuf, why: String },
    /// The temperature is negative or not a number.
    Temperature { value: f32 },
    /// The system refuses so much memory.
    Memory { bytes: u64 },
    /// The device cannot make a kernel: a bug of ours, or a plan of another version. `number` is its place in the plan, where one is to blame.
    Kernel { number: Option<Kernel>, name: String, why: String },
    /// What training on a GPU needs and this machine lacks: each with what to do.
    CudaMissing { missing: Vec<(String, String)> },
    /// A library of CUDA is there and does not work.
    CudaLibrary { name: &'static str, path: PathBuf, why: String },
    /// A GPU, or what drives it, refused to go on.
    Cuda { what: String, why: String },
    /// Ranks wait for each other in vain: the plan's collectives do not match. One line for each.
    Deadlock { ranks: Vec<String> },
    /// Ranks decide differently what all must decide alike.
    Disagreement { why: String },
    /// Sampling among the top 0 tokens.
    TopK,
    /// An expert wants more slots than its ragged dim has: nothing was changed by this step.
    Slots { entry: String, step: u64, path: String, dim: String, bound: u64, wanted: u64 },
    /// The logits hold no finite number, so there is nothing to sample.
    Logits { entries: usize },
}

impl Error {
    /// The stable code, an entry of [`CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Error::NoFiles { .. } => "data::missing",
            Error::Pattern { .. } => "data::pattern",
            Error::Unreadable { .. } => "data::unreadable",
            Error::Empty { .. } => "data::empty",
            Error::Short { .. } => "data::short",
            Error::Corrupt { .. } => "data::corrupt",
            Error::Encoding { .. } => "data::encoding",
            Error::TokenizerMissing { .. } => "data::tokenizer_missing",
            Error::TokenizerCorrupt { .. } => "data::tokenizer_corrupt",
            Error::Vocabulary { .. } => "data::vocabulary",
            Error::Token { .. } => "data::range",
            Error::Column { .. } => "data::column",
            Error::Cell { .. } => "data::cell",
            Error::Table { .. } => "data::table",
            Error::Rows { .. } => "data::rows",
            Error::Width { .. } => "data::width",
            Error::Field { .. } => "data::field",
            Error::Input { .. } => "data::input",
            Error::FieldShape { .. } => "data::shape",
            Error::Mixed { .. } => "data::mixed",
            Error::HeldOut { .. } => "data::held_out",
            Error::Weights { .. } => "weights::corrupt",
            Error::WeightMissing { .. } => "weights::missing",
            Error::WeightShape { .. } => "weights::shape",
            Error::WeightType { .. } => "weights::type",
            Error::WeightUnknown { .. } => "weights::unknown",
            Error::NotARun { .. } => "run::missing",
            Error::RunExists { .. } => "run::exists",
            Error::Write { .. } => "run::write",
            Error::Memory { .. } => "run::memory",
            Error::Kernel { .. } => "run::kernel",
            Error::CudaMissing { .. } => "cuda::missing",
            Error::CudaLibrary { .. } => "cuda::library",
            Error::Cuda { .. } => "cuda::failed",
            Error::Deadlock { .. } => "run::deadlock",
            Error::Disagreement { .. } => "run::disagreement",
            Error::Temperature { .. } => "sample::temperature",
            Error::TopK => "sample::top_k",
            Error::Slots { .. } => "run::slots",
            Error::Logits { .. } => "sample::logits",
        }
    }

    /// The entry of the spec that is at fault, as a path of keys.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Error::NoFiles { setting, .. }
            | Error::Pattern { setting, .. }
            | Error::Unreadable { setting, .. }
            | Error::Empty { setting, .. }
            | Error::Short { setting, .. }
            | Error::Corrupt { setting, .. }
            | Error::Encoding { setting, .. }
            | Error::Token { setting, .. }
            | Error::Column { setting, .. }
            | Error::Cell { setting, .. }
            | Error::Table { setting, .. }
            | Error::Rows { setting, .. }
            | Error::Width { setting, .. }
            | Error::Field { setting, .. }
            | Error::Input { setting, .. }
            | Error::Mixed { setting, .. }
            | Error::FieldShape { setting, .. } => Some(setting),
            Error::TokenizerMissing { .. } | Error::TokenizerCorrupt { .. } | Error::Vocabulary { .. } => Some("data.tokenizer"),
            Error::HeldOut { .. } => Some("data.held_out"),
            Error::Weights { .. }
            | Error::WeightMissing { .. }
            | Error::WeightShape { .. }
            | Error::WeightType { .. }
            | Error::WeightUnknown { .. }
            | Error::NotARun { .. }
            | Error::RunExists { .. }
            | Error::Write { .. }
            | Error::Memory { .. }
            | Error::Kernel { .. }
            | Error::CudaMissing { .. }
            | Error::CudaLibrary { .. }
            | Error::Cuda { .. }
            | Error::Deadlock { .. }
            | Error::Disagreement { .. }
            | Error::Temperature { .. }
            | Error::TopK
            | Error::Slots { .. }
            | Error::Logits { .. } => None,
        }
    }

    /// The message: short, lower case, with the facts.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The next edit that would help.
    pub fn help(&self) -> String {
        explain::help(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        explain::message(self, f)
    }
}

impl std::error::Error for Error {}
