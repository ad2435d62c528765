//! A bell for workers that may have nothing to do until another one has done something: they wait for its next ring.
//!
//! Requires: a worker rings after anything that lets others go on, and waits only with the number of rings that it read before it looked for
//! work in vain. Ensures: nobody misses a ring; a wait spins for at most 50 µs, then sleeps. That *all* workers wait in vain is seen exactly:
//! each has looked after the last ring, and nobody is left to ring again.

use super::Patience;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// In place of a number of rings: the worker has work.
const BUSY: u64 = u64::MAX;
/// The worker needs nothing any more.
const GONE: u64 = u64::MAX - 1;

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The bell rang.
    Rang,
    /// Nobody can go on, or a worker has failed.
    Over,
}

#[repr(align(128))]
struct Seat(AtomicU64);

/// See above.
pub struct Bell {
    rings: AtomicU64,
    /// By worker: with how many rings it waits.
    seats: Vec<Seat>,
    sleepers: AtomicUsize,
    over: AtomicBool,
    bed: Mutex<()>,
    woken: Condvar,
    spin: Duration,
}

impl Bell {
    /// A bell for so many workers, who spin as long as threads of their pool do ([`super::Pool::spin`]).
    #[must_use]
    pub fn new(workers: usize, spin: Duration) -> Bell {
        Bell {
            rings: AtomicU64::new(0),
            seats: (0..workers).map(|_| Seat(AtomicU64::new(BUSY))).collect(),
            sleepers: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            bed: Mutex::new(()),
            woken: Condvar::new(),
            spin,
        }
    }

    /// Makes all workers busy again; none may be waiting.
    pub fn begin(&mut self) {
        self.seats.iter_mut().for_each(|seat| *seat.0.get_mut() = BUSY);
        *self.over.get_mut() = false;
    }

    /// How often it has rung.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    /// Lets all who wait look again.
    pub fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Whoever has counted itself as asleep holds the lock until it sleeps.
            drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.notify_all();
        }
    }

    /// Waits for a ring after the `heard`-th one.
    pub fn wait(&self, worker: usize, heard: u64) -> Wait {
        self.seats[worker].0.store(heard, Ordering::SeqCst);
        self.look();
        let mut patience = Patience::new(self.spin);
        while self.rings() == heard && !self.is_over() {
            if !patience.spin() {
                self.sleep(heard);
            }
        }
        if self.is_over() { Wait::Over } else { Wait::Rang }
    }

    /// The worker will not ring again.
    pub fn leave(&self, worker: usize) {
        self.seats[worker].0.store(GONE, Ordering::SeqCst);
        self.look();
    }

    /// Ends all waits.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Whether nobody can go on, or a worker has failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends everything if all workers wait in vain.
    fn look(&self) {
        let rings = self.rings();
        let stands = |seat: &Seat| seat.0.load(Ordering::SeqCst);
        let idle = self.seats.iter().all(|seat| stands(seat) == GONE || stands(seat) == rings);
        // A worker that rang and then sat down with the number from before its ring looks as if it waited for this one: the bell tells.
        if idle && self.rings() == rings && self.seats.iter().any(|seat| stands(seat) != GONE) {
            self.end();
        }
    }

    fn sleep(&self, heard: u64) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.rings() == heard && !self.is_over() {
            bed = self.woken.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_is_heard() {
        let bell = Bell::new(2, Duration::from_micros(50));
        let turn = AtomicU64::new(0);
        // Two workers take turns; each waits for the other's ring.
        std::thread::scope(|scope| {
            for worker in 0..2u64 {
                let (bell, turn) = (&bell, &turn);
                scope.spawn(move || {
                    for round in 0..2000 {
                        loop {
                            let heard = bell.rings();
                            if turn.load(Ordering::SeqCst) == 2 * round + worker {
                                break;
                            }
                            assert_eq!(bell.wait(worker as usize, heard), Wait::Rang);
                        }
                        if round % 500 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        turn.fetch_add(1, Ordering::SeqCst);
                        bell.ring();
                    }
                    bell.leave(worker as usize);
                });
            }
        });
        assert!(!bell.is_over());
    }

    #[test]
    fn a_worker_that_rings_and_then_waits_has_not_waited_in_vain() {
        let (bell, done) = (Bell::new(2, Duration::from_micros(50)), AtomicBool::new(false));
        // One worker rings after it has looked, as a rank does that arrives at a collective; the other may look at just that moment.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let heard = bell.rings();
                    if done.load(Ordering::SeqCst) {
                        break bell.leave(1);
                    }
                    assert_eq!(bell.wait(1, heard), Wait::Rang);
                }
            });
            for _ in 0..100_000 {
                let heard = bell.rings();
                bell.ring();
                assert_eq!(bell.wait(0, heard), Wait::Rang);
            }
            done.store(true, Ordering::SeqCst);
            bell.ring();
            bell.leave(0);
        });
        assert!(!bell.is_over());
    }

    #[test]
    fn waiting_in_vain_is_seen() {
        for workers in [1, 2, 5] {
            let mut bell = Bell::new(workers, Duration::ZERO);
            for leaver in [false, true] {
                bell.begin();
                std::thread::scope(|scope| {
                    for worker in 0..workers {
                        let bell = &bell;
                        scope.spawn(move || {
                            if leaver && worker == 0 && workers > 1 {
                                return bell.leave(worker);
                            }
                            assert_eq!(bell.wait(worker, bell.rings()), Wait::Over);
                        });
                    }
                });
                assert!(bell.is_over());
            }
        }
    }
}
