//! A program as text: what it reads and writes, then its launches, `k3 norm x=x gain=weights+589824 h=scratch`.
//!
//! `=` binds an operand to a place; on accumulating operands it also says that the launch overwrites, `+=` that it adds, `?=` that the
//! call decides. `!` after a place in scratch memory: what stands there is needed no more.

use super::{Text, name};
use crate::kernel::Access;
use crate::program::{Accumulate, Launch};
use crate::{Plan, ProgramData};

/// The program.
pub(super) fn print(plan: &Plan, program: &ProgramData, text: &mut Text) {
    text.line(0, &[format!("program {}", name::quoted(&program.name))]);
    params(program, text);
    for launch in &program.launches {
        text.line(1, &launch_pieces(plan, program, launch));
    }
}

fn params(program: &ProgramData, text: &mut Text) {
    let mut pieces: Vec<String> = Vec::new();
    let mut written = None;
    for param in &program.params {
        let shown = format!("{} {}", name::quoted(&param.name), param.bytes);
        if written == Some(param.written) {
            if let Some(last) = pieces.last_mut() {
                last.push(',');
            }
            pieces.push(shown);
            continue;
        }
        if written.is_some() {
            text.line(1, &pieces);
        }
        written = Some(param.written);
        pieces = vec![format!("{} {shown}", if param.written { "write" } else { "read" })];
    }
    if written.is_some() {
        text.line(1, &pieces);
    }
}

fn launch_pieces(plan: &Plan, program: &ProgramData, launch: &Launch) -> Vec<String> {
    let Some(kernel) = plan.kernels.get(launch.kernel) else { return vec![format!("{}?", launch.kernel)] };
    let mut pieces = vec![format!("{} {}", launch.kernel, name::quoted(&kernel.name))];
    for (at, (operand, place)) in kernel.operands.values().zip(&launch.places).enumerate() {
        let sign = if operand.access == Access::Accumulate { sign(launch.accumulate) } else { "=" };
        let param = program.params.get(place.param as usize).map_or_else(|| format!("param{}?", place.param), |p| name::quoted(&p.name));
        let offset = if place.offset == 0 { String::new() } else { format!("+{}", place.offset) };
        let last = if launch.is_last(at) { "!" } else { "" };
        pieces.push(format!("{}{sign}{param}{offset}{last}", name::quoted(&operand.name)));
    }
    pieces
}

fn sign(accumulate: Accumulate) -> &'static str {
    match accumulate {
        Accumulate::Write => "=",
        Accumulate::Add => "+=",
        Accumulate::ByCall => "?=",
    }
}
