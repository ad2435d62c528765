//! The standard library: modules in the language, built into the compiler.
//!
//! Requires that its texts have no syntax errors (a test parses all of them). Ensures that a module's file id follows those of the user's files,
//! in the fixed order of [`MODULES`], so that sources to which [`add`] gave the texts show places in them.

use meshwright_grammar::tree::File;
use meshwright_grammar::{Diagnostic, FileId, Sources, parse};

/// Every module: its name in `use`, and its text.
pub const MODULES: &[(&str, &str)] = &[
    ("std.norm", include_str!("../../std/norm.mesh")),
    ("std.feed", include_str!("../../std/feed.mesh")),
    ("std.attention", include_str!("../../std/attention.mesh")),
    ("std.position", include_str!("../../std/position.mesh")),
    ("std.activation", include_str!("../../std/activation.mesh")),
];

/// Adds the modules' texts to the sources of a spec that was loaded, so that diagnostics can show places in them.
pub fn add(sources: &mut Sources) {
    for (name, text) in MODULES {
        sources.add(*name, *text);
    }
}

/// The tree of module number `at`, when the user's files have the ids below `first`.
pub(crate) fn tree(at: usize, first: u32) -> Result<File, Vec<Diagnostic>> {
    parse(FileId(first + at as u32), MODULES[at].1)
}
