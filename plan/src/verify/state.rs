//! The arena's regions and the tensors that lie in them.

use super::view::View;
use super::{ALIGNMENT, Report, Rule};
use crate::{DimSize, Element, Init, Limit, Plan, Region, Rest, Weight, print};

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

/// Inputs, weights, readouts, limits and outputs.
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
        outside(&input.name, input.element, report);
    }
    weights(plan, report);
    report.at("readouts");
    for readout in &plan.readouts {
        for offset in [Some(readout.offset), readout.count].into_iter().flatten() {
            inside(plan, readout.region, Some(&View::range(offset, Element::F32.bytes())), &readout.name, report);
        }
    }
    limits(plan, report);
    report.at("outputs");
    report.unique(plan.outputs.iter().map(|output| output.name.as_str()));
    for output in &plan.outputs {
        inside(plan, output.region, dense(output.offset, &output.dims, output.element).as_ref(), &output.name, report);
        outside(&output.name, output.element, report);
    }
}

/// What goes in and out is not of two bytes.
fn outside(name: &str, element: Element, report: &mut Report) {
    report.check(element != Element::Bf16, Rule::Element, || format!("{name} is bf16, and the executor knows only f32"));
}

fn limits(plan: &Plan, report: &mut Report) {
    report.at("limits");
    for limit in &plan.limits {
        let bytes = limit.count.saturating_sub(1).saturating_mul(Limit::APART).saturating_add(Element::F32.bytes());
        inside(plan, limit.region, Some(&View::range(limit.offset, bytes)), &limit.path, report);
        let counts = limit.count > 0 && limit.bound > 0;
        report.check(counts, Rule::Number, || format!("{} numbers of {} are at most {}", limit.count, limit.path, limit.bound));
        let known = plan.entries.iter().any(|entry| entry.name == limit.entry);
        report.check(known, Rule::NoEntry, || format!("{} is measured in {}, which is not there", limit.path, limit.entry));
    }
}

fn weights(plan: &Plan, report: &mut Report) {
    report.at("weights");
    report.unique(plan.weights.iter().map(|weight| weight.path.as_str()));
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    for weight in &plan.weights {
        let number = match weight.init {
            Init::Constant(value) | Init::Normal(value) | Init::Uniform(value) => value,
        };
        report.check(number.is_finite(), Rule::Number, || format!("{} starts with {number}", weight.path));
        values.extend(Stands::new(plan, weight, &weight.rest, weight.path.clone(), report));
        let gradient = weight.gradient.as_ref();
        let name = || format!("the gradient of {}", weight.path);
        gradients.extend(gradient.and_then(|gradient| Stands::new(plan, weight, gradient, name(), report)));
    }
    apart(&values, report);
    apart(&gradients, report);
}

/// No two share bytes of a rank or of a block.
fn apart(placed: &[Stands<'_>], report: &mut Report) {
    for (index, one) in placed.iter().enumerate() {
        for other in placed[..index].iter().filter(|other| other.rest.region == one.rest.region) {
            report.check(one.apart(other), Rule::TensorOverlap, || format!("{} and {} share bytes", other.name, one.name));
        }
    }
}

/// A weight or a gradient that lies in its region.
struct Stands<'p> {
    name: String,
    rest: &'p Rest,
    /// All copies, of the tensor or of the rank's pieces.
    view: View,
    /// The tensor's bytes in its block.
    block: Option<View>,
}

impl<'p> Stands<'p> {
    fn new(plan: &'p Plan, weight: &'p Weight, rest: &'p Rest, name: String, report: &mut Report) -> Option<Self> {
        let block = rest.flat.as_ref().and_then(|flat| dense(flat.start, &weight.dims, Element::F32));
        if let Some(flat) = &rest.flat {
            let axes = super::mesh::axes(plan, &flat.axes);
            report.check(axes && !flat.axes.is_empty(), Rule::MeshAxis, || format!("{name} is cut along {}", print::axes(&flat.axes)));
            let whole = flat.bytes.checked_mul(plan.mesh.size(&flat.axes));
            let holds = block.as_ref().and_then(View::end).zip(whole).is_some_and(|(end, whole)| end <= whole);
            let aligned = [flat.bytes, flat.start].iter().all(|part| part.is_multiple_of(Element::F32.bytes()));
            report.check(holds && aligned, Rule::FlatPiece, || format!("the pieces of {} bytes do not hold {name}", flat.bytes));
        }
        let one = match &rest.flat {
            Some(flat) if flat.bytes > 0 => Some(View::range(rest.offset, flat.bytes)),
            Some(_) => None,
            None => dense(rest.offset, &weight.dims, Element::F32),
        };
        let view = one.and_then(|one| copies(weight.count, rest.stride, one));
        inside(plan, rest.region, view.as_ref(), &name, report);
        view.map(|view| Stands { name, rest, view, block })
    }

    fn apart(&self, other: &Stands<'_>) -> bool {
        match (&self.rest.flat, &other.rest.flat, &self.block, &other.block) {
            (Some(flat), Some(other_flat), Some(block), Some(other_block)) if self.view == other.view => {
                (&flat.axes, flat.bytes) == (&other_flat.axes, other_flat.bytes) && block.disjoint(other_block)
            }
            _ => self.view.disjoint(&other.view),
        }
    }
}

/// All copies of what stands there once; `None` if their bytes are beyond 64 bits, overlap, or if there are none.
fn copies(count: u64, stride: u64, one: View) -> Option<View> {
    let apart = count == 1 || stride >= one.unit;
    if count == 0 || !apart || !stride.is_multiple_of(Element::F32.bytes()) {
        return None;
    }
    Some(View { dims: vec![(count, stride)], ..one })
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
