//! Batches of windows from a stream of tokens: the fields of `text` and `tokens`.
//!
//! A window is Seq tokens and the one behind them. In each epoch the training stream is cut into windows from an offset of its own, and
//! every window comes once. Validation windows are cut from the stream's start and come in one fixed, mixed order, so that the first
//! few batches already stand for all files.

use super::shuffle::{Permutation, Position};
use super::source::{Element, Input};
use super::stream::Stream;
use super::{Part, Slot};
use crate::error::Error;
use crate::state::Key;
use std::ops::Range;

/// The names that `text` and `tokens` give.
pub const FIELDS: [&str; 4] = ["tokens", "targets", "position", "document"];

/// What an input is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Tokens,
    Targets,
    Position,
    Document,
}

#[derive(Debug)]
struct Field {
    name: String,
    kind: Kind,
    dim: String,
    size: u64,
}

/// The training and validation streams, cut into windows.
#[derive(Debug)]
pub struct Windows {
    train: Stream,
    validation: Stream,
    fields: Vec<Field>,
    seq: u64,
    seed: u64,
}

impl Windows {
    /// Checks that the inputs are of the shapes that these sources give; the streams come later, because reading them is slow.
    pub fn new(inputs: &[Input], source: &'static str, seed: u64) -> Result<Windows, Error> {
        let fields = inputs.iter().map(|input| field(input, source)).collect::<Result<Vec<_>, _>>()?;
        let seq = inputs.first().map_or(1, |input| input.dims[1].1).max(1);
        if let Some(input) = inputs.iter().find(|input| input.dims[1].1 != seq) {
            return Err(shape(input, &inputs[0].dims[1].0));
        }
        let windows = Windows { train: Stream::default(), validation: Stream::default(), fields, seq, seed };
        for (input, field) in inputs.iter().zip(&windows.fields) {
            if [Kind::Position, Kind::Document].contains(&field.kind) && field.size < seq {
                return Err(shape(input, &input.dims[1].0));
            }
        }
        Ok(windows)
    }

    /// Sets the streams and checks that training has one window at least.
    pub fn with(mut self, train: Stream, validation: Stream) -> Result<Windows, Error> {
        if train.len() <= self.seq {
            let setting = "data.train".to_owned();
            return Err(Error::Short { setting, part: "training", tokens: train.len(), seq: self.seq });
        }
        (self.train, self.validation) = (train, validation);
        Ok(self)
    }

    /// The input that is filled with tokens, with its dim and size: what a tokenizer must fit.
    pub fn vocabulary(&self) -> Option<(&str, &str, u64)> {
        let field = self.fields.iter().find(|field| matches!(field.kind, Kind::Tokens | Kind::Targets))?;
        Some((&field.name, &field.dim, field.size))
    }

    /// The stream of a part.
    pub fn stream(&self, part: Part) -> &Stream {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
        }
    }

    /// Windows in the part (in each epoch).
    pub fn rows(&self, part: Part) -> u64 {
        match part {
            // One window less than fits, which gives each epoch all Seq offsets to cut from.
            Part::Train => (self.train.len() / self.seq - 1).max(1),
            Part::Validation => self.validation.len().saturating_sub(1) / self.seq,
        }
    }

    /// The first token of a run's window number `row`.
    fn start(&self, part: Part, row: u64) -> u64 {
        let rows = self.rows(part);
        match part {
            Part::Train => {
                let position = Position::of(row, rows);
                let window = Permutation::new(Key::new(self.seed, "data.order"), position.epoch, rows).at(position.index);
                self.offset(position.epoch) + window * self.seq
            }
            Part::Validation => Permutation::new(Key::new(0, "data.validation"), 0, rows).at(row % rows) * self.seq,
        }
    }

    /// Where an epoch's first window begins.
    fn offset(&self, epoch: u64) -> u64 {
        let [low, high, _, _] = Key::new(self.seed, "data.offset").at(0, epoch);
        let choices = self.train.len() - self.rows(Part::Train) * self.seq;
        (u64::from(high) << 32 | u64::from(low)) % choices.min(self.seq)
    }

    /// Fills the field with the run's windows `rows`, Seq entries each.
    pub fn fill(&self, part: Part, rows: Range<u64>, field: usize, out: Slot<'_>) -> Result<(), Error> {
        let Slot::Index(out) = out else { panic!("`{}` holds whole numbers", self.fields[field].name) };
        let (stream, field, seq) = (self.stream(part), &self.fields[field], self.seq as usize);
        assert_eq!(out.len() as u64, (rows.end - rows.start) * self.seq, "the slot holds its rows");
        for (row, out) in rows.zip(out.chunks_exact_mut(seq)) {
            let start = self.start(part, row);
            match field.kind {
                Kind::Tokens => field.tokens(part, stream, start, out)?,
                Kind::Targets => field.tokens(part, stream, start + 1, out)?,
                Kind::Position => {
                    let mut slots = out.iter_mut();
                    stream.visit_documents(start, seq, |_, position| *slots.next().expect("Seq slots") = position as i32);
                }
                Kind::Document => {
                    let mut slots = out.iter_mut();
                    stream.visit_documents(start, seq, |document, _| *slots.next().expect("Seq slots") = document as i32);
                }
            }
        }
        Ok(())
    }
}

