//! `meshwright test [PATH]`: lowered plans of a folder of specs against their snapshots.
//!
//! The snapshot of `a/b.mesh` is `a/b.plan`: the plan's text. A plan that differs is shown as a diff; `--accept` makes it the snapshot.

use crate::outcome::{Failure, Outcome, print_json, print_line, print_text};
use crate::spec::SpecArguments;
use meshwright_compiler::Target;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// A folder, searched with its subfolders, or one spec.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Make what the plans are now their snapshots.
    #[arg(long)]
    accept: bool,
}

/// What became of one spec.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    Differs,
    New,
    Accepted,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Differs => "differs",
            Verdict::New => "new",
            Verdict::Accepted => "accepted",
        }
    }
}

/// Tests every spec that has a model; the first broken spec ends it with its diagnostics.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let mut specs = Vec::new();
    find(&arguments.path, &mut specs).map_err(|why| Failure::Usage(format!("cannot read {}: {why}", arguments.path.display())))?;
    if specs.is_empty() {
        return Err(Failure::Usage(format!("no .mesh file in {}", arguments.path.display())));
    }
    specs.sort();
    let mut verdicts = Vec::new();
    for spec in specs {
        verdicts.push((spec.clone(), judge(spec, arguments.accept, json)?));
    }
    report(&verdicts, json);
    let failed = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Differs | Verdict::New));
    if failed { Err(Failure::Differs) } else { Ok(()) }
}

fn find(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?.path();
            let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && (entry.is_dir() || entry.extension().is_some_and(|ending| ending == "mesh")) {
                find(&entry, found)?;
            }
        }
        return Ok(());
    }
    std::fs::metadata(path)?;
    found.push(path.to_path_buf());
    Ok(())
}

fn judge(spec: PathBuf, accept: bool, json: bool) -> Result<Verdict, Failure> {
    let snapshot = spec.with_extension("plan");
    let loaded = SpecArguments { spec, set: Vec::new(), timings: false }.compile(Target::Cpu, json)?;
    let text = meshwright_plan::print::print(&loaded.compiled.plan);
    let old = std::fs::read_to_string(&snapshot).ok();
    if old.as_deref() == Some(text.as_str()) {
        return Ok(Verdict::Same);
    }
    if accept {
        std::fs::write(&snapshot, &text).map_err(|why| Failure::Run(format!("cannot write {}: {why}", snapshot.display())))?;
        return Ok(Verdict::Accepted);
    }
    match old {
        Some(old) => {
            if !json {
                print_text(&difference(&snapshot.to_string_lossy(), &old, &text));
            }
            Ok(Verdict::Differs)
        }
        None => Ok(Verdict::New),
    }
}

fn difference(name: &str, old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(3).header(&format!("{name} (snapshot)"), &format!("{name} (now)")).to_string()
}

fn report(verdicts: &[(PathBuf, Verdict)], json: bool) {
    if json {
        let specs: Vec<_> = verdicts.iter().map(|(spec, verdict)| json!({ "spec": spec, "verdict": verdict.word() })).collect();
        return print_json(&json!({ "specs": specs }));
    }
    for (spec, verdict) in verdicts {
        print_line(&format!("{:>8}  {}", verdict.word(), spec.display()));
    }
    if verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Differs | Verdict::New)) {
        print_line("'meshwright test --accept' makes the plans as they are now the snapshots");
    }
}
