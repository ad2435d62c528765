//! The arena of one rank: one zeroed piece of memory, in huge pages where the system gives them, touched once before the first step.

use crate::error::Error;
use std::ptr::NonNull;

/// Memory of one rank. All access goes through the plan's offsets, which the verifier has bounded.
pub struct Arena {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the arena owns its memory; sharing is governed by the borrows of its methods and by the executor's launches.
unsafe impl Send for Arena {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `bytes` of zeros. Fails if the system refuses so much memory.
    pub fn new(bytes: u64) -> Result<Arena, Error> {
        let bytes = usize::try_from(bytes.max(4096)).map_err(|_| Error::Memory { bytes })?;
        // SAFETY: an anonymous private mapping of a fresh address range; failure is checked below.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(Error::Memory { bytes: bytes as u64 });
        }
        #[cfg(target_os = "linux")]
        // SAFETY: advice about the mapping just made; it changes no contents, and refusal does no harm.
        unsafe {
            libc::madvise(start, bytes, libc::MADV_HUGEPAGE);
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(Error::Memory { bytes: bytes as u64 })?;
        Ok(Arena { start, bytes })
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it starts. Kernels get addresses from here.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Reads `count` elements at a byte offset. Out of bounds is a bug in the plan and stops the program.
    pub fn f32s(&self, offset: u64, count: u64) -> &[f32] {
        let at = self.check(offset, count * 4);
        // SAFETY: in bounds and aligned (checked), every bit pattern is an f32, and no kernel runs while the borrow lives.
        unsafe { std::slice::from_raw_parts(at.cast::<f32>(), count as usize) }
    }

    /// The same, to be written.
    pub fn f32s_mut(&mut self, offset: u64, count: u64) -> &mut [f32] {
        let at = self.check(offset, count * 4);
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(at.cast::<f32>(), count as usize) }
    }

    /// Integers, to be written.
    pub fn i32s_mut(&mut self, offset: u64, count: u64) -> &mut [i32] {
        let at = self.check(offset, count * 4);
        // SAFETY: as above, for i32.
        unsafe { std::slice::from_raw_parts_mut(at.cast::<i32>(), count as usize) }
    }

    fn check(&self, offset: u64, bytes: u64) -> *mut u8 {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes as u64);
        assert!(end.is_some() && offset.is_multiple_of(4), "the plan names bytes {offset}+{bytes} of an arena of {}", self.bytes);
        // SAFETY: within the mapping, as just checked.
        unsafe { self.start.as_ptr().add(offset as usize) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; no borrow outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}
