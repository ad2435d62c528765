//! What can be checked of the house rules by reading the sources.
//!
//! Requires the repository. Ensures: headers, lengths, names, import directions, reasons of dependencies, a case for every error code.

use super::folder::{files, root, shown};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file may have so many lines.
const LONGEST_FILE: usize = 500;
/// A function should have at most so many lines; so many per thousand may have more.
const LONGEST_FUNCTION: usize = 30;
const LONG_PER_THOUSAND: usize = 30;

/// All Rust sources with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable source");
        (path, text)
    };
    files(&root(), "rs").into_iter().map(read).collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let without = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| shown(&path)).collect::<Vec<_>>();
    none("files that do not open with `//!`", &without);
}

#[test]
fn files_are_short() {
    let long = |(path, text): (PathBuf, String)| {
        let lines = text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines", shown(&path)))
    };
    none("files that are too long", &sources().into_iter().filter_map(long).collect::<Vec<_>>());
}

/// Name, first line and number of lines of every function, found by its indentation (rustfmt's).
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((_, name)) = head(&words) {
            open.push((name.to_string(), number, indent));
        }
        if (line.trim() == "}" || line.trim_start().starts_with("} ")) && open.last().is_some_and(|last| last.2 == indent) {
            let (name, start, _) = open.pop().expect("an open function");
            found.push((name, start + 1, number - start + 1));
        } else if line.trim_end().ends_with('}') && open.last().is_some_and(|last| last.1 == number) {
            open.pop();
        }
    }
    found
}

/// The name after `fn`, if the line begins a function.
fn head<'a>(words: &[&'a str]) -> Option<(usize, &'a str)> {
    let at = words.iter().position(|word| *word == "fn")?;
    let before = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "extern", "\"C\""];
    let plain = words[..at].iter().all(|word| before.contains(word));
    let name = words.get(at + 1)?.split(['(', '<']).next()?;
    plain.then_some((at, name))
}

#[test]
fn most_functions_are_short() {
    let (mut all, mut long) = (0, Vec::new());
    for (path, text) in sources() {
        for (name, line, lines) in functions(&text) {
            all += 1;
            if lines > LONGEST_FUNCTION {
                long.push(format!("{}:{line} {name}: {lines} lines", shown(&path)));
            }
        }
    }
    assert!(all > 500, "functions are found: {all}");
    assert!(long.len() * 1000 <= all * LONG_PER_THOUSAND, "{} of {all} functions are long:\n{}", long.len(), long.join("\n"));
}

#[test]
fn no_module_is_a_drawer() {
    let drawers = ["utils", "util", "helpers", "helper", "common", "misc", "shared"];
    let named = |path: &Path| path.components().any(|part| drawers.contains(&part.as_os_str().to_string_lossy().trim_end_matches(".rs")));
    let found: Vec<String> = sources().into_iter().map(|(path, _)| shown(&path)).filter(|path| named(Path::new(path))).collect();
    none("modules without a meaning", &found);
}

#[test]
fn nothing_is_left_open() {
    // Put together here, so that this file does not hold them.
    let words = ["to", "do!"].concat();
    let open = [
        words.clone(),
        ["unimple", "mented!"].concat(),
        ["#[ig", "nore"].concat(),
        ["allow(dead", "_code"].concat(),
        ["FIX", "ME"].concat(),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if open.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    none("unfinished places", &found);
}

/// The corridor, in order: a stage uses itself and those before it.
const STAGES: [&str; 7] = ["model", "graph", "shard", "fuse", "schedule", "memory", "emit"];

#[test]
fn compiler_stages_only_look_back() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let name = shown(&path);
        let Some(stage) = name.strip_prefix("compiler/src/").and_then(|rest| rest.split(['/', '.']).next()) else { continue };
        let later = match STAGES.iter().position(|known| *known == stage) {
            Some(at) => &STAGES[at + 1..],
            None if stage == "op" => &STAGES[..],
            None => continue,
        };
        for (number, line) in text.lines().enumerate() {
            if later.iter().any(|later| line.contains(&format!("crate::{later}"))) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("stages that look ahead", &found);
}

/// The text of a table of a manifest: from `[name]` to the next table.
fn table<'a>(manifest: &'a str, name: &str) -> &'a str {
    let after = manifest.split(&format!("\n[{name}]\n")).nth(1).unwrap_or("");
    after.split("\n[").next().unwrap_or("")
}

