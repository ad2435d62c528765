//! The arena's regions and the tensors that lie in them.

use super::view::View;
use super::{ALIGNMENT, Report, Rule};
use crate::{DimSize, Element, Init, Plan, Region, Weight};

/// Regions: aligned, inside the arena, disjoint.
pub(super) fn arena(plan: &Plan, report: &mut Report) {
    report.at("arena");
    report.unique(plan.arena.regions.values().map(|region| region.name.as_str()));
    let mut placed = Vec::new();
    for region in plan.arena.regions.values() {
        let name = &region.name;
        report.check(region.offset % ALIGNMENT == 0, Rule::RegionAlignment, || format!("{name} starts at {}", region.offset));
        let end = region.offset.checked_add(region.bytes).filter(|end| *end <= plan.arena.bytes);
        report.check(end.is_some(), Rule::RegionBounds, || format!("{name} ends beyond {} bytes", plan.arena.bytes));
        if region.bytes > 0 {
            placed.push((region.offset, end.unwrap_or(u64::MAX), name));
        }
    }
    placed.sort();
    for pair in placed.windows(2) {
        let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
        report.check(end <= start, Rule::RegionOverlap, || format!("{first} and {second} share bytes"));
    }
}

/// Inputs, weights, readouts and outputs.
pub(super) fn tensors(plan: &Plan, report: &mut Report) {
    report.at("inputs");
    report.unique(plan.inputs.iter().map(|input| input.name.as_str()));
    for input in &plan.inputs {
        let view = dense(0, &input.dims, input.element);
        inside(plan, input.region, view.as_ref(), &input.name, report);
        let bounded = input.bound.is_none_or(|bound| input.element == Element::I32 && bound > 0);
        let alone = plan.inputs.iter().filter(|other| other.region == input.region).count() == 1;
        report.check(alone, Rule::TensorOverlap, || format!("{} shares its region with another input", input.name));
        report.check(bounded, Rule::Number, || format!("the bound of {} has no meaning", input.name));
    }
    weights(plan, report);
    report.at("readouts");
    for readout in &plan.readouts {
        for offset in [Some(readout.offset), readout.count].into_iter().flatten() {
            inside(plan, readout.region, Some(&View::range(offset, Element::F32.bytes())), &readout.name, report);
        }
    }
    report.at("outputs");
    report.unique(plan.outputs.iter().map(|output| output.name.as_str()));
    for output in &plan.outputs {
        inside(plan, output.region, dense(output.offset, &output.dims, output.element).as_ref(), &output.name, report);
    }
}

fn weights(plan: &Plan, report: &mut Report) {
    report.at("weights");
    report.unique(plan.weights.iter().map(|weight| weight.path.as_str()));
    let mut placed: Vec<(Region, View, &str)> = Vec::new();
    for weight in &plan.weights {
        let number = match weight.init {
            Init::Constant(value) | Init::Normal(value) | Init::Uniform(value) => value,
        };
        report.check(number.is_finite(), Rule::Number, || format!("{} starts with {number}", weight.path));
        let value = copies(weight, weight.offset);
        inside(plan, weight.region, value.as_ref(), &weight.path, report);
        if let Some((region, offset)) = weight.gradient {
            inside(plan, region, copies(weight, offset).as_ref(), &format!("the gradient of {}", weight.path), report);
        }
        placed.extend(value.map(|view| (weight.region, view, weight.path.as_str())));
    }
    for (index, (region, view, name)) in placed.iter().enumerate() {
        for (_, other, second) in placed[..index].iter().filter(|(other, _, _)| other == region) {
            report.check(view.disjoint(other), Rule::TensorOverlap, || format!("{second} and {name} share bytes"));
        }
    }
}

/// All copies of a weight; `None` if their bytes are beyond 64 bits, overlap, or if there are none.
fn copies(weight: &Weight, offset: u64) -> Option<View> {
    let one = dense(offset, &weight.dims, Element::F32)?;
    let apart = weight.count == 1 || weight.stride >= one.unit;
    if weight.count == 0 || !apart || !weight.stride.is_multiple_of(Element::F32.bytes()) {
        return None;
    }
    Some(View { dims: vec![(weight.count, weight.stride)], ..one })
}

/// A dense tensor; `None` if it has no elements or its bytes are beyond 64 bits.
fn dense(offset: u64, dims: &[DimSize], element: Element) -> Option<View> {
    let bytes = dims.iter().try_fold(element.bytes(), |bytes, dim| bytes.checked_mul(dim.size))?;
    if bytes == 0 { None } else { Some(View::range(offset, bytes)) }
}

fn inside(plan: &Plan, region: Region, view: Option<&View>, name: &str, report: &mut Report) {
    let data = plan.arena.regions.get(region);
    let fits = data.zip(view.and_then(View::end)).is_some_and(|(data, end)| end <= data.bytes);
    report.check(fits, Rule::TensorBounds, || format!("{name} does not lie in its region"));
    let aligned = view.is_none_or(|view| view.start % Element::F32.bytes() == 0);
    report.check(aligned, Rule::TensorBounds, || format!("{name} is not aligned to its elements"));
}
