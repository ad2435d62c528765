//! `meshwright init [NAME]`: a starter spec.

use crate::outcome::{Failure, Outcome, print_json, print_line};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// The spec's name; the file is NAME.mesh.
    #[arg(default_value = "starter")]
    name: String,
}

const STARTER: &str = include_str!("../examples/starter.mesh");

/// Writes the starter spec; never over a file.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let path = PathBuf::from(format!("{}.mesh", arguments.name));
    if path.exists() {
        return Err(Failure::Usage(format!("{} exists; 'meshwright init ANOTHER_NAME' leaves it alone", path.display())));
    }
    std::fs::write(&path, STARTER).map_err(|why| Failure::Run(format!("cannot write {}: {why}", path.display())))?;
    if json {
        print_json(&json!({ "spec": path }));
    } else {
        print_line(&format!("wrote {0}; 'meshwright train {0}' trains it on the text files beside it", path.display()));
    }
    Ok(())
}
