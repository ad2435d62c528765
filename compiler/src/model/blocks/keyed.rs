//! A keyed block's entries, taken out by key and type; what is left at the end is unknown.

use super::super::error::Errors;
use super::{Reader, error};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Arg, BlockKind, Entry, Expr, ExprKind};

/// The entries of all blocks of one kind: later files replace earlier ones, overrides come last.
pub(crate) struct Keyed<'r, 'a> {
    reader: &'r mut Reader<'a>,
    kind: BlockKind,
    entries: Vec<(String, Span, Expr)>,
    asked: Vec<&'static str>,
    /// Where the block stands, if it does.
    pub span: Option<Span>,
}

impl<'r, 'a> Keyed<'r, 'a> {
    /// Gathers the entries of one kind of block.
    pub fn new(reader: &'r mut Reader<'a>, kind: BlockKind) -> Self {
        let mut keyed = Keyed { reader, kind, entries: Vec::new(), asked: Vec::new(), span: None };
        for block in keyed.reader.blocks.iter().filter(|block| block.kind == kind) {
            keyed.span = Some(block.word);
            let mut seen: Vec<(&str, Span)> = Vec::new();
            for entry in &block.entries {
                let Entry::Setting(setting) = entry else { continue };
                let (name, span) = (setting.key.text.as_str(), setting.key.span);
                match seen.iter().find(|(known, _)| *known == name) {
                    Some((_, before)) => keyed.reader.errors.push(error::set_twice(kind, name, span, *before)),
                    None => seen.push((name, span)),
                }
                put(&mut keyed.entries, name, span, &setting.value);
            }
        }
        for (key, value) in keyed.reader.overrides {
            if let Some((block, name)) = key.split_once('.')
                && block == kind.text()
            {
                put(&mut keyed.entries, name, value.span, value);
            }
        }
        keyed
    }

    /// The stage's findings.
    pub fn errors(&mut self) -> &mut Errors {
        self.reader.errors
    }

    /// Takes an entry out: its key's place and its value.
    pub fn take(&mut self, key: &'static str) -> Option<(Span, Expr)> {
        self.asked.push(key);
        let at = self.entries.iter().position(|(known, _, _)| known == key)?;
        let (_, span, value) = self.entries.remove(at);
        Some((span, value))
    }

    /// Takes every entry out: name, its place, value. For blocks whose keys are the user's own names.
    pub fn all(&mut self) -> Vec<(String, Span, Expr)> {
        std::mem::take(&mut self.entries)
    }

    /// The places of all entries that are there.
    pub fn spans(&self) -> Vec<(String, Span)> {
        self.entries.iter().map(|(key, span, value)| (key.clone(), span.to(value.span))).collect()
    }

    /// A whole number from `least`.
    pub fn whole(&mut self, key: &'static str, least: u64) -> Option<u64> {
        self.whole_at(key, least).map(|(_, number)| number)
    }

    /// A whole number from `least`, and where it stands.
    pub fn whole_at(&mut self, key: &'static str, least: u64) -> Option<(Span, u64)> {
        let (_, value) = self.take(key)?;
        let number = self.number_of(&value, key)?;
        self.whole_of(&value, key, number, least).map(|number| (value.span, number))
    }

    fn whole_of(&mut self, value: &Expr, key: &str, number: f64, least: u64) -> Option<u64> {
        if number >= least as f64 && number == number.trunc() && number < 9e15 {
            return Some(number as u64);
        }
        self.reader.errors.push(error::whole(value.span, key, number, least));
        None
    }

    /// A word, such as `bf16`.
    pub fn word(&mut self, key: &'static str, known: &[&str]) -> Option<String> {
        let (_, value) = self.take(key)?;
        if let ExprKind::Path(path) = &value.kind
            && known.contains(&path.text().as_str())
        {
            return Some(path.text());
        }
        self.reader.errors.push(error::one_of(value.span, key, &spelled(&value), known));
        None
    }

    /// The number that an expression is.
    pub fn number_of(&mut self, value: &Expr, what: &str) -> Option<f64> {
        self.reader.number(value, what)
    }

    /// Named numbers of a call such as `adamw(beta1: 0.9)`; the first one may stand without its name. Unknown names are errors.
    pub fn numbers(&mut self, callee: &str, args: &[Arg], known: &[&'static str]) -> Vec<(&'static str, f64)> {
        let mut found: Vec<(&'static str, f64)> = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            let wanted = match &arg.name {
                Some(name) => known.iter().find(|known| **known == name.text),
                None => known.first().filter(|_| at == 0),
            };
            let Some(wanted) = wanted else {
                let name = arg.name.as_ref().map_or_else(|| spelled(&arg.value), |name| name.text.clone());
                self.reader.errors.push(error::unknown_argument(arg.span, callee, &name, known));
                continue;
            };
            if found.iter().any(|(name, _)| name == wanted) {
                self.reader.errors.push(error::argument_twice(arg.span, callee, wanted));
            }
            if let Some(number) = self.number_of(&arg.value, wanted) {
                found.push((wanted, number));
            }
        }
        found
    }

    /// Reports what nobody asked for.
    pub fn close(self) {
        for (key, span, _) in &self.entries {
            self.reader.errors.push(error::unknown_key(*span, self.kind, key, &self.asked));
        }
    }
}

fn put(entries: &mut Vec<(String, Span, Expr)>, name: &str, span: Span, value: &Expr) {
    match entries.iter_mut().find(|(known, _, _)| known == name) {
        Some(entry) => *entry = (name.to_string(), span, value.clone()),
        None => entries.push((name.to_string(), span, value.clone())),
    }
}

/// A value in a few words, for messages.
pub(crate) fn spelled(value: &Expr) -> String {
    match &value.kind {
        ExprKind::Number(number) => number.text.clone(),
        ExprKind::Text(text) => format!("\"{text}\""),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::None => "none".to_string(),
        ExprKind::Path(path) => path.text(),
        ExprKind::Call { callee, .. } => format!("{}(…)", callee.text()),
        ExprKind::Rest => "*".to_string(),
        ExprKind::List(_) => "[…]".to_string(),
        ExprKind::Unary { .. } | ExprKind::Binary { .. } | ExprKind::If { .. } | ExprKind::Each { .. } => "this expression".to_string(),
    }
}