#[test]
fn compiler_and_runtime_never_meet() {
    let manifest = |of: &str| fs::read_to_string(root().join(of).join("Cargo.toml")).expect("a manifest");
    assert!(!manifest("compiler").contains("meshwright-runtime"), "the compiler knows the runtime");
    assert!(!table(&manifest("runtime"), "dependencies").contains("meshwright-compiler"), "the runtime knows the compiler");
    assert!(!table(&manifest("plan"), "dependencies").contains("meshwright-"), "the plan uses nobody");
    assert!(!table(&manifest("grammar"), "dependencies").contains("meshwright-"), "the grammar uses nobody");
}

#[test]
fn the_compiler_is_pure() {
    let impure = ["std::fs", "std::time", "std::thread", "std::env", "println!", "eprintln!", "std::process"];
    let mut found = Vec::new();
    for (path, text) in sources() {
        let name = shown(&path);
        if !name.starts_with("compiler/src/") || name.contains("tests") {
            continue;
        }
        for (number, line) in text.split("#[cfg(test)]").next().unwrap_or("").lines().enumerate() {
            if impure.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("the compiler reaches outside", &found);
}

#[test]
fn unsafe_stands_in_the_runtime_with_its_reason() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let name = shown(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let marked = [" {", " impl"].iter().any(|rest| code.contains(&format!("unsafe{rest}")));
            let near = &lines[number.saturating_sub(6)..=number];
            let reason = near.iter().any(|line| line.contains("SAFETY:"));
            if marked && !(name.starts_with("runtime/") && reason) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("unsafe code elsewhere, or without its reason", &found);
}

#[test]
fn every_dependency_has_a_reason() {
    let mut found = Vec::new();
    for path in files(&root(), "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(&path).expect("a manifest");
        let mut inside = false;
        let mut before = "";
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
                // A table for one target may have its reason above its heading.
                before = if before.starts_with('#') { before } else { line };
                continue;
            }
            if inside && line.contains('=') && !line.starts_with('#') {
                let own = line.starts_with("meshwright-") || line.contains("workspace = true") || line.contains(".workspace");
                // A line that continues a group under one reason, such as `serde` and `serde_json`, stands right below the other.
                let reasoned = before.starts_with('#') || line.contains(" # ") || continues(&text, line);
                if !own && !reasoned {
                    found.push(format!("{}: {line}", shown(&path)));
                }
            }
            before = line;
        }
    }
    none("dependencies without a reason", &found);
}

/// Whether a dependency is of the family of the one above it, under one reason: `cranelift-codegen` below `cranelift-jit`.
fn continues(text: &str, line: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|own| *own == line) else { return false };
    let family = |line: &str| line.split(['-', '_', ' ']).next().unwrap_or("").to_string();
    at > 0 && !lines[at - 1].is_empty() && family(lines[at - 1]) == family(line)
}

/// Every code of every stage.
fn codes() -> BTreeSet<String> {
    let compiler = meshwright_compiler::codes().map(|info| info.code.to_string());
    compiler.chain(meshwright_runtime::error::CODES.iter().map(|(code, _, _)| code.to_string())).collect()
}

/// Codes whose case is no file: what they are about is too large for one, or a fault of ours that no spec brings up. Each has a test where
/// it arises, or is the last word of a check that must never fail.
const WITHOUT_FILE: [(&str, &str); 10] = [
    ("cuda::failed", "runtime/src/device/cuda/tests.rs"),
    ("cuda::library", "tests/all/nvrtc.rs"),
    ("cuda::missing", "tests/all/targets.rs"),
    // The settings refuse it first.
    ("data::held_out", "runtime/src/data/tests.rs"),
    ("syntax::long", "grammar/tests/errors.rs"),
    ("use::deep", "tests/all/errors.rs"),
    ("plan::bug", "compiler/src/lib.rs"),
    ("run::kernel", "runtime/src/execute/fleet.rs"),
    ("run::deadlock", "runtime/src/execute/tests/failures.rs"),
    ("run::disagreement", "runtime/src/execute/tests/failures.rs"),
];

#[test]
fn every_error_code_has_a_case() {
    let cases = root().join("tests/cases");
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().split('.').next().unwrap_or("").replace("__", "::"));
    let mut shown: BTreeSet<String> = files(&cases.join("errors"), "mesh").into_iter().filter_map(name).collect();
    let folders = fs::read_dir(cases.join("data")).expect("the data cases");
    shown.extend(folders.filter_map(|entry| name(entry.expect("an entry").path())));
    for (code, place) in WITHOUT_FILE {
        let text = fs::read_to_string(root().join(place)).expect(place);
        assert!(text.contains(&format!("\"{code}\"")) || code == "run::kernel" && text.contains("Error::Kernel"), "{place} has {code}");
        shown.insert(code.to_string());
    }
    let missing: Vec<String> = codes().into_iter().filter(|code| !shown.contains(code)).collect();
    none("codes without a case", &missing);
    assert!(codes().len() >= 60, "{} codes", codes().len());
}
