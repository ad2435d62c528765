//! `meshwright explain CODE`: what an error code means, and the ways out.

use crate::outcome::{Failure, Outcome, print_json, print_text};
use serde_json::json;

#[derive(clap::Args)]
pub struct Arguments {
    /// An error code, as diagnostics show it: `dims::unknown`. Without one, all codes are listed.
    code: Option<String>,
}

/// A code with its title and explanation.
type Entry = (&'static str, &'static str, &'static str);

/// Every code of every stage, in order of code.
pub fn all() -> Vec<Entry> {
    let compiler = meshwright_compiler::codes().map(|info| (info.code, info.title, info.explanation));
    let mut all: Vec<Entry> = compiler.chain(meshwright_runtime::error::CODES.iter().copied()).collect();
    all.sort_unstable();
    all
}

/// Prints one explanation, or the list.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let all = all();
    let Some(wanted) = &arguments.code else {
        if json {
            let codes: Vec<_> = all.iter().map(|(code, title, _)| json!({ "code": code, "title": title })).collect();
            print_json(&json!({ "codes": codes }));
            return Ok(());
        }
        for (code, title, _) in &all {
            print_text(&format!("{code:32} {title}\n"));
        }
        return Ok(());
    };
    let Some((code, title, explanation)) = all.iter().find(|(code, _, _)| code == wanted) else {
        let nearest = meshwright_grammar::word::nearest(wanted, all.iter().map(|(code, _, _)| *code));
        let hint = nearest.map_or_else(|| "see 'meshwright explain' for all codes".to_string(), |near| format!("did you mean '{near}'?"));
        return Err(Failure::Usage(format!("there is no error code '{wanted}'; {hint}")));
    };
    if json {
        print_json(&json!({ "code": code, "title": title, "explanation": explanation }));
    } else {
        print_text(&format!("{code}: {title}\n\n{explanation}\n"));
    }
    Ok(())
}
