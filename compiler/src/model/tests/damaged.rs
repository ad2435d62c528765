//! Damaged specs: whatever is left out or exchanged, elaboration answers with a model that verifies or with errors, and never panics.

use crate::model::verify::verify;
use crate::model::{Mode, elaborate};
use meshwright_grammar::{FileId, parse};

const SPECS: [&str; 4] = [
    include_str!("../../../../tests/numbers/llama.mesh"),
    include_str!("../../../../tests/numbers/alternating.mesh"),
    include_str!("../../../../tests/numbers/price.mesh"),
    "use std.feed\ndims { Batch = 4, Groups = 2, Member = 2, Seq = 4, Embed = 4, Route = 3, Top = 2, Tap = 2, Layers = 2 }\n\
     let rate = 0.1\n\
     layer Mix(x: [.., Seq, Embed], deep: bool = false) -> [.., Seq, Embed] {\n\
     weight route: [Embed -> Route] = normal(rate)\n\
     let value, choice = top_k(softmax(x @ route, Route), Route, into: Top)\n\
     let share = mean(sum(one_hot(choice, Route), Top), Seq)\n\
     loss rate * sum(share ^ 2, Route)\n\
     let wide = each Top: SwiGlu(expand(x, Top) * value, Embed, Embed)\n\
     return dropout(sum(wide, Top), rate)\n\
     }\n\
     model M(x: real[Batch, Seq, Embed], y: real[Batch]) -> [Batch, Embed] {\n\
     let h = x\n\
     repeat Layers as i { carry h = h + Mix(h, deep: i == 1) }\n\
     let a = attention(h, h, h, sequence: Seq, feature: Embed, mask: index(Key) <= index(Seq), softcap: 5)\n\
     let c = sum(window(a, Seq, into: Tap), [Tap, Seq])\n\
     metric size = mean(c > 0, Embed)\n\
     loss (sum(c, Embed) - y) ^ 2 where y > 0\n\
     return c\n\
     }\n",
];

/// Elaborates if it parses; a model must verify.
fn survive(text: &str) -> bool {
    let Ok(file) = parse(FileId(0), text) else { return false };
    if let Ok((model, _)) = elaborate(&[file], &[], Mode { training: true, batch: None }) {
        assert_eq!(verify(&model), Ok(()), "{text}");
        return true;
    }
    false
}

#[test]
fn whole_specs_elaborate() {
    SPECS.iter().for_each(|text| assert!(survive(text), "{text}"));
}

#[test]
fn any_line_may_be_missing() {
    for text in SPECS {
        let lines: Vec<&str> = text.lines().collect();
        for at in 0..lines.len() {
            survive(&[&lines[..at], &lines[at + 1..]].concat().join("\n"));
        }
    }
}

#[test]
fn any_word_may_be_another() {
    for text in SPECS {
        let words: Vec<(usize, &str)> = words(text);
        for (number, (at, word)) in words.iter().enumerate() {
            let other = words[(number * 31 + 17) % words.len()].1;
            survive(&format!("{}{other}{}", &text[..*at], &text[at + word.len()..]));
        }
    }
}

/// Names and numbers with their places.
fn words(text: &str) -> Vec<(usize, &str)> {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(inside) {
        let length = rest[start..].find(|letter| !inside(letter)).unwrap_or(rest.len() - start);
        found.push((text.len() - rest.len() + start, &rest[start..start + length]));
        rest = &rest[start + length..];
    }
    found
}