impl Field {
    /// Copies tokens, each checked against the dim.
    fn tokens(&self, part: Part, stream: &Stream, start: u64, out: &mut [i32]) -> Result<(), Error> {
        let (count, mut slots, mut largest) = (out.len(), out.iter_mut(), 0);
        stream.visit(start, count, |id| {
            largest = largest.max(id);
            *slots.next().expect("as many slots as tokens") = id as i32;
        });
        if u64::from(largest) < self.size {
            return Ok(());
        }
        let at = out.iter().position(|id| *id as u32 == largest).unwrap_or(0) as u64;
        Err(self.beyond(part, start + at, largest.into()))
    }

    fn beyond(&self, part: Part, at: u64, id: u64) -> Error {
        let (setting, input, dim) = (part.setting().to_owned(), self.name.clone(), self.dim.clone());
        Error::Token { setting, input, id, at: format!("token {at}"), dim, size: self.size }
    }
}

impl Windows {
    /// Looks through the first tokens of both parts for ids beyond the dim; the rest is checked when read.
    pub fn check(&self) -> Result<(), Error> {
        const LIMIT: u64 = 1 << 24;
        let Some(field) = self.fields.iter().find(|field| matches!(field.kind, Kind::Tokens | Kind::Targets)) else { return Ok(()) };
        for part in [Part::Train, Part::Validation] {
            if let Some((at, id)) = self.stream(part).beyond(field.size, LIMIT) {
                return Err(field.beyond(part, at, id));
            }
        }
        Ok(())
    }
}

fn field(input: &Input, source: &'static str) -> Result<Field, Error> {
    let kind = match input.name.as_str() {
        "tokens" => Kind::Tokens,
        "targets" => Kind::Targets,
        "position" => Kind::Position,
        "document" => Kind::Document,
        _ => {
            let offered = FIELDS.iter().map(|name| name.to_string()).collect();
            return Err(Error::Field { setting: "data.train".to_owned(), input: input.name.clone(), source, offered });
        }
    };
    match (&input.element, input.dims.len()) {
        (Element::Index { dim, size }, 2) => Ok(Field { name: input.name.clone(), kind, dim: dim.clone(), size: *size }),
        (Element::Index { .. } | Element::Real | Element::Bool, _) => Err(shape(input, "Seq")),
    }
}

/// The error of an input in another shape than [Batch, Seq], or ranging over another dim than its field needs.
fn shape(input: &Input, seq: &str) -> Error {
    let batch = input.dims.first().map_or("Batch", |(name, _)| name);
    let over = if ["tokens", "targets"].contains(&input.name.as_str()) { "Vocab" } else { seq };
    let (input_name, wanted) = (input.name.clone(), format!("index({over})[{batch}, {seq}]"));
    Error::FieldShape { setting: "data.train".to_owned(), input: input_name, wanted, found: input.to_string() }
}
