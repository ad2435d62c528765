//! The table: lines of named figures, for people or as JSON.
//!
//! Ensures: a line is printed as soon as it is measured.

use serde_json::{Map, Value};

/// One number with what it is called: its unit, or what it is a share of.
pub struct Figure<'a>(pub &'a str, pub f64);

/// Where lines go.
pub struct Table {
    json: bool,
    part: &'static str,
}

impl Table {
    /// A table on standard output.
    pub fn new(json: bool) -> Table {
        Table { json, part: "" }
    }

    /// Begins a part: `machine`, `kernels`, `models`.
    pub fn part(&mut self, part: &'static str, about: &str) {
        self.part = part;
        if !self.json {
            println!("\n{part}: {about}");
        }
    }

    /// Prints one line.
    pub fn line(&mut self, name: &str, figures: &[Figure<'_>]) {
        if self.json {
            let mut line = Map::new();
            line.insert("part".into(), self.part.into());
            line.insert("name".into(), name.into());
            line.extend(figures.iter().map(|Figure(what, value)| (what.to_string(), Value::from(*value))));
            println!("{}", Value::Object(line));
        } else {
            let figures: String = figures.iter().map(|Figure(what, value)| format!("  {:>9} {what}", written(*value))).collect();
            println!("  {name:36}{figures}");
        }
    }
}

/// A number with about three digits that count.
fn written(value: f64) -> String {
    match value.abs() {
        _ if value == value.trunc() => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        0.1..10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Several measurements of one thing in short.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The middle one (of an even number: the larger one of the two in the middle).
    pub median: f64,
    /// The smallest: what other work on the machine disturbed least, if these are times.
    pub least: f64,
}

impl Spread {
    /// # Panics
    /// If there is no measurement.
    pub fn of(mut samples: Vec<f64>) -> Spread {
        samples.sort_by(f64::total_cmp);
        Spread { median: samples[samples.len() / 2], least: samples[0] }
    }
}

/// The middle of several measurements.
///
/// # Panics
/// If there is none.
pub fn median(samples: Vec<f64>) -> f64 {
    Spread::of(samples).median
}
