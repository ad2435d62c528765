//! `--target` and `doctor`: kernels for a GPU without one, and what a machine without one is told.

use super::commands::{Done, SMALL, meshwright};
use super::folder::Scratch;
use serde_json::Value;

fn run(scratch: &Scratch, arguments: &[&str]) -> Done {
    meshwright(&scratch.path(""), arguments)
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|why| panic!("{why}: {}\n{}", done.out, done.errors))
}

fn with_spec(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.write("small.mesh", SMALL);
    scratch.write("part.txt", &"the quick brown fox jumps over the lazy dog\n".repeat(40));
    scratch
}

fn has_gpu(scratch: &Scratch) -> bool {
    json(&run(scratch, &["--json", "doctor"]))["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty())
}

#[test]
fn plan_prints_the_kernels_of_a_gpu_without_one() {
    let scratch = with_spec("kernels");
    let done = run(&scratch, &["--json", "plan", "small.mesh", "--show", "kernels", "--target", "cuda:sm_90"]);
    let json = json(&done);
    assert_eq!((done.code, json["target"].as_str()), (0, Some("cuda:sm_90")), "{}", done.out);
    assert!(json["text"].as_str().is_some_and(|text| text.contains("extern \"C\" __global__ void k0_")), "{}", done.out);
}

#[test]
fn a_plan_for_a_gpu_keeps_rounded_numbers_in_two_bytes() {
    let scratch = with_spec("halves");
    let bytes = |target: &str, precision: &str| {
        let precision = format!("train.precision={precision}");
        let done = run(&scratch, &["plan", "small.mesh", "--show", "memory", "--target", target, "--set", &precision]);
        let size = done.out.split_whitespace().nth(1).and_then(|bytes| bytes.parse::<u64>().ok());
        size.unwrap_or_else(|| panic!("{}{}", done.out, done.errors))
    };
    assert!(bytes("cuda", "bf16") < bytes("cpu", "bf16"));
    assert_eq!(bytes("cuda", "f32"), bytes("cpu", "f32"));
}

#[test]
fn plan_prints_the_plans_kernels_for_the_cpu() {
    let scratch = with_spec("cpu");
    let plain = run(&scratch, &["plan", "small.mesh", "--show", "kernels"]);
    let named = run(&scratch, &["plan", "small.mesh", "--show", "kernels", "--target", "cpu"]);
    assert_eq!((plain.code, plain.out), (0, named.out));
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    let scratch = with_spec("senseless");
    let cases = [
        (&["plan", "small.mesh", "--show", "kernels", "--target", "gpu"][..], "a target is cpu, cuda"),
        (&["plan", "small.mesh", "--show", "kernels", "--target", "cuda:sm_75"], "too old"),
        (&["train", "small.mesh", "--target", "cuda:90"], "there is no architecture '90'"),
    ];
    for (arguments, word) in cases {
        let done = run(&scratch, arguments);
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.errors);
        assert!(done.errors.contains(word), "{arguments:?}: {}", done.errors);
    }
}

#[test]
fn a_spec_that_is_wrong_is_told_before_a_gpu_that_is_missing() {
    let scratch = Scratch::new("first");
    scratch.write("wrong.mesh", &SMALL.replace("[Embed -> Vocab]", "[Embde -> Vocab]"));
    let done = run(&scratch, &["train", "wrong.mesh", "--target", "cuda"]);
    assert!(done.code == 1 && done.errors.contains("model::unknown_dim"), "{}", done.errors);
}

#[test]
fn train_on_a_gpu_says_what_is_missing() {
    let scratch = with_spec("missing");
    let done = run(&scratch, &["train", "small.mesh", "--target", "cuda"]);
    assert_eq!((done.code, done.out.as_str()), (3, ""), "{}", done.errors);
    let machine = json(&run(&scratch, &["--json", "train", "small.mesh", "--target", "cuda"]));
    if has_gpu(&scratch) {
        return;
    }
    for word in ["cuda::missing", "CUDA driver", "help: install NVIDIA's driver", "meshwright doctor"] {
        assert!(done.errors.contains(word), "{word}: {}", done.errors);
    }
    assert_eq!(machine["diagnostics"][0]["code"].as_str(), Some("cuda::missing"));
    assert!(!scratch.path("runs").exists(), "nothing was begun");
}

#[test]
fn generate_on_a_gpu_says_what_is_missing() {
    let scratch = with_spec("sampled");
    let trained = run(&scratch, &["train", "small.mesh", "--out", "run", "--set", "train.steps=2"]);
    assert_eq!(trained.code, 0, "{}", trained.errors);
    let sample = |target: &[&str]| run(&scratch, &[&["generate", "run", "--tokens", "5", "--prompt", "the"], target].concat());
    let (plain, named) = (sample(&[]), sample(&["--target", "cpu"]));
    assert!(plain.code == 0 && plain.out.starts_with("the") && plain.out == named.out, "{}{}", plain.out, named.out);
    let wrong = sample(&["--target", "gpu"]);
    assert!(wrong.code == 2 && wrong.errors.contains("a target is cpu, cuda"), "{}", wrong.errors);
    if !has_gpu(&scratch) {
        for target in ["cuda", "cuda:sm_90"] {
            let done = sample(&["--target", target]);
            assert_eq!((done.code, done.out.as_str()), (3, ""), "{}", done.errors);
            assert!(done.errors.contains("cuda::missing") && done.errors.contains("meshwright doctor"), "{}", done.errors);
        }
        let other = run(&scratch, &["generate", "no-run", "--target", "cuda"]);
        assert!(other.code == 1 && other.errors.contains("run::missing"), "a run that is missing is told first: {}", other.errors);
    }
}

#[test]
fn doctor_shows_every_part() {
    let scratch = Scratch::new("doctor");
    let done = run(&scratch, &["doctor", "--verbose"]);
    assert_eq!(done.code, 0, "{}", done.errors);
    for part in ["CPU ", "CUDA driver ", "NVRTC ", "cuBLASLt ", "NCCL ", "GPU ", "kernel cache "] {
        assert!(done.out.lines().any(|line| line.starts_with(part)), "{part}: {}", done.out);
    }
    let json = json(&run(&scratch, &["--json", "doctor"]));
    assert!(json["cpu"]["threads"].as_u64().is_some_and(|threads| threads > 0), "{json}");
    let parts = json["cuda"].as_array().expect("the libraries");
    assert_eq!(parts.len(), 4);
    for part in parts {
        // each is here with a version, or there is something to do about it
        assert!(part["version"].is_string() != part["install"].is_string(), "{part}");
        assert_eq!(part["fault"].is_string(), part["install"].is_string(), "{part}");
    }
}
