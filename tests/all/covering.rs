//! Meshes that nobody chose: every two features of training on a mesh meet in at least one of them, and each computes what one device does.
//!
//! A combination has a value of every factor. Those that make no sense are left out by name ([`Combination::is_legal`]); of the others a greedy
//! choice takes, again and again, the one with the most pairs of values that have not met (Cohen et al. 1997, AETG). Ensures that every pair that any
//! legal combination has is met.

use crate::{folder, meshes};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The factors: what the lines of a spec say, value by value.
const FACTORS: [(&str, &[&str]); 10] = [
    ("model", &["gpt", "llama", "moe"]),
    ("data", &["1", "2"]),
    ("tensor", &["1", "2"]),
    ("sequence", &["whole", "tensor"]),
    ("context", &["none", "gather", "heads", "ring", "balanced"]),
    ("expert", &["1", "2"]),
    ("state", &["whole", "moments", "gradients", "weights", "held", "by dim"]),
    ("microbatches", &["1", "2", "4"]),
    ("remat", &["save", "recompute"]),
    ("clip", &["0.5", "0.02"]),
];

/// One value of each factor, by number.
type Values = [usize; FACTORS.len()];

#[derive(Clone, Copy)]
struct Combination(Values);

impl Combination {
    fn of(&self, factor: &str) -> &'static str {
        let at = FACTORS.iter().position(|(name, _)| *name == factor).expect("a factor");
        FACTORS[at].1[self.0[at]]
    }

    /// Combinations that say something: experts where there are some, sequence parallelism beside tensor parallelism, pieces of state along data,
    /// at least two ranks and at most sixteen.
    fn is_legal(&self) -> bool {
        let experts = self.of("expert") == "1" || self.of("model") == "moe";
        let sequence = self.of("sequence") == "whole" || self.of("tensor") == "2";
        let state = self.of("state") == "whole" || self.of("data") == "2";
        experts && sequence && state && (2..=16).contains(&self.ranks())
    }

    fn ranks(&self) -> u64 {
        let axes = ["data", "tensor", "expert"].iter().filter(|axis| self.of(axis) == "2").count();
        1 << (axes + usize::from(self.of("context") != "none"))
    }

    /// All pairs of values, each as one number.
    fn pairs(&self) -> BTreeSet<usize> {
        let numbers: Vec<usize> = self.0.iter().enumerate().map(|(factor, value)| factor * 8 + value).collect();
        let with = |at: usize| numbers[at + 1..].iter().map(move |other| (at, *other));
        (0..numbers.len()).flat_map(with).map(|(at, other)| numbers[at] * 8 * FACTORS.len() + other).collect()
    }

    fn name(&self) -> String {
        let shown = |(at, (name, values)): (usize, &(&str, &[&str]))| format!("{name} {}", values[self.0[at]]);
        FACTORS.iter().enumerate().map(shown).collect::<Vec<_>>().join(", ")
    }

    /// The spec.
    fn spec(&self) -> String {
        let models = folder::root().join("tests/cases/meshes/models");
        let mut text = format!("use {:?}\n\nmesh {{\n", models.join(format!("{}.mesh", self.of("model"))));
        for axis in ["data", "context", "expert", "tensor"] {
            let has = if axis == "context" { self.of(axis) != "none" } else { self.of(axis) == "2" };
            text += if has { format!("    {axis} = 2\n") } else { String::new() }.as_str();
        }
        text += "}\n\nshard {\n";
        for rule in self.rules() {
            let _ = writeln!(text, "    {rule}");
        }
        let (microbatches, clip) = (self.of("microbatches"), self.of("clip"));
        let _ = writeln!(text, "}}\n\ntrain {{ microbatches = {microbatches}, clip = {clip} }}");
        if self.of("remat") == "recompute" {
            text += "remat { Block.** -> recompute }\n";
        }
        text
    }

    fn rules(&self) -> Vec<&'static str> {
        let mut rules = Vec::new();
        if self.of("data") == "2" {
            rules.push("Batch -> data");
        }
        rules.extend(match self.of("context") {
            "gather" => Some("Seq -> context"),
            "heads" => Some("Seq -> context via heads"),
            "ring" => Some("Seq -> context via ring"),
            "balanced" => Some("Seq -> context via ring balanced"),
            _ => None,
        });
        if self.of("expert") == "2" {
            rules.push("Expert -> expert");
        }
        if self.of("tensor") == "2" {
            rules.push(if self.of("model") == "llama" { "KvHeads, Mlp, Vocab -> tensor" } else { "Heads, Mlp, Vocab -> tensor" });
        }
        if self.of("sequence") == "tensor" {
            rules.push("Seq -> tensor");
        }
        rules.extend(match self.of("state") {
            "moments" => Some("moments -> data"),
            "gradients" => Some("gradients -> data"),
            "weights" => Some("weights -> data"),
            "held" => Some("weights -> data hold step"),
            "by dim" => Some("weights.Embed -> data"),
            _ => None,
        });
        rules
    }
}

/// All that are legal.
fn legal() -> Vec<Combination> {
    let counts = FACTORS.map(|(_, values)| values.len());
    let all: usize = counts.iter().product();
    let combination = |mut number: usize| {
        Combination(counts.map(|count| {
            let value = number % count;
            number /= count;
            value
        }))
    };
    (0..all).map(combination).filter(Combination::is_legal).collect()
}

/// A few in which all pairs meet.
fn covering() -> Vec<Combination> {
    let mut left: Vec<(Combination, BTreeSet<usize>)> = legal().into_iter().map(|one| (one, one.pairs())).collect();
    let mut chosen = Vec::new();
    while let Some((one, pairs)) = left.iter().max_by_key(|(_, pairs)| pairs.len()).cloned().filter(|(_, pairs)| !pairs.is_empty()) {
        chosen.push(one);
        for (_, own) in &mut left {
            own.retain(|pair| !pairs.contains(pair));
        }
        left.retain(|(_, own)| !own.is_empty());
    }
    chosen
}

#[test]
fn every_two_features_meet_and_compute_what_one_device_does() {
    let chosen = covering();
    let met: BTreeSet<usize> = chosen.iter().flat_map(Combination::pairs).collect();
    assert!(legal().iter().flat_map(Combination::pairs).all(|pair| met.contains(&pair)), "a pair has not met");
    assert!((30..80).contains(&chosen.len()), "{} combinations", chosen.len());
    let scratch = folder::Scratch::new("covering");
    let mut bad = Vec::new();
    for one in &chosen {
        scratch.write("one.mesh", &one.spec());
        let faults = meshes::faults(&scratch.path("one.mesh"));
        if !faults.is_empty() {
            bad.push(format!("{}\n{}", one.name(), faults.join("\n")));
        }
    }
    assert!(bad.is_empty(), "{} of {} combinations differ\n{}", bad.len(), chosen.len(), bad.join("\n"));
}
