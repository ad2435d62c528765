//! The pool: the only threads that compute. A job is a number of cells and a function of (cell, thread).
//!
//! Requires: cells are independent; a job's bits may not depend on which thread takes which cell (the grid comes from the plan, the pool
//! only hands out cells).
//! Ensures: [`Pool::run`] returns after the last cell; it allocates nothing; each cell runs exactly once unless a cell panics, and then the
//! panic goes on in the caller after every thread has left the job.
//!
//! How: every thread owns a contiguous range of the cells (the same one each time, for its caches) and steals from the others' ranges once
//! its own is empty, so a thread that the system does not run delays nothing. A job is *open* while cells may be left; threads enter an open
//! job by one compare-and-swap, the caller closes it and waits for those inside. Idle workers spin for at most 50 µs, then park.

mod affinity;
pub mod bell;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use affinity::Affinity;

/// How long an idle worker spins before it parks.
const SPIN: Duration = Duration::from_micros(50);

type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// `state` = epoch << 17 | open << 16 | threads inside.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const EPOCH: u64 = OPEN << 1;
/// The state that tells workers to end.
const END: u64 = !(INSIDE | OPEN);

/// One thread's range of cells; alone on its cache lines, because its owner hammers it.
#[repr(align(128))]
struct Range {
    next: AtomicUsize,
    end: AtomicUsize,
}

#[repr(align(128))]
struct Seat {
    asleep: AtomicBool,
}

/// What the caller publishes: written only while the job is closed and nobody is inside.
struct Job {
    body: UnsafeCell<Option<&'static Body<'static>>>,
}

// SAFETY: the body is `Sync`, and the cell is written only by the caller while no worker is inside a job (see `Shared::open`).
unsafe impl Sync for Job {}

struct Shared {
    state: AtomicU64,
    job: Job,
    ranges: Vec<Range>,
    seats: Vec<Seat>,
    sleepers: AtomicUsize,
    failed: AtomicBool,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    spin: Duration,
}

/// A set of threads that run jobs; the caller of [`Pool::run`] is thread 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    callers: Mutex<()>,
    threads: usize,
    home: Option<Affinity>,
}

