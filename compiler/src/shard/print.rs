//! The local programs of a mesh as text: the axes, how state rests, and the graph over local dims, whose names end in the axes that cut them.

use super::ir::{Level, Sharded};
use crate::graph;
use std::fmt::Write;

/// The whole stage.
pub fn print(sharded: &Sharded) -> String {
    let axes: Vec<String> = sharded.mesh.axes.values().map(|axis| format!("{} {}", axis.name, axis.size)).collect();
    let mut out = if axes.is_empty() { "mesh: one device\n".to_string() } else { format!("mesh {}\n", axes.join(", ")) };
    let what = match sharded.rest.level {
        Level::Whole => None,
        Level::Moments => Some("moments"),
        Level::Gradients => Some("gradients, moments"),
        Level::Weights => Some("weights, gradients, moments"),
    };
    if let Some(what) = what {
        let _ = writeln!(out, "{what} in pieces along {}", sharded.mesh.names(&sharded.rest.axes).join("*"));
    }
    out + &graph::print::graph(&sharded.graph)
}
