//! The five specs whose numbers are compared with PyTorch's.

use super::{attempt, show};
use crate::model::ir::Model;
use crate::model::print::{print, weight_name};

const GPT: &str = include_str!("../../../../tests/numbers/gpt.mesh");
const LLAMA: &str = include_str!("../../../../tests/numbers/llama.mesh");
const MIXER: &str = include_str!("../../../../tests/numbers/mixer.mesh");
const PRICE: &str = include_str!("../../../../tests/numbers/price.mesh");
const ALTERNATING: &str = include_str!("../../../../tests/numbers/alternating.mesh");

/// The model of a spec that must give no warning either.
fn clean(text: &str) -> Model {
    let (model, warnings) = attempt(text, true).unwrap_or_else(|errors| panic!("{}", show(text, &errors)));
    assert!(warnings.is_empty(), "{}", show(text, &warnings));
    model
}

fn calls(model: &Model) -> Vec<&str> {
    model.calls.iter().map(|call| model.functions[call.function].name.as_str()).collect()
}

#[test]
fn repeated_blocks_are_one_function() {
    for text in [GPT, LLAMA, MIXER] {
        let model = clean(text);
        assert_eq!(calls(&model), ["embed", "Block", "Block", "head"]);
        assert_eq!(model.functions.len(), 3);
    }
    assert_eq!(calls(&clean(PRICE)), ["embed", "Dense", "Dense", "Dense", "head"]);
    assert_eq!(calls(&clean(ALTERNATING)), ["embed", "Times", "Times2", "Times", "Times2", "head"]);
}

#[test]
fn paths_are_those_of_the_fixtures() {
    let paths = |text| {
        let model = clean(text);
        model.weights.values().map(|weight| weight_name(weight, 1)).collect::<Vec<_>>()
    };
    for path in ["Gpt.table", "Gpt.Block[1].before.gain", "Gpt.Block[1].Attention.query_bias", "Gpt.final.shift"] {
        assert!(paths(GPT).contains(&path.to_string()), "{path} in {:?}", paths(GPT));
    }
    for path in ["Alternating.shared.query", "Alternating.before[1].gain", "Alternating.Feed[1].up", "Alternating.head"] {
        assert!(paths(ALTERNATING).contains(&path.to_string()), "{path} in {:?}", paths(ALTERNATING));
    }
}

#[test]
fn a_model_prints() {
    insta::assert_snapshot!(print(&clean(PRICE)));
}
