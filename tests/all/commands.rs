//! The command line, driven as a user drives it: outputs, JSON, files, exit codes.

use super::folder::{Scratch, root};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How a command ended.
pub struct Done {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said on standard error.
    pub errors: String,
}

/// Runs the command in a folder.
pub fn meshwright(folder: &Path, arguments: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshwright"));
    let output = command.args(arguments).current_dir(folder).env("NO_COLOR", "1").output().expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), errors: text(&output.stderr) }
}

impl Done {
    /// The output of a command that must have succeeded.
    fn well(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.errors);
        self.out
    }

    /// The one JSON value on standard output.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {}\n{}", self.out, self.errors))
    }
}

/// A spec that trains within a second.
pub const SMALL: &str = r#"/// A bigram model with a hidden layer.
dims {
    Batch = 4
    Seq   = 12
    Embed = 16
    Vocab = 256
}

model Small(tokens: index(Vocab)[Batch, Seq], targets: index(Vocab)[Batch, Seq]) -> [Batch, Seq, Vocab] {
    weight table: [Vocab -> Embed]
    weight head: [Embed -> Vocab]
    let logits = gelu(lookup(table, tokens)) @ head
    loss cross_entropy(logits, targets)
    return logits
}

train { steps = 30, rate = constant(1e-2), seed = 3 }
data { train = text("*.txt"), held_out = 0.2 }
validate { every = 10, batches = 2 }
"#;

/// A folder with the small spec, laid out as the formatter does it, and something to learn.
fn with_spec(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let laid_out = meshwright_grammar::format(SMALL).unwrap_or_else(|_| panic!("the small spec parses"));
    scratch.write("small.mesh", &laid_out);
    for part in 0..5 {
        let line = |number: usize| format!("line {number} of part {part}: the quick brown fox jumps over the lazy dog\n");
        scratch.write(&format!("part{part}.txt"), &(0..40).map(line).collect::<String>());
    }
    scratch
}

#[test]
fn check_says_that_all_is_well() {
    let scratch = with_spec("check");
    let out = meshwright(&scratch.path(""), &["check", "small.mesh"]).well();
    assert!(out.starts_with("Small is well: 8192 parameters"), "{out}");
    let json = meshwright(&scratch.path(""), &["--json", "check", "small.mesh"]).json();
    assert_eq!((json["model"].as_str(), json["parameters"].as_u64()), (Some("Small"), Some(8192)));
}

#[test]
fn check_shows_what_is_wrong_and_exits_with_1() {
    let scratch = with_spec("wrong");
    scratch.write("wrong.mesh", &SMALL.replace("[Embed -> Vocab]", "[Embde -> Vocab]"));
    let done = meshwright(&scratch.path(""), &["check", "wrong.mesh"]);
    assert_eq!(done.code, 1);
    assert!(
        done.out.is_empty() && done.errors.contains("model::unknown_dim") && done.errors.contains("did you mean `Embed`?"),
        "{}",
        done.errors
    );
    let done = meshwright(&scratch.path(""), &["check", "wrong.mesh", "--json"]);
    let first = &done.json()["diagnostics"][0];
    assert_eq!((done.code, first["code"].as_str()), (1, Some("model::unknown_dim")));
    assert_eq!((first["places"][0]["file"].as_str(), first["places"][0]["line"].as_u64()), (Some("wrong.mesh"), Some(11)));
}

#[test]
fn wrong_usage_exits_with_2() {
    let scratch = with_spec("usage");
    for arguments in
        [&["chekc"][..], &["check"], &["check", "small.mesh", "--set", "nothing"], &["explain", "no::such"], &["fmt", "none.mesh"]]
    {
        let done = meshwright(&scratch.path(""), arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.errors);
    }
}

#[test]
fn overrides_reach_dims_numbers_and_settings() {
    let scratch = with_spec("set");
    let set = ["--json", "check", "small.mesh", "--set", "dims.Embed=32", "--set", "train.steps=7"];
    assert_eq!(meshwright(&scratch.path(""), &set).json()["parameters"].as_u64(), Some(16384));
}

#[test]
fn plan_shows_every_stage() {
    let scratch = with_spec("plan");
    let show = |stage: &str| meshwright(&scratch.path(""), &["plan", "small.mesh", "--show", stage]).well();
    let words = [
        ("model", "contract over Embed"),
        ("graph", "backward"),
        ("rules", "one device"),
        ("shard", "one device"),
        ("schedule", "entry step"),
    ];
    for (stage, word) in words.into_iter().chain([("memory", "arena"), ("kernels", "kernel")]) {
        assert!(show(stage).contains(word), "{stage}: {}", show(stage));
    }
    assert!(!show("summary").is_empty());
    let text = meshwright(&scratch.path(""), &["plan", "small.mesh"]).well();
    assert_eq!(text, show("plan"));
    let plan = meshwright_plan::parse::parse(&text).unwrap_or_else(|why| panic!("{why}"));
    let json = meshwright(&scratch.path(""), &["--json", "plan", "small.mesh"]).json();
    assert_eq!(json["hash"], serde_json::json!(meshwright_plan::print::content_hash(&plan)));
    assert_eq!(meshwright(&scratch.path(""), &["plan", "small.mesh", "--show", "shards"]).code, 2);
}

