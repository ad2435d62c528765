//! Entries as text: loops and calls, `call Block.forward x=carries+layer*3145728 weights=weights.Block+layer*7087872`.
//!
//! `=` binds a parameter to a place; where a launch leaves it to the call whether it adds, `+=` says that it does, `?=` that it does after
//! the first microbatch. `start Block.gather on gather …` does not wait for its program's end, `join gather` does.

use super::{Text, name, state};
use crate::Plan;
use crate::program::{Address, Call, CallAccumulate, Entry, Index, Item};

/// The entry.
pub(super) fn print(plan: &Plan, entry: &Entry, text: &mut Text) {
    text.line(0, &[format!("entry {}", name::quoted(&entry.name))]);
    items(plan, &entry.body, 1, text);
}

fn items(plan: &Plan, body: &[Item], indent: usize, text: &mut Text) {
    for item in body {
        match item {
            Item::Loop { index, start, end, reverse, body } => {
                let order = if *reverse { " reversed" } else { "" };
                text.line(indent, &[format!("for {} in {start}..{end}{order}", index_word(*index))]);
                items(plan, body, indent + 1, text);
            }
            Item::Call(call) => text.line(indent, &call_pieces(plan, "call", "", call)),
            Item::Start(stream, call) => text.line(indent, &call_pieces(plan, "start", &format!(" on {}", stream.name()), call)),
            Item::Join(stream) => text.line(indent, &[format!("join {}", stream.name())]),
            Item::Control => text.line(indent, &["control".to_owned()]),
        }
    }
}

/// `verb program` with what follows it, then what the call binds.
fn call_pieces(plan: &Plan, verb: &str, beside: &str, call: &Call) -> Vec<String> {
    let Some(program) = plan.programs.get(call.program) else { return vec![format!("{verb} {}?{beside}", call.program)] };
    let mut pieces = vec![format!("{verb} {}{beside}", name::quoted(&program.name))];
    match call.iteration {
        (0, 0) => {}
        (0, 1) => pieces.push("iteration layer".to_owned()),
        (first, step) => pieces.push(format!("iteration {first}{}", term(step, Index::Layer))),
    }
    for (param, address) in program.params.iter().zip(&call.bindings) {
        pieces.push(format!("{}{}{}", name::quoted(&param.name), sign(address.accumulate), show(plan, address)));
    }
    pieces
}

fn sign(accumulate: CallAccumulate) -> &'static str {
    match accumulate {
        CallAccumulate::Write => "=",
        CallAccumulate::Add => "+=",
        CallAccumulate::AfterFirstMicro => "?=",
    }
}

fn show(plan: &Plan, address: &Address) -> String {
    let start = state::place(plan, address.region, address.offset);
    format!("{start}{}{}", term(address.micro, Index::Micro), term(address.layer, Index::Layer))
}

/// `+layer*1024`, or nothing for 0.
fn term(stride: i64, index: Index) -> String {
    match stride {
        0 => String::new(),
        stride if stride < 0 => format!("-{}*{}", index_word(index), stride.unsigned_abs()),
        stride => format!("+{}*{stride}", index_word(index)),
    }
}

/// The word for a loop's index.
fn index_word(index: Index) -> &'static str {
    match index {
        Index::Micro => "micro",
        Index::Layer => "layer",
    }
}
