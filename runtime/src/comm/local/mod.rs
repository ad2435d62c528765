//! The communicator `local`: ranks of one process exchange values by reading each other's arenas.
//!
//! Requires: every member of a group launches the group's collectives of one lane (a stream of its rank) in one order. Ensures: nothing waits and nothing is allocated; a collective is
//! executed by its arrivals. A member *arrives* (its operands may be read from then on), does its *share* once all have arrived, and *leaves* once
//! all shares are done (its operands are its own again). So each collective meets twice, and no value is copied more often than it must be.

mod exchange;
mod meeting;
mod sum;
#[cfg(test)]
mod tests;

use crate::device::Device;
use crate::pool::bell::Bell;
use exchange::Shape;
use meeting::{Circle, Table};
use meshwright_plan::kernel::{Collective, Skeleton};
use meshwright_plan::program::Stream;
use meshwright_plan::{Kernel, Plan};

pub use meeting::Meeting;

/// Where a rank's operands of a collective stand.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// What it gives.
    pub input: *mut u8,
    /// Where its result goes.
    pub output: *mut u8,
    /// Whether the result is added to what is there.
    pub adds: bool,
}

/// How far a rank's collective is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is done: the rank may go on.
    Done,
    /// Others must arrive, or do their share, first.
    Waits,
    /// The members have met in different collectives: there is no going on.
    Torn,
}

/// All collectives of a plan, between ranks of one process.
pub struct Local {
    /// By kernel.
    collectives: Vec<Option<(Shape, usize)>>,
    /// For every list of axes one a lane: collectives of different lanes may pass each other.
    circles: Vec<Circle>,
}

/// A collective that cannot be made: the plan was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The kernel's name.
    pub kernel: String,
    /// What is wrong.
    pub message: String,
}

impl Local {
    /// Reads a plan's collectives and seats its ranks.
    ///
    /// # Errors
    /// A collective's operands or dims do not fit what it exchanges.
    pub fn load(plan: &Plan) -> Result<Local, LoadError> {
        let mut local = Local { collectives: Vec::new(), circles: Vec::new() };
        for kernel in plan.kernels.values() {
            let Skeleton::Collective(collective) = &kernel.skeleton else {
                local.collectives.push(None);
                continue;
            };
            let refused = |message| LoadError { kernel: kernel.name.clone(), message };
            let shape = Shape::new(kernel, &collective.exchange, plan.mesh.size(&collective.axes) as usize).map_err(refused)?;
            let circle = local.circle(plan, collective);
            local.collectives.push(Some((shape, circle)));
        }
        Ok(local)
    }

    fn circle(&mut self, plan: &Plan, collective: &Collective) -> usize {
        let known = self.circles.iter().position(|circle| circle.axes == collective.axes);
        known.unwrap_or_else(|| {
            self.circles.extend((0..Stream::LANES).map(|_| Circle::new(&plan.mesh, &collective.axes)));
            self.circles.len() - Stream::LANES
        })
    }

    fn get(&self, (kernel, lane): (Kernel, usize)) -> (&Shape, &Circle) {
        let (shape, circle) = self.collectives[kernel.as_u32() as usize].as_ref().expect("the kernel is a collective");
        (shape, &self.circles[*circle + lane])
    }

    fn table(&self, circle: &Circle, rank: usize) -> (usize, usize) {
        let seat = circle.seats[rank];
        (seat.table, seat.member)
    }

    /// Posts a rank's operands of a collective on one of its lanes; [`Local::go_on`] does the rest. Rings if all have arrived.
    pub fn arrive(&self, what: (Kernel, usize), rank: usize, places: Places, bell: &Bell) -> Meeting {
        let (_, circle) = self.get(what);
        let (table, member) = self.table(circle, rank);
        circle.tables[table].arrive(what, member, places, bell)
    }

    /// Does what can be done for a rank's collective now. Rings if all shares are done.
    ///
    /// # Safety
    /// The operands that all members posted are valid for the kernel's extents, and nobody but this communicator touches them until the members
    /// have left.
    pub unsafe fn go_on(&self, device: &Device, rank: usize, meeting: &mut Meeting, bell: &Bell) -> Stand {
        let (shape, circle) = self.get(meeting.what());
        let (table, member) = self.table(circle, rank);
        let table = &circle.tables[table];
        if !meeting.shared() {
            if !table.all_arrived(meeting) {
                return Stand::Waits;
            }
            if !table.agrees(meeting) {
                return Stand::Torn;
            }
            // SAFETY: all have arrived and launch the same kernel, so the posted operands fit its shape; the rest is as the caller promises.
            unsafe {
                match device {
                    Device::Cpu(_) => shape.share(table, member, meeting.adds()),
                    Device::Cuda(cuda) => cuda.share(meeting.kernel(), &table.places(), member, meeting.adds()),
                }
            }
            table.finish_share(member, meeting, bell);
        }
        if table.all_shared(meeting) { Stand::Done } else { Stand::Waits }
    }

    /// The ranks of a rank's group that have not arrived where it waits, or not done their share.
    #[must_use]
    pub fn missing(&self, rank: usize, meeting: &Meeting) -> Vec<usize> {
        let (_, circle) = self.get(meeting.what());
        let (table, _) = self.table(circle, rank);
        let late = |member: &usize| circle.tables[table].is_late(*member, meeting);
        let members = (0..circle.seats.len()).filter(|other| circle.seats[*other].table == table);
        members.filter(|other| late(&circle.seats[*other].member)).collect()
    }

    /// Forgets all meetings: after a failure, with no rank in one.
    pub fn reset(&mut self) {
        self.circles.iter_mut().flat_map(|circle| &mut circle.tables).for_each(Table::reset);
    }
}
