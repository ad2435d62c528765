//! What a GPU does for a plan: memory, copies, launches.
//!
//! Requires: one stream of work. Ensures: what is given to it runs in that order, and a read waits for all that was given before.

use super::emit::Source;
use crate::error::Error;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::time::Duration;

/// A GPU, or what plays one in tests.
pub trait Context: Send + Sync {
    /// Makes the functions of a plan ready; they are launched by the numbers of their kernel and their place in its list.
    ///
    /// # Errors
    /// The compiler refuses the text.
    fn load(&self, source: &Source) -> Result<(), Error>;

    /// Zeroed memory.
    ///
    /// # Errors
    /// There is not so much.
    fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, Error>;

    /// Gives memory back.
    ///
    /// # Safety
    /// It was allocated with this size, and nothing uses it any more.
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize);

    /// Copies to the GPU.
    ///
    /// # Safety
    /// Both places have so many bytes.
    unsafe fn write(&self, to: *mut u8, from: *const u8, bytes: usize);

    /// Copies from the GPU, once all that was given before is done.
    ///
    /// # Safety
    /// Both places have so many bytes.
    unsafe fn read(&self, from: *const u8, to: *mut u8, bytes: usize);

    /// Runs a function of a kernel after what was given before. Each argument is the place of its value.
    ///
    /// # Safety
    /// The arguments are those of the function's signature, and all places that it touches are the GPU's.
    unsafe fn launch(&self, kernel: u32, function: usize, arguments: &mut [*mut c_void]);

    /// Notes when all that was given before is done.
    fn mark(&self);

    /// Waits for all that was given, and forgets the marks: the times from each to the next, as the GPU has measured them.
    fn marked(&self) -> Vec<Duration>;

    /// What was refused first, if anything was: what was read since then means nothing.
    fn failure(&self) -> Option<Error>;
}
