//! Last uses: the launch after which what stands in a program's scratch memory is needed no more.
//!
//! Analysis. Requires launches whose places in scratch memory are final. Ensures marks by which every write can be followed from the launch that
//! makes it to the last one that reads it; a write that is only read together with one that is needed longer has none.

use meshwright_plan::kernel::{Access, Operand};
use meshwright_plan::program::{Accumulate, Launch, Place};
use std::ops::Range;

/// A write, and its last use: launch and operand.
struct Write {
    range: Range<u64>,
    last: (usize, usize),
    over: bool,
}

/// A use of scratch memory, and the writes that it touches.
struct Use {
    at: (usize, usize),
    touched: Vec<usize>,
}

/// Marks the last uses of what stands in parameter `scratch`. `operands`: of each launch's kernel.
pub fn mark(launches: &mut [Launch], operands: &[Vec<Operand>], scratch: u32) {
    let (mut writes, mut uses): (Vec<Write>, Vec<Use>) = (Vec::new(), Vec::new());
    for (number, (launch, operands)) in launches.iter().zip(operands).enumerate() {
        let placed = || operands.iter().zip(&launch.places).enumerate().filter(|(_, (_, place))| place.param == scratch);
        for (at, (operand, place)) in placed().filter(|(_, (operand, _))| reads(operand, launch.accumulate)) {
            let range = range(operand, place);
            let touched: Vec<usize> =
                (0..writes.len()).filter(|write| !writes[*write].over && meets(&writes[*write].range, &range)).collect();
            touched.iter().for_each(|write| writes[*write].last = (number, at));
            // what is added to goes on as what is written there
            if operand.access == Access::Read {
                uses.push(Use { at: (number, at), touched });
            }
        }
        for (at, (operand, place)) in placed().filter(|(_, (operand, _))| operand.access != Access::Read) {
            let range = range(operand, place);
            let covered = |write: &&mut Write| range.start <= write.range.start && write.range.end <= range.end;
            writes.iter_mut().filter(covered).for_each(|write| write.over = true);
            if operand.access != Access::Scratch {
                uses.push(Use { at: (number, at), touched: vec![writes.len()] });
                writes.push(Write { range, last: (number, at), over: false });
            }
        }
    }
    for Use { at, touched } in uses {
        // two operands of one launch may read one write: either mark ends it
        if !touched.is_empty() && touched.iter().all(|write| writes[*write].last.0 == at.0) && at.1 < 64 {
            launches[at.0].last |= 1 << at.1;
        }
    }
}

fn reads(operand: &Operand, accumulate: Accumulate) -> bool {
    operand.access == Access::Read || (operand.access == Access::Accumulate && accumulate != Accumulate::Write)
}

fn range(operand: &Operand, place: &Place) -> Range<u64> {
    place.offset..place.offset + operand.extent * operand.element.bytes()
}

fn meets(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
