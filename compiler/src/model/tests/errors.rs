//! Every error code, from the text of a spec.

use super::{attempt, show};
use crate::model::CODES;
use meshwright_grammar::{Diagnostic, FileId, parse};
use std::collections::BTreeSet;

/// A spec around the statements of its model: x [Batch, A], y index(B)[Batch], a table.
fn body(statements: &str) -> String {
    around("", statements)
}

/// The same with layers before the model.
fn around(layers: &str, statements: &str) -> String {
    format!(
        "dims {{\n    Batch = 8\n    A = 4\n    B = 6\n    C = 3\n}}\nlet small = 0.02\n{layers}\n\
         model M(x: real[Batch, A], y: index(B)[Batch]) {{\n    weight w: [A -> B]\n{statements}\n}}\n"
    )
}

/// Statements, and the code that they are wrong by.
const STATEMENTS: &[(&str, &str)] = &[
    ("state s: [A] = zeros", "state_still"),
    ("next w = w", "no_state"),
    ("state s: [A] = zeros\nnext s = s\nnext s = s + 1", "next_twice"),
    ("state s: [A] = zeros\nnext s = s + x", "next_type"),
    ("state s: [A] = zeros\nnext s = max(x, Batch)", "next_batch"),
    ("let a, b = dispatch(x, y, over: A, to: C, slots: B)", "experts"),
    ("let a = combine(x, y, x)", "spot"),
    ("let a, b = dispatch(x, y, over: A, to: B, slots: ragged)", "ragged"),
    ("let a = recur(x, x, over: A)", "not_supported"),
    ("let a = xx + 1", "unknown_name"),
    ("weight v: [Aa]", "unknown_dim"),
    ("let a = softmx(x, A)", "unknown_callee"),
    ("let a = LayerNorm(x, A)", "unknown_callee"),
    ("let a = x\nlet a = x", "rebound"),
    ("let a = sum(x, small)", "wrong_kind"),
    ("let a = if x > 0 { 1 } else { 2 }", "not_compile_time"),
    ("weight v: [C]\nlet a = x + v", "not_contained"),
    ("let a = sum(x, B)", "missing_dim"),
    ("let a = dot(x, x, over: C)", "missing_dim"),
    ("let a: [..] = x", "no_rest"),
    ("weight v: [A, A]", "dim_twice"),
    ("loss y", "element"),
    ("let a = where(x, x, x)", "element"),
    ("let a: [Batch] = x", "not_as_declared"),
    ("let a = split(x, A: [B, C])", "sizes"),
    ("let a = slice(x, A, from: 2, into: C)", "sizes"),
    ("let a = expand(x, A)", "dim_present"),
    ("let a = shift(x, Batch, by: 1)", "batch_moved"),
    ("let a = softmax(x, A, axis: 1)", "unknown_argument"),
    ("let a = dot(x, x, over: A, over: A)", "argument_twice"),
    ("let a = dot(x)", "missing_argument"),
    ("let a = exp(x, x)", "surplus_argument"),
    ("let a, b = x", "result_count"),
    ("return x\nlet a = x", "return_place"),
    ("carry x = x", "carry_place"),
    ("repeat C { carry h = x }", "carry_unknown"),
    ("let h = x\nrepeat C {\n    carry h = h + 1\n    carry h = h + 2\n}", "carry_twice"),
    ("let h = x\nrepeat C { carry h = h @ w }", "carry_type"),
    ("repeat C { let a = x }", "repeat_idle"),
    ("weight v: [A] = zeroes", "unknown_init"),
    ("weight v: [A] = normal(1, 2)", "init_arguments"),
    ("weight v: bool[A]", "weight_element"),
    ("weight v: [Batch, A]", "batch_weight"),
    ("let a: [A -> B] = x", "arrow_place"),
    ("weight v: [A]", "unused_weight"),
    ("loss sum(x, A)", "constant_loss"),
    ("loss sum(x @ w, B) - (mean(sum(x @ w, B), Batch) ^ 2)", "batch_coupled"),
    ("loss max(sum(x @ w, B), Batch)", "batch_coupled"),
    ("let a = x", "unused_name"),
    ("let a = w @ x", "no_arrow"),
    ("let a = x @ y", "no_arrow"),
    ("weight v: [C -> B]\nlet a = x @ v", "no_side"),
    ("let h = x @ w\nlet a = expand(h, A) @ w", "both_sides"),
    ("weight v: [A -> B, C]\nlet h = expand(x, C)\nlet a = h @ v", "kept_dim"),
    ("let a = x and x", "operands"),
    ("let a = mean(x)", "no_dim"),
    ("weight t: [A, C]\nlet a = lookup(t, y)", "index_dim"),
    ("let a = lookup(w, y + 1)", "index_range"),
    ("weight v: [A -> C]\nlet a = rotary(expand(x @ v, A), sequence: A, feature: C)", "odd_feature"),
    ("let h = x\nrepeat C {\nweight v: [A]\ncarry h = h + v\n}\nrepeat C {\nweight v: [A]\ncarry h = h * v\n}", "declared_twice"),
    ("let a = take(x, A, at: 9)", "range"),
    ("let a = dropout(x, 1.5)", "range"),
];

