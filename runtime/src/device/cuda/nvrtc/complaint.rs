//! What the compiler complains about, in words of the plan: which kernel, which line.
//!
//! Requires: the log of a compilation that failed. Ensures: the first error comes first, with its kernel's name, its line and the lines around it.

use crate::device::cuda::emit::{Function, Source};
use crate::error::Error;
use meshwright_plan::Kernel;
use std::fmt::Write;

/// Lines shown before and after the one with the error.
const AROUND: usize = 2;

/// The error that says it.
pub(super) fn error(source: &Source, text: &str, log: &str, kind: &str) -> Error {
    let errors: Vec<&str> = log.lines().filter(|line| is_error(line)).collect();
    let Some(first) = errors.first() else {
        return Error::Kernel { number: None, name: "of this plan".into(), why: format!("{kind}: {log}") };
    };
    let number = line_number(first);
    let function = number.map_or_else(|| named(source, first), |number| at(source, text, number));
    let mut why = message(first).to_string();
    if let Some(number) = number {
        excerpt(text, number, &mut why);
    }
    if errors.len() > 1 {
        // Writing to a string cannot fail.
        let _ = write!(why, "\n… and {} more", errors.len() - 1);
    }
    let name = function.map_or("prelude".into(), |(_, function)| function.name.clone());
    Error::Kernel { number: function.map(|(number, _)| number), name, why }
}

fn is_error(line: &str) -> bool {
    line.contains("): error")
        || line.contains("): catastrophic error")
        || line.starts_with("ptxas") && !line.starts_with("ptxas info") && line.contains("error")
}

/// `kernels.cu(12): error: …` → 12.
fn line_number(line: &str) -> Option<usize> {
    line.strip_prefix("kernels.cu(")?.split_once(')')?.0.parse().ok()
}

/// What stands after the place.
fn message(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, message)| message.trim()).trim_start_matches("error: ")
}

/// The functions of all kernels, each with its kernel's number.
fn functions(source: &Source) -> impl Iterator<Item = (Kernel, &Function)> {
    source.kernels.iter().flat_map(|(number, functions)| functions.iter().map(move |function| (number, function)))
}

/// The function whose text has this line of all.
fn at<'a>(source: &'a Source, text: &str, number: usize) -> Option<(Kernel, &'a Function)> {
    functions(source).find(|(_, function)| {
        let Some(start) = text.find(&function.text) else { return false };
        let first = text[..start].matches('\n').count() + 1;
        (first..first + function.text.lines().count()).contains(&number)
    })
}

/// The function that the assembler names in quotes.
fn named<'a>(source: &'a Source, line: &str) -> Option<(Kernel, &'a Function)> {
    functions(source).find(|(_, function)| line.contains(&format!("'{}'", function.name)))
}

/// The lines around one, numbered.
fn excerpt(text: &str, number: usize, why: &mut String) {
    let first = number.saturating_sub(AROUND).max(1);
    for (at, line) in text.lines().enumerate().skip(first - 1).take(number + AROUND + 1 - first) {
        let mark = if at + 1 == number { '>' } else { ' ' };
        // Writing to a string cannot fail.
        let _ = write!(why, "\n{mark} {:5} │ {line}", at + 1);
    }
}
