//! Rewrite: elementwise kernels write over what they read last, so that less memory is touched.
//!
//! Requires a verified program. Ensures that only a temporary that nobody reads afterwards is written over, by a kernel that reads it element by
//! element in the same order, and that the place written to was not in use before. Temporaries that nobody touches any more are gone.

use super::ir::{Buffer, Fused, FusedLaunch};
use crate::graph::ir::Role;
use cranelift_entity::{PrimaryMap, SecondaryMap};
use meshwright_plan::kernel::{Access, Operand, Slot};

/// Rewrites a program whose roles `inputs` are bound to something before it runs.
pub fn write_in_place(fused: &mut Fused, inputs: &[Role]) {
    for at in (0..fused.launches.len()).rev() {
        while let Some((old, new)) = pair(fused, at, inputs) {
            for launch in &mut fused.launches[..=at] {
                launch.places.iter_mut().filter(|place| place.0 == old).for_each(|place| place.0 = new);
            }
        }
    }
    drop_unused(fused);
}

/// A temporary that a launch reads last, and the buffer that it may be.
fn pair(fused: &Fused, at: usize, inputs: &[Role]) -> Option<(Buffer, Buffer)> {
    let launch = &fused.launches[at];
    let once = |buffer: Buffer| launch.places.iter().filter(|place| place.0 == buffer).count() == 1;
    let touched =
        |launches: &[FusedLaunch], buffer: Buffer| launches.iter().any(|launch| launch.places.iter().any(|place| place.0 == buffer));
    let placed = |access: Access| {
        let operands = launch.kernel.operands.iter().zip(&launch.places);
        operands.filter(move |((_, operand), place)| operand.access == access && place.1 == 0 && once(place.0))
    };
    for ((slot, read), old) in placed(Access::Read) {
        let last = fused.buffers[old.0].role.is_none() && !touched(&fused.launches[at + 1..], old.0);
        if !last || !launch.kernel.is_elementwise(slot) {
            continue;
        }
        let fits = |((_, write), new): &((Slot, &Operand), &(Buffer, u64))| {
            let outside = fused.buffers[new.0].role.is_some_and(|role| inputs.contains(&role));
            let alike = write.strides == read.strides && write.element == read.element;
            alike && !outside && fused.buffers[new.0].bytes == fused.buffers[old.0].bytes && !touched(&fused.launches[..at], new.0)
        };
        if let Some((_, new)) = placed(Access::Write).find(fits) {
            return Some((old.0, new.0));
        }
    }
    None
}

fn drop_unused(fused: &mut Fused) {
    let mut now: SecondaryMap<Buffer, Option<Buffer>> = SecondaryMap::new();
    let mut buffers = PrimaryMap::new();
    for (buffer, data) in fused.buffers.iter() {
        let used = fused.launches.iter().any(|launch| launch.places.iter().any(|place| place.0 == buffer));
        if used || data.role.is_some() {
            now[buffer] = Some(buffers.push(data.clone()));
        }
    }
    for place in fused.launches.iter_mut().flat_map(|launch| &mut launch.places) {
        if let Some(buffer) = now[place.0] {
            place.0 = buffer;
        }
    }
    fused.buffers = buffers;
}
