//! Claims about the pool: each cell once, on a thread of its own, also when oversubscribed, parked, panicking or shared.

use super::Pool;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn counts(pool: &Pool, cells: usize) -> Vec<usize> {
    let seen: Vec<AtomicUsize> = (0..cells).map(|_| AtomicUsize::new(0)).collect();
    let busy: Vec<AtomicBool> = (0..pool.threads()).map(|_| AtomicBool::new(false)).collect();
    pool.run(cells, &|cell, thread| {
        assert!(!busy[thread].swap(true, Ordering::SeqCst), "thread {thread} runs two cells at once");
        seen[cell].fetch_add(1, Ordering::Relaxed);
        busy[thread].store(false, Ordering::SeqCst);
    });
    seen.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn each_cell_runs_once() {
    for threads in [1, 2, 3, 5, 16] {
        let pool = Pool::new(threads, false);
        for cells in [0, 1, 2, 3, 7, 64, 1000] {
            for _ in 0..50 {
                assert!(counts(&pool, cells).iter().all(|&n| n == 1), "{threads} threads, {cells} cells");
            }
        }
    }
}

#[test]
fn parked_workers_wake_up() {
    let pool = Pool::new(2, false);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1));
        let met = AtomicUsize::new(0);
        // Each of the two cells waits for the other one, so a worker that sleeps on would hang the job.
        pool.run(2, &|_, _| {
            met.fetch_add(1, Ordering::SeqCst);
            while met.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3, false);
    for bad in [0, 5, 99] {
        let run = || pool.run(100, &|cell, _| assert!(cell != bad, "cell {cell} is bad"));
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("the panic is lost");
        assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some(format!("cell {bad} is bad").as_str()));
        assert!(counts(&pool, 100).iter().all(|&n| n == 1));
    }
}

#[test]
fn a_cell_may_not_start_a_job() {
    let pool = Pool::new(2, false);
    let nested = || pool.run(4, &|_, _| pool.run(2, &|_, _| {}));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(nested)).is_err());
    assert!(counts(&pool, 10).iter().all(|&n| n == 1));
}

#[test]
fn a_cell_may_call_a_pool_of_its_own() {
    let pool = Pool::new(2, false);
    let own = [Pool::new(1, false), Pool::new(1, false)];
    pool.run(2, &|cell, _| assert!(counts(&own[cell], 9).iter().all(|&n| n == 1)));
    let nested = || own[0].run(2, &|_, _| own[0].run(2, &|_, _| {}));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(nested)).is_err());
    assert!(counts(&own[0], 9).iter().all(|&n| n == 1));
}

#[test]
fn several_threads_may_share_a_pool() {
    let pool = Pool::new(3, false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert!(counts(&pool, 13).iter().all(|&n| n == 1))));
        }
    });
}

#[test]
fn pinning_ends_with_the_pool() {
    let before = super::Affinity::current().map(|affinity| affinity.count());
    let pool = Pool::new(2, true);
    if before.is_some() {
        assert_eq!(super::Affinity::current().map(|affinity| affinity.count()), Some(1));
    }
    assert!(counts(&pool, 10).iter().all(|&n| n == 1));
    drop(pool);
    assert_eq!(super::Affinity::current().map(|affinity| affinity.count()), before);
}
