//! What the parser says about texts that are wrong: `errors.txt` holds each text with its errors.

use meshwright_grammar::{CODES, Diagnostic, Sources, parse, render};

/// `line:column code: message | help`, one error a line.
fn told(errors: &[Diagnostic], sources: &Sources) -> String {
    let line = |error: &Diagnostic| {
        let place = &error.located(sources).places[0];
        let help = error.help.as_deref().expect("every error says what to edit");
        format!("> {}:{} {}: {} | {help}\n", place.line, place.column, error.code, error.message)
    };
    errors.iter().map(line).collect()
}

#[test]
fn each_text_has_its_errors() {
    let cases = include_str!("errors.txt");
    let mut count = 0;
    for case in cases.split("----\n").skip(1) {
        let text = &case[..case.find("\n> ").map_or(case.len(), |at| at + 1)];
        let mut sources = Sources::new();
        let id = sources.add("case.mesh", text);
        let errors = parse(id, text).expect_err(text);
        assert_eq!(format!("{text}{}", told(&errors, &sources)), case, "{}", render(&errors, &sources, false, 100));
        count += 1;
    }
    assert!(count > 60, "only {count} cases");
}

#[test]
fn every_code_has_a_case() {
    let cases = include_str!("errors.txt");
    for info in CODES.iter().filter(|info| info.code.starts_with("syntax::") && info.code != "syntax::long") {
        assert!(cases.contains(&format!(" {}: ", info.code)), "no case for {}", info.code);
    }
}

#[test]
fn no_rule_of_the_grammar_is_ever_named() {
    let words = ["_slip", "_word", "_item", "EOI", "open_p", "open_b", "close_", "infix", "arguments?", "one_s"];
    let cases = include_str!("errors.txt");
    for word in words {
        assert!(cases.lines().filter(|line| line.starts_with("> ")).all(|line| !line.contains(word)), "{word}");
    }
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let text = " ".repeat(meshwright_grammar::LONGEST + 1);
    assert_eq!(parse(meshwright_grammar::FileId(0), &text).unwrap_err()[0].code, "syntax::long");
}

#[test]
fn an_error_as_it_is_shown() {
    let text = "layer Feed(x: [.., Embed]) -> [.., Embed] {\n    weights up: [Embed -> Mlp]\n    return x @ up\n}\n";
    let mut sources = Sources::new();
    let id = sources.add("feed.mesh", text);
    let shown = render(&parse(id, text).unwrap_err(), &sources, false, 100);
    insta::assert_snapshot!(shown, @r"
    syntax::weights

      × weights are declared with `weight`, also several at once
       ╭─[feed.mesh:2:5]
     1 │ layer Feed(x: [.., Embed]) -> [.., Embed] {
     2 │     weights up: [Embed -> Mlp]
       ·     ───┬───
       ·        ╰── one letter too many
     3 │     return x @ up
       ╰────
      help: write `weight`
    ");
}
