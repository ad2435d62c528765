//! A plan as text that a person reads, a snapshot compares and `parse` reads back.
//!
//! Requires a plan in canonical form (`Plan::canonical`) that verifies; other plans print too, but may read back as a different one. Ensures
//! that equal plans give equal text, byte for byte. Sections: header, arena, scalars, inputs, weights, readouts, limits, outputs, kernels, programs,
//! entries. `#` starts a comment; a line is continued after a `\` at its end; what belongs to a line is indented by two spaces.

mod body;
mod entry;
mod kernel;
mod name;
mod program;
mod scalar;
mod state;
mod view;

use crate::{KernelData, Plan, hash};
pub(crate) use name::{axes, exchange, is_reserved};
pub(crate) use state::kind;
pub use state::{human, mesh_text};

/// The version of the text format; it changes when old text would read back as a different plan.
pub const FORMAT: u32 = 1;

/// Columns after which a line is continued on the next one where it can be.
const WIDTH: usize = 140;

/// The whole plan.
pub fn print(plan: &Plan) -> String {
    let body = body_text(plan);
    let mut text = format!("plan {}\nformat {FORMAT}\nhash {}\n", name::quoted(&plan.name), hash::of_text(&hashed(plan, &body)));
    text.push_str(&body);
    text
}

/// The first 128 bits of the SHA-256 of the plan's text without the hash line, in hexadecimal.
pub fn content_hash(plan: &Plan) -> String {
    hash::of_text(&hashed(plan, &body_text(plan)))
}

/// One kernel as it stands in a plan, with a number.
pub fn kernel(number: u32, kernel: &KernelData) -> String {
    let mut text = Text::default();
    kernel::print(number, kernel, &mut text);
    text.0
}

fn hashed(plan: &Plan, body: &str) -> String {
    format!("plan {}\nformat {FORMAT}\n{body}", name::quoted(&plan.name))
}

fn body_text(plan: &Plan) -> String {
    let mut text = Text::default();
    state::mesh(plan, &mut text);
    state::arena(plan, &mut text);
    scalar::print(plan, &mut text);
    state::inputs(plan, &mut text);
    state::weights(plan, &mut text);
    state::readouts(plan, &mut text);
    state::limits(plan, &mut text);
    state::outputs(plan, &mut text);
    for (number, kernel) in plan.kernels.iter() {
        text.blank();
        kernel::print(number.as_u32(), kernel, &mut text);
    }
    for program in plan.programs.values() {
        text.blank();
        program::print(plan, program, &mut text);
    }
    for entry in &plan.entries {
        text.blank();
        entry::print(plan, entry, &mut text);
    }
    text.0
}

/// Text under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A line made of pieces that stand apart by one space; it is continued on further lines where it gets too long.
    fn line(&mut self, indent: usize, pieces: &[String]) {
        let start = " ".repeat(indent * 2);
        self.0.push_str(&start);
        let mut column = start.len();
        for (index, piece) in pieces.iter().enumerate() {
            let width = piece.chars().count() + usize::from(index > 0);
            if index > 0 && column + width + 2 > WIDTH {
                self.0.push_str(" \\\n");
                self.0.push_str(&start);
                self.0.push_str("      ");
                column = start.len() + 6;
            } else if index > 0 {
                self.0.push(' ');
            }
            self.0.push_str(piece);
            column += width;
        }
        self.0.push('\n');
    }

    /// An empty line.
    fn blank(&mut self) {
        self.0.push('\n');
    }
}
