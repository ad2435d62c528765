//! The folder of a run: the resolved spec, the plan, metrics, weights, and what `generate` needs beside them.

use crate::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const SPEC: &str = "spec.mesh";
const PLAN: &str = "plan.txt";
const PREDICTION: &str = "predict.txt";
const METRICS: &str = "metrics.jsonl";
const WEIGHTS: &str = "weights.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// A run's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run: `out`, or else the next `<spec>-<n>` in the folder `runs`. A run is never written over.
    pub fn create(out: Option<&Path>, runs: &Path, spec: &str) -> Result<RunFolder, Error> {
        match out {
            Some(path) if path.join(SPEC).exists() => Err(Error::RunExists { path: path.to_owned() }),
            Some(path) => fs::create_dir_all(path).map_err(|why| refused(path, &why)).map(|()| RunFolder { path: path.to_owned() }),
            None => RunFolder::next(runs, spec),
        }
    }

    fn next(runs: &Path, spec: &str) -> Result<RunFolder, Error> {
        fs::create_dir_all(runs).map_err(|why| refused(runs, &why))?;
        let mut number = last_number(runs, spec).map_err(|why| refused(runs, &why))? + 1;
        loop {
            let path = runs.join(format!("{spec}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(RunFolder { path }),
                // Another run took the number just now.
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(why) => return Err(refused(&path, &why)),
            }
        }
    }

    /// The folder of a run that has weights.
    pub fn open(path: &Path) -> Result<RunFolder, Error> {
        match [SPEC, WEIGHTS].into_iter().find(|name| !path.join(name).is_file()) {
            Some(lacks) => Err(Error::NotARun { path: path.to_owned(), lacks }),
            None => Ok(RunFolder { path: path.to_owned() }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved spec: overrides and `use`d files written out.
    pub fn spec(&self) -> PathBuf {
        self.path.join(SPEC)
    }

    /// The plan's text.
    pub fn plan(&self) -> PathBuf {
        self.path.join(PLAN)
    }

    /// The text of the plan that predicts: of one device, whatever mesh the run was trained on.
    pub fn prediction(&self) -> PathBuf {
        let own = self.path.join(PREDICTION);
        if own.is_file() { own } else { self.plan() }
    }

    /// A JSON object a step.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The weights of record.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }

    /// The run's own copy of the tokenizer file, if it has one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        Some(self.path.join(TOKENIZER)).filter(|path| path.is_file())
    }

    /// Copies the tokenizer file into the run, so that the run can be moved and the spec's folder can change.
    pub fn keep_tokenizer(&self, from: &Path) -> Result<(), Error> {
        let to = self.path.join(TOKENIZER);
        fs::copy(from, &to).map(|_| ()).map_err(|why| refused(&to, &why))
    }

    /// Writes the resolved spec.
    pub fn write_spec(&self, text: &str) -> Result<(), Error> {
        write_text(&self.spec(), text)
    }

    /// Writes the plan.
    pub fn write_plan(&self, text: &str) -> Result<(), Error> {
        write_text(&self.plan(), text)
    }

    /// Writes the plan that predicts, where it is another one.
    pub fn write_prediction(&self, text: &str) -> Result<(), Error> {
        write_text(&self.path.join(PREDICTION), text)
    }
}

/// Writes a text file beside its place and renames it: the old one stays whole until the new one is.
pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    let beside = path.with_extension("partial");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(|why| refused(path, &why))
}

fn refused(path: &Path, why: &io::Error) -> Error {
    Error::Write { path: path.to_owned(), why: why.to_string() }
}

/// The largest n of the folders `<spec>-<n>`; 0 if there is none.
fn last_number(runs: &Path, spec: &str) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(runs)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(spec)?.strip_prefix('-')?.parse().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scratch::Folder;

    #[test]
    fn numbers_go_on() {
        let folder = Folder::new("runs");
        let runs = folder.path("runs");
        let name = || RunFolder::create(None, &runs, "gpt").unwrap().path().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!([name(), name()], ["gpt-1", "gpt-2"]);
        folder.write("runs/gpt-7/x", "");
        folder.write("runs/gpt-mini-9/x", "");
        fs::remove_dir(runs.join("gpt-1")).unwrap();
        assert_eq!(name(), "gpt-8");
    }

    #[test]
    fn runs_are_not_written_over_and_unfinished_ones_not_opened() {
        let folder = Folder::new("runs-keep");
        let out = folder.path("mine");
        let run = RunFolder::create(Some(&out), &folder.path("runs"), "gpt").unwrap();
        assert_eq!(RunFolder::open(&out).unwrap_err(), Error::NotARun { path: out.clone(), lacks: "spec.mesh" });
        run.write_spec("model M() {}").unwrap();
        run.write_plan("plan").unwrap();
        assert_eq!(fs::read_to_string(run.plan()).unwrap(), "plan");
        assert_eq!(RunFolder::create(Some(&out), &folder.path("runs"), "gpt").unwrap_err().code(), "run::exists");
        assert_eq!(RunFolder::open(&out).unwrap_err().code(), "run::missing");
        folder.write("mine/weights.safetensors", "");
        assert_eq!(RunFolder::open(&out).unwrap(), run);
        folder.write("t.json", "{}");
        assert!(run.tokenizer().is_none());
        run.keep_tokenizer(&folder.path("t.json")).unwrap();
        assert!(run.tokenizer().is_some());
    }
}
