//! From the data block's settings to opened data: finds and reads files, splits off validation, checks that all fits the model.

use super::files::{self, Found};
use super::source::{Input, Settings, Source};
use super::split::{Held, hold_out};
use super::stream::{Store, Stream};
use super::table::{Table, Tables};
use super::tokenizer::Tokenizer;
use super::windows::Windows;
use super::{Data, Part, Rows, token_file};
use crate::error::Error;
use std::fmt;
use std::sync::Arc;

impl Data {
    /// Opens the data of a run. Cheap checks come before files are read.
    pub fn open(settings: &Settings) -> Result<Data, Error> {
        let share = settings.held_out;
        if settings.validation.is_none() && !(share > 0.0 && share < 1.0) {
            return Err(Error::HeldOut { share });
        }
        let data = match &settings.train {
            Source::Text { .. } | Source::Tokens { .. } => open_windows(settings)?,
            Source::Csv { .. } => open_tables(settings)?,
        };
        if data.rows(Part::Train) < data.batch {
            return Err(data.too_few(Part::Train));
        }
        if settings.validate && data.rows(Part::Validation) < data.batch {
            return Err(data.too_few(Part::Validation));
        }
        Ok(data)
    }
}

fn batch(inputs: &[Input]) -> u64 {
    inputs.first().and_then(|input| input.dims.first()).map_or(1, |(_, size)| *size)
}

fn open_windows(settings: &Settings) -> Result<Data, Error> {
    let windows = Windows::new(&settings.inputs, settings.train.word(), settings.seed)?;
    let tokenizer = Tokenizer::open(&settings.folder, &settings.tokenizer)?;
    let encodes = [Some(&settings.train), settings.validation.as_ref()].into_iter().flatten().any(|s| matches!(s, Source::Text { .. }));
    if encodes
        && let Some((input, dim, size)) = windows.vocabulary()
        && tokenizer.entries() > size
    {
        let (input, dim) = (input.to_owned(), dim.to_owned());
        return Err(Error::Vocabulary { input, tokenizer: tokenizer.label(), entries: tokenizer.entries(), dim, size });
    }
    let files = read(settings, "data.train", &settings.train, &tokenizer)?;
    let (train, validation, held) = match &settings.validation {
        Some(source) => {
            let own = read(settings, "data.validation", source, &tokenizer)?;
            let held = format!("{} file{} of its own", own.len(), if own.len() == 1 { "" } else { "s" });
            (stream(&files, |_| true), stream(&own, |_| true), held)
        }
        None => divide(&files, settings.held_out),
    };
    let windows = windows.with(train, validation)?;
    windows.check()?;
    // A token source is decoded only by a tokenizer that the spec names; its ids are hardly ever bytes.
    let tokenizer = (encodes || !matches!(tokenizer, Tokenizer::Bytes)).then_some(tokenizer);
    Ok(Data { rows: Rows::Windows(windows), batch: batch(&settings.inputs), tokenizer, held })
}

/// Splits off what is held out, and says in words what that is.
fn divide(files: &[File], share: f64) -> (Stream, Stream, String) {
    let sizes: Vec<(String, u64)> = files.iter().map(|file| (file.name.clone(), file.store.len() as u64)).collect();
    match hold_out(&sizes, share) {
        Held::Files(held) => {
            let count = held.iter().filter(|held| **held).count();
            let words = format!("{count} of {} files, held out whole", files.len());
            (stream(files, |i| !held[i]), stream(files, |i| held[i]), words)
        }
        Held::Tail(count) => {
            let whole = stream(files, |_| true);
            let (train, validation) = whole.split_at(whole.len() - count);
            (train, validation, format!("the last {count} tokens"))
        }
    }
}

struct File {
    name: String,
    store: Arc<Store>,
}

fn stream(files: &[File], chosen: impl Fn(usize) -> bool) -> Stream {
    Stream::new(files.iter().enumerate().filter(|(i, _)| chosen(*i)).map(|(_, file)| file.store.clone()))
}

/// Reads (or maps) all files of a source.
fn read(settings: &Settings, setting: &str, source: &Source, tokenizer: &Tokenizer) -> Result<Vec<File>, Error> {
    let (patterns, encode) = match source {
        Source::Text { patterns } => (patterns, true),
        Source::Tokens { patterns } => (patterns, false),
        Source::Csv { .. } => return Err(mixed(settings, setting, source)),
    };
    let found = files::find(setting, &settings.folder, patterns)?;
    let stores = match encode {
        true => read_text(setting, &found, tokenizer)?,
        false => found.iter().map(|found| token_file::open(setting, found)).collect::<Result<_, _>>()?,
    };
    let files: Vec<File> = found.into_iter().zip(stores).map(|(found, store)| File { name: found.name, store: Arc::new(store) }).collect();
    if files.iter().all(|file| file.store.len() == 0) {
        return Err(Error::Empty { setting: setting.to_owned(), files: files.len() });
    }
    Ok(files)
}

/// Reads text on all cores: tokenizers are slow. The result is in the files' order, whoever read which.
fn read_text(setting: &str, found: &[Found], tokenizer: &Tokenizer) -> Result<Vec<Store>, Error> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get()).min(found.len().max(1));
    let mut results: Vec<Option<Result<Store, Error>>> = std::iter::repeat_with(|| None).take(found.len()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mine = found.iter().enumerate().skip(first).step_by(threads);
                scope.spawn(move || mine.map(|(i, found)| (i, tokenizer.document(setting, found))).collect::<Vec<_>>())
            })
            .collect();
        for worker in workers {
            for (i, result) in worker.join().expect("reading a file does not panic") {
                results[i] = Some(result);
            }
        }
    });
    results.into_iter().map(|result| result.expect("each file was read by one thread")).collect()
}

fn open_tables(settings: &Settings) -> Result<Data, Error> {
    let table = |setting: &str, source: &Source| match source {
        Source::Csv { path, columns } => Table::open(setting, &settings.folder, path, columns, &settings.inputs),
        Source::Text { .. } | Source::Tokens { .. } => Err(mixed(settings, setting, source)),
    };
    let train = table("data.train", &settings.train)?;
    let own = settings.validation.as_ref().map(|source| table("data.validation", source)).transpose()?;
    let tables = Tables::new(train, own, settings.held_out, settings.seed);
    let count = tables.rows(Part::Validation);
    let held = match &settings.validation {
        Some(_) => format!("{count} rows of its own file"),
        None => format!("{count} rows, held out by a fixed choice"),
    };
    Ok(Data { rows: Rows::Tables(tables), batch: batch(&settings.inputs), tokenizer: None, held })
}

/// The error of a validation source that cannot give what the training source gives.
fn mixed(settings: &Settings, setting: &str, source: &Source) -> Error {
    Error::Mixed { setting: setting.to_owned(), train: settings.train.word(), validation: source.word() }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::source::Element;
        let dims = self.dims.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        match &self.element {
            Element::Real => write!(f, "real[{dims}]"),
            Element::Bool => write!(f, "bool[{dims}]"),
            Element::Index { dim, .. } => write!(f, "index({dim})[{dims}]"),
        }
    }
}
