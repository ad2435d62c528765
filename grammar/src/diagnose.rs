//! What to say about one failure: the usual slips first, else what was expected.
//!
//! Requires a [`Fault`] of the recovery. Ensures at least one diagnostic, in the language's words.

use crate::expect::{Found, LINE_END, OPERATOR, phrases};
use crate::recover::{Fault, Part};
use crate::rules::Rule;
use crate::source::Span;
use crate::tree::BlockKind;
use crate::{Diagnostic, error, word};

/// The item that a word from elsewhere, or misspelt, was meant to be.
pub(crate) fn meant_item(found: &str) -> Option<&'static str> {
    let known = match found.to_ascii_lowercase().as_str() {
        "import" | "include" | "from" | "using" | "require_file" => "use",
        "def" | "fn" | "func" | "function" | "class" | "struct" | "module" | "block" => "layer",
        "net" | "network" => "model",
        "const" | "var" | "val" | "set" | "number" | "define" => "let",
        "dim" | "dimensions" | "dimension" | "sizes" | "axes" => "dims",
        "sharding" | "parallel" | "parallelism" => "shard",
        "training" | "optimizer" => "train",
        "dataset" | "datasets" | "dataloader" => "data",
        "devices" | "topology" | "axis" => "mesh",
        "validation" | "eval" | "evaluate" => "validate",
        "hardware" | "nodes" => "cluster",
        "sample" => "generate",
        _ => return word::nearest(found, word::items()),
    };
    Some(known)
}

/// The statement that a word from elsewhere, or misspelt, was meant to be.
pub(crate) fn meant_statement(found: &str) -> Option<&'static str> {
    let known = match found.to_ascii_lowercase().as_str() {
        "const" | "var" | "val" | "set" | "auto" | "tensor" | "float" | "int" => "let",
        "param" | "parameter" | "parameters" | "params" | "variable" => "weight",
        "buffer" | "static" => "state",
        "for" | "while" | "loop" | "scan" | "foreach" => "repeat",
        "output" | "result" | "yield" | "out" => "return",
        "minimize" | "objective" | "criterion" => "loss",
        "log" | "report" | "print" => "metric",
        _ => return word::nearest(found, word::STATEMENTS),
    };
    Some(known)
}

/// What is wrong at a fault.
pub(crate) fn diagnose(fault: &Fault) -> Vec<Diagnostic> {
    let scene = Scene::of(fault);
    if let Some(opening) = scene.opening() {
        return vec![opening];
    }
    let mut diagnostics = Vec::new();
    if let Some(names) = scene.unnamed() {
        let start = fault.range.start;
        diagnostics.push(error::missing_let(Span::new(fault.file, start, start + names.len()), names));
    }
    diagnostics.push(scene.slip().unwrap_or_else(|| scene.expected()));
    diagnostics
}

/// A fault with what stands around it.
struct Scene<'f> {
    fault: &'f Fault<'f>,
    found: Found<'f>,
    span: Span,
    /// The part's first word.
    word: &'f str,
    /// The part's text.
    whole: &'f str,
    /// The part's text before the fault.
    before: &'f str,
}

impl<'f> Scene<'f> {
    fn of(fault: &'f Fault<'f>) -> Self {
        let found = Found::at(fault.text, fault.at);
        let span = Span::new(fault.file, found.start, found.start + found.text.len());
        let whole = &fault.text[fault.range.clone()];
        let before = &fault.text[fault.range.start..found.start.max(fault.range.start)];
        Scene { fault, found, span, word: word::first(whole), whole, before: before.trim_end() }
    }

    fn wants(&self, wanted: Rule) -> bool {
        self.fault.expected.contains(&wanted)
    }

    fn first_span(&self) -> Span {
        Span::new(self.fault.file, self.fault.range.start, self.fault.range.start + self.word.len())
    }

    /// A part that starts with the wrong word.
    fn opening(&self) -> Option<Diagnostic> {
        if self.word.is_empty() || self.word.starts_with(|letter: char| letter.is_ascii_digit()) {
            return None;
        }
        let rest = self.whole[self.word.len()..].trim_start();
        match self.fault.part {
            Part::Item if word::items().any(|item| item == self.word) => None,
            Part::Item if word::STATEMENTS.contains(&self.word) => Some(error::statement_outside(self.first_span(), self.word)),
            Part::Item => Some(error::item(self.first_span(), self.word, meant_item(self.word))),
            Part::Statement if word::STATEMENTS.contains(&self.word) || self.word == "weights" => None,
            Part::Statement => {
                let next = word::first(rest);
                let operator = ["and", "or", "not", "if"];
                let two_words = !next.is_empty() && !operator.contains(&next) && !operator.contains(&self.word);
                let opens = two_words || rest.starts_with('{');
                opens.then(|| error::statement(self.first_span(), self.word, meant_statement(self.word)))
            }
            Part::Setting | Part::Rule(_) | Part::Condition => None,
        }
    }

