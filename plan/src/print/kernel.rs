//! A kernel as text: a line with its dims, lines with its operands, and the statements of its body.

use super::{Text, body, name, view};
use crate::KernelData;
use crate::kernel::{Attention, Collective, Exchange, Operand, Role, Skeleton, Slot};
use crate::mesh::Coordinate;

/// Columns after which operands go on in a further line.
const OPERANDS_WIDTH: usize = 110;

/// The kernel with its number in the plan.
pub(super) fn print(number: u32, kernel: &KernelData, text: &mut Text) {
    let mut pieces = vec![format!("kernel k{number} {} {}", name::quoted(&kernel.name), skeleton(&kernel.skeleton))];
    pieces.extend(exchange(&kernel.skeleton));
    pieces.extend(dims(kernel));
    pieces.extend(settings(&kernel.skeleton));
    text.line(0, &pieces);
    operands(kernel, text);
    if let Skeleton::Rows(rows) = &kernel.skeleton {
        body::print(kernel, rows, text);
    }
}

fn skeleton(skeleton: &Skeleton) -> &'static str {
    match skeleton {
        Skeleton::Rows(_) => "rows",
        Skeleton::Contract { .. } => "contract",
        Skeleton::Attention(_) => "attention",
        Skeleton::AttentionGrad(_) => "attention_grad",
        Skeleton::Segmented => "segmented",
        Skeleton::Collective(collective) => name::exchange(&collective.exchange),
    }
}

/// `sum along data*tensor`: what a collective does, and between whom.
fn exchange(skeleton: &Skeleton) -> Option<String> {
    let Skeleton::Collective(Collective { exchange, axes }) = skeleton else { return None };
    let how = match exchange {
        Exchange::AllGather => None,
        Exchange::AllToAll { from, to } => Some(format!("{} to {}", name::dim(from), name::dim(to))),
        Exchange::ReduceScatter(op) | Exchange::AllReduce(op) => Some(name::reduce_spelling(*op).to_owned()),
        Exchange::Permute { by } => Some(by.to_string()),
    };
    let along = format!("along {}", name::axes(axes));
    Some(how.map_or(along.clone(), |how| format!("{how} {along}")))
}

/// `[Batch 8 / data, Seq 256] lanes [Embed 384]`: neighbours with one role share brackets.
fn dims(kernel: &KernelData) -> Vec<String> {
    let mut groups: Vec<(Role, Vec<String>)> = Vec::new();
    for dim in kernel.dims.values() {
        let shown = format!("{} {}{}", name::dim(&dim.name), dim.size, name::cut(&dim.axes));
        match groups.last_mut() {
            Some((role, group)) if *role == dim.role => group.push(shown),
            Some(_) | None => groups.push((dim.role, vec![shown])),
        }
    }
    let show = |(role, group): (Role, Vec<String>)| match name::role(role) {
        Some(word) => format!("{word} [{}]", group.join(", ")),
        None => format!("[{}]", group.join(", ")),
    };
    groups.into_iter().map(show).collect()
}

fn settings(skeleton: &Skeleton) -> Vec<String> {
    match skeleton {
        Skeleton::Rows(rows) => {
            let folded = if rows.folded == 0 { None } else { Some(format!("folded {}", rows.folded)) };
            folded.into_iter().chain([format!("blocks {}", rows.blocks)]).collect()
        }
        Skeleton::Contract { alpha } if *alpha == 1.0 => Vec::new(),
        Skeleton::Contract { alpha } => vec![format!("alpha {alpha:?}")],
        Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape) => attention(shape),
        Skeleton::Segmented | Skeleton::Collective(_) => Vec::new(),
    }
}

fn attention(shape: &Attention) -> Vec<String> {
    let place = |word: &str, place: &Option<Coordinate>| place.as_ref().map(|place| format!("{word} {}", name::coordinate(place)));
    let places = [place("query", &shape.query), place("key", &shape.key)].into_iter().flatten();
    let causal = if shape.causal { Some("causal".to_owned()) } else { None };
    let window = shape.window.map(|window| format!("window {window}"));
    let balanced = if shape.balanced { Some("balanced".to_owned()) } else { None };
    [format!("scale {:?}", shape.scale)].into_iter().chain(causal).chain(window).chain(balanced).chain(places).collect()
}

/// `read x, a: f32[Seq, Embed]; gain: f32[Embed]`: neighbours with one access share a line, with one type a name list.
fn operands(kernel: &KernelData, text: &mut Text) {
    let mut line = String::new();
    let mut last: Option<(&Operand, String)> = None;
    for (slot, operand) in kernel.operands.iter() {
        let shown = operand_type(kernel, slot, operand);
        let name = name::quoted(&operand.name);
        let added = line.chars().count() + name.chars().count() + shown.chars().count();
        line = match &last {
            Some((before, type_before)) if before.access == operand.access && *type_before == shown && added < OPERANDS_WIDTH => {
                let names = line.len() - type_before.len() - 2;
                format!("{}, {name}: {shown}", &line[..names])
            }
            Some((before, _)) if before.access == operand.access && added < OPERANDS_WIDTH => format!("{line}; {name}: {shown}"),
            Some(_) | None => {
                if last.is_some() {
                    text.line(1, &[line]);
                }
                format!("{} {name}: {shown}", name::access(operand.access))
            }
        };
        last = Some((operand, shown));
    }
    if last.is_some() {
        text.line(1, &[line]);
    }
}

fn operand_type(kernel: &KernelData, slot: Slot, operand: &Operand) -> String {
    let implied = kernel.reach(slot) == Some(operand.extent);
    let extent = if implied { String::new() } else { format!(" extent {}", operand.extent) };
    format!("{}{}{extent}", operand.element, view::strides(kernel, &operand.strides))
}
