//! Specs from disk: reading, compiling, and placing the data's errors at the spec's lines.

use crate::outcome::{Failure, show};
use crate::timing::Timing;
use meshwright_compiler::emit::Behind;
use meshwright_compiler::op::OriginData;
use meshwright_compiler::{Compiled, Target};
use meshwright_grammar::tree::Expr;
use meshwright_grammar::{Diagnostic, Sources, Span, Spec};
use meshwright_plan::Mesh;
use meshwright_plan::mesh::base;
use meshwright_runtime::error::Error;
use std::path::{Path, PathBuf};

/// Lines that are shown of those behind one kernel.
const PLACES: usize = 3;

/// What every command that takes a spec accepts.
#[derive(clap::Args, Clone)]
pub struct SpecArguments {
    /// The spec's file.
    pub spec: PathBuf,
    /// Overrides a value: `--set train.steps=100`, `--set dims.Layers=2`, `--set init=0.01`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the time of each stage on standard error.
    #[arg(long)]
    pub timings: bool,
}

/// A spec as it was read.
pub struct Opened {
    /// All files.
    pub sources: Sources,
    /// Their trees.
    pub tree: Spec,
    /// What `--set` says.
    pub overrides: Vec<(String, Expr)>,
    /// The time of stages so far.
    pub timing: Timing,
}

/// A compiled spec with its sources.
pub struct Loaded {
    /// All files.
    pub sources: Sources,
    /// What the compiler made of them.
    pub compiled: Compiled,
    /// The folder that the data's paths are relative to.
    pub folder: PathBuf,
    /// The time of stages so far.
    pub timing: Timing,
}

impl SpecArguments {
    /// The spec's name: its file's, without the ending.
    pub fn name(&self) -> String {
        self.spec.file_stem().map_or_else(|| "spec".to_string(), |stem| stem.to_string_lossy().into_owned())
    }

    /// Reads all files and overrides.
    pub fn open(&self) -> Result<Opened, Failure> {
        let mut timing = Timing::new();
        timing.begin("parse");
        let root = self.spec.to_string_lossy().into_owned();
        let (mut sources, tree) = meshwright_grammar::load(&root, &mut read);
        let overrides = self.overrides(&mut sources)?;
        match tree {
            Ok(tree) => Ok(Opened { sources, tree, overrides, timing }),
            Err(diagnostics) => Err(Failure::Spec(diagnostics, sources)),
        }
    }

    /// Reads and compiles; warnings are shown unless they go into JSON.
    pub fn compile(&self, target: Target, json: bool) -> Result<Loaded, Failure> {
        let Opened { sources, tree, overrides, mut timing } = self.open()?;
        let result = meshwright_compiler::compile(&tree, &overrides, target, &mut |stage| timing.begin(stage));
        timing.end();
        match result {
            Ok(compiled) => {
                if !json {
                    show(&compiled.warnings, &sources);
                }
                let folder = self.spec.parent().map(Path::to_path_buf).unwrap_or_default();
                Ok(Loaded { sources, compiled, folder, timing })
            }
            Err(diagnostics) => Err(Failure::Spec(diagnostics, sources)),
        }
    }

    /// The `--set` pairs, their values as expressions of the language.
    fn overrides(&self, sources: &mut Sources) -> Result<Vec<(String, Expr)>, Failure> {
        let mut overrides = Vec::new();
        for set in &self.set {
            let Some((key, value)) = set.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                return Err(Failure::Usage(format!("--set takes KEY=VALUE, as in --set train.steps=100; got '{set}'")));
            };
            overrides.push((key.trim().to_string(), expression(set, value, sources)?));
        }
        Ok(overrides)
    }
}

impl Opened {
    /// Compiles with further overrides, without a word about warnings.
    pub fn compile(&self, target: Target, more: &[(String, Expr)]) -> Result<Compiled, Failure> {
        let overrides = [&self.overrides[..], more].concat();
        meshwright_compiler::compile(&self.tree, &overrides, target, &mut |_| {})
            .map_err(|diagnostics| Failure::Spec(diagnostics, self.sources.clone()))
    }

    /// Compiles for one processor: every axis of the mesh has size 1.
    pub fn compile_alone(&self, mesh: &Mesh) -> Result<Compiled, Failure> {
        self.compile(Target::Cpu, &alone(mesh))
    }
}

/// Overrides that make every axis of a mesh 1, those with factors as a whole.
pub fn alone(mesh: &Mesh) -> Vec<(String, Expr)> {
    let mut names: Vec<&str> = mesh.axes.iter().map(|axis| base(&axis.name)).collect();
    names.dedup();
    names.iter().map(|name| meshwright_compiler::shrink::set(&format!("mesh.{name}"), 1)).collect()
}

