//! `meshwright completions SHELL`.

use crate::outcome::{Outcome, print_text};
use clap::CommandFactory;

#[derive(clap::Args)]
pub struct Arguments {
    /// Which shell.
    shell: clap_complete::Shell,
}

/// Prints the completions.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Arguments::command(), "meshwright", &mut text);
    print_text(&String::from_utf8_lossy(&text));
    Ok(())
}
