//! Every error of data, runs and weight files, as the command says it.
//!
//! A case is a folder `tests/cases/data/CODE`: what it holds is copied to a scratch folder, the commands of its file `command` (one
//! a line; `train spec.mesh --out run` if there is none) run there, and what the last one says is its snapshot `CODE.txt`.

use super::commands::meshwright;
use super::folder::{Scratch, root, shown};
use super::snapshot;
use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("tests/cases/data")).expect("the cases");
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the case") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).expect("a copied file");
        }
    }
}

/// What the command says, with its exit code.
fn said(case: &Path) -> String {
    let scratch = Scratch::new("data");
    copy(case, &scratch.path(""));
    let script = fs::read_to_string(case.join("command")).unwrap_or_else(|_| "train spec.mesh --out run\n".to_string());
    let mut text = String::new();
    for (at, line) in script.lines().enumerate() {
        let done = meshwright(&scratch.path(""), &line.split(' ').collect::<Vec<_>>());
        if at + 1 < script.lines().count() {
            assert_eq!(done.code, 0, "{}: {line}\n{}", shown(case), done.errors);
        } else {
            // What a run says before it stops is timed.
            let errors = done.errors.find("run::slots").map_or(&done.errors[..], |start| &done.errors[start..]);
            text = format!("meshwright {line}\n{errors}exit code {}\n", done.code);
        }
    }
    text
}

#[test]
fn every_case_says_what_it_said() {
    let mut wrong = Vec::new();
    for case in cases() {
        let code = case.file_name().map(|name| name.to_string_lossy().replace("__", "::")).unwrap_or_default();
        let text = said(&case);
        // What a run finds out on its way is no mistake in spec or data.
        let exit = if code == "run::slots" { 3 } else { 1 };
        if !text.contains(&code) || !text.contains("help: ") || !text.ends_with(&format!("exit code {exit}\n")) {
            wrong.push(format!("{} does not bring up {code} with a help and exit code {exit}:\n{text}", shown(&case)));
            continue;
        }
        wrong.extend(snapshot::compare(&case.with_extension("txt"), &text).err());
    }
    snapshot::all_equal(&wrong);
}
