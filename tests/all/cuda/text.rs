//! Emitted functions look as they did: `tests/cases/cuda/NAME.plan` in, `NAME.cu` out, without the prelude and the templates in front.

use crate::folder::{files, root};
use crate::snapshot;
use meshwright_plan::parse::parse;
use meshwright_runtime::device::cuda::emit::source;

#[test]
fn functions_look_as_they_did() {
    let cases = files(&root().join("tests/cases/cuda"), "plan");
    assert!(cases.len() >= 4);
    let mut wrong = Vec::new();
    for case in cases {
        let text = std::fs::read_to_string(&case).expect("a case");
        let plan = parse(&text).unwrap_or_else(|why| panic!("{}: {why}", case.display()));
        let source = source(&plan).unwrap_or_else(|why| panic!("{}: {why:?}", case.display()));
        let functions: Vec<&str> = source.kernels.values().flatten().map(|function| function.text.as_str()).collect();
        wrong.extend(snapshot::compare(&case.with_extension("cu"), &functions.join("\n")).err());
    }
    snapshot::all_equal(&wrong);
}
