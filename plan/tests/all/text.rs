//! How plans look.

use crate::round_trip::PLANS;
use meshwright_plan::{parse::parse, print::print, summary::summary};

#[test]
fn plans_look_like_this() {
    for (name, text) in PLANS {
        let plan = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        insta::assert_snapshot!(name, print(&plan));
        insta::assert_snapshot!(format!("{name} summary"), summary(&plan).to_string());
    }
}
