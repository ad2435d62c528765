//! Batches of rows from a csv file: columns become the model's inputs by the names that the source gives them.
//!
//! Values are taken as they stand; nothing is standardised silently. Rows come in a new order each epoch, every row once.

use super::shuffle::{Permutation, Position};
use super::source::{Columns, Element, Input};
use super::{Part, Slot, files};
use crate::error::Error;
use crate::state::Key;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The values of one input, a row after the other.
#[derive(Debug)]
enum Values {
    Real(Vec<f32>),
    Index(Vec<i32>),
}

/// One input's columns in the file, and what they hold.
#[derive(Debug)]
struct Field {
    name: String,
    columns: Vec<(usize, String)>,
    class: Option<(String, u64)>,
    values: Values,
}

/// A table in memory: only the columns that feed inputs.
#[derive(Debug)]
pub struct Table {
    fields: Vec<Field>,
    rows: u64,
}

impl Table {
    /// Reads the columns of all inputs, in the inputs' order.
    pub fn open(setting: &str, folder: &Path, path: &str, columns: &[Columns], inputs: &[Input]) -> Result<Table, Error> {
        if let Some(extra) = columns.iter().find(|columns| inputs.iter().all(|input| input.name != columns.input)) {
            let known = inputs.iter().map(|input| input.name.clone()).collect();
            return Err(Error::Input { setting: format!("{setting}.{}", extra.input), input: extra.input.clone(), known });
        }
        let reader = Reader { setting, path: folder.join(path) };
        let bytes = files::read(setting, &reader.path).map_err(|error| match reader.path.exists() {
            true => error,
            false => reader.missing(path),
        })?;
        let mut file = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
        let heading: Vec<String> = file.headers().map_err(|why| reader.broken(why))?.iter().map(str::to_owned).collect();
        let fields = inputs.iter().map(|input| reader.field(input, columns, &heading)).collect::<Result<_, _>>()?;
        let mut table = Table { fields, rows: 0 };
        let mut record = csv::StringRecord::new();
        while file.read_record(&mut record).map_err(|why| reader.broken(why))? {
            table.push(&reader, &record)?;
        }
        Ok(table)
    }

    fn push(&mut self, reader: &Reader<'_>, record: &csv::StringRecord) -> Result<(), Error> {
        let line = record.position().map_or(0, |position| position.line());
        for field in &mut self.fields {
            for (column, heading) in &field.columns {
                let text = record.get(*column).unwrap_or_default();
                match &mut field.values {
                    Values::Real(values) => match text.parse::<f32>() {
                        Ok(value) if value.is_finite() => values.push(value),
                        Ok(_) | Err(_) => return Err(reader.cell(&field.name, line, heading, text, "a finite number")),
                    },
                    Values::Index(values) => {
                        let id = text.parse::<u64>();
                        let id = id.map_err(|_| reader.cell(&field.name, line, heading, text, "a whole number from 0 up"))?;
                        let (dim, size) = field.class.as_ref().expect("an index ranges over a dim");
                        if id >= *size {
                            let (setting, input) = (format!("{}.{}", reader.setting, field.name), field.name.clone());
                            return Err(Error::Token { setting, input, id, at: format!("line {line}"), dim: dim.clone(), size: *size });
                        }
                        values.push(id as i32);
                    }
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Copies rows of one field; `rows` are rows of the file.
    fn copy(&self, field: usize, rows: impl Iterator<Item = u64>, out: Slot<'_>) {
        let field = &self.fields[field];
        let width = field.columns.len();
        match (&field.values, out) {
            (Values::Real(values), Slot::Real(out)) => gather(values, width, rows, out),
            (Values::Index(values), Slot::Index(out)) => gather(values, width, rows, out),
            (Values::Real(_), Slot::Index(_)) | (Values::Index(_), Slot::Real(_)) => panic!("`{}` has another element type", field.name),
        }
    }
}

fn gather<T: Copy>(values: &[T], width: usize, rows: impl Iterator<Item = u64>, out: &mut [T]) {
    for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&values[row as usize * width..][..width]);
    }
}

/// What a table's errors need to know.
struct Reader<'a> {
    setting: &'a str,
    path: PathBuf,
}

impl Reader<'_> {
    fn missing(&self, pattern: &str) -> Error {
        let resolved = self.path.display().to_string();
        Error::NoFiles { setting: self.setting.to_owned(), pattern: pattern.to_owned(), resolved }
    }

