//! What a collective moves: its dims as loops over runs of elements, and the share of the work that each member does.
//!
//! Requires: the operands in the plan's order, in and out. Ensures: dims that both operands walk through with one stride are one loop, and a run
//! whose elements stand one behind the other in both is copied or added as a whole. Members pull what is theirs; only `AllReduce` is cut by
//! elements, each member's share going to all, so that everything is read and added once and the operands may be one place.

use super::meeting::Table;
use super::sum::{Span, TILE};
use crate::device::loops::{Loop, offsets, points, single};
use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, Exchange, KernelData, Reduce, Role, Slot};
use std::ops::Range;

const IN: usize = 0;
const OUT: usize = 1;
/// Shares of elements are cut at multiples of it: no two members write one cache line if the operands are aligned.
const GRAIN: usize = 32;

/// A collective in a form that runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    exchange: Exchange,
    element: Element,
    /// Elements from one member's part to the next.
    member: [isize; 2],
    /// Around the runs.
    outer: Vec<Loop<2>>,
    run: Loop<2>,
}

impl Shape {
    /// Reads a collective between `members` ranks.
    pub(super) fn new(kernel: &KernelData, exchange: &Exchange, members: usize) -> Result<Shape, String> {
        let element = operands(kernel)?;
        if let Exchange::AllReduce(op) | Exchange::ReduceScatter(op) = exchange
            && (*op == Reduce::Argmax || element != Element::F32)
        {
            return Err(format!("elements of {element} have no reduction {op:?} between ranks"));
        }
        let wanted = match exchange {
            Exchange::AllGather | Exchange::ReduceScatter(_) | Exchange::AllToAll { .. } => members,
            Exchange::AllReduce(_) | Exchange::Permute { .. } => 1,
        };
        let over = single::<2>(kernel, Role::Member)?;
        if over.size != wanted {
            return Err(format!("its dims name {} members of {members}", over.size));
        }
        let mut outer = collapse(kernel);
        let last = outer.iter().position(|each| each.strides == [1, 1]).or(outer.len().checked_sub(1));
        let run = last.map_or(Loop { size: 1, strides: [1, 1] }, |last| outer.remove(last));
        Ok(Shape { exchange: exchange.clone(), element, member: over.strides, outer, run })
    }

    /// Elements that one member gives another.
    fn count(&self) -> usize {
        points(&self.outer) * self.run.size
    }

    /// Does what a member does of the whole.
    ///
    /// # Safety
    /// All members have arrived with operands of this shape, and nobody else touches those.
    pub(super) unsafe fn share(&self, table: &Table, member: usize, adds: bool) {
        // SAFETY: as the caller promises.
        unsafe {
            match &self.exchange {
                Exchange::AllGather => self.pull(table, |from| self.member(from, OUT), |_| 0, member),
                Exchange::AllToAll { .. } => self.pull(table, |from| self.member(from, OUT), |_| self.member(member, IN), member),
                Exchange::Permute { by } => {
                    let members = table.members();
                    let from = (member + members - *by as usize % members) % members;
                    self.copy(table.input(from), table.output(member), [0, 0]);
                }
                Exchange::ReduceScatter(op) => self.pull_sum(table, *op, member, adds),
                Exchange::AllReduce(op) => self.share_sum(table, *op, member, adds),
            }
        }
    }

    /// The elements of an operand before those of a member.
    fn member(&self, member: usize, operand: usize) -> isize {
        member as isize * self.member[operand]
    }

    /// Copies something of every member, beginning with the next one, so that not all read from one.
    unsafe fn pull(&self, table: &Table, to: impl Fn(usize) -> isize, from: impl Fn(usize) -> isize, member: usize) {
        for turn in 1..=table.members() {
            let other = (member + turn) % table.members();
            // SAFETY: as the caller promises.
            unsafe { self.copy(table.input(other), table.output(member), [from(other), to(other)]) };
        }
    }

    /// Copies all runs, from `start` elements on.
    unsafe fn copy(&self, input: *const u8, output: *mut u8, start: [isize; 2]) {
        let width = self.element.bytes() as isize;
        self.each_run(0..self.count(), |at, count| {
            let [from, to] = [IN, OUT].map(|operand| (start[operand] + at[operand]) * width);
            // SAFETY: runs of the operands.
            unsafe { copy_run(input.offset(from), output.offset(to), count, self.run.strides, width) };
        });
    }

    /// `out[i] (+)= reduction over r of in[r][me, i]`.
    unsafe fn pull_sum(&self, table: &Table, op: Reduce, member: usize, adds: bool) {
        let start = self.member(member, IN);
        let mut tile = [0.0; TILE];
        self.each_tile(0..self.count(), |at, count| {
            // SAFETY: runs of the operands; the result is nobody's operand but this member's.
            unsafe {
                self.sum(table, op, start + at[IN], &mut tile[..count]);
                let out = table.output(member).cast::<f32>().offset(at[OUT]);
                Span { start: out, step: self.run.strides[OUT] }.put(&tile[..count], adds);
            }
        });
    }

