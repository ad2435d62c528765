//! What a user is told who is at fault in a model: one function per error, by subject.
//!
//! Requires spans of the loaded files. Ensures that every code used here stands in [`CODES`], and that one place is told once.

mod codes;
pub(crate) mod dims;
pub(crate) mod experts;
pub(crate) mod layers;
pub(crate) mod names;
pub(crate) mod operators;
pub(crate) mod states;
pub(crate) mod weights;

pub use codes::CODES;
pub(crate) use meshwright_grammar::word::nearest;
use meshwright_grammar::{Diagnostic, Span};

/// All findings of the stage, in order.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    found: Vec<Diagnostic>,
}

/// An error was reported; what depends on it is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop;

/// A result whose error has been reported.
pub(crate) type Fallible<T> = Result<T, Stop>;

impl Errors {
    /// Adds a finding unless the same was found at the same place (a layer is looked at once per call).
    pub fn push(&mut self, new: Diagnostic) {
        let known = |old: &Diagnostic| old.code == new.code && old.span() == new.span();
        if new.span().is_none() || !self.found.iter().any(known) {
            self.found.push(new);
        }
    }

    /// Adds a finding and stops what it arose in.
    pub fn stop(&mut self, new: Diagnostic) -> Stop {
        self.push(new);
        Stop
    }

    /// Number of errors; warnings do not count.
    pub fn count(&self) -> usize {
        self.found.iter().filter(|one| one.is_error()).count()
    }

    /// Number of findings, warnings too.
    pub fn found(&self) -> usize {
        self.found.len()
    }

    /// Findings from number `from` on that stand in another file happened in a call at `span`.
    pub fn called_from(&mut self, from: usize, span: Span) {
        for one in &mut self.found[from..] {
            if one.labels.iter().all(|(place, _)| place.file != span.file) {
                one.labels.push((span, "in this call".to_string()));
            }
        }
    }

    /// Everything found.
    pub fn take(self) -> Vec<Diagnostic> {
        self.found
    }
}

/// `did you mean …`, if a candidate is near.
pub(crate) fn suggest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>, otherwise: &str) -> String {
    match nearest(word, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_string(),
    }
}
