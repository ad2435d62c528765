//! Where the members of a group meet: a table with a seat for each.
//!
//! Requires: a member is in one meeting of a table at a time. Ensures: meetings of a table are numbered; the next one begins only after all members
//! have done their share of this one. What a member wrote before it arrived (or finished its share) is seen by those who find that it did.

use super::Places;
use crate::pool::bell::Bell;
use meshwright_plan::{Kernel, Mesh};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// All groups along some axes.
pub(super) struct Circle {
    pub(super) axes: Vec<String>,
    /// One for every group.
    pub(super) tables: Vec<Table>,
    /// By rank.
    pub(super) seats: Vec<Seat>,
}

/// A rank's place in a circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) table: usize,
    pub(super) member: usize,
}

impl Circle {
    pub(super) fn new(mesh: &Mesh, axes: &[String]) -> Circle {
        let (ranks, members) = (mesh.ranks(), mesh.size(axes));
        let mut seats = vec![None; ranks as usize];
        let mut tables = Vec::new();
        for rank in 0..ranks {
            if seats[rank as usize].is_none() {
                for (member, other) in mesh.group(rank, axes).into_iter().enumerate() {
                    seats[other as usize] = Some(Seat { table: tables.len(), member });
                }
                tables.push(Table::new(members as usize));
            }
        }
        Circle { axes: axes.to_vec(), tables, seats: seats.into_iter().flatten().collect() }
    }
}

/// Counts of a table; each alone on its cache lines, because all members write both.
#[repr(align(128))]
struct Count(AtomicU64);

/// A group's meeting place.
pub(super) struct Table {
    /// Arrivals of all meetings so far.
    arrived: Count,
    /// Finished shares of all meetings so far.
    shared: Count,
    posts: Vec<Post>,
}

/// What a member posts.
#[repr(align(64))]
struct Post {
    input: AtomicPtr<u8>,
    output: AtomicPtr<u8>,
    /// What it launches.
    what: AtomicU64,
    /// Meetings that it has arrived at, and shares that it has done.
    arrived: AtomicU64,
    shared: AtomicU64,
}

/// A rank's part in a meeting.
#[derive(Clone, Copy, Debug)]
pub struct Meeting {
    kernel: Kernel,
    lane: usize,
    adds: bool,
    /// The table's arrivals, or shares, when this meeting is complete.
    full: u64,
    number: u64,
    shared: bool,
}

impl Meeting {
    /// Which collective.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Which collective, and on which lane.
    pub(super) fn what(&self) -> (Kernel, usize) {
        (self.kernel, self.lane)
    }

    pub(super) fn adds(&self) -> bool {
        self.adds
    }

    /// Whether the member has done its share.
    pub(super) fn shared(&self) -> bool {
        self.shared
    }
}

fn what(kernel: Kernel, adds: bool) -> u64 {
    u64::from(kernel.as_u32()) << 1 | u64::from(adds)
}

impl Table {
    fn new(members: usize) -> Table {
        let count = || Count(AtomicU64::new(0));
        let post = |_| Post {
            input: AtomicPtr::new(std::ptr::null_mut()),
            output: AtomicPtr::new(std::ptr::null_mut()),
            what: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        };
        Table { arrived: count(), shared: count(), posts: (0..members).map(post).collect() }
    }

    pub(super) fn reset(&mut self) {
        *self = Table::new(self.posts.len());
    }

    /// Members of the group.
    pub(super) fn members(&self) -> usize {
        self.posts.len()
    }

    pub(super) fn arrive(&self, (kernel, lane): (Kernel, usize), member: usize, places: Places, bell: &Bell) -> Meeting {
        let (post, members) = (&self.posts[member], self.posts.len() as u64);
        post.input.store(places.input, Ordering::Relaxed);
        post.output.store(places.output, Ordering::Relaxed);
        post.what.store(what(kernel, places.adds), Ordering::Relaxed);
        let number = post.arrived.load(Ordering::Relaxed) + 1;
        post.arrived.store(number, Ordering::Relaxed);
        let full = number * members;
        if self.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == full {
            bell.ring();
        }
        Meeting { kernel, lane, adds: places.adds, full, number, shared: false }
    }

    /// Acquires what all members wrote before they arrived.
    pub(super) fn all_arrived(&self, meeting: &Meeting) -> bool {
        self.arrived.0.load(Ordering::Acquire) >= meeting.full
    }

    /// Whether all members launch the same.
    pub(super) fn agrees(&self, meeting: &Meeting) -> bool {
        let own = what(meeting.kernel, meeting.adds);
        self.posts.iter().all(|post| post.what.load(Ordering::Relaxed) == own)
    }

    pub(super) fn finish_share(&self, member: usize, meeting: &mut Meeting, bell: &Bell) {
        meeting.shared = true;
        self.posts[member].shared.store(meeting.number, Ordering::Relaxed);
        if self.shared.0.fetch_add(1, Ordering::AcqRel) + 1 == meeting.full {
            bell.ring();
        }
    }

    /// Acquires what all members wrote in their shares.
    pub(super) fn all_shared(&self, meeting: &Meeting) -> bool {
        self.shared.0.load(Ordering::Acquire) >= meeting.full
    }

    /// Whether a meeting waits for a member.
    pub(super) fn is_late(&self, member: usize, meeting: &Meeting) -> bool {
        let post = &self.posts[member];
        let done = if meeting.shared { &post.shared } else { &post.arrived };
        done.load(Ordering::Relaxed) < meeting.number
    }

    /// What all members give, and where their results go.
    pub(super) fn places(&self) -> Vec<[*mut u8; 2]> {
        (0..self.members()).map(|member| [self.input(member).cast_mut(), self.output(member)]).collect()
    }

    /// What a member gives.
    pub(super) fn input(&self, member: usize) -> *const u8 {
        self.posts[member].input.load(Ordering::Relaxed)
    }

    /// Where a member's result goes.
    pub(super) fn output(&self, member: usize) -> *mut u8 {
        self.posts[member].output.load(Ordering::Relaxed)
    }
}
