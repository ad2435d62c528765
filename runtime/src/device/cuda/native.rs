//! A GPU by the CUDA driver: its primary context, one stream, and the functions of one plan.
//!
//! Requires: libraries that `survey` found to work. Ensures: work runs in the order in which it was given; what the driver refuses is kept until it
//! is asked for, and nothing runs after it.

use super::emit::{Function, Source};
use super::nvrtc::{Compiler, Form};
use super::{Arch, Context};
use crate::error::Error;
use cudarc::driver::result::{DriverError, ctx, device, event, init, launch_kernel, module, primary_ctx};
use cudarc::driver::result::{free_sync, function, malloc_sync, memcpy_dtoh_sync, memcpy_htod_sync, memset_d8_sync};
use cudarc::driver::sys::{CUcontext, CUdeviceptr, CUevent, CUevent_flags, CUfunction, CUfunction_attribute_enum as Attribute, CUmodule};
use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Dynamic shared memory that a function gets without asking for more.
const SHARED: u32 = 48 << 10;

/// A GPU.
pub struct Native {
    ordinal: i32,
    arch: Arch,
    context: CUcontext,
    compiler: Compiler,
    loaded: OnceLock<Loaded>,
    failed: OnceLock<String>,
    marks: Mutex<Vec<CUevent>>,
}

/// A plan's functions by kernel, with their launches.
struct Loaded {
    _module: CUmodule,
    functions: Vec<Vec<(CUfunction, Function)>>,
}

// SAFETY: contexts, modules and functions are handles that the driver lets all threads use, each call makes the context current first, and NVRTC may
// be called from any thread.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

impl Native {
    /// Takes a GPU, by its place in the driver's list, and what compiles for it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open(ordinal: i32, arch: Arch, compiler: Compiler) -> Result<Native, Error> {
        let context = || {
            init()?;
            // SAFETY: the device is one of the driver's; the context is given back when this is dropped.
            unsafe { primary_ctx::retain(device::get(ordinal)?) }
        };
        let context = context().map_err(|why| refused(&why))?;
        Ok(Native { ordinal, arch, context, compiler, loaded: OnceLock::new(), failed: OnceLock::new(), marks: Mutex::default() })
    }

    /// Does something with the context current on this thread.
    fn with<T>(&self, work: impl FnOnce() -> Result<T, DriverError>) -> Result<T, DriverError> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { ctx::set_current(self.context) }?;
        work()
    }

    /// The same for what cannot fail at once: the first refusal is kept.
    fn keep(&self, work: impl FnOnce() -> Result<(), DriverError>) {
        if self.failed.get().is_none()
            && let Err(why) = self.with(work)
        {
            let _ = self.failed.set(words(&why));
        }
    }

    fn load_code(&self, source: &Source, code: &[u8]) -> Result<Loaded, DriverError> {
        // SAFETY: an image that NVRTC has made, ending in zero.
        let module = unsafe { module::load_data(code.as_ptr().cast()) }?;
        let one = |own: &Function| {
            let name = CString::new(own.name.as_str()).unwrap_or_default();
            // SAFETY: the module was just loaded, and is never unloaded while its functions are used.
            let found = unsafe { module::get_function(module, name) }?;
            if own.shared > SHARED {
                let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: a function of the module.
                unsafe { function::set_function_attribute(found, most, own.shared as i32) }?;
            }
            Ok((found, own.clone()))
        };
        let functions = source.kernels.values().map(|functions| functions.iter().map(one).collect()).collect::<Result<_, DriverError>>()?;
        Ok(Loaded { _module: module, functions })
    }
}

impl Context for Native {
    fn load(&self, source: &Source) -> Result<(), Error> {
        let mut compiled = self.compiler.compile(source, self.arch)?;
        if compiled.form == Form::Ptx {
            compiled.code.push(0);
        }
        let loaded = self.with(|| self.load_code(source, &compiled.code)).map_err(|why| refused(&why))?;
        let _ = self.loaded.set(loaded);
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, Error> {
        let zeroed = || {
            // SAFETY: fresh memory of this size.
            unsafe {
                let start = malloc_sync(bytes)?;
                memset_d8_sync(start, 0, bytes)?;
                Ok(start)
            }
        };
        let start = self.with(zeroed).ok().and_then(|start| NonNull::new(start as *mut u8));
        start.ok_or(Error::Memory { bytes: bytes as u64 })
    }

    unsafe fn release(&self, start: NonNull<u8>, _bytes: usize) {
        // SAFETY: as the caller promises.
        self.keep(|| unsafe { free_sync(address(start.as_ptr())) });
    }

    unsafe fn write(&self, to: *mut u8, from: *const u8, bytes: usize) {
        // SAFETY: as the caller promises.
        self.keep(|| unsafe { memcpy_htod_sync(address(to), std::slice::from_raw_parts(from, bytes)) });
    }

    unsafe fn read(&self, from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: as the caller promises.
        self.keep(|| unsafe { memcpy_dtoh_sync(std::slice::from_raw_parts_mut(to, bytes), address(from)) });
    }

    unsafe fn launch(&self, kernel: u32, function: usize, arguments: &mut [*mut c_void]) {
        self.keep(|| {
            let Some(loaded) = self.loaded.get() else { return Ok(()) };
            let (function, own) = &loaded.functions[kernel as usize][function];
            let (grid, block) = ((own.grid, 1, 1), (own.threads, 1, 1));
            // SAFETY: as the caller promises; the stream is the context's own.
            unsafe { launch_kernel(*function, grid, block, own.shared, std::ptr::null_mut(), arguments) }
        });
    }

    fn mark(&self) {
        self.keep(|| {
            let mark = event::create(CUevent_flags::CU_EVENT_DEFAULT)?;
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
            // SAFETY: a fresh event; the stream is the context's own.
            unsafe { event::record(mark, std::ptr::null_mut()) }
        });
    }

    fn marked(&self) -> Vec<Duration> {
        let marks = std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut times = Vec::with_capacity(marks.len());
        self.keep(|| {
            if let Some(last) = marks.last() {
                // SAFETY: an event that was recorded.
                unsafe { event::synchronize(*last) }?;
            }
            for pair in marks.windows(2) {
                // SAFETY: both were recorded on one stream, and have happened.
                times.push(Duration::from_secs_f32(unsafe { event::elapsed(pair[0], pair[1]) }?.max(0.0) / 1e3));
            }
            // SAFETY: nobody else knows them.
            marks.iter().try_for_each(|mark| unsafe { event::destroy(*mark) })
        });
        times
    }

    fn failure(&self) -> Option<Error> {
        self.failed.get().map(|why| failed(&format!("GPU {}", self.ordinal), why.clone()))
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if let Ok(device) = device::get(self.ordinal) {
            // SAFETY: retained by `open`; nothing of it is used any more. What the driver says to that cannot be helped.
            let _ = unsafe { primary_ctx::release(device) };
        }
    }
}

fn address(place: *const u8) -> CUdeviceptr {
    place as CUdeviceptr
}

fn refused(error: &DriverError) -> Error {
    failed("the CUDA driver", words(error))
}

fn failed(what: &str, why: String) -> Error {
    Error::Cuda { what: what.to_string(), why }
}

/// The error's name, and its text where the driver has one.
pub(super) fn words(error: &DriverError) -> String {
    error.error_string().map_or_else(|_| format!("{:?}", error.0), |text| format!("{:?}: {}", error.0, text.to_string_lossy()))
}
