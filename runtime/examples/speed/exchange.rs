//! Collectives between two ranks of one process, a thread each.
//!
//! Ensures: one line per exchange with its time and its bytes (those of the larger operand) per second; the small one is repeated within an entry, as
//! a plan does it.

use super::best;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::pool::Pool;

/// Times all exchanges.
pub fn exchanges(threads: usize) {
    let large = 64 << 20;
    measure(threads, "all_reduce in place", "all_reduce sum along data [R N]", ["R", "R"], large, 1, true);
    measure(threads, "all_reduce", "all_reduce sum along data [R N]", ["R", "R"], large, 1, false);
    measure(threads, "all_gather", "all_gather along data member [m 2] [R H]", ["R", "m, R"], large, 1, false);
    measure(threads, "reduce_scatter", "reduce_scatter sum along data member [m 2] [R H]", ["m, R", "R"], large, 1, false);
    measure(threads, "permute", "permute 1 along data [R N]", ["R", "R"], large, 1, false);
    measure(threads, "all_reduce in place", "all_reduce sum along data [R N]", ["R", "R"], 1 << 20, 20, true);
    measure(threads, "all_reduce in place", "all_reduce sum along data [R N]", ["R", "R"], 1 << 10, 1000, true);
}

/// One exchange of `bytes`, so many times an entry; in its head N stands for all elements, H for half of them.
fn measure(threads: usize, name: &str, head: &str, views: [&str; 2], bytes: u64, times: u64, in_place: bool) {
    let head = head.replace('N', &(bytes / 4).to_string()).replace('H', &(bytes / 8).to_string());
    let y = if in_place { "x" } else { "y" };
    let text = format!(
        "plan \"exchange\"\nformat 1\nmesh data 2\nmicrobatches 1\narena {}\nregion x data at 0 bytes {bytes}\nregion y carries at {bytes} bytes {bytes}\n\
         kernel k0 it {head}\n  read from: f32[{}]\n  write to: f32[{}]\nprogram all\n  read x {bytes}\n  write y {bytes}\n  k0 it from=x to=y\n\
         entry step\n  for layer in 0..{times}\n    call all x=x y={y}\n",
        2 * bytes,
        views[0],
        views[1],
    );
    let plan = meshwright_plan::parse::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut fleet = Fleet::new(plan, Pool::new(threads, true), 1).expect("a fleet");
    let seconds = best(false, &mut || {
        fleet.run("step", 1).expect("the ranks meet");
    }) / times as f64;
    println!("{name:20} {:6} KiB {:10.2} us {:6.2} GB/s", bytes >> 10, seconds * 1e6, bytes as f64 / seconds / 1e9);
}
