//! The README says what is so: its commands, files and specs.

use super::commands::meshwright;
use super::folder::{Scratch, root};
use std::fs;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The texts of fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let parts = text.split("```").collect::<Vec<_>>();
    parts.iter().skip(1).step_by(2).filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n')).map(str::to_string).collect()
}

#[test]
fn the_test_command_is_what_ci_runs() {
    let command = "cargo test --workspace";
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    assert!(ci.lines().any(|line| line.starts_with(command)), ".ci/run runs `{command}`");
    assert!(readme().lines().any(|line| line.trim() == command), "the README names `{command}`");
}

#[test]
fn its_specs_compile_and_stand_in_the_one_layout() {
    let scratch = Scratch::new("readme");
    let specs = blocks("mesh");
    assert!(!specs.is_empty());
    for spec in specs {
        scratch.write("readme.mesh", &spec);
        let done = meshwright(&scratch.path(""), &["check", "readme.mesh"]);
        assert_eq!((done.code, done.errors.as_str()), (0, ""), "{spec}");
        assert_eq!(meshwright(&scratch.path(""), &["fmt", "--check", "readme.mesh"]).code, 0, "{spec}");
    }
}

#[test]
fn its_files_exist() {
    let text = readme();
    let paths = text.split(['`', '(', ')']).filter(|word| !word.contains(' ') && (word.ends_with(".mesh") || word.ends_with('/')));
    let mut count = 0;
    for path in paths.filter(|path| path.starts_with("examples/") || path.ends_with('/') && !path.contains("runs")) {
        count += 1;
        assert!(root().join(path).exists(), "{path}");
    }
    assert!(count > 5, "the README names files: {count}");
}
