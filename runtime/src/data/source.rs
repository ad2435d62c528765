//! What the spec's data block says, as plain types: sources, tokenizer, and the model's inputs that the data must fill.

use std::path::PathBuf;

/// Where examples come from. Paths and patterns are relative to the spec's folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Text files; each is a document.
    Text {
        /** File patterns. */
        patterns: Vec<String>,
    },
    /// Files of token ids (nanoGPT, llm.c); each is a document.
    Tokens {
        /** File patterns. */
        patterns: Vec<String>,
    },
    /// A table with a heading line.
    Csv {
        /** The file. */
        path: String,
        /** The columns of each input. */
        columns: Vec<Columns>,
    },
}

impl Source {
    /// The word that the spec uses for it.
    pub fn word(&self) -> &'static str {
        match self {
            Source::Text { .. } => "text",
            Source::Tokens { .. } => "tokens",
            Source::Csv { .. } => "csv",
        }
    }
}

/// The columns that fill one input of the model: one for an input `[Batch]`, as many as D for `[Batch, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The input's name.
    pub input: String,
    /// Column names, in the order of the input's last dim.
    pub names: Vec<String>,
}

/// How text becomes token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TokenizerChoice {
    /// Each byte is a token: 256 ids.
    #[default]
    Bytes,
    /// A `tokenizer.json` of Hugging Face; the path is relative to the spec's folder.
    Hf(String),
}

/// An input of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name, by which the source's field is found.
    pub name: String,
    /// Its element type.
    pub element: Element,
    /// Names and sizes of its dims, outermost first; the first is the batch.
    pub dims: Vec<(String, u64)>,
}

impl Input {
    /// The input as a plan states it, whole; `over` names the dim that an index input ranges over, which a plan does not keep.
    pub fn from_plan(input: &meshwright_plan::Input, mesh: &meshwright_plan::Mesh, over: &str) -> Input {
        let element = match (input.element, input.bound) {
            (meshwright_plan::Element::F32 | meshwright_plan::Element::Bf16, _) => Element::Real,
            (meshwright_plan::Element::Bool, _) => Element::Bool,
            (meshwright_plan::Element::I32, bound) => Element::Index { dim: over.to_owned(), size: bound.unwrap_or(i32::MAX as u64) },
        };
        let names = input.dims.iter().map(|dim| dim.name.clone());
        Input { name: input.name.clone(), element, dims: names.zip(crate::state::pieces::whole(mesh, &input.dims)).collect() }
    }
}

/// An input's element type.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Real numbers, filled as f32.
    Real,
    /// Truth values.
    Bool,
    /// Whole numbers that range over a dim, filled as i32.
    Index {
        /** The dim's name. */
        dim: String,
        /** Its size. */
        size: u64,
    },
}

/// Everything that decides the batches of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The folder of the spec.
    pub folder: PathBuf,
    /// The training data.
    pub train: Source,
    /// Validation data of its own; without it a share of `train` is held out.
    pub validation: Option<Source>,
    /// The share of `train` to hold out, in (0, 1).
    pub held_out: f64,
    /// How text becomes tokens.
    pub tokenizer: TokenizerChoice,
    /// The model's inputs.
    pub inputs: Vec<Input>,
    /// The run's seed: keys the shuffling, not the split.
    pub seed: u64,
    /// Whether validation batches will be asked for, so that too little validation data is an error at start.
    pub validate: bool,
}

/// The share held out where the spec does not say.
pub const HELD_OUT: f64 = 0.1;
