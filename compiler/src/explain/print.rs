//! Explanations as text.

use super::{Exchanged, Explained, Layer, Placed, Tensor};
use meshwright_plan::print::human;
use std::fmt::{Display, Formatter, Result};

impl Display for Explained {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (tensors, layers) = match self {
            Explained::Tensors(tensors) => (tensors.as_slice(), [].as_slice()),
            Explained::Layers(layers) => ([].as_slice(), layers.as_slice()),
        };
        for (at, tensor) in tensors.iter().enumerate() {
            write!(f, "{}{tensor}", if at > 0 { "\n" } else { "" })?;
        }
        for (at, layer) in layers.iter().enumerate() {
            write!(f, "{}{layer}", if at > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl Display for Tensor {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{} {}", self.kind, self.name)?;
        let width = self.dims.iter().map(|dim| dim.name.chars().count()).max().unwrap_or(0);
        for dim in &self.dims {
            writeln!(f, "  {:width$}  {}", dim.name, placed(dim))?;
        }
        for sentence in &self.skipped {
            writeln!(f, "  {sentence}")?;
        }
        writeln!(f, "  bytes     {} whole, {} on each rank", human(self.bytes), human(self.local_bytes))?;
        if let Some(rest) = &self.rest {
            writeln!(f, "  rests     {rest}")?;
        }
        for sentence in &self.gradient {
            writeln!(f, "  gradient  {sentence}")?;
        }
        Ok(())
    }
}

fn placed(dim: &Placed) -> String {
    let (whole, local) = dim.sizes;
    if let (Some(rule), []) = (&dim.whole, dim.axes.as_slice()) {
        return format!("{whole}, whole: {rule}");
    }
    if dim.axes.is_empty() {
        return format!("{whole}, whole: no rule cuts it");
    }
    let axes: Vec<String> = dim.axes.iter().map(|(axis, rule)| format!("{axis} by {rule}")).collect();
    let parts = if dim.balanced { format!("two chunks of {}, one from either end", local / 2) } else { local.to_string() };
    let padded = local * dim.parts;
    let size = if padded > whole { format!("{whole} padded to {padded} = {} * {local}, cut", dim.parts) } else { format!("{whole} cut") };
    format!("{size} to {parts}: {}", axes.join(", "))
}

impl Display for Layer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (calls, microbatches) = self.times;
        let plural = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        writeln!(f, "{}: {} for each of {}", self.name, plural(calls, "call"), plural(microbatches, "microbatch").replace("chs", "ches"))?;
        let all = self.programs.iter().map(|(title, all)| (*title, all)).chain([("weights and gradients", &self.state)]);
        for (title, all) in all.filter(|(title, all)| !all.is_empty() || *title != "weights and gradients") {
            writeln!(f, "\n{title}{}", if all.is_empty() { ": nothing is exchanged" } else { "" })?;
            all.iter().enumerate().try_for_each(|(at, one)| exchanged(at + 1, one, f))?;
        }
        Ok(())
    }
}

fn exchanged(number: usize, one: &Exchanged, f: &mut Formatter<'_>) -> Result {
    let times = if one.times == 1 { "once".to_string() } else { format!("{} times", one.times) };
    writeln!(f, "  {number:2}. {} along {} of {}", one.exchange, one.axes.join("*"), one.value)?;
    if !one.types.0.is_empty() {
        writeln!(f, "      {} -> {}", one.types.0, one.types.1)?;
    }
    writeln!(f, "      each rank sends {}, {times} a step", human(one.bytes))?;
    for sentence in &one.why {
        writeln!(f, "      because {sentence}")?;
    }
    if let Some(edit) = &one.edit {
        writeln!(f, "      to spare it: {edit}")?;
    }
    Ok(())
}
