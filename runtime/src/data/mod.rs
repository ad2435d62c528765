//! Batches for the model's inputs, from text, token files or tables.
//!
//! Requires: settings with every input of the model. Ensures: a batch is a function of the settings, the files' contents and the step
//! alone; it does not depend on threads, microbatches or earlier batches, so a run resumes by its step number. Rows are drawn without
//! repetition within an epoch. Filling allocates nothing.

mod bigram;
mod files;
mod open;
#[cfg(test)]
pub(crate) mod scratch;
mod shuffle;
mod source;
mod split;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod token_file;
mod tokenizer;
mod windows;

pub use shuffle::Position;
pub use source::{Columns, Element, HELD_OUT, Input, Settings, Source, TokenizerChoice};
pub use tokenizer::{Decoder, Tokenizer};

use crate::error::Error;
use std::ops::Range;
use table::Tables;
use windows::Windows;

/// Which rows: those that train, or those held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Training rows.
    Train,
    /// Validation rows.
    Validation,
}

impl Part {
    fn setting(self) -> &'static str {
        match self {
            Part::Train => "data.train",
            Part::Validation => "data.validation",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Validation => "validation",
        }
    }
}

/// Where an input's values go, in the element type that the plan gives it.
#[derive(Debug)]
pub enum Slot<'a> {
    /// For index inputs.
    Index(&'a mut [i32]),
    /// For real inputs.
    Real(&'a mut [f32]),
}

/// What was opened, for the run's first lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What a row is: `windows` or `rows`.
    pub unit: &'static str,
    /// Training rows in an epoch.
    pub train: u64,
    /// Validation rows.
    pub validation: u64,
    /// Tokens to train on; 0 for tables.
    pub train_tokens: u64,
    /// Tokens held out; 0 for tables.
    pub validation_tokens: u64,
    /// Training documents; 0 for tables.
    pub documents: usize,
    /// Where validation comes from, in words.
    pub held: String,
}

/// Opened data: any batch of any step can be asked for.
#[derive(Debug)]
pub struct Data {
    rows: Rows,
    batch: u64,
    tokenizer: Option<Tokenizer>,
    held: String,
}

#[derive(Debug)]
enum Rows {
    Windows(Windows),
    Tables(Tables),
}

impl Data {
    /// Rows in one batch.
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// The tokenizer of a text source, and of a token source whose spec names one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Fills input number `field` (in the settings' order) for the rows `rows` of the batch of `step`.
    ///
    /// `out` holds exactly those rows, row-major. Errors: an id in a token file that lies beyond its dim; validation without rows.
    pub fn fill(&self, part: Part, step: u64, rows: Range<u64>, field: usize, out: Slot<'_>) -> Result<(), Error> {
        if self.rows(part) == 0 {
            return Err(self.too_few(part));
        }
        let first = step * self.batch;
        let rows = first + rows.start..first + rows.end;
        match &self.rows {
            Rows::Windows(windows) => windows.fill(part, rows, field, out),
            Rows::Tables(tables) => {
                tables.fill(part, rows, field, out);
                Ok(())
            }
        }
    }

    /// Different validation batches; beyond them the same ones come again.
    pub fn validation_batches(&self) -> u64 {
        self.rows(Part::Validation) / self.batch
    }

    /// How far a run is before it does `step`.
    pub fn position(&self, step: u64) -> Position {
        Position::of(step * self.batch, self.rows(Part::Train))
    }

    /// The byte-bigram model's loss on the validation data, in nats a byte; only for text as bytes.
    pub fn bigram_nats(&self) -> Option<f64> {
        match (&self.rows, &self.tokenizer) {
            (Rows::Windows(windows), Some(Tokenizer::Bytes)) => {
                bigram::bigram_nats(windows.stream(Part::Train), windows.stream(Part::Validation))
            }
            (Rows::Windows(_) | Rows::Tables(_), _) => None,
        }
    }

    /// What was opened.
    pub fn summary(&self) -> Summary {
        let (train, validation) = (self.rows(Part::Train), self.rows(Part::Validation));
        let held = self.held.clone();
        match &self.rows {
            Rows::Windows(windows) => {
                let tokens = |part| windows.stream(part).len();
                let (train_tokens, validation_tokens) = (tokens(Part::Train), tokens(Part::Validation));
                let documents = windows.stream(Part::Train).documents();
                Summary { unit: "windows", train, validation, train_tokens, validation_tokens, documents, held }
            }
            Rows::Tables(_) => Summary { unit: "rows", train, validation, train_tokens: 0, validation_tokens: 0, documents: 0, held },
        }
    }

    fn rows(&self, part: Part) -> u64 {
        match &self.rows {
            Rows::Windows(windows) => windows.rows(part),
            Rows::Tables(tables) => tables.rows(part),
        }
    }

    fn too_few(&self, part: Part) -> Error {
        let unit = match &self.rows {
            Rows::Windows(_) => "windows",
            Rows::Tables(_) => "rows",
        };
        Error::Rows { setting: part.setting().to_owned(), part: part.word(), unit, rows: self.rows(part), batch: self.batch }
    }
}
