//! Text and plan are the same thing: reading what was printed gives the plan back, printing it again the same text.

use meshwright_plan::{parse, print, proof, verify};

/// Plans of this folder, by name.
pub const PLANS: [(&str, &str); 10] = [
    ("bigram", include_str!("../plans/bigram.plan")),
    ("attention", include_str!("../plans/attention.plan")),
    ("exchange", include_str!("../plans/exchange.plan")),
    ("sharded", include_str!("../plans/sharded.plan")),
    ("ring", include_str!("../plans/ring.plan")),
    ("sequence", include_str!("../plans/sequence.plan")),
    ("zero", include_str!("../plans/zero.plan")),
    ("experts", include_str!("../plans/experts.plan")),
    ("scan", include_str!("../plans/scan.plan")),
    ("features", include_str!("../plans/features.plan")),
];

#[test]
fn plans_read_back() {
    for (name, text) in PLANS {
        let plan = parse::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let printed = print::print(&plan);
        let again = parse::parse(&printed).unwrap_or_else(|error| panic!("{name}: {error}\n{printed}"));
        assert_eq!(plan, again, "{name}");
        assert_eq!(printed, print::print(&again), "{name}");
    }
}

#[test]
fn plans_verify() {
    for (name, text) in PLANS {
        let plan = parse::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(violations) = verify::verify(&plan) {
            panic!("{name}: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}

#[test]
fn plans_are_right_on_their_meshes() {
    for (name, text) in PLANS.into_iter().filter(|(name, _)| *name != "exchange") {
        let plan = parse::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(violations) = proof::prove(&plan) {
            panic!("{name}: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}
