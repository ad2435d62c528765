//! A step allocates nothing, on any number of ranks and threads.
//!
//! Alone in its program, because the counter counts all threads.

use meshwright_runtime::data::Slot;
use meshwright_runtime::execute::Fleet;
use meshwright_runtime::measure::allocations::{Counting, allocations};
use meshwright_runtime::pool::Pool;
use std::convert::Infallible;
use std::time::Duration;

#[global_allocator]
static COUNTING: Counting = Counting;

const PLAN: &str = "plan \"steps\"
format 1
mesh data 2, tensor 2
microbatches 2
arena 8192
region x data at 0 bytes 1024
region w weights at 1024 bytes 1024
region g gradients at 2048 bytes 1024
region all gathered at 3072 bytes 2048
region results results at 5120 bytes 64
input x: f32[Batch 4 / data, Width 64 / tensor] in x
readout loss = results
kernel k0 gather all_gather along data member [m 2] [R 256]
  read from: f32[R]
  write to: f32[m, R]
kernel k1 scatter reduce_scatter sum along data member [m 2] [R 256]
  read from: f32[m, R]
  accumulate to: f32[R]
kernel k2 sum all_reduce sum along data*tensor [R 256]
  read from: f32[R]
  write to: f32[R]
kernel k3 ring permute 1 along tensor [R 256]
  read from: f32[R]
  write to: f32[R]
kernel k4 add rows [Row 4] lanes [R 64] blocks 2
  read w, g: f32[Row, R]
  write new: f32[Row, R]
  new = w + exp(g * 0.001) * random(0x7, [Row, R], micro 0, coord(data, times 256))
program layer
  read x 1024, w 1024
  write g 1024, all 2048
  k0 gather from=w to=all
  k1 scatter from=all to?=g
  k3 ring from=x to=all
  k2 sum from=all to=all
program update
  read g 1024
  write w 1024
  k4 add w=w g=g new=w
entry step
  for micro in 0..2
    for layer in 0..3
      call layer x=x w=w g?=g all=all
  control
  call update g=g w=w
";

#[test]
fn a_step_allocates_nothing() {
    let plan = meshwright_plan::parse::parse(PLAN).expect("a plan");
    if let Err(violations) = meshwright_plan::verify::verify(&plan) {
        panic!("{violations:?}");
    }
    for (threads, interleaved) in [(1, false), (2, false), (3, false), (4, false), (2, true)] {
        let mut fleet = Fleet::new(plan.clone(), Pool::new(threads, false), 1).expect("a fleet");
        if interleaved {
            fleet.interleave(1);
        }
        let mut one = |step: u64| {
            let fill = |slot: Slot<'_>| {
                let Slot::Real(values) = slot else { panic!("the input is real") };
                values.iter_mut().enumerate().for_each(|(at, x)| *x = at as f32);
                Ok::<(), Infallible>(())
            };
            fleet.fill(0, fill).expect("filling cannot fail");
            fleet.run("step", step).expect("a step");
        };
        // a thread allocates once when it starts, which may be after steps as short as these
        (1..3).for_each(&mut one);
        std::thread::sleep(Duration::from_millis(50));
        one(3);
        let before = allocations();
        (4..24).for_each(&mut one);
        assert_eq!(allocations() - before, 0, "{threads} threads");
    }
}