/// Layers, statements of the model, and the code that they are wrong by.
const LAYERS: &[(&str, &str, &str)] = &[
    ("layer L(h: [A]) -> [A] { return h }", "let a = L(x)", "unexpected_dim"),
    ("layer L(h: [.., A], g: [.., B]) -> [.., A] { return h }", "let a = L(x, sum(x, Batch) @ w)", "rest_differs"),
    ("layer L(h: [.., A]) -> [.., A] { return h }", "let a = L(x)\nlet b = L(a)", "called_twice"),
    ("layer L(h: [.., A]) -> [.., A] { return h }", "let h = x\nrepeat C { carry h = L(h) }\nrepeat C { carry h = L(h) }", "called_twice"),
    ("layer L(h: [.., A]) -> [.., A] { return L(h) }", "let a = L(x)", "recursive"),
    ("layer L(h: [.., A]) -> [.., A] { let g = h }", "let a = L(x)", "no_return"),
    ("layer L(h: [.., A]) -> [.., A] { return h }", "", "unused_layer"),
    (
        "layer L(h: [.., D], D: dim) -> [.., D] {\n    weight v: [D]\n    return h + v\n}\nlayer P(h: [.., A], D: dim) -> [.., A] {\n    weight v: [D]\n    return h + sum(v, D)\n}",
        "weight p: P()\nlet a = p(x, A)\nlet b = p(x, B)",
        "weight_type",
    ),
    ("layer L(h: [.., A]) -> [.., B] { return h }", "let a = L(x)", "not_as_declared"),
    ("layer L(h: [.., A], size: number) -> [.., A] { return h * size }", "let a = L(x)", "missing_argument"),
    ("layer L(h: [.., A]) -> [A] { return sqrt(mean(h ^ 2, Batch)) }", "state s: [A] = zeros\nlet a = L(x)\nnext s = a", "next_place"),
    ("layer L(h: [.., A]) -> [.., A] { return h }", "weight one: L(3)\nlet a = one(x)", "surplus_argument"),
];

/// Whole specs.
const WHOLE: &[(&str, &str)] = &[
    ("use std.nrom\nmodel M(x: real[B]) { loss x }\ndims { B = 2 }", "unknown_module"),
    ("dims { B = 2 }\nlet a = 3\nlet a = 4\nmodel M(x: real[B]) { loss x }", "defined_twice"),
    ("dims { B = 2 }\nmodel M(x: real[B]) { loss x }\nmodel N(x: real[B]) { loss x }", "two_models"),
    ("dims { B = 2 }", "no_model"),
    ("let a, b = 3\ndims { B = 2 }\nmodel M(x: real[B]) { loss x }", "one_name_each"),
    ("dims { B = C, C = 2 * B }\nmodel M(x: real[B]) { loss x }", "cycle"),
    ("dims { B = 768 / 10 }\nmodel M(x: real[B]) { loss x }", "size"),
    ("dims { B = [2] }\nmodel M(x: real[B]) { loss x }", "not_constant"),
    ("dims { B = 2, C = 3 }\nmodel M(x: real[B], y: real[C]) { loss x }", "input_batch"),
    ("dims { B = 2 }\nmodel M() { loss 1 }", "no_inputs"),
    ("dims { B = 2 }\nmodel M(x: real[B], n: number) { loss x }", "model_parameter"),
    ("dims { B = 2, C = 3 }\nmodel M(x: real[B]) {\nweight w: []\nloss x * w\n}", "unused_dim"),
    ("dims { B = 2 }\nmodel M(x: real[B]) { return x }", "no_loss"),
    ("dims { B = 2, C = 1000000000, D = C }\nmodel M(x: real[B]) {\nweight w: [C, D]\nloss x * sum(w, [C, D])\n}", "too_large"),
    (
        "dims { B = 2, Seq = 4, D = 3, Route = 2, Expert = 2, Slot = 4 }\nmodel M(x: real[B, Seq, D]) {\nweight w: [D -> Route]\nlet s = x @ w\n\
         let slots, spot = dispatch(x, argmax(s, Route), over: Seq, to: Expert, slots: Slot)\nloss combine(slots, spot, s)\n}",
        "shares",
    ),
    ("dims { B = 2, C = 1000000 }\nmodel M(x: real[B]) {\nlet h = x\nrepeat C { carry h = h + 1 }\nloss h\n}", "too_many"),
];

