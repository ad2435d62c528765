//! The state of a plan as text: mesh, arena, inputs, weights and readouts, one line each.

use super::{Text, name};
use crate::{DimSize, Flat, Init, Mesh, Plan, Region, RegionKind, Rest, Weight};

/// The devices, and the parts of a batch; one device and one part are not mentioned.
pub(super) fn mesh(plan: &Plan, text: &mut Text) {
    if !plan.mesh.axes.is_empty() {
        text.line(0, &[format!("mesh {}", mesh_text(&plan.mesh))]);
    }
    if plan.microbatches > 1 {
        text.line(0, &[format!("microbatches {}", plan.microbatches)]);
    }
}

/// `data 2, tensor 4`.
pub fn mesh_text(mesh: &Mesh) -> String {
    mesh.axes.iter().map(|axis| format!("{} {}", name::quoted(&axis.name), axis.size)).collect::<Vec<_>>().join(", ")
}

/// The arena and its regions, offsets and sizes in bytes.
pub(super) fn arena(plan: &Plan, text: &mut Text) {
    text.blank();
    text.line(0, &[format!("arena {}  # {}", plan.arena.bytes, human(plan.arena.bytes))]);
    let names: Vec<String> = plan.arena.regions.values().map(|region| name::quoted(&region.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let digits = plan.arena.bytes.to_string().len();
    for (region, name) in plan.arena.regions.values().zip(names) {
        let (kind, offset, bytes) = (kind(region.kind), region.offset, region.bytes);
        let place = format!("at {offset:>digits$} bytes {bytes:>digits$}");
        text.line(0, &[format!("region {name:width$} {kind:9} {place}  # {}", human(bytes))]);
    }
}

/// What the data source fills.
pub(super) fn inputs(plan: &Plan, text: &mut Text) {
    if !plan.inputs.is_empty() {
        text.blank();
    }
    for input in &plan.inputs {
        let bound = input.bound.map_or(String::new(), |bound| format!(" below {bound}"));
        let place = place(plan, input.region, 0);
        let element = input.element;
        text.line(0, &[format!("input {}: {element}{}{bound} in {place}", name::quoted(&input.name), dims(&input.dims))]);
    }
}

/// What is trained.
pub(super) fn weights(plan: &Plan, text: &mut Text) {
    if !plan.weights.is_empty() {
        text.blank();
    }
    for weight in &plan.weights {
        text.line(0, &[weight_line(plan, weight)]);
    }
}

fn weight_line(plan: &Plan, weight: &Weight) -> String {
    let rest = &weight.rest;
    let copies =
        if (weight.count, rest.stride) == (1, 0) { String::new() } else { format!(" times {} every {}", weight.count, rest.stride) };
    let init = match weight.init {
        Init::Constant(value) => format!("constant {value:?}"),
        Init::Normal(deviation) => format!("normal {deviation:?}"),
        Init::Uniform(bound) => format!("uniform {bound:?}"),
    };
    let gradient = match &weight.gradient {
        Some(gradient) if gradient.stride == rest.stride => format!(" gradient {}", stands(plan, gradient)),
        Some(gradient) => format!(" gradient {} every {}", stands(plan, gradient), gradient.stride),
        None => " frozen".to_owned(),
    };
    let at = stands(plan, rest);
    format!("weight {}: {} {init} in {at}{copies}{gradient}", name::quoted(&weight.path), dims(&weight.dims))
}

/// `gradients+64`, or `gradients+64 piece 4096 of data from 128` of a block that is cut.
fn stands(plan: &Plan, rest: &Rest) -> String {
    let at = place(plan, rest.region, rest.offset);
    let Some(Flat { axes, bytes, start }) = &rest.flat else { return at };
    let from = if *start == 0 { String::new() } else { format!(" from {start}") };
    format!("{at} piece {bytes} of {}{from}", name::axes(axes))
}

/// What is read after an entry.
pub(super) fn readouts(plan: &Plan, text: &mut Text) {
    if !plan.readouts.is_empty() {
        text.blank();
    }
    for readout in &plan.readouts {
        let over = readout.count.map_or(String::new(), |count| format!(" / {}", place(plan, readout.region, count)));
        let at = place(plan, readout.region, readout.offset);
        text.line(0, &[format!("readout {} = {at}{over}", name::quoted(&readout.name))]);
    }
}

/// What stays within a bound.
pub(super) fn limits(plan: &Plan, text: &mut Text) {
    if !plan.limits.is_empty() {
        text.blank();
    }
    for limit in &plan.limits {
        let [entry, path] = [&limit.entry, &limit.path].map(|one| name::quoted(one));
        let at = place(plan, limit.region, limit.offset);
        let times = if limit.count == 1 { String::new() } else { format!(" times {}", limit.count) };
        text.line(0, &[format!("limit {entry} {path} = {at}{times} within {} {}", name::dim(&limit.dim), limit.bound)]);
    }
}

/// Tensors that are read after an entry.
pub(super) fn outputs(plan: &Plan, text: &mut Text) {
    if !plan.outputs.is_empty() {
        text.blank();
    }
    for output in &plan.outputs {
        let at = place(plan, output.region, output.offset);
        text.line(0, &[format!("output {}: {}{} in {at}", name::quoted(&output.name), output.element, dims(&output.dims))]);
    }
}

/// `region+offset`.
pub(super) fn place(plan: &Plan, region: Region, offset: u64) -> String {
    let name = plan.arena.regions.get(region).map_or_else(|| format!("{region}?"), |data| name::quoted(&data.name));
    if offset == 0 { name } else { format!("{name}+{offset}") }
}

fn dims(dims: &[DimSize]) -> String {
    let layout = |dim: &DimSize| match (dim.balanced, dim.padding) {
        (true, _) => " balanced".to_owned(),
        (false, 0) => String::new(),
        (false, padding) => format!(" padded {padding}"),
    };
    let piece = |dim: &DimSize| format!("{} {}{}{}", name::dim(&dim.name), dim.size, name::cut(&dim.axes), layout(dim));
    format!("[{}]", dims.iter().map(piece).collect::<Vec<String>>().join(", "))
}

/// The word for a region's kind.
pub(crate) fn kind(kind: RegionKind) -> &'static str {
    match kind {
        RegionKind::Weights => "weights",
        RegionKind::Gradients => "gradients",
        RegionKind::Moments => "moments",
        RegionKind::Data => "data",
        RegionKind::Carries => "carries",
        RegionKind::Stash => "stash",
        RegionKind::Gathered => "gathered",
        RegionKind::Scratch => "scratch",
        RegionKind::Results => "results",
    }
}

/// Bytes as a person says them: `36.8 MiB`.
pub fn human(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}
