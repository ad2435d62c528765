//! `meshwright explain WHAT`: what an error code means, and the ways out; `meshwright explain SPEC WHAT`: why a tensor stands where it does, or
//! why a layer's ranks exchange what they exchange.

use crate::outcome::{Failure, Outcome, print_json, print_text};
use crate::spec::SpecArguments;
use meshwright_compiler::Target;
use meshwright_compiler::explain::{Exchanged, Explained, Layer, Tensor};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// An error code, as diagnostics show it (`dims::unknown`), or a spec's file. Without one, all codes are listed.
    code_or_spec: Option<String>,
    /// What of the spec: a weight (`Attention.query`), a value (`Block.y`), an input, or a layer (`Block`).
    what: Option<String>,
    /// Overrides a value of the spec: `--set mesh.data=4`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A code with its title and explanation.
type Entry = (&'static str, &'static str, &'static str);

/// Every code of every stage, in order of code.
pub fn all() -> Vec<Entry> {
    let compiler = meshwright_compiler::codes().map(|info| (info.code, info.title, info.explanation));
    let mut all: Vec<Entry> = compiler.chain(meshwright_runtime::error::CODES.iter().copied()).collect();
    all.sort_unstable();
    all
}

/// Prints one explanation, or the list of codes.
pub fn run(arguments: &Arguments, json: bool) -> Outcome {
    let all = all();
    let Some(wanted) = &arguments.code_or_spec else {
        list(&all, json);
        return Ok(());
    };
    match (all.iter().find(|(code, _, _)| code == wanted), &arguments.what) {
        (Some(entry), None) => {
            code(entry, json);
            Ok(())
        }
        (Some(_), Some(what)) => Err(Failure::Usage(format!("'{wanted}' is an error code: there is nothing called '{what}' in it"))),
        (None, Some(what)) => of_spec(arguments, wanted, what, json),
        (None, None) if std::path::Path::new(wanted).exists() => {
            Err(Failure::Usage(format!("say what to explain: a weight, a value or a layer, as in 'meshwright explain {wanted} Block'")))
        }
        (None, None) => {
            let nearest = meshwright_grammar::word::nearest(wanted, all.iter().map(|(code, _, _)| *code));
            let hint =
                nearest.map_or_else(|| "see 'meshwright explain' for all codes".to_string(), |near| format!("did you mean '{near}'?"));
            Err(Failure::Usage(format!("there is no error code '{wanted}', and no such file; {hint}")))
        }
    }
}

fn list(all: &[Entry], json: bool) {
    if json {
        let codes: Vec<_> = all.iter().map(|(code, title, _)| json!({ "code": code, "title": title })).collect();
        print_json(&json!({ "codes": codes }));
        return;
    }
    for (code, title, _) in all {
        print_text(&format!("{code:32} {title}\n"));
    }
}

fn code((code, title, explanation): &Entry, json: bool) {
    if json {
        print_json(&json!({ "code": code, "title": title, "explanation": explanation }));
    } else {
        print_text(&format!("{code}: {title}\n\n{explanation}\n"));
    }
}

fn of_spec(arguments: &Arguments, spec: &str, what: &str, json: bool) -> Outcome {
    let spec = SpecArguments { spec: PathBuf::from(spec), set: arguments.set.clone(), timings: false };
    let loaded = spec.compile(Target::Cpu, json)?;
    let explained = meshwright_compiler::explain::explain(&loaded.compiled, &loaded.sources, what).map_err(|names| {
        let near = meshwright_grammar::word::nearest(what, names.iter().map(String::as_str));
        let hint = near.map_or_else(|| format!("there are {}", names.join(", ")), |near| format!("did you mean '{near}'?"));
        Failure::Usage(format!("nothing in {} is called '{what}'; {hint}", spec.spec.display()))
    })?;
    if json {
        print_json(&match &explained {
            Explained::Tensors(tensors) => json!({ "tensors": tensors.iter().map(tensor).collect::<Vec<_>>() }),
            Explained::Layers(layers) => json!({ "layers": layers.iter().map(layer).collect::<Vec<_>>() }),
        });
    } else {
        print_text(&explained.to_string());
    }
    Ok(())
}

fn tensor(tensor: &Tensor) -> Value {
    let dim = |dim: &meshwright_compiler::explain::Placed| {
        let axes: Vec<Value> = dim.axes.iter().map(|(axis, rule)| json!({ "axis": axis, "rule": rule })).collect();
        json!({ "dim": dim.name, "size": dim.sizes.0, "local_size": dim.sizes.1, "axes": axes, "whole": dim.whole })
    };
    json!({
        "kind": tensor.kind, "name": tensor.name, "dims": tensor.dims.iter().map(dim).collect::<Vec<_>>(), "skipped": tensor.skipped,
        "bytes": tensor.bytes, "local_bytes": tensor.local_bytes, "rest": tensor.rest, "gradient": tensor.gradient,
    })
}

fn layer(layer: &Layer) -> Value {
    let all = |all: &[Exchanged]| all.iter().map(exchanged).collect::<Vec<_>>();
    let programs: Vec<Value> = layer.programs.iter().map(|(name, of)| json!({ "program": name, "collectives": all(of) })).collect();
    json!({
        "name": layer.name, "calls": layer.times.0, "microbatches": layer.times.1, "programs": programs, "state": all(&layer.state),
    })
}

fn exchanged(one: &Exchanged) -> Value {
    json!({
        "exchange": one.exchange, "axes": one.axes, "value": one.value, "before": one.types.0, "after": one.types.1,
        "bytes_sent": one.bytes, "times": one.times, "why": one.why, "edit": one.edit,
    })
}
