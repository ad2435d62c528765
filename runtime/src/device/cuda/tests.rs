//! Claims about the device: what a context refuses ends the entry with an error, and nothing runs after it.

use super::emit::Source;
use super::{Context, Cuda};
use crate::device::Device;
use crate::error::Error;
use crate::execute::Fleet;
use crate::pool::Pool;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Memory, and a driver that refuses its third launch.
#[derive(Default)]
struct Refusing(AtomicUsize);

impl Context for Refusing {
    fn load(&self, _source: &Source) -> Result<(), Error> {
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, Error> {
        let words = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        NonNull::new(Box::into_raw(words).cast()).ok_or(Error::Memory { bytes: bytes as u64 })
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: `allocate` has made it, with this size.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(start.as_ptr().cast::<u64>(), bytes.div_ceil(8))) });
    }

    unsafe fn write(&self, to: *mut u8, from: *const u8, bytes: usize) {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
    }

    unsafe fn read(&self, from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
    }

    unsafe fn launch(&self, _kernel: u32, _function: usize, arguments: &mut [*mut c_void]) {
        assert_eq!(arguments.len(), 6, "two operands, the step's numbers, iteration, microbatch, and what is added to");
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn mark(&self) {}

    fn marked(&self) -> Vec<Duration> {
        Vec::new()
    }

    fn failure(&self) -> Option<Error> {
        let third = self.0.load(Ordering::Relaxed) > 2;
        third.then(|| Error::Cuda { what: "GPU 0".into(), why: "an illegal address".into() })
    }
}

#[test]
fn a_refused_launch_ends_the_entry() {
    let text = "plan \"twice\"\nformat 1\nmicrobatches 1\narena 4096\nregion x data at 0 bytes 64\nregion y carries at 64 bytes 64\n\
                kernel k0 twice rows [R 16] blocks 1\n  read x: f32[R]\n  write y: f32[R]\n  y = x + x\n\
                program twice\n  read x 64\n  write y 64\n  k0 twice x=x y=y\n  k0 twice x=x y=y\nentry step\n  call twice x=x y=y\n";
    let plan = meshwright_plan::parse::parse(text).expect("a plan");
    let cuda = Cuda::load(&plan, Arc::new(Refusing::default())).expect("kernels");
    let mut fleet = Fleet::on(Device::Cuda(cuda), plan, Pool::new(1, false), 1).expect("a fleet");
    assert!(fleet.run("step", 1).is_ok());
    let Err(error) = fleet.run("step", 2) else { panic!("the third launch was refused") };
    assert_eq!((error.code(), error.to_string().as_str()), ("cuda::failed", "GPU 0 failed: an illegal address"));
}