/// Reads a value in the language's words.
fn expression(set: &str, value: &str, sources: &mut Sources) -> Result<Expr, Failure> {
    let file = sources.add(format!("--set {set}"), value);
    meshwright_grammar::parse_value(file, value).map_err(|diagnostics| Failure::Spec(diagnostics, std::mem::take(sources)))
}

fn read(name: &str) -> Result<String, String> {
    std::fs::read_to_string(name).map_err(|why| why.to_string())
}

impl Loaded {
    /// An error of the data, at the entry of the spec that it is about.
    pub fn place(self, error: &Error) -> Failure {
        let spans = &self.compiled.model.settings.data.spans;
        let Some(span) = error.setting().and_then(|setting| nearest(spans, setting)) else {
            return Failure::Data(error.code().to_string(), error.to_string(), Some(error.help().to_string()));
        };
        let diagnostic = Diagnostic::error(error.code(), error.to_string()).label(span, "asked for here").help(error.help().to_string());
        Failure::Spec(vec![diagnostic], self.sources)
    }
}

/// An error at the lines of the spec whose kernel it is about. What no line of the user's stands behind, the standard library's layers and the
/// optimizer, is named by its path.
pub fn placed(error: Error, behind: &Behind, sources: &Sources) -> Failure {
    let Error::Kernel { number: Some(number), .. } = error else { return error.into() };
    let seen = |origin: &&OriginData| origin.span.is_some_and(|span| sources.get(span.file).is_some());
    let (lines, others): (Vec<&OriginData>, Vec<&OriginData>) = behind[number].iter().partition(seen);
    let mut paths: Vec<&str> = others.iter().map(|origin| origin.path.as_str()).filter(|path| !path.is_empty()).collect();
    paths.dedup();
    let part = if paths.is_empty() { String::new() } else { format!("it is part of {}; ", paths.join(" and ")) };
    let help = part + &error.help();
    if lines.is_empty() {
        return Failure::Data(error.code().to_string(), error.to_string(), Some(help));
    }
    let diagnostic = Diagnostic::error(error.code(), error.to_string()).help(help);
    let more = lines.len().saturating_sub(PLACES);
    let label = |diagnostic: Diagnostic, (at, origin): (usize, &&OriginData)| {
        let also = if more > 0 && at + 1 == PLACES { format!(", as are {more} more") } else { String::new() };
        diagnostic.label(origin.span.unwrap_or_default(), format!("computed by this kernel, in {}{also}", origin.path))
    };
    Failure::Spec(vec![lines.iter().take(PLACES).enumerate().fold(diagnostic, label)], sources.clone())
}

/// The span of the longest prefix of a setting's path that the block has an entry for.
fn nearest(spans: &[(String, Span)], setting: &str) -> Option<Span> {
    let entry = setting.strip_prefix("data.").unwrap_or(setting);
    let parts: Vec<&str> = entry.split('.').collect();
    let named = |name: &str| spans.iter().find(|(known, _)| known == name).map(|(_, span)| *span);
    (1..=parts.len()).rev().find_map(|length| named(&parts[..length].join("."))).or_else(|| named("data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_be_made_is_shown_at_the_lines_that_it_computes() {
        let spec = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/source-gpt.mesh"));
        let Ok(loaded) = (SpecArguments { spec, set: Vec::new(), timings: false }).compile(Target::Cpu, false) else {
            panic!("the example compiles")
        };
        let (mut lines, mut helps) = (Vec::new(), Vec::new());
        for (number, kernel) in &loaded.compiled.plan.kernels {
            let error = Error::Kernel { number: Some(number), name: kernel.name.clone(), why: "no".into() };
            match placed(error, &loaded.compiled.behind, &loaded.sources) {
                Failure::Spec(diagnostics, sources) => {
                    let located = diagnostics[0].located(&sources);
                    assert!((1..=PLACES).contains(&located.places.len()), "{number} {}", kernel.name);
                    lines.extend(located.places.iter().map(|place| (kernel.name.clone(), sources_line(&sources, place.line))));
                }
                Failure::Data(code, _, help) => helps.push((code, help.unwrap_or_default())),
                _ => panic!("{number} {} has another failure", kernel.name),
            }
        }
        let shown = |name: &str, line: &str| lines.iter().any(|(known, text)| known == name && text.contains(line));
        assert!(shown("softmax", "loss cross_entropy(logits, targets)") && shown("attention", "return attention(q, k,"), "{lines:?}");
        for path in ["it is part of update; ", "it is part of SourceGpt.Block.before; "] {
            assert!(helps.iter().any(|(code, help)| code == "run::kernel" && help.starts_with(path)), "{path}: {helps:?}");
        }
    }

    fn sources_line(sources: &Sources, line: u32) -> String {
        let file = sources.iter().next().map(|(_, file)| file.text.clone()).unwrap_or_default();
        file.lines().nth(line as usize - 1).unwrap_or_default().to_string()
    }
}
