//! `data { … }`: sources, held-out share, tokenizer.

use super::keyed::{Keyed, spelled};
use super::{Reader, error};
use crate::model::settings::{Data, Source, Tokenizer};
use meshwright_grammar::tree::{Arg, BlockKind, Expr, ExprKind};

const SOURCES: [&str; 3] = ["text", "tokens", "csv"];

/// Reads the block; none of it is opened.
pub(super) fn read(reader: &mut Reader) -> Data {
    let mut keyed = Keyed::new(reader, BlockKind::Data);
    let mut spans = keyed.spans();
    spans.extend(keyed.span.map(|span| ("data".to_string(), span)));
    let train = keyed.take("train").and_then(|(_, value)| source(&mut keyed, &value));
    let validation = keyed.take("validation").and_then(|(_, value)| source(&mut keyed, &value));
    let held_out = held_out(&mut keyed);
    let tokenizer = keyed.take("tokenizer").and_then(|(_, value)| tokenizer(&mut keyed, &value));
    if let Some(span) = keyed.span
        && !spans.iter().any(|(name, _)| name == "train")
    {
        keyed.errors().push(error::no_train(span));
    }
    keyed.close();
    Data { train, validation, held_out, tokenizer, spans }
}

fn held_out(keyed: &mut Keyed) -> Option<f64> {
    let (_, value) = keyed.take("held_out")?;
    let share = keyed.number_of(&value, "held_out")?;
    if share > 0.0 && share < 1.0 {
        return Some(share);
    }
    keyed.errors().push(error::range(value.span, "held_out", share, "between 0 and 1", "`0.1` holds out a tenth"));
    None
}

fn source(keyed: &mut Keyed, value: &Expr) -> Option<Source> {
    let ExprKind::Call { callee, args } = &value.kind else {
        keyed.errors().push(error::one_of(value.span, "a source", &spelled(value), &SOURCES));
        return None;
    };
    match callee.text().as_str() {
        "text" => texts(keyed, value, args).map(Source::Text),
        "tokens" => texts(keyed, value, args).map(Source::Tokens),
        "csv" => csv(keyed, value, args),
        name => {
            keyed.errors().push(error::one_of(value.span, "a source", name, &SOURCES));
            None
        }
    }
}

/// The patterns of `text("a", "b")` or `text(["a", "b"])`.
fn texts(keyed: &mut Keyed, value: &Expr, args: &[Arg]) -> Option<Vec<String>> {
    let mut patterns = Vec::new();
    for arg in args {
        match (&arg.name, strings(&arg.value)) {
            (None, Some(more)) => patterns.extend(more),
            _ => {
                keyed.errors().push(error::source_argument(arg.span, "file patterns in double quotes, as in `text(\"corpus/**/*.txt\")`"));
                return None;
            }
        }
    }
    if patterns.is_empty() {
        keyed.errors().push(error::source_argument(value.span, "at least one file pattern in double quotes"));
        return None;
    }
    Some(patterns)
}

fn strings(value: &Expr) -> Option<Vec<String>> {
    match &value.kind {
        ExprKind::Text(text) => Some(vec![text.clone()]),
        ExprKind::List(items) => {
            items.iter().map(|item| strings(item).filter(|one| one.len() == 1)).collect::<Option<Vec<_>>>().map(|all| all.concat())
        }
        _ => None,
    }
}

fn csv(keyed: &mut Keyed, value: &Expr, args: &[Arg]) -> Option<Source> {
    let form = "a path and the columns of each input, as in `csv(\"table.csv\", x: [\"area\", \"rooms\"], y: \"price\")`";
    let mut path = None;
    let mut columns = Vec::new();
    for arg in args {
        let Some(mut texts) = strings(&arg.value) else {
            keyed.errors().push(error::source_argument(arg.span, form));
            return None;
        };
        match &arg.name {
            Some(name) => columns.push((name.text.clone(), texts)),
            None if path.is_none() && texts.len() == 1 => path = texts.pop(),
            None => {
                keyed.errors().push(error::source_argument(arg.span, form));
                return None;
            }
        }
    }
    if path.is_none() || columns.is_empty() {
        keyed.errors().push(error::source_argument(value.span, form));
    }
    path.map(|path| Source::Csv(path, columns))
}

fn tokenizer(keyed: &mut Keyed, value: &Expr) -> Option<Tokenizer> {
    match &value.kind {
        ExprKind::Path(path) if path.text() == "bytes" => return Some(Tokenizer::Bytes),
        ExprKind::Call { callee, args } if callee.text() == "hf" => {
            if let [Arg { name: None, value, .. }] = args.as_slice()
                && let ExprKind::Text(path) = &value.kind
            {
                return Some(Tokenizer::HuggingFace(path.clone()));
            }
            keyed.errors().push(error::source_argument(value.span, "the path of a tokenizer file, as in `hf(\"tokenizer.json\")`"));
        }
        _ => keyed.errors().push(error::one_of(value.span, "tokenizer", &spelled(value), &["bytes", "hf"])),
    }
    None
}
