//! The parser that pest derives from `grammar.pest`; the only file that names pest's machinery.
//!
//! Requires a text that [`crate::layout`] went over. Ensures pairs whose byte offsets are those of the user's text.

use pest::Parser;

pub(crate) type Pair<'t> = pest::iterators::Pair<'t, Rule>;

#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
struct SpecParser;

/// Where a text stopped making sense: the byte, and the rules that would have gone on there.
#[derive(Debug)]
pub(crate) struct Failure {
    pub at: usize,
    pub expected: Vec<Rule>,
}

/// Reads the whole of `text` by one rule.
pub(crate) fn read(wanted: Rule, text: &str) -> Result<Pair<'_>, Failure> {
    match SpecParser::parse(wanted, text) {
        Ok(mut pairs) => Ok(pairs.next().expect("a rule that matched gives a pair")),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &pest::error::Error<Rule>) -> Failure {
    let at = match error.location {
        pest::error::InputLocation::Pos(at) => at,
        pest::error::InputLocation::Span((at, _)) => at,
    };
    let expected = match &error.variant {
        pest::error::ErrorVariant::ParsingError { positives, .. } => positives.clone(),
        pest::error::ErrorVariant::CustomError { .. } => Vec::new(),
    };
    Failure { at, expected }
}

/// The parts of a pair, taken out by what they are; punctuation and keywords are left out unless asked for.
pub(crate) struct Parts<'t> {
    parts: std::collections::VecDeque<Pair<'t>>,
}

impl<'t> Parts<'t> {
    /// The parts right inside `pair`.
    pub fn of(pair: Pair<'t>) -> Self {
        Parts { parts: pair.into_inner().collect() }
    }

    /// The next part, if it is of this rule.
    pub fn take(&mut self, wanted: Rule) -> Option<Pair<'t>> {
        if self.peek() == Some(wanted) { self.parts.pop_front() } else { None }
    }

    /// The rule of the next part.
    pub fn peek(&self) -> Option<Rule> {
        self.parts.front().map(|pair| pair.as_rule())
    }

    /// The next part whatever it is.
    pub fn next(&mut self) -> Option<Pair<'t>> {
        self.parts.pop_front()
    }

    /// Everything before the next part of this rule is dropped, and that part given.
    pub fn find(&mut self, wanted: Rule) -> Option<Pair<'t>> {
        let at = self.parts.iter().position(|pair| pair.as_rule() == wanted)?;
        self.parts.drain(..at);
        self.parts.pop_front()
    }

    /// Like [`Parts::find`], but not past a part of the rule `fence`.
    pub fn find_before(&mut self, wanted: Rule, fence: Rule) -> Option<Pair<'t>> {
        let found = self.parts.iter().position(|pair| pair.as_rule() == wanted)?;
        let fence = self.parts.iter().position(|pair| pair.as_rule() == fence);
        if fence.is_some_and(|fence| fence < found) { None } else { self.find(wanted) }
    }

    /// All parts of this rule that are left.
    pub fn all(self, wanted: Rule) -> impl Iterator<Item = Pair<'t>> {
        self.parts.into_iter().filter(move |pair| pair.as_rule() == wanted)
    }
}