fn codes(text: &str) -> Vec<Diagnostic> {
    if let Err(errors) = parse(FileId(0), text) {
        return errors;
    }
    match attempt(text, true) {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    }
}

fn all() -> Vec<(String, &'static str)> {
    let add =
        |statements: &str| if statements.contains("loss") { statements.to_string() } else { format!("{statements}\nloss sum(x @ w, B)") };
    let mut all: Vec<(String, &'static str)> = STATEMENTS
        .iter()
        .map(|(text, code)| match text.starts_with("return") {
            true => (body(text), *code),
            false => (body(&add(text)), *code),
        })
        .collect();
    all.extend(LAYERS.iter().map(|(layers, text, code)| (around(layers, &add(text)), *code)));
    all.extend(WHOLE.iter().map(|(text, code)| (text.to_string(), *code)));
    all
}

#[test]
fn every_case_has_its_code_and_a_help() {
    let mut wrong = String::new();
    for (text, code) in all() {
        let found = codes(&text);
        let hit = found.iter().find(|one| one.code == format!("model::{code}"));
        if hit.is_none_or(|one| one.help.is_none() || one.labels.is_empty()) {
            wrong.push_str(&format!("expected {code} of\n{text}\nfound\n{}\n", show(&text, &found)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_error_is_the_only_one() {
    let mut wrong = String::new();
    for (text, code) in all() {
        let found = codes(&text);
        let others = found.iter().filter(|one| one.is_error() && one.code != format!("model::{code}")).count();
        if others > 0 {
            wrong.push_str(&format!("only {code} expected of\n{text}\nfound\n{}\n", show(&text, &found)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_code_has_a_case() {
    let cases: BTreeSet<String> =
        all().iter().map(|(_, code)| format!("model::{code}")).chain(["model::unknown_override".to_string()]).collect();
    let lacking: Vec<&str> = CODES.iter().map(|one| one.code).filter(|code| !cases.contains(*code)).collect();
    assert!(lacking.is_empty(), "no case for {lacking:?}");
}

#[test]
fn an_override_of_nothing_is_told_with_the_nearest_name() {
    let text = body("loss sum(x @ w, B)");
    let value = parse(FileId(0), "let a = 3").unwrap();
    let meshwright_grammar::tree::ItemKind::Let(three) = &value.items[0].kind else { panic!("a let") };
    let file = parse(FileId(0), &text).unwrap();
    let set = |key: &str| {
        let mode = crate::model::Mode { training: true, batch: None };
        crate::model::elaborate(std::slice::from_ref(&file), &[(key.to_string(), three.value.clone())], mode)
    };
    let errors = set("smal").unwrap_err();
    assert_eq!(errors[0].code, "model::unknown_override");
    assert!(errors[0].help.as_ref().unwrap().contains("small"));
    let (model, _) = set("dims.A").unwrap();
    assert_eq!(model.dims.values().find(|dim| dim.name == "A").unwrap().size, 3);
}

/// Source and rendered findings of cases, one after the other.
fn rendered(cases: &[(String, &'static str)]) -> String {
    let one = |(text, code): &(String, &'static str)| {
        let found = codes(text);
        let own: Vec<Diagnostic> = found.into_iter().filter(|one| one.code == format!("model::{code}")).collect();
        format!("==== {code}\n{text}\n----\n{}", show(text, &own))
    };
    cases.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn errors_read_well() {
    let all = all();
    let (statements, rest) = all.split_at(STATEMENTS.len());
    let (layers, whole) = rest.split_at(LAYERS.len());
    insta::assert_snapshot!("statements", rendered(statements));
    insta::assert_snapshot!("layers", rendered(layers));
    insta::assert_snapshot!("whole", rendered(whole));
}
