//! Last uses: the launch after which a write to a program's temporaries is needed no more.
//!
//! Analysis. Ensures marks by which every write can be followed from the launch that makes it to the last one that reads it; a write that is only
//! read together with one that is needed longer has none.

use crate::fuse::ir::{Buffer, Fused, FusedLaunch};
use meshwright_plan::kernel::{Access, Operand};
use meshwright_plan::program::Accumulate;
use std::ops::Range;

/// A write, and the launch of its last use.
struct Write {
    buffer: Buffer,
    range: Range<u64>,
    last: usize,
    /// A later write has taken its place.
    over: bool,
}

/// An operand of a launch, and the writes that it touches.
struct Use {
    at: (usize, usize),
    touched: Vec<usize>,
}

/// For each launch the operands that are the last to use something, as [`meshwright_plan::program::Launch::last`] has them.
pub fn uses(fused: &Fused) -> Vec<u64> {
    let (mut writes, mut uses): (Vec<Write>, Vec<Use>) = (Vec::new(), Vec::new());
    for (number, launch) in fused.launches.iter().enumerate() {
        for (at, operand, buffer, range) in placed(fused, launch).filter(|(_, operand, ..)| reads(operand, launch.accumulate)) {
            let meets =
                |write: &Write| !write.over && write.buffer == buffer && write.range.start < range.end && range.start < write.range.end;
            let touched: Vec<usize> = (0..writes.len()).filter(|write| meets(&writes[*write])).collect();
            touched.iter().for_each(|write| writes[*write].last = number);
            // what is added to goes on as what is written there
            if operand.access == Access::Read {
                uses.push(Use { at: (number, at), touched });
            }
        }
        for (at, _, buffer, range) in placed(fused, launch).filter(|(_, operand, ..)| stays(operand)) {
            let covered = |write: &&mut Write| write.buffer == buffer && range.start <= write.range.start && write.range.end <= range.end;
            writes.iter_mut().filter(covered).for_each(|write| write.over = true);
            uses.push(Use { at: (number, at), touched: vec![writes.len()] });
            writes.push(Write { buffer, range, last: number, over: false });
        }
    }
    marks(fused.launches.len(), &uses, &writes)
}

fn marks(launches: usize, uses: &[Use], writes: &[Write]) -> Vec<u64> {
    let mut marks = vec![0; launches];
    let mut ended: Vec<usize> = Vec::new();
    for Use { at: (launch, operand), touched } in uses {
        // of several operands of a launch that read one write, the first has the mark
        let new = touched.iter().any(|write| !ended.contains(write));
        if new && touched.iter().all(|write| writes[*write].last == *launch) && *operand < 64 {
            marks[*launch] |= 1 << operand;
            ended.extend(touched);
        }
    }
    marks
}

/// The operands of a launch that stand in temporaries.
fn placed<'f>(fused: &'f Fused, launch: &'f FusedLaunch) -> impl Iterator<Item = (usize, &'f Operand, Buffer, Range<u64>)> {
    let all = launch.kernel.operands.values().zip(&launch.places).enumerate();
    let own = all.filter(|(_, (_, (buffer, _)))| fused.buffers[*buffer].role.is_none());
    own.map(|(at, (operand, (buffer, offset)))| (at, operand, *buffer, *offset..offset + operand.extent * operand.element.bytes()))
}

fn reads(operand: &Operand, accumulate: Accumulate) -> bool {
    operand.access == Access::Read || (operand.access == Access::Accumulate && accumulate != Accumulate::Write)
}

fn stays(operand: &Operand) -> bool {
    matches!(operand.access, Access::Write | Access::Accumulate)
}