thread_local! {
    /// The pool whose cell this thread runs; the innermost one.
    static CELL_OF: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

impl Pool {
    /// A pool of `threads` threads (at least one), the caller counted in. With `pin`, thread i stays on the i-th allowed processor, the
    /// calling thread too until the pool is dropped; pin only when the machine is ours (pinned pools side by side starve each other).
    #[must_use]
    pub fn new(threads: usize, pin: bool) -> Pool {
        let threads = threads.clamp(1, 1024);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: Job { body: UnsafeCell::new(None) },
            ranges: (0..threads).map(|_| Range { next: AtomicUsize::new(0), end: AtomicUsize::new(0) }).collect(),
            seats: (0..threads).map(|_| Seat { asleep: AtomicBool::new(false) }).collect(),
            sleepers: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            payload: Mutex::new(None),
            // Spinning on a core that another thread of this pool needs is worse than parking at once.
            spin: if threads <= cores { SPIN } else { Duration::ZERO },
        });
        let home = if pin { Affinity::current() } else { None };
        let workers: Vec<_> = (1..threads).map(|thread| spawn(&shared, thread, home.clone())).collect();
        if let Some(home) = &home {
            home.pin(0);
        }
        let handles = workers.iter().map(|worker| worker.thread().clone()).collect();
        Pool { shared, workers, handles, callers: Mutex::new(()), threads, home }
    }

    /// The number of threads, the caller counted in.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How long an idle thread spins before it parks: not at all if there are more threads than processors.
    #[must_use]
    pub fn spin(&self) -> Duration {
        self.shared.spin
    }

    /// Runs `body(cell, thread)` for every cell in `0..cells`, `thread` in `0..threads()`; two cells of one thread never overlap in time, so
    /// per-thread scratch is safe. May be called from several threads (one job at a time). Within a cell, only another pool of one thread may be
    /// called.
    ///
    /// # Panics
    /// When called from within a cell otherwise, and with a cell's own panic.
    pub fn run(&self, cells: usize, body: &Body<'_>) {
        let outer = CELL_OF.get();
        let free = outer.is_null() || self.threads == 1 && !std::ptr::eq(outer, &raw const *self.shared);
        assert!(free, "a cell of a pool may not start a job");
        if cells == 0 {
            return;
        }
        let one_at_a_time = self.callers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.threads == 1 || cells == 1 {
            let _mark = self.shared.mark();
            (0..cells).for_each(|cell| body(cell, 0));
            return;
        }
        self.shared.open(cells, body);
        self.wake(cells);
        self.shared.work(0, body);
        self.shared.close();
        if self.shared.failed.swap(false, Ordering::Relaxed) {
            let payload = self.shared.payload.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            drop(one_at_a_time);
            resume_unwind(payload.unwrap_or_else(|| Box::new("a cell panicked")));
        }
    }

    /// Unparks as many sleepers as there are cells for them.
    fn wake(&self, cells: usize) {
        if self.shared.sleepers.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (handle, seat) in self.handles.iter().zip(&self.shared.seats[1..]).take(cells - 1) {
            if seat.asleep.load(Ordering::SeqCst) {
                handle.unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.store(END, Ordering::SeqCst);
        self.handles.iter().for_each(Thread::unpark);
        for worker in self.workers.drain(..) {
            // A worker catches its cells' panics, so it cannot have panicked itself.
            let _ = worker.join();
        }
        if let Some(home) = &self.home {
            home.restore();
        }
    }
}

/// Marks the current thread as inside a cell for as long as it lives.
struct Mark {
    outer: *const Shared,
}

impl Drop for Mark {
    fn drop(&mut self) {
        CELL_OF.set(self.outer);
    }
}

fn spawn(shared: &Arc<Shared>, thread: usize, home: Option<Affinity>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    let body = move || {
        if let Some(home) = home {
            home.pin(thread);
        }
        shared.serve(thread);
    };
    std::thread::Builder::new().name(format!("pool-{thread}")).spawn(body).expect("the system refused to start a thread")
}

impl Shared {
    fn mark(&self) -> Mark {
        Mark { outer: CELL_OF.replace(self) }
    }

    /// Publishes a job. Only the caller calls this, with the job closed and nobody inside.
    fn open(&self, cells: usize, body: &Body<'_>) {
        let threads = self.ranges.len();
        for (thread, range) in self.ranges.iter().enumerate() {
            range.next.store(cells * thread / threads, Ordering::Relaxed);
            range.end.store(cells * (thread + 1) / threads, Ordering::Relaxed);
        }
        // SAFETY: nobody is inside a job, so nobody reads the cell; the lifetime is erased, and `close` returns only after the last thread has
        // left this job, so the reference outlives every use.
        unsafe { *self.job.body.get() = Some(std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body)) };
        let epoch = (self.state.load(Ordering::Relaxed) & !(INSIDE | OPEN)).wrapping_add(EPOCH);
        let epoch = if epoch == END { EPOCH } else { epoch };
        self.state.store(epoch | OPEN, Ordering::SeqCst);
    }

    /// Lets nobody enter any more and waits for those inside.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut patience = Patience::new(self.spin);
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            if !patience.spin() {
                std::thread::yield_now();
            }
        }
    }

    /// Takes cells, its own range first, until none is left.
    fn work(&self, thread: usize, body: &Body<'_>) {
        let _mark = self.mark();
        let taken = catch_unwind(AssertUnwindSafe(|| {
            for turn in 0..self.ranges.len() {
                let range = &self.ranges[(thread + turn) % self.ranges.len()];
                while range.next.load(Ordering::Relaxed) < range.end.load(Ordering::Relaxed) {
                    let cell = range.next.fetch_add(1, Ordering::Relaxed);
                    if cell >= range.end.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
                        break;
                    }
                    body(cell, thread);
                }
            }
        }));
        if let Err(payload) = taken {
            let mut first = self.payload.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            first.get_or_insert(payload);
            self.failed.store(true, Ordering::Relaxed);
        }
    }

    /// A worker's life: wait for a job that it has not seen, enter it, work, leave.
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        while let Some(epoch) = self.await_job(thread, seen) {
            seen = epoch;
            if !self.enter(epoch) {
                continue;
            }
            // SAFETY: this thread is inside the job, so the caller does not write the cell, and `enter` has acquired what it wrote.
            let body = unsafe { *self.job.body.get() };
            if let Some(body) = body {
                self.work(thread, body);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts this thread in, if the job of that epoch is still open.
    fn enter(&self, epoch: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & !INSIDE == epoch | OPEN {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// The epoch of an open job other than `seen`; nothing when the pool ends.
    fn await_job(&self, thread: usize, seen: u64) -> Option<u64> {
        let mut patience = Patience::new(self.spin);
        loop {
            match news(self.state.load(Ordering::Acquire), seen) {
                News::End => return None,
                News::Job(epoch) => return Some(epoch),
                News::Nothing if patience.spin() => {}
                News::Nothing => self.sleep(thread, seen),
            }
        }
    }

    /// Parks until woken, unless there is news already: the flag is set before the state is read, the caller writes in the other order.
    fn sleep(&self, thread: usize, seen: u64) {
        let asleep = &self.seats[thread].asleep;
        asleep.store(true, Ordering::SeqCst);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // A job may come and go while the thread wakes up, and wake-ups may be spurious: both lead back to sleep.
        while matches!(news(self.state.load(Ordering::SeqCst), seen), News::Nothing) {
            std::thread::park();
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        asleep.store(false, Ordering::SeqCst);
    }
}

enum News {
    Nothing,
    Job(u64),
    End,
}

fn news(state: u64, seen: u64) -> News {
    let epoch = state & !(INSIDE | OPEN);
    if epoch == END {
        News::End
    } else if state & OPEN != 0 && epoch != seen {
        News::Job(epoch)
    } else {
        News::Nothing
    }
}

/// Spins for a limited time, looking at the clock rarely.
struct Patience {
    since: Option<Instant>,
    limit: Duration,
    turns: u32,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { since: None, limit, turns: 0 }
    }

    /// Spins once; false when the time is up.
    fn spin(&mut self) -> bool {
        std::hint::spin_loop();
        self.turns += 1;
        if self.limit.is_zero() {
            return false;
        }
        if !self.turns.is_multiple_of(64) {
            return true;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() < self.limit
    }
}
