//! Plans for clusters that no test could run: planning does not depend on the number of ranks, and state has the bytes that the papers say.
//!
//! A case is `tests/cases/scale/NAME.mesh`; its snapshot is the summary, `NAME.summary`. Times are the benchmark's business.

use super::folder::{Scratch, files, root};
use super::{snapshot, spec};
use meshwright_plan::RegionKind;
use meshwright_plan::summary::{Summary, summary};

#[test]
fn clusters_are_planned_and_proved_as_they_were() {
    let mut wrong = Vec::new();
    let cases = files(&root().join("tests/cases/scale"), "mesh");
    assert!(cases.len() >= 3);
    for path in cases {
        let plan = spec::compile(&path, &[]).plan;
        wrong.extend(snapshot::compare(&path.with_extension("summary"), &summary(&plan).to_string()).err());
    }
    snapshot::all_equal(&wrong);
}

/// 2^20 parameters in blocks that no padding makes larger.
const STACK: &str = "
dims { Batch = 16, Wide = 512, Depth = 4 }
layer Dense(h: [.., Wide]) -> [.., Wide] {
    weight w: [Wide -> Wide]
    return relu(h @ w)
}
model Stack(x: real[Batch, Wide], y: real[Batch, Wide]) {
    let h = x
    repeat Depth { carry h = Dense(h) }
    loss (h - y) ^ 2
}
";

fn bytes(summary: &Summary, kind: RegionKind) -> u64 {
    summary.memory.iter().find(|(known, _)| *known == kind).map_or(0, |(_, bytes)| *bytes)
}

/// In f32, with AdamW: 4 bytes of weights, 4 of gradients, 8 of moments, and 4 of weights of record where these rest apart from those in use.
/// ZeRO (Rajbhandari et al. 2020), section 5, with 4 and 4 in place of 2 and 2 for values that are not halved.
#[test]
fn state_has_the_bytes_of_the_zero_paper() {
    let parameters: u64 = 1 << 20;
    for ranks in [2, 4, 8] {
        let cases = [
            ("", [4 * ranks, 4 * ranks, 8 * ranks]),
            ("moments -> data", [4 * ranks, 4 * ranks, 12]),
            ("gradients -> data", [4 * ranks, 4, 12]),
            ("weights -> data", [4, 4, 8]),
        ];
        for (rule, expected) in cases {
            let scratch = Scratch::new("zero");
            let mesh = format!("mesh {{ data = {ranks} }}\nshard {{\n    Batch -> data\n    {rule}\n}}\n");
            scratch.write("stack.mesh", &format!("{STACK}{mesh}"));
            let summary = summary(&spec::compile(&scratch.path("stack.mesh"), &[]).plan);
            let kinds = [RegionKind::Weights, RegionKind::Gradients, RegionKind::Moments];
            let found = kinds.map(|kind| bytes(&summary, kind));
            assert_eq!(found, expected.map(|each| each * parameters / ranks), "{ranks} ranks, {rule}");
        }
    }
}

/// What a step exchanges: one reduce-scatter and one all-gather of all parameters with ZeRO-1; two all-gathers and one reduce-scatter of each layer's
/// block with FSDP (one all-gather for the last layer, whose forward and backward are one program).
#[test]
fn state_is_exchanged_as_the_papers_say() {
    let counted = |rule: &str| {
        let scratch = Scratch::new("exchanged");
        let mesh = format!("mesh {{ data = 2 }}\nshard {{\n    Batch -> data\n    {rule}\n}}\n");
        scratch.write("stack.mesh", &format!("{STACK}{mesh}"));
        let plan = spec::compile(&scratch.path("stack.mesh"), &[]).plan;
        let text = summary(&plan).to_string();
        let step = text.lines().skip_while(|line| !line.starts_with("  step")).skip(1).take_while(|line| line.starts_with("    "));
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        step.map(line).collect::<Vec<_>>()
    };
    let size = "2.0 MiB sent by each rank, beside the calls";
    let loss = "along data all_reduce 2 times, 8 B sent by each rank";
    assert_eq!(
        counted("moments -> data"),
        [&format!("along data reduce_scatter 1 times, {size}"), loss, &format!("along data all_gather 1 times, {size}")]
    );
    let gathers = "along data all_gather 7 times, 3.5 MiB sent by each rank, beside the calls";
    assert_eq!(counted("weights -> data"), [gathers, &format!("along data reduce_scatter 4 times, {size}"), loss]);
}
