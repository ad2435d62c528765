//! Every error a spec can have, as a person reads it.
//!
//! A case is a file `tests/cases/errors/CODE.mesh` (`model__unknown_dim.mesh`; `CODE.more.mesh` is a further one), with overrides as
//! `KEY=VALUE` lines in `CODE.set`. Its snapshot `CODE.txt` holds the source and what is said about it. Ensures that the case brings up
//! its code and that everything said has a place or an override to blame, and a help.

use super::folder::{root, shown};
use super::snapshot;
use super::spec::compile_in;
use meshwright_grammar::{Diagnostic, render};
use std::fs;
use std::path::{Path, PathBuf};

/// The cases, sorted.
fn cases() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("tests/cases/errors")).expect("the cases");
    let mut found: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "mesh"));
    found.sort();
    found
}

/// `model__unknown_dim.more.mesh` is a case of `model::unknown_dim`.
fn code(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or("").replace("__", "::")
}

fn overrides(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path.with_extension("set")).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The diagnostics of a case, and the whole of it as its snapshot holds it.
fn told(path: &Path) -> (Vec<Diagnostic>, String) {
    let folder = path.parent().expect("a folder");
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let set = overrides(path);
    let (sources, result) = compile_in(folder, &name, &set);
    let diagnostics = match result {
        Ok(compiled) => compiled.warnings,
        Err(diagnostics) => diagnostics,
    };
    let source = fs::read_to_string(path).expect("a case");
    let set: String = set.iter().map(|(key, value)| format!("--set {key}={value}\n")).collect();
    let rendered = render(&diagnostics, &sources, false, 100);
    (diagnostics, format!("{source}{set}{}\n{rendered}", "─".repeat(100)))
}

#[test]
fn every_case_says_what_it_said() {
    let mut wrong = Vec::new();
    for path in cases() {
        let (diagnostics, text) = told(&path);
        let code = code(&path);
        if !diagnostics.iter().any(|one| one.code == code) {
            let codes: Vec<&str> = diagnostics.iter().map(|one| one.code).collect();
            wrong.push(format!("{} does not bring up {code}, but {codes:?}\n{text}", shown(&path)));
            continue;
        }
        for one in &diagnostics {
            if one.help.is_none() {
                wrong.push(format!("{}: {} has no help", shown(&path), one.code));
            }
        }
        wrong.extend(snapshot::compare(&path.with_extension("txt"), &text).err());
    }
    snapshot::all_equal(&wrong);
}

#[test]
fn a_short_message_starts_small_and_has_no_full_stop() {
    for path in cases() {
        for one in told(&path).0 {
            let first = one.message.chars().next().unwrap_or('A');
            assert!(!first.is_uppercase() && !one.message.ends_with('.'), "{}: {}", shown(&path), one.message);
        }
    }
}

#[test]
fn a_chain_of_files_ends_somewhere() {
    // Too many files for a case: made here.
    let next = |name: &str| name.trim_end_matches(".mesh").parse::<usize>().map(|number| format!("use \"{}.mesh\"\n", number + 1));
    let (_, result) = meshwright_grammar::load("0.mesh", &mut |name| next(name).map_err(|why| why.to_string()));
    let codes: Vec<&str> = result.expect_err("an endless chain").iter().map(|one| one.code).collect();
    assert_eq!(codes, ["use::deep"]);
}
