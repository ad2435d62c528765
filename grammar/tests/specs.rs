//! Whole specs through the parser.

use meshwright_grammar::tree::{BlockKind, ItemKind};
use meshwright_grammar::{Sources, parse, render};

fn parses(name: &str, text: &str) -> meshwright_grammar::tree::File {
    let mut sources = Sources::new();
    let id = sources.add(name, text);
    parse(id, text).unwrap_or_else(|errors| panic!("{}", render(&errors, &sources, false, 120)))
}

#[test]
fn the_specs_of_the_description_parse() {
    let file = parses("gpt2.mesh", include_str!("specs/gpt2.mesh"));
    let count = |test: fn(&ItemKind) -> bool| file.items.iter().filter(|item| test(&item.kind)).count();
    assert_eq!(count(|kind| matches!(kind, ItemKind::Layer(_))), 3);
    assert_eq!(count(|kind| matches!(kind, ItemKind::Model(_))), 1);
    assert_eq!(count(|kind| matches!(kind, ItemKind::Block(_))), 11);
    assert_eq!(file.items[0].docs, ["GPT-2, 124M parameters."]);
    assert_eq!(file.comments.len(), 13);
    parses("price.mesh", include_str!("specs/price.mesh"));
    parses("moe.mesh", include_str!("specs/moe.mesh"));
}

#[test]
fn every_form_parses() {
    let file = parses("forms.mesh", include_str!("specs/forms.mesh"));
    let blocks: Vec<BlockKind> =
        file.items.iter().filter_map(|item| if let ItemKind::Block(block) = &item.kind { Some(block.kind) } else { None }).collect();
    use BlockKind::*;
    assert_eq!(blocks, [Mesh, Shard, Pipeline, Remat, Tune, Precision, Generate, Require]);
}
