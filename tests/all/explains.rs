//! What `explain` says of four meshes, as a person reads it.
//!
//! Requires cases of `cases/meshes`. Ensures that every collective of a block is listed with a cause: snapshots in `cases/explains`.

use crate::{folder, snapshot, spec};
use meshwright_compiler::explain::{Explained, explain};

/// Cases, and what is asked of each.
const ASKED: [(&str, &[&str]); 4] = [
    ("gpt_balanced_three", &["place", "Block"]),
    ("gpt_three", &["Attention.query", "Block.y", "tokens", "place", "Block"]),
    ("llama_heads_data", &["Attention.key", "Block"]),
    ("llama_sequence", &["Block"]),
];

#[test]
fn every_collective_has_a_cause() {
    let root = folder::root();
    let mut wrong = Vec::new();
    for (case, asked) in ASKED {
        let (sources, result) = spec::compile_in(&root.join("tests/cases/meshes"), &format!("{case}.mesh"), &[]);
        let compiled = result.unwrap_or_else(|_| panic!("{case} compiles"));
        let mut text = String::new();
        for what in asked {
            let explained = explain(&compiled, &sources, what).unwrap_or_else(|names| panic!("{what} is none of {names:?}"));
            if let Explained::Layers(layers) = &explained {
                let all = layers.iter().flat_map(|layer| layer.programs.iter().flat_map(|(_, all)| all));
                wrong.extend(
                    all.filter(|one| one.why.is_empty()).map(|one| format!("{case}: {} of {} has no cause", one.exchange, one.value)),
                );
            }
            text.push_str(&format!("explain {what}\n\n{explained}\n"));
        }
        wrong.extend(snapshot::compare(&root.join(format!("tests/cases/explains/{case}.txt")), &text).err());
    }
    snapshot::all_equal(&wrong);
}
