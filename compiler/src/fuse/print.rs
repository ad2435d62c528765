//! Fused programs as text, for people and snapshots: buffers, then launches with their kernels in the plan's own spelling.
//!
//! Requires nothing. Ensures that equal programs print equally.

use super::ir::{Fused, FusedLaunch};
use meshwright_plan::program::Accumulate;
use std::fmt::Write;

/// The whole program.
pub fn print(fused: &Fused) -> String {
    let mut text = String::new();
    for (buffer, data) in fused.buffers.iter() {
        let role = data.role.map_or(String::new(), |role| format!(", {role:?}"));
        let _ = writeln!(text, "{buffer} {}: {} bytes{role}", data.name, data.bytes);
    }
    for (number, launch) in fused.launches.iter().enumerate() {
        text.push('\n');
        text.push_str(&print_launch(number, launch));
    }
    text
}

fn print_launch(number: usize, launch: &FusedLaunch) -> String {
    let place = |(buffer, at): &(_, u64)| if *at == 0 { format!("{buffer}") } else { format!("{buffer}+{at}") };
    let places: Vec<String> = launch.places.iter().map(place).collect();
    let adds = match launch.accumulate {
        Accumulate::Write => "",
        Accumulate::Add => " adding",
        Accumulate::ByCall => " by call",
    };
    let kernel = meshwright_plan::print::kernel(number as u32, &launch.kernel);
    format!("({}){adds}\n{}\n", places.join(", "), kernel.trim_end())
}

/// One line per launch: what runs, in which order.
pub fn summary(fused: &Fused) -> Vec<String> {
    fused.launches.iter().map(|launch| launch.kernel.name.clone()).collect()
}
