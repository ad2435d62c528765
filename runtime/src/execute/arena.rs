//! The arena of one rank: one zeroed piece of memory, of this process in huge pages where the system gives them, or of a GPU.
//!
//! Requires: offsets of a verified plan. Ensures: what is read is what kernels launched before have left; memory of a GPU is read and written by
//! copies.

use crate::device::cuda::Context;
use crate::error::Error;
use std::borrow::Cow;
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory of one rank. All access goes through the plan's offsets, which the verifier has bounded.
pub struct Arena {
    start: NonNull<u8>,
    bytes: usize,
    /// Whose memory it is; none: this process's.
    context: Option<Arc<dyn Context>>,
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
        Ok(Arena { start, bytes, context: None })
    }

    /// Zeros in a GPU's memory. Fails if there is not so much of it.
    pub fn on(context: Arc<dyn Context>, bytes: u64) -> Result<Arena, Error> {
        let bytes = usize::try_from(bytes.max(4096)).map_err(|_| Error::Memory { bytes })?;
        let start = context.allocate(bytes)?;
        Ok(Arena { start, bytes, context: Some(context) })
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
    pub fn f32s(&self, offset: u64, count: u64) -> Cow<'_, [f32]> {
        let at = self.check(offset, count * 4);
        let Some(context) = &self.context else {
            // SAFETY: in bounds and aligned (checked), every bit pattern is an f32, and no kernel runs while the borrow lives.
            return unsafe { std::slice::from_raw_parts(at.cast::<f32>(), count as usize) }.into();
        };
        let mut values = vec![0.0f32; count as usize];
        // SAFETY: in bounds, and as long as the values.
        unsafe { context.read(at, values.as_mut_ptr().cast(), 4 * count as usize) };
        values.into()
    }

    /// Reads one element.
    pub fn number(&self, offset: u64) -> f32 {
        let at = self.check(offset, 4);
        let mut value = 0.0f32;
        // SAFETY: in bounds and aligned.
        unsafe {
            match &self.context {
                None => value = at.cast::<f32>().read(),
                Some(context) => context.read(at, (&raw mut value).cast(), 4),
            }
        }
        value
    }

    /// Has `count` elements written at a byte offset.
    pub fn write<T: Number, R>(&mut self, offset: u64, count: u64, write: impl FnOnce(&mut [T]) -> R) -> R {
        // SAFETY: the borrow is exclusive.
        unsafe { self.write_part(offset, count, write) }
    }

    /// The same beside others that write elsewhere.
    ///
    /// # Safety
    /// Nobody else uses these elements meanwhile.
    pub unsafe fn write_part<T: Number, R>(&self, offset: u64, count: u64, write: impl FnOnce(&mut [T]) -> R) -> R {
        let at = self.check(offset, count * 4);
        let Some(context) = &self.context else {
            // SAFETY: in bounds and aligned (checked), every bit pattern is such a number, and nobody else uses them.
            return write(unsafe { std::slice::from_raw_parts_mut(at.cast::<T>(), count as usize) });
        };
        let mut values = vec![T::default(); count as usize];
        let result = write(&mut values);
        // SAFETY: in bounds, and as long as the values.
        unsafe { context.write(at, values.as_ptr().cast(), 4 * count as usize) };
        result
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
        // SAFETY: gives back exactly what `new` or `on` got; no borrow outlives `self`.
        unsafe {
            match &self.context {
                Some(context) => context.release(self.start, self.bytes),
                None => {
                    libc::munmap(self.start.as_ptr().cast(), self.bytes);
                }
            }
        }
    }
}

/// Four bytes of which every pattern is a value.
pub trait Number: Copy + Default {}
impl Number for f32 {}
impl Number for i32 {}
