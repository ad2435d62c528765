//! `metrics.jsonl`: one JSON object a line, one line a step.
//!
//! Numbers that are not finite are written as `null`, as JSON has no word for them.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What one step gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Mean training loss of the step's batch; absent if it is not finite.
    pub loss: Option<f64>,
    /// The gradient's global norm before clipping; absent if it is not computed or not finite.
    pub grad_norm: Option<f64>,
    /// The learning rate.
    pub rate: f64,
    /// Tokens (or rows) trained on so far.
    pub tokens: u64,
    /// Tokens a second in this step.
    pub tokens_per_second: f64,
    /// Seconds since the run began.
    pub seconds: f64,
    /// Mean loss on the validation data, in steps that measured it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_loss: Option<f64>,
    /// The spec's own metrics, by name.
    #[serde(flatten)]
    pub own: BTreeMap<String, f64>,
}

/// The file, open for the run.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl MetricsFile {
    /// Starts an empty file.
    pub fn create(path: &Path) -> Result<MetricsFile, Error> {
        let file = File::create(path).map_err(|why| Error::Write { path: path.to_owned(), why: why.to_string() })?;
        Ok(MetricsFile { path: path.to_owned(), file, line: Vec::with_capacity(512) })
    }

    /// Appends one line, at once and whole: who follows the file never sees half a line.
    pub fn write(&mut self, metrics: &Metrics) -> Result<(), Error> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, metrics).map_err(std::io::Error::from);
        self.line.push(b'\n');
        let written = written.and_then(|()| self.file.write_all(&self.line));
        written.map_err(|why| Error::Write { path: self.path.clone(), why: why.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scratch::Folder;

    #[test]
    fn a_line_a_step() {
        let folder = Folder::new("metrics");
        let path = folder.path("metrics.jsonl");
        let first =
            Metrics { step: 1, loss: Some(4.5), rate: 1e-3, tokens: 64, own: [("hits".to_owned(), 0.5)].into(), ..Metrics::default() };
        let second = Metrics { step: 2, validation_loss: Some(4.25), grad_norm: Some(1.0), ..Metrics::default() };
        let mut file = MetricsFile::create(&path).unwrap();
        file.write(&first).unwrap();
        file.write(&second).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Metrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [first, second]);
        assert!(text.contains("\"loss\":null") && text.contains("\"hits\":0.5"));
        assert_eq!(text.matches("validation_loss").count(), 1);
    }
}
