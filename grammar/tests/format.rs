//! The formatter: one layout, comments kept, stable, and the same tree; and that no text makes the parser panic.

use meshwright_grammar::tree::File;
use meshwright_grammar::{FileId, format, parse};
use proptest::prelude::*;

const SPECS: [&str; 4] =
    [include_str!("specs/gpt2.mesh"), include_str!("specs/price.mesh"), include_str!("specs/moe.mesh"), include_str!("specs/forms.mesh")];

/// A tree's items without places.
fn shape(file: &File) -> String {
    let text = format!("{:?}", file.items);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..=at]);
        rest = rest[at + 1..].trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':' || letter == '.');
    }
    out + rest
}

fn comments(file: &File) -> Vec<String> {
    file.comments.iter().map(|comment| comment.text.clone()).collect()
}

/// What must hold for every text that parses.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Ok(before) = parse(FileId(0), text) else { return Ok(()) };
    let once = format(text).expect("a text that parses is formatted");
    let after = parse(FileId(0), &once).map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{once}")))?;
    prop_assert_eq!(shape(&before), shape(&after), "{}", once);
    prop_assert_eq!(comments(&before), comments(&after), "{}", once);
    prop_assert_eq!(format(&once).expect("still parses"), once);
    Ok(())
}

#[test]
fn the_specs_of_the_description_stay_as_they_are_but_for_the_columns_of_comments() {
    let line = |line: &str| match line.find(" //") {
        Some(at) => format!("{} {}\n", line[..at].trim_end(), &line[at + 1..]),
        None => format!("{line}\n"),
    };
    let squeeze = |text: &str| text.lines().map(line).collect::<String>();
    for spec in &SPECS[..3] {
        assert_eq!(squeeze(spec), squeeze(&format(spec).unwrap()));
        check(spec).unwrap();
    }
    check(SPECS[3]).unwrap();
}

#[test]
fn one_layout() {
    let messy = "
// first


dims {Batch=4 ,Seq = 2*Head// sizes
  Embed=1

  // own

  // two
  }
mesh{data=2}
shard{Seq,Head->data,Batch->tensor padded}
layer Feed ( x:[..,Embed], D : dim,eps:number=1e-6 )->[.., Embed]{// opens
let y=f( x,over :Seq )*-2^3
repeat Layers as i{carry x=if i==0{x}else{g(x)}}
   // last
}  // closed
require{(bubble<12%)}
";
    let tidy = "\
// first

dims {
    Batch = 4
    Seq   = 2 * Head        // sizes
    Embed = 1

    // own

    // two
}
mesh  { data = 2 }
shard { Seq, Head -> data, Batch -> tensor padded }
layer Feed(x: [.., Embed], D: dim, eps: number = 1e-6) -> [.., Embed] {  // opens
    let y = f(x, over: Seq) * -2 ^ 3
    repeat Layers as i { carry x = if i == 0 { x } else { g(x) } }
    // last
}                           // closed
require { (bubble < 12 %) }
";
    assert_eq!(format(messy).unwrap(), tidy);
    check(messy).unwrap();
}

#[test]
fn long_lines_break_inside_brackets_and_after_operators() {
    let long =
        "layer Long(first: [.., Batch, Seq, Embed], second: [.., Batch, Seq, Embed], third: [.., Batch, Seq, Embed]) -> [.., Embed] {
    return attention(first @ query, second @ key, third @ value, sequence: Seq, feature: Head, causal: true, scale: 0.125) @ out
    let sum = one_of_the_longer_names_that_people_write + another_of_the_longer_names_that_people_write + and_a_third_one_beyond_the_width
}
";
    let broken = "\
layer Long(
    first: [.., Batch, Seq, Embed],
    second: [.., Batch, Seq, Embed],
    third: [.., Batch, Seq, Embed],
) -> [.., Embed] {
    return attention(
        first @ query,
        second @ key,
        third @ value,
        sequence: Seq,
        feature: Head,
        causal: true,
        scale: 0.125,
    ) @ out
    let sum = one_of_the_longer_names_that_people_write + another_of_the_longer_names_that_people_write +
        and_a_third_one_beyond_the_width
}
";
    assert_eq!(format(long).unwrap(), broken);
    let list = format!("let list = [{}]\n", (0..40).map(|n| format!("\"{n:04}\"")).collect::<Vec<_>>().join(", "));
    assert_eq!(format(&list).unwrap().lines().count(), 42);
    check(&list).unwrap();
}