#[test]
fn timings_go_to_standard_error() {
    let scratch = with_spec("timings");
    let done = meshwright(&scratch.path(""), &["check", "small.mesh", "--timings"]);
    assert_eq!(done.code, 0);
    assert!(done.errors.contains("parse") && done.errors.contains("ms"), "{}", done.errors);
}

#[test]
fn train_writes_a_run_that_generate_reads() {
    let scratch = with_spec("train");
    let done = meshwright(&scratch.path(""), &["--json", "train", "small.mesh", "--out", "run", "--threads", "2"]);
    assert_eq!(done.code, 0, "{}", done.errors);
    let json = done.json();
    assert_eq!((json["steps"].as_u64(), json["stopped"].as_bool()), (Some(30), Some(false)));
    let (loss, bigram) = (json["validation_loss"].as_f64().expect("a loss"), json["bigram_loss"].as_f64().expect("a bigram's loss"));
    assert!(loss < 256f64.ln() && bigram > 0.0, "{loss} {bigram}");
    check_run(&scratch.path("run"));
    let sampled = |seed: &str| {
        let arguments = ["generate", "run", "--prompt", "line ", "--tokens", "40", "--seed", seed, "--threads", "1"];
        meshwright(&scratch.path(""), &arguments).well()
    };
    assert!(sampled("1").starts_with("line ") && sampled("1").len() > 20);
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    let again = meshwright(&scratch.path(""), &["train", "small.mesh", "--out", "run"]);
    assert!(again.code == 1 && again.errors.contains("run::exists"), "{}", again.errors);
    let on = meshwright(&scratch.path(""), &["--json", "train", "small.mesh", "--from", "run", "--set", "train.steps=1"]).json();
    assert!(on["loss"].as_f64().expect("a loss") < 5.3, "an untrained model has ln 256 = 5.55: {on}");
}

#[test]
fn a_run_on_a_mesh_generates_on_one_device() {
    let scratch = with_spec("mesh");
    scratch.write("on.mesh", "use \"small.mesh\"\nmesh { data = 2 }\nshard { fsdp -> data }\n");
    meshwright(&scratch.path(""), &["train", "on.mesh", "--out", "run", "--set", "train.steps=5"]).well();
    let text = meshwright(&scratch.path(""), &["generate", "run", "--prompt", "line ", "--tokens", "10"]).well();
    assert!(text.starts_with("line "), "{text}");
}

/// What a run's folder holds.
fn check_run(folder: &Path) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|why| panic!("{name}: {why}"));
    let plan = meshwright_plan::parse::parse(&text("plan.txt")).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(plan.name, "Small");
    assert!(text("spec.mesh").contains("model Small"));
    assert!(folder.join("weights.safetensors").exists());
    let steps: Vec<Value> = text("metrics.jsonl").lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert_eq!(steps.len(), 30);
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(step["step"].as_u64(), Some(at as u64 + 1));
        for number in ["loss", "grad_norm", "rate", "tokens", "tokens_per_second", "seconds"] {
            assert!(step[number].is_number(), "{number}: {step}");
        }
        assert_eq!(step["validation_loss"].is_number(), (at + 1) % 10 == 0, "{step}");
    }
}

#[test]
fn train_needs_data_and_stops_in_time() {
    let scratch = with_spec("stops");
    let without = SMALL.split("data {").next().expect("the part before");
    scratch.write("without.mesh", without);
    let done = meshwright(&scratch.path(""), &["train", "without.mesh"]);
    assert_eq!(done.code, 2, "{}", done.errors);
    let arguments = ["--json", "train", "small.mesh", "--set", "train.steps=100000000", "--seconds", "0.3"];
    let done = meshwright(&scratch.path(""), &arguments);
    assert_eq!((done.code, done.json()["stopped"].as_bool()), (0, Some(true)), "{}", done.errors);
    assert!(scratch.path("runs/small-1/weights.safetensors").exists());
}

#[test]
fn fmt_lays_out_and_checks() {
    let scratch = with_spec("fmt");
    let laid_out = fs::read_to_string(scratch.path("small.mesh")).expect("the spec");
    scratch.write("loose.mesh", &laid_out.replace("    weight", "  weight").replace(" = ", "  =  "));
    let check = |name: &str| meshwright(&scratch.path(""), &["fmt", "--check", name]).code;
    assert_eq!((check("small.mesh"), check("loose.mesh")), (0, 1));
    meshwright(&scratch.path(""), &["fmt", "loose.mesh"]).well();
    assert_eq!(fs::read_to_string(scratch.path("loose.mesh")).expect("the spec"), laid_out);
    scratch.write("broken.mesh", "model {");
    assert_eq!(check("broken.mesh"), 1);
}