    /// A member's elements of `out[i] (+)= reduction over r of in[r][i]`, for all members.
    unsafe fn share_sum(&self, table: &Table, op: Reduce, member: usize, adds: bool) {
        let (all, members) = (self.count(), table.members());
        let border = |member: usize| if member == members { all } else { all * member / members / GRAIN * GRAIN };
        let mut tile = [0.0; TILE];
        self.each_tile(border(member)..border(member + 1), |at, count| {
            // SAFETY: runs of the operands; these elements are this member's to read and to write, on all ranks.
            unsafe {
                self.sum(table, op, at[IN], &mut tile[..count]);
                for other in 0..members {
                    let out = table.output(other).cast::<f32>().offset(at[OUT]);
                    Span { start: out, step: self.run.strides[OUT] }.put(&tile[..count], adds);
                }
            }
        });
    }

    /// The members' elements at a place, combined in order.
    unsafe fn sum(&self, table: &Table, op: Reduce, at: isize, tile: &mut [f32]) {
        for other in 0..table.members() {
            // SAFETY: as the caller promises; the span is only read.
            unsafe {
                let span = Span { start: table.input(other).cast::<f32>().cast_mut().offset(at), step: self.run.strides[IN] };
                if other == 0 { span.take(tile) } else { span.combine(op, tile) }
            }
        }
    }

    /// Runs through a range of the elements; gives the offsets in both operands and how many follow at the run's strides.
    fn each_run(&self, range: Range<usize>, mut run: impl FnMut([isize; 2], usize)) {
        let mut at = range.start;
        while at < range.end {
            let (point, inside) = (at / self.run.size, at % self.run.size);
            let count = (self.run.size - inside).min(range.end - at);
            let start = offsets(&self.outer, point);
            run([IN, OUT].map(|operand| start[operand] + inside as isize * self.run.strides[operand]), count);
            at += count;
        }
    }

    /// The same in pieces of at most a tile.
    fn each_tile(&self, range: Range<usize>, mut tile: impl FnMut([isize; 2], usize)) {
        self.each_run(range, |at, count| {
            for first in (0..count).step_by(TILE) {
                tile([IN, OUT].map(|operand| at[operand] + first as isize * self.run.strides[operand]), TILE.min(count - first));
            }
        });
    }
}

/// The element type of both operands.
fn operands(kernel: &KernelData) -> Result<Element, String> {
    let mut listed = kernel.operands.values();
    let (Some(input), Some(output), None) = (listed.next(), listed.next(), listed.next()) else {
        return Err(format!("it has {} operands, not 2", kernel.operands.len()));
    };
    if input.access != Access::Read || output.access == Access::Read || input.element != output.element {
        return Err("it takes one operand to read and one of its type to write".into());
    }
    Ok(input.element)
}

/// The rows as loops in the order of the result, merged where both operands walk through them with one stride.
fn collapse(kernel: &KernelData) -> Vec<Loop<2>> {
    let stride = |operand: usize, axis: usize| kernel.operands[Slot::new(operand)].strides[axis] as isize;
    let dims = kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row && dim.size != 1);
    let mut dims: Vec<Loop<2>> =
        dims.map(|(axis, dim)| Loop { size: dim.size as usize, strides: [IN, OUT].map(|operand| stride(operand, axis.index())) }).collect();
    dims.sort_by_key(|dim| std::cmp::Reverse((dim.strides[OUT].abs(), dim.strides[IN].abs())));
    let mut loops: Vec<Loop<2>> = Vec::new();
    for inner in dims {
        match loops.last_mut() {
            Some(outer) if (0..2).all(|i| outer.strides[i] == inner.strides[i] * inner.size as isize) => {
                *outer = Loop { size: outer.size * inner.size, strides: inner.strides };
            }
            Some(_) | None => loops.push(inner),
        }
    }
    loops
}

/// Copies `count` elements of `width` bytes.
unsafe fn copy_run(from: *const u8, to: *mut u8, count: usize, strides: [isize; 2], width: isize) {
    if std::ptr::eq(from, to) && strides[IN] == strides[OUT] {
        return;
    }
    // SAFETY: as the caller promises; two operands overlap only where they are one place.
    unsafe {
        if strides == [1, 1] {
            return std::ptr::copy_nonoverlapping(from, to, count * width as usize);
        }
        for index in 0..count as isize {
            let (from, to) = (from.offset(index * strides[IN] * width), to.offset(index * strides[OUT] * width));
            if width == 4 {
                to.cast::<u32>().write(from.cast::<u32>().read());
            } else {
                std::ptr::copy_nonoverlapping(from, to, width as usize);
            }
        }
    }
}