    /// The names of a statement `names = …` that lacks its `let`.
    fn unnamed(&self) -> Option<&'f str> {
        let end = self.whole.find('=')?;
        let names = self.whole[..end].trim_end();
        let plain = names.chars().all(|letter| letter.is_ascii_alphanumeric() || "_, ".contains(letter));
        let set = !self.whole[end + 1..].starts_with('=') && self.found.start > self.fault.range.start + end;
        let here = self.fault.part == Part::Statement && !word::STATEMENTS.contains(&self.word) && self.word != "weights";
        (here && plain && set && !names.is_empty()).then_some(names)
    }

    /// The usual slips that show as a failure.
    fn slip(&self) -> Option<Diagnostic> {
        let found = self.found.text;
        if let Some(op) = ["+=", "-=", "*=", "/=", ":=", "++"].into_iter().find(|op| self.rest().starts_with(op)) {
            return Some(error::assign(Span::new(self.fault.file, self.found.start, self.found.start + op.len()), op));
        }
        if self.before.ends_with('=') && found == ">" || self.rest().starts_with("=>") {
            return Some(error::fat_arrow(self.span));
        }
        if ["elif", "elsif", "elseif"].contains(&found) {
            return Some(self.expected().help("write `else if`"));
        }
        if self.wants(Rule::name) && word::RESERVED.contains(&found) {
            return Some(error::reserved(self.span, found));
        }
        if found == "=" && self.wants(Rule::infix) && (self.before.contains("if ") || self.fault.part == Part::Condition) {
            return Some(error::compare_equals(self.span));
        }
        match self.fault.part {
            Part::Item => self.slip_in_item(),
            Part::Statement => self.slip_in_statement(),
            Part::Rule(kind) => self.slip_in_rule(kind),
            Part::Setting | Part::Condition => None,
        }
    }

    fn slip_in_item(&self) -> Option<Diagnostic> {
        let defines = self.word == "layer" || self.word == "model";
        let typed = self.found.text == "[" || ["real", "bool", "index"].contains(&self.found.text);
        if defines && typed && self.before.ends_with(')') {
            return Some(error::missing_arrow(self.span));
        }
        if defines && self.wants(Rule::colon) && self.before.contains('(') && [")", ",", "="].contains(&self.found.text) {
            return Some(self.expected().help("say what it takes: `x: [.., Embed]`, `D: dim`, `eps: number`"));
        }
        None
    }

    fn slip_in_statement(&self) -> Option<Diagnostic> {
        let found = self.found.text;
        if self.word == "repeat" && self.before == "repeat" && found.starts_with(|letter: char| letter.is_ascii_digit()) {
            return Some(error::repeat_number(self.span, found));
        }
        if self.before == self.word && found == "=" && self.word != "let" {
            return Some(self.expected().help(format!("`{0}` starts a statement; to name a value, write `let {0} = …`", self.word)));
        }
        None
    }

    fn slip_in_rule(&self, kind: BlockKind) -> Option<Diagnostic> {
        let words = ["via", "padded", "hold", "balanced"];
        let shard = kind == BlockKind::Shard && self.before.contains("->") && !self.before.ends_with("->");
        let plain = self.found.text.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if !shard || !plain || words.contains(&self.found.text) {
            return None;
        }
        let help = match word::nearest(self.found.text, words) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "after the axes stand `via …`, `padded` or `hold step`; axes are joined by `*`".to_string(),
        };
        Some(self.expected().help(help))
    }

    fn rest(&self) -> &'f str {
        &self.fault.text[self.found.start..self.fault.range.end.max(self.found.start)]
    }

    /// Nothing usual: what could stand here, and what does.
    fn expected(&self) -> Diagnostic {
        let wanted = phrases(&self.fault.expected);
        let found = self.found.described();
        let error = error::expected(self.span, &wanted, &found);
        match wanted.as_slice() {
            [] => error.help(format!("remove {found}")),
            wanted if self.found.text.is_empty() => error.help(format!("the line stops too early: add {}", error::either(wanted))),
            [.., LINE_END] if wanted.contains(&OPERATOR) => error.help(format!("remove {found}, or put an operator before it")),
            [.., LINE_END] => error.help(format!("remove {found}, or start a new line before it")),
            wanted => error.help(format!("write {} before {found}, or replace it", error::either(wanted))),
        }
    }
}
