//! Any text given to the reader of plans: it never panics, and what it reads can be verified, summed up and printed, and reads back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshwright_plan::{parse, print, summary, verify};

fuzz_target!(|text: &str| {
    let Ok(plan) = parse::parse(text) else { return };
    // a verdict of any kind will do: only a panic is a failure
    let _ = verify::verify(&plan);
    let _ = summary::summary(&plan).to_string();
    let printed = print::print(&plan);
    assert_eq!(parse::parse(&printed).as_ref(), Ok(&plan), "{printed}");
});
