//! Specs compiled in the test's own process.
//!
//! Requires readable files. Ensures that names in diagnostics are relative to the given folder, so that snapshots hold no machine's paths.

use meshwright_compiler::Compiled;
use meshwright_grammar::tree::Expr;
use meshwright_grammar::{Diagnostic, Sources, render};
use std::path::Path;

/// The sources, and the compiled spec or the diagnostics.
pub type Outcome = (Sources, Result<Compiled, Vec<Diagnostic>>);

/// Compiles the file `name` of `folder` with overrides.
pub fn compile_in(folder: &Path, name: &str, set: &[(String, String)]) -> Outcome {
    let mut read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|_| "there is no such file".to_string());
    let (mut sources, tree) = meshwright_grammar::load(name, &mut read);
    let overrides = overrides(set, &mut sources);
    let result = tree.and_then(|tree| meshwright_compiler::compile(&tree, &overrides?, &mut |_| {}));
    (sources, result)
}

/// Overrides as the compiler takes them.
fn overrides(set: &[(String, String)], sources: &mut Sources) -> Result<Vec<(String, Expr)>, Vec<Diagnostic>> {
    let mut parsed = Vec::new();
    for (key, value) in set {
        let file = sources.add(format!("--set {key}={value}"), value.as_str());
        parsed.push((key.clone(), meshwright_grammar::parse_value(file, value)?));
    }
    Ok(parsed)
}

/// Compiles a file that must compile.
pub fn compile(path: &Path, set: &[(&str, &str)]) -> Compiled {
    let folder = path.parent().expect("a file in a folder");
    let name = path.file_name().expect("a file").to_string_lossy();
    let set: Vec<(String, String)> = set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let (sources, result) = compile_in(folder, &name, &set);
    result.unwrap_or_else(|diagnostics| panic!("{name} with {set:?}:\n{}", render(&diagnostics, &sources, false, 100)))
}