#[test]
fn a_statement_with_comments_inside_stays_as_written() {
    let text = "let y = f(\n      x,   // one\n  z)\nlayer F(  x: [..], // a\n  z: [..]) {\n  return x\n}\n";
    assert_eq!(format(text).unwrap(), text.replace("\n  return", "\n    return"));
    check(text).unwrap();
}

#[test]
fn an_empty_text_and_one_of_comments() {
    assert_eq!(format("").unwrap(), "");
    assert_eq!(format("\n\n").unwrap(), "");
    assert_eq!(format("\u{feff}// a\r\n\r\n\r\n  // b").unwrap(), "// a\n\n// b\n");
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_string()),
        Just("Seq".to_string()),
        Just("1_000".to_string()),
        Just("6e-4".to_string()),
        Just("12 %".to_string()),
        Just("1f1b".to_string()),
        Just("teacher.Net(x)".to_string()),
        Just("\"a // b\\\"{\"".to_string()),
        Just("none".to_string()),
        Just("f()".to_string()),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let op = proptest::sample::select(vec!["+", "-", "*", "/", "@", "^", "and", "or", " +\n"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("( {inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.clone().prop_map(|inner| format!("not {inner}")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} < {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("f({left},\n  over : {right} ,)")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("[{left}, // inside\n {right}]")),
            (inner.clone(), inner.clone(), inner).prop_map(|(c, a, b)| format!("if {c} {{ {a} }} else if {a} {{\n {b} }} else {{ {c} }}")),
        ]
    })
}

/// A spec with some bytes replaced, inserted or deleted, or lines shuffled.
fn mutated() -> impl Strategy<Value = String> {
    let snippet = proptest::sample::select(vec![
        "",
        "\n",
        "\n\n\n",
        " ",
        "// c\n",
        " // d",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "#",
        "->",
        "=",
        ":",
        "*",
        "**",
        "...",
        ";",
        "%",
        "let ",
        "weights ",
        "\r\n",
        "é",
        "→",
        "if ",
        "else ",
        "layer X(",
        "train {",
        "12 GiB",
        "\t",
        "\u{0}",
        "/*",
        "&&",
        "return x\n",
        "- ",
        "not ",
    ]);
    let edit = (any::<prop::sample::Index>(), 0usize..6, snippet);
    (0usize..4, prop::collection::vec(edit, 0..6)).prop_map(|(spec, edits)| {
        let mut text = SPECS[spec].to_string();
        for (at, cut, snippet) in edits {
            let mut start = at.index(text.len() + 1);
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + cut).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, snippet);
        }
        text
    })
}

/// Errors must lie inside the text, on whole characters, so that they can be shown.
fn parse_and_show(text: &str) {
    if let Err(errors) = parse(FileId(0), text) {
        assert!(!errors.is_empty());
        for (span, _) in errors.iter().flat_map(|error| &error.labels) {
            assert!(text.get(span.range()).is_some(), "{span:?} in {text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_expressions_keep_their_tree(value in expression()) {
        check(&format!("let value = {value} // end\nrequire {{ {} }}\n", value.replace('\n', " ").replace("// inside", "")))?;
    }

    #[test]
    fn mutated_specs_never_panic_and_keep_their_tree(text in mutated()) {
        parse_and_show(&text);
        check(&text)?;
    }

    #[test]
    fn random_text_never_panics(text in "[ -~\n]{0,200}") {
        parse_and_show(&text);
        check(&text)?;
    }

    #[test]
    fn random_characters_never_panic(text in any::<String>()) {
        parse_and_show(&text);
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("-", ""), ("not ", ""), ("1 + ", ""), ("2 ^ ", "")] {
        for depth in [60, 300, 20_000] {
            let text = format!("let x = {}1{}\n", open.repeat(depth), close.repeat(depth));
            let parsed = parse(FileId(0), &text);
            match parsed {
                Ok(_) => assert!(depth < 300, "{open} {depth}"),
                Err(errors) => assert!(depth > 60 && errors.iter().any(|error| error.code == "syntax::deep"), "{open} {depth} {errors:?}"),
            }
        }
    }
    let chain = format!("let x = {}if a {{ b }} else {{ c }}\n", "if a { b } else ".repeat(2000));
    check(&chain).unwrap();
    let blocks = format!("layer X() {{ {} {} }}", "repeat A {\n".repeat(5000), "}\n".repeat(5000));
    assert_eq!(parse(FileId(0), &blocks).unwrap_err()[0].code, "syntax::deep");
}
