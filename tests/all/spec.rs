//! Specs compiled in the test's own process.
//!
//! Requires readable files. Ensures that names in diagnostics are relative to the given folder, so that snapshots hold no machine's paths.

use meshwright_compiler::{Compiled, Target, shrink};
use meshwright_grammar::tree::Expr;
use meshwright_grammar::{Diagnostic, Sources, Spec, render};
use std::path::Path;

/// The sources, and the compiled spec or the diagnostics.
pub type Outcome = (Sources, Result<Compiled, Vec<Diagnostic>>);

/// Compiles the file `name` of `folder` with overrides.
pub fn compile_in(folder: &Path, name: &str, set: &[(String, String)]) -> Outcome {
    compile_for(Target::Cpu, folder, name, set)
}

fn compile_for(target: Target, folder: &Path, name: &str, set: &[(String, String)]) -> Outcome {
    let (mut sources, tree) = read(folder, name);
    let overrides = overrides(set, &mut sources);
    let result = tree.and_then(|tree| meshwright_compiler::compile(&tree, &overrides?, target, &mut |_| {}));
    (sources, result)
}

fn read(folder: &Path, name: &str) -> (Sources, Result<Spec, Vec<Diagnostic>>) {
    let mut read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|_| "there is no such file".to_string());
    meshwright_grammar::load(name, &mut read)
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
    compile_to(Target::Cpu, path, set)
}

/// The same for a target.
pub fn compile_to(target: Target, path: &Path, set: &[(&str, &str)]) -> Compiled {
    let (folder, name) = parts(path);
    let set: Vec<(String, String)> = set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let (sources, result) = compile_for(target, folder, &name, &set);
    result.unwrap_or_else(|diagnostics| panic!("{name} with {set:?}:\n{}", render(&diagnostics, &sources, false, 100)))
}

/// Compiles a file as small as `meshwright verify` makes it.
pub fn compile_shrunk(target: Target, path: &Path, set: &[(&str, &str)]) -> Compiled {
    let (folder, name) = parts(path);
    let (mut sources, tree) = read(folder, &name);
    let set: Vec<(String, String)> = set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let own = overrides(&set, &mut sources);
    let small = |tree: Spec| {
        let own = own?;
        let small = shrink::shrink(&tree, &own).overrides;
        meshwright_compiler::compile(&tree, &[own, small].concat(), target, &mut |_| {})
    };
    tree.and_then(small).unwrap_or_else(|diagnostics| panic!("{name} made small:\n{}", render(&diagnostics, &sources, false, 100)))
}

fn parts(path: &Path) -> (&Path, String) {
    (path.parent().expect("a file in a folder"), path.file_name().expect("a file").to_string_lossy().into_owned())
}
