//! Scratch memory of a program: nothing is read before it is written, nor after it was needed no more, and nothing is lost before it was read.
//!
//! Requires sound kernels and places. Every write is followed to the launch that a mark calls its last use; each mark ends at least one. So a launch that is lost, or a place that
//! is used again too early, leaves somebody reading what is not there: a plan says twice where its values stand, by offsets and by lifetimes.

use super::{Report, Rule};
use crate::kernel::{Access, Operand};
use crate::program::{Accumulate, Item, Place};
use crate::{Plan, Program, ProgramData, RegionKind};
use std::collections::BTreeSet;

/// What is bound to scratch memory is written before it is read, and not read after its last use.
pub(super) fn scratch(plan: &Plan, program: &ProgramData, report: &mut Report) {
    let bound = scratch_params(plan, program);
    let mut written: Vec<Writes> = vec![Writes::default(); program.params.len()];
    for (number, launch) in program.launches.iter().enumerate() {
        let Some(kernel) = plan.kernels.get(launch.kernel) else { continue };
        let placed = || kernel.operands.values().zip(&launch.places).enumerate().filter(|(_, (_, place))| bound.contains(&place.param));
        let range = |operand: &Operand, place: &Place| (place.offset, place.offset + operand.extent * operand.element.bytes());
        for (_, (operand, place)) in placed() {
            let adds = operand.access == Access::Accumulate && launch.accumulate == Accumulate::Add;
            let known = !(operand.access == Access::Read || adds) || written[place.param as usize].covers(range(operand, place));
            report.check(known, Rule::ScratchRead, || {
                let name = &program.params[place.param as usize].name;
                format!("launch {} reads {} at {name}+{}, where nothing is", number + 1, operand.name, place.offset)
            });
            if operand.access == Access::Read || operand.access == Access::Accumulate {
                written[place.param as usize].read(range(operand, place));
            }
        }
        for (at, (operand, place)) in placed() {
            if operand.access == Access::Read && launch.is_last(at) {
                let ended = written[place.param as usize].end(range(operand, place));
                report.check(ended > 0, Rule::ScratchRead, || {
                    format!("launch {} ends what {} reads, and nothing is left there to end", number + 1, operand.name)
                });
            }
        }
        for (at, (operand, place)) in placed() {
            let writes = &mut written[place.param as usize];
            match operand.access {
                Access::Read => {}
                Access::Write | Access::Accumulate if launch.is_last(at) => drop(writes.end(range(operand, place))),
                Access::Write | Access::Accumulate => {
                    let lost = writes.add(range(operand, place));
                    report.check(!lost, Rule::ScratchRead, || {
                        format!("launch {} writes {} over what nobody has read", number + 1, operand.name)
                    });
                }
                Access::Scratch => drop(writes.end(range(operand, place))),
            }
        }
    }
}

/// Parameters called `scratch` by all calls: bound to a region of that kind wherever the program is called.
fn scratch_params(plan: &Plan, program: &ProgramData) -> BTreeSet<u32> {
    let number = plan.programs.iter().find(|(_, data)| std::ptr::eq(*data, program)).map(|(number, _)| number);
    let mut kinds: Vec<Vec<RegionKind>> = vec![Vec::new(); program.params.len()];
    if let Some(number) = number {
        plan.entries.iter().for_each(|entry| collect(plan, number, &entry.body, &mut kinds));
    }
    // memory that is written by another program of the timeline may be scratch, too: only what this program writes is its own
    let own = |index: usize| program.params.get(index).is_some_and(|param| param.written);
    let scratch = |kinds: &Vec<RegionKind>| !kinds.is_empty() && kinds.iter().all(|kind| *kind == RegionKind::Scratch);
    (0u32..).zip(&kinds).filter(|(index, kinds)| scratch(kinds) && own(*index as usize)).map(|(index, _)| index).collect()
}

fn collect(plan: &Plan, number: Program, items: &[Item], kinds: &mut [Vec<RegionKind>]) {
    for item in items {
        match item {
            Item::Loop { body, .. } => collect(plan, number, body, kinds),
            Item::Call(call) | Item::Start(_, call) if call.program == number => {
                for (kinds, address) in kinds.iter_mut().zip(&call.bindings) {
                    kinds.extend(plan.arena.regions.get(address.region).map(|region| region.kind));
                }
            }
            Item::Call(_) | Item::Start(..) | Item::Join(_) | Item::Control => {}
        }
    }
}

/// What stands in a parameter, write by write, and whether it was read.
#[derive(Clone, Default)]
struct Writes(Vec<(u64, u64, bool)>);

impl Writes {
    /// A write takes the place of those that it covers; says whether one of them was never read.
    fn add(&mut self, (start, end): (u64, u64)) -> bool {
        let covered = |(first, last, _): &(u64, u64, bool)| start <= *first && *last <= end;
        let lost = self.0.iter().any(|write| covered(write) && !write.2);
        self.0.retain(|write| !covered(write));
        self.0.push((start, end, false));
        self.0.sort_unstable();
        lost
    }

    /// All writes that this touches are read.
    fn read(&mut self, (start, end): (u64, u64)) {
        self.0.iter_mut().filter(|(first, last, _)| *first < end && start < *last).for_each(|write| write.2 = true);
    }

    /// All writes that this touches are over; gives how many.
    fn end(&mut self, (start, end): (u64, u64)) -> usize {
        let before = self.0.len();
        self.0.retain(|(first, last, _)| *last <= start || end <= *first);
        before - self.0.len()
    }

    fn covers(&self, (start, end): (u64, u64)) -> bool {
        let mut known = start;
        for (first, last, _) in &self.0 {
            if *first <= known {
                known = known.max(*last);
            }
        }
        end <= known
    }
}