    fn broken(&self, why: csv::Error) -> Error {
        let why = match why.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                let line = pos.as_ref().map_or(0, |pos| pos.line());
                format!("line {line} has {len} cells, the heading has {expected_len}")
            }
            _ => why.to_string(),
        };
        Error::Table { setting: self.setting.to_owned(), path: self.path.clone(), why }
    }

    fn cell(&self, input: &str, line: u64, column: &str, text: &str, wanted: &'static str) -> Error {
        let (setting, path) = (format!("{}.{input}", self.setting), self.path.clone());
        Error::Cell { setting, path, line, column: column.to_owned(), text: text.to_owned(), wanted }
    }

    /// Finds an input's columns in the heading and checks them against its type.
    fn field(&self, input: &Input, columns: &[Columns], heading: &[String]) -> Result<Field, Error> {
        let setting = format!("{}.{}", self.setting, input.name);
        let Some(given) = columns.iter().find(|columns| columns.input == input.name) else {
            let offered = columns.iter().map(|columns| columns.input.clone()).collect();
            return Err(Error::Field { setting: self.setting.to_owned(), input: input.name.clone(), source: "csv", offered });
        };
        let (class, values) = match &input.element {
            Element::Real => (None, Values::Real(Vec::new())),
            Element::Index { dim, size } => (Some((dim.clone(), *size)), Values::Index(Vec::new())),
            Element::Bool => return Err(shape(setting, input)),
        };
        let size = match input.dims.as_slice() {
            [_] => 1,
            [_, (_, size)] => *size,
            _ => return Err(shape(setting, input)),
        };
        if given.names.len() as u64 != size {
            let shape = input.dims.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::Width { setting, input: input.name.clone(), columns: given.names.len(), shape, size });
        }
        let columns = given.names.iter().map(|name| self.column(&setting, name, heading)).collect::<Result<_, _>>()?;
        Ok(Field { name: input.name.clone(), columns, class, values })
    }

    fn column(&self, setting: &str, name: &str, heading: &[String]) -> Result<(usize, String), Error> {
        heading.iter().position(|column| column == name).map(|at| (at, name.to_owned())).ok_or_else(|| Error::Column {
            setting: setting.to_owned(),
            path: self.path.clone(),
            column: name.to_owned(),
            available: heading.to_vec(),
        })
    }
}

fn shape(setting: String, input: &Input) -> Error {
    let batch = input.dims.first().map_or("Batch", |(name, _)| name);
    let wanted = match input.dims.len() {
        0 | 1 => format!("real[{batch}]"),
        _ => format!("real[{batch}, {}]", input.dims[1].0),
    };
    Error::FieldShape { setting, input: input.name.clone(), wanted, found: input.to_string() }
}

/// Training and validation rows, of two files or of one.
#[derive(Debug)]
pub struct Tables {
    train: Table,
    validation: Option<Table>,
    held: u64,
    seed: u64,
}

impl Tables {
    /// Rows of `train`, of which a share is held out where there is no table for validation.
    pub fn new(train: Table, validation: Option<Table>, share: f64, seed: u64) -> Tables {
        let held = if validation.is_some() { 0 } else { (share * train.rows as f64).round() as u64 };
        Tables { train, validation, held, seed }
    }

    /// Rows of a part.
    pub fn rows(&self, part: Part) -> u64 {
        match part {
            Part::Train => self.train.rows - self.held,
            Part::Validation => self.validation.as_ref().map_or(self.held, |table| table.rows),
        }
    }

    /// Fills the field with the run's rows.
    pub fn fill(&self, part: Part, rows: Range<u64>, field: usize, out: Slot<'_>) {
        // Tables are often sorted, so rows are held out by a fixed mixing of the whole file; seeds do not move them.
        let split = Permutation::new(Key::new(0, "data.split"), 0, self.train.rows);
        let count = self.rows(part);
        match (part, &self.validation) {
            (Part::Train, _) => {
                let rows = rows.map(|row| {
                    let position = Position::of(row, count);
                    let order = Permutation::new(Key::new(self.seed, "data.order"), position.epoch, count);
                    split.at(self.held + order.at(position.index))
                });
                self.train.copy(field, rows, out);
            }
            (Part::Validation, None) => self.train.copy(field, rows.map(|row| split.at(row % count)), out),
            (Part::Validation, Some(table)) => table.copy(field, rows.map(|row| row % count), out),
        }
    }
}
