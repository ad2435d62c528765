//! How a command ends: what is printed, and the exit code.

use meshwright_grammar::{Diagnostic, Located, Severity, Sources, render};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Why a command did not do what it was asked for.
pub enum Failure {
    /// The spec or its data is at fault.
    Spec(Vec<Diagnostic>, Sources),
    /// The spec or its data is at fault, without a place in a spec: code, message, help.
    Data(String, String, Option<String>),
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// A run stopped because of what the spec promises, or what the machine lacks: code, message, help.
    Halted(String, String, String),
    /// A run failed.
    Run(String),
    /// What was compared differs; it has been printed already.
    Differs,
    /// The run was asked to stop; its state is written.
    Stopped,
}

/// What commands give.
pub type Outcome = Result<(), Failure>;

impl From<meshwright_runtime::error::Error> for Failure {
    fn from(error: meshwright_runtime::error::Error) -> Self {
        use meshwright_runtime::error::Error::{Cuda, CudaLibrary, CudaMissing, Slots};
        if let Slots { .. } | CudaMissing { .. } | CudaLibrary { .. } | Cuda { .. } = error {
            return Failure::Halted(error.code().to_string(), error.to_string(), error.help());
        }
        Failure::Data(error.code().to_string(), error.to_string(), Some(error.help().to_string()))
    }
}

/// Prints what there is to say and gives the exit code.
pub fn exit(outcome: Outcome, json: bool) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, json);
            ExitCode::from(code(&failure))
        }
    }
}

fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Spec(..) | Failure::Data(..) | Failure::Differs => 1,
        Failure::Usage(_) => 2,
        Failure::Run(_) | Failure::Halted(..) => 3,
        Failure::Stopped => 75,
    }
}

fn tell(failure: &Failure, json: bool) {
    match failure {
        Failure::Spec(diagnostics, sources) if json => print_json(&json!({ "diagnostics": as_json(diagnostics, sources) })),
        Failure::Spec(diagnostics, sources) => show(diagnostics, sources),
        Failure::Data(code, message, help) => tell_plainly((code, message, help.as_deref()), json),
        Failure::Halted(code, message, help) => tell_plainly((code, message, Some(help)), json),
        Failure::Usage(message) | Failure::Run(message) if json => print_json(&json!({ "error": message })),
        Failure::Usage(message) | Failure::Run(message) => eprintln!("error: {message}"),
        Failure::Differs | Failure::Stopped => {}
    }
}

/// A diagnostic without a place in a spec.
fn tell_plainly((code, message, help): (&str, &str, Option<&str>), json: bool) {
    if json {
        let diagnostic = json!({ "code": code, "severity": "error", "message": message, "places": [], "help": help });
        return print_json(&json!({ "diagnostics": [diagnostic] }));
    }
    eprintln!("{code}\n\n  × {message}");
    if let Some(help) = help {
        eprintln!("  help: {help}");
    }
}

/// Renders diagnostics on standard error.
pub fn show(diagnostics: &[Diagnostic], sources: &Sources) {
    if diagnostics.is_empty() {
        return;
    }
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", render(diagnostics, sources, color, 100));
}

/// Diagnostics as JSON values.
pub fn as_json(diagnostics: &[Diagnostic], sources: &Sources) -> Vec<Value> {
    diagnostics.iter().map(|diagnostic| located_json(&diagnostic.located(sources))).collect()
}

fn located_json(located: &Located) -> Value {
    let place = |place: &meshwright_grammar::Place| {
        json!({
            "file": place.file, "line": place.line, "column": place.column,
            "end_line": place.end_line, "end_column": place.end_column, "text": place.text,
        })
    };
    let severity = match located.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let places: Vec<Value> = located.places.iter().map(place).collect();
    json!({ "code": located.code, "severity": severity, "message": located.message, "places": places, "help": located.help })
}

/// Prints one JSON value on a line of standard output.
pub fn print_json(value: &Value) {
    print_line(&value.to_string());
}

/// Prints a line on standard output.
pub fn print_line(text: &str) {
    print_text(&format!("{text}\n"));
}

/// Prints text on standard output; a reader that has gone away is not an error.
pub fn print_text(text: &str) {
    // A closed pipe (`meshwright plan … | head`) is the reader's choice.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
