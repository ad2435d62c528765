//! The five specs whose numbers are compared with PyTorch's.

use super::model;
use crate::model::print::{print, weight_name};

const GPT: &str = include_str!("../../../../tests/numbers/gpt.mesh");
const LLAMA: &str = include_str!("../../../../tests/numbers/llama.mesh");
const MIXER: &str = include_str!("../../../../tests/numbers/mixer.mesh");
const PRICE: &str = include_str!("../../../../tests/numbers/price.mesh");
const ALTERNATING: &str = include_str!("../../../../tests/numbers/alternating.mesh");

#[test]
fn gpt_is_three_functions_and_four_calls() {
    let model = model(GPT);
    eprintln!("{}", print(&model));
    let calls: Vec<&str> = model.calls.iter().map(|call| model.functions[call.function].name.as_str()).collect();
    assert_eq!(calls, ["embed", "Block", "Block", "head"]);
    assert_eq!(model.functions.len(), 3);
    let paths: Vec<String> = model.weights.values().map(|weight| weight_name(weight, 1)).collect();
    assert!(paths.contains(&"Gpt.Block[1].Attention.query".to_string()), "{paths:?}");
    assert!(paths.contains(&"Gpt.final.gain".to_string()), "{paths:?}");
}

#[test]
fn all_specs_elaborate() {
    for text in [GPT, LLAMA, MIXER, PRICE, ALTERNATING] {
        eprintln!("{}", print(&model(text)));
    }
}