#[test]
fn test_compares_with_accepted_plans() {
    let scratch = with_spec("test");
    let test = |arguments: &[&str]| meshwright(&scratch.path(""), arguments);
    let new = test(&["test"]);
    assert!(new.code == 1 && new.out.contains("new"), "{}", new.out);
    assert!(test(&["test", "--accept"]).well().contains("accepted"));
    assert!(test(&["test"]).well().contains("same"));
    let text = fs::read_to_string(scratch.path("small.mesh")).expect("the spec");
    scratch.write("small.mesh", &text.replace("Embed = 16", "Embed = 24"));
    let changed = test(&["test"]);
    assert!(
        changed.code == 1 && changed.out.contains("differs") && changed.out.contains("\n-") && changed.out.contains("\n+"),
        "{}",
        changed.out
    );
    assert_eq!(test(&["--json", "test", "--accept"]).json()["specs"][0]["verdict"].as_str(), Some("accepted"));
}

#[test]
fn explain_knows_every_code() {
    let list = meshwright(&root(), &["explain"]).well();
    for line in list.lines() {
        let code = line.split_whitespace().next().expect("a code");
        let json = meshwright(&root(), &["--json", "explain", code]).json();
        assert_eq!(json["code"].as_str(), Some(code));
        assert!(json["explanation"].as_str().is_some_and(|text| text.len() > 20), "{code}");
    }
    assert!(list.lines().count() >= 60);
    let unknown = meshwright(&root(), &["explain", "model::unknown_dmi"]);
    assert!(unknown.code == 2 && unknown.errors.contains("did you mean 'model::unknown_dim'?"), "{}", unknown.errors);
}

#[test]
fn explain_says_why_a_tensor_stands_where_it_does() {
    let case = "tests/cases/meshes/gpt_three.mesh";
    let text = meshwright(&root(), &["explain", case, "Attention.query"]).well();
    assert!(text.contains("Heads  4 cut to 2: tensor by `Heads -> tensor` (tests/cases/meshes/gpt_three.mesh:6)"), "{text}");
    let json = meshwright(&root(), &["--json", "explain", case, "Block"]).json();
    let first = &json["layers"][0]["programs"][0]["collectives"][0];
    assert_eq!((first["exchange"].as_str(), first["times"].as_u64()), (Some("all_gather"), Some(8)));
    let unknown = meshwright(&root(), &["explain", case, "Blokc"]);
    assert!(unknown.code == 2 && unknown.errors.contains("did you mean 'Block'?"), "{}", unknown.errors);
    assert_eq!(meshwright(&root(), &["explain", case]).code, 2);
}

#[test]
fn verify_compares_a_mesh_with_one_device() {
    let scratch = with_spec("verify");
    let done = meshwright(&scratch.path(""), &["verify", "small.mesh"]);
    assert!(done.code == 2 && done.errors.contains("has no mesh"), "{}", done.errors);
    let mesh = "mesh { data = 2, tensor = 2 }\nshard {\n    Vocab -> tensor\n    Batch -> data\n    weights -> data\n}\n";
    for model in ["llama-15m", "gpt2-124m", "waves", "housing"] {
        let path = root().join(format!("examples/{model}.mesh"));
        scratch.write(
            "on.mesh",
            &format!(
                "use {path:?}\n{}",
                if model == "housing" || model == "waves" {
                    mesh.replace("    Vocab -> tensor\n", "    Hidden -> tensor\n")
                } else {
                    mesh.to_string()
                }
            ),
        );
        for more in [&[][..], &["--bf16"]] {
            let json = meshwright(&scratch.path(""), &[&["--json", "verify", "on.mesh"], more].concat()).json();
            assert_eq!((json["ranks"].as_u64(), json["differs"].as_array().map(Vec::len)), (Some(4), Some(0)), "{model} {more:?}: {json}");
        }
    }
    let text = meshwright(&scratch.path(""), &["verify", "on.mesh"]).well();
    assert!(text.ends_with("gradients agree\n"), "{text}");
}

#[test]
fn init_writes_a_spec_that_trains() {
    let scratch = with_spec("init");
    meshwright(&scratch.path(""), &["init", "first"]).well();
    assert_eq!(meshwright(&scratch.path(""), &["init", "first"]).code, 2, "it does not write over a file");
    assert_eq!(meshwright(&scratch.path(""), &["fmt", "--check", "first.mesh"]).code, 0);
    let set = ["train", "first.mesh", "--set", "train.steps=2", "--set", "train.rate=1e-3", "--set", "validate.batches=1", "--out", "run"];
    meshwright(&scratch.path(""), &set).well();
    assert!(scratch.path("run/weights.safetensors").exists());
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(meshwright(&root(), &["completions", shell]).well().contains("meshwright"));
    }
}
