//! Wrong text is refused where it is wrong, with what was expected there.

use crate::round_trip::PLANS;
use meshwright_plan::parse::parse;

fn error(text: &str) -> String {
    parse(text).map_or_else(|error| error.to_string(), |_| "no error".to_owned())
}

/// What is replaced in the first plan, by what, and what is said.
const SLIPS: [(&str, &str, &str); 28] = [
    ("plan Bigram\n", "", "line 1, column 1: expected `plan` and the plan's name, found `format`"),
    ("format 1", "format 7", "line 2, column 8: expected format version 1, found `7`"),
    ("format 1\n", "format 1\nhash 00\n", "line 3, column 6: expected 32 hexadecimal digits, found `00`"),
    ("format 1\n", "format 1\nmesh data 2, data 3\n", "line 3, column 14: expected an axis that no other is named like, found `data`"),
    ("format 1\n", "format 1\nmicrobatches 0\n", "line 3, column 14: expected a number of microbatches that is not 0, found `0`"),
    ("weights+448 gradient", "weights+448 piece 64 data gradient", "line 26, column 79: expected `of`, found `data`"),
    ("Batch 4, Seq 8] below", "Batch 4 / data*, Seq 8] below", "line 21, column 34: expected an axis of the mesh, found `,`"),
    ("k1 norm rows", "k1 norm all_reduce product", "line 41, column 27: expected `sum`, `max`, `min` or `argmax`, found `product`"),
    ("c = x - mean", "c = x - coord(data back)", "line 45, column 26: expected a whole number of at most 64 bits, found `)`"),
    ("below 10 in tokens", "below 10 in token", "line 21, column 47: expected the name of a region declared above, found `token`"),
    ("normal 0.02", "gaussian 0.02", "line 24, column 42: expected `constant`, `normal` or `uniform`, found `gaussian`"),
    ("normal 0.02", "normal 1e39", "line 24, column 49: expected a number, found `1e39`"),
    ("k1 norm rows", "k2 norm rows", "line 41, column 8: expected `k1`, found `k2`"),
    (
        "rows [Batch 2, Seq 8] lanes [Embed 8] blocks 2",
        "rows [Batch 2, Seq 8] lanes [Embed 8]",
        "line 36, column 54: expected `blocks`, found the end of the line",
    ),
    (
        "Batch 2, Seq 8] lanes",
        "Batch 2, Batch 8] lanes",
        "line 36, column 32: expected a dim that no other is named like, and at most 16 of them, found `Batch`",
    ),
    (
        "gain: f32[Embed]",
        "x: f32[Embed]",
        "line 42, column 35: expected an operand that no other is named like, and at most 64 of them, found `x`",
    ),
    ("gain: f32[Embed]", "gain: f64[Embed]", "line 42, column 41: expected `f32`, `bf16`, `i32` or `bool`, found `f64`"),
    ("gain: f32[Embed]", "gain: f32[Embde]", "line 42, column 45: expected a dim of the kernel, found `Embde`"),
    ("c = x - mean", "c = x - meen", "line 45, column 11: expected an operand or a name given above, found `meen`"),
    ("c = x - mean", "c = x - h", "line 45, column 11: expected a value: this operand is only written, and not yet, found `h`"),
    ("c = x - mean", "c = x -", "line 45, column 10: expected a value, found the end of the line"),
    ("c = x - mean", "c = exp(x, x)", "line 45, column 7: expected 1 arguments for this function, found `exp`"),
    ("c = x - mean", "mean = x", "line 45, column 3: expected a name that is not taken, found `mean`"),
    ("  k1 norm x=x gain=weights", "  k1 norms x=x gain=weights", "line 112, column 6: expected `norm`, which is k1's name, found `norms`"),
    ("  k1 norm x=x gain=weights", "  k1 norm gain=weights", "line 112, column 11: expected `x=` and a place, found `gain`"),
    ("loss?=results count?=", "loss?=results count+=", "line 118, column 87: expected `?=`, found `+=`"),
    (
        "    for layer in 0..2\n",
        "   for layer in 0..2\n",
        "line 141, column 4: expected indentation by steps of two spaces, found this line",
    ),
    ("call Block.forward iteration layer x=", "call Block.forward x+", "line 142, column 27: expected `=`, `+=` or `?=`, found `+`"),
];

#[test]
fn slips_are_pointed_at() {
    let text = PLANS[0].1;
    let mut wrong = Vec::new();
    for (from, to, expected) in SLIPS {
        assert!(text.contains(from), "{from}");
        let found = error(&text.replacen(from, to, 1));
        if found != expected {
            wrong.push(format!("{from} -> {to}:\n  {found}\n  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Depth is bounded, however it is made.
#[test]
fn deep_text_is_refused() {
    let deep = |open: &str, close: &str| format!("{}1.0{}", open.repeat(100_000), close.repeat(100_000));
    for (open, close) in [("(", ")"), ("cos(", ")"), ("where(1.0, 1.0, ", ")"), ("1.0 + ", ""), ("-(", ")"), ("1.0 < (", ")")] {
        let scalar = error(&format!("plan P\nformat 1\nscalar s = {}", deep(open, close)));
        assert!(scalar.contains("less deep"), "{open}: {}", &scalar[..scalar.len().min(200)]);
    }
    for (open, close) in [("(", ")"), ("exp(", ")"), ("not (", ")"), ("x[", " in 0..1]"), ("-(", ")")] {
        let kernel = format!("plan P\nformat 1\nkernel k0 k rows blocks 1\n  read x: f32[]\n  write y: f32[]\n  y = {}", deep(open, close));
        let kernel = error(&kernel);
        assert!(kernel.contains("less deep"), "{open}: {}", &kernel[..kernel.len().min(200)]);
    }
}

/// The hash line is checked, and its absence is not.
#[test]
fn changed_plans_are_noticed() {
    let plan = parse(PLANS[0].1).unwrap_or_else(|error| panic!("{error}"));
    let printed = meshwright_plan::print::print(&plan);
    let changed = printed.replace("normal 0.02", "normal 0.03");
    assert!(error(&changed).contains("it was changed after it was written"), "{}", error(&changed));
    let unsigned: String = changed.lines().filter(|line| !line.starts_with("hash")).map(|line| format!("{line}\n")).collect();
    assert_eq!(error(&unsigned), "no error");
    assert_ne!(meshwright_plan::print::content_hash(&plan), "");
    assert!(printed.contains(&meshwright_plan::print::content_hash(&plan)));
}
