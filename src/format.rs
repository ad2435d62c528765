//! `meshwright fmt SPEC…`: the one layout.

use crate::outcome::{Failure, Outcome, print_json, print_line};
use meshwright_grammar::Sources;
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// The files to format.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; fail if a file is not in the layout.
    #[arg(long)]
    check: bool,
}

/// Formats files in place, or says which are not in the layout.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let mut changed = Vec::new();
    for path in &arguments.files {
        let name = path.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).map_err(|why| Failure::Usage(format!("cannot read {name}: {why}")))?;
        let formatted = match meshwright_grammar::format(&text) {
            Ok(formatted) => formatted,
            Err(diagnostics) => {
                let mut sources = Sources::new();
                sources.add(name, text);
                return Err(Failure::Spec(diagnostics, sources));
            }
        };
        if formatted != text {
            if !arguments.check {
                std::fs::write(path, &formatted).map_err(|why| Failure::Run(format!("cannot write {name}: {why}")))?;
            }
            changed.push(name);
        }
    }
    report(&changed, arguments.check, json)
}

fn report(changed: &[String], check: bool, json: bool) -> Outcome {
    if json {
        print_json(&json!({ "changed": changed }));
    } else if check {
        changed.iter().for_each(|name| print_line(&format!("{name} is not in the layout; 'meshwright fmt {name}' puts it there")));
    }
    if check && !changed.is_empty() { Err(Failure::Differs) } else { Ok(()) }
}
