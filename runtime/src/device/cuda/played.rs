//! Emitted functions as a library of this machine: tests play thread blocks on the processor.
//!
//! Requires: a library that tests compiled from the emitted text, with an entry `mw_play_NAME` for each function. Ensures: an entry is called with the
//! parameters that the launch on a GPU has. What runs is foreign code, as sound as the kernels that it is there to test.

use super::Context;
use super::emit::{Function, Source};
use super::launch::{step, with_arguments};
use crate::device::alone::{Memory, Numbers};
use crate::error::Error;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The launch of a function: blocks, threads, bytes of shared memory, parameters, order. What is wrong, or null.
type Entry = unsafe extern "C" fn(u32, u32, u32, *mut *mut c_void, u32) -> *const c_char;

/// A loaded library.
pub struct Library {
    handle: *mut c_void,
    /// It plays one block at a time.
    playing: Mutex<()>,
}

// SAFETY: a handle is a number to the loader; launches are one at a time.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a file.
    ///
    /// # Errors
    /// What the system's loader says.
    pub fn open(path: &Path) -> Result<Library, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| "a zero in a path".to_string())?;
        // SAFETY: a string that ends in zero; the library has no constructors.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() { Err(refusal()) } else { Ok(Library { handle, playing: Mutex::new(()) }) }
    }

    /// Plays a function's grid. Order 0 runs blocks, warps and lanes forward, 1 backward, all others in one that looks random: code that lacks a barrier
    /// has other results in another order.
    ///
    /// # Errors
    /// There is no such function, its threads do not meet, or it touches what it must not.
    pub fn launch(&self, function: &Function, operands: &mut [Memory], numbers: &Numbers, order: u32) -> Result<(), String> {
        let places: Vec<*mut u8> = operands.iter_mut().map(Memory::place).collect();
        let step = step(numbers.seed, numbers.step, &numbers.coordinates, &numbers.scalars);
        let last = (step.as_ptr().cast(), numbers.iteration as u32, numbers.micro as u32, numbers.accumulate);
        // SAFETY: the parameters are those that every emitted function has, and live until the launch ends.
        with_arguments(&places, last, |arguments| unsafe { self.play(function, arguments, order) })
    }

    /// The same with a parameter's place each.
    ///
    /// # Safety
    /// They are those of the function's signature.
    unsafe fn play(&self, function: &Function, arguments: &mut [*mut c_void], order: u32) -> Result<(), String> {
        let entry = self.entry(&function.name)?;
        let _alone = self.playing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as the caller promises.
        let wrong = unsafe { entry(function.grid, function.threads, function.shared, arguments.as_mut_ptr(), order) };
        if wrong.is_null() {
            return Ok(());
        }
        // SAFETY: the library's message, which ends in zero and stands until its next launch.
        Err(unsafe { CStr::from_ptr(wrong) }.to_string_lossy().into_owned())
    }

    fn entry(&self, function: &str) -> Result<Entry, String> {
        let name = CString::new(format!("mw_play_{function}")).map_err(|_| "a zero in a name".to_string())?;
        // SAFETY: an open library and a string that ends in zero.
        let found = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if found.is_null() {
            return Err(format!("the library has no function {function}"));
        }
        // SAFETY: entries are made by one macro, with this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Entry>(found) })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody plays in it any longer.
        unsafe { libc::dlclose(self.handle) };
    }
}

/// The functions of a plan in libraries: by a function's name its library, and the name of one there that has its text.
pub struct Players {
    /// All libraries.
    pub libraries: Vec<Library>,
    /// Where each function is.
    pub found: BTreeMap<String, (usize, String)>,
}

impl Players {
    /// The library of a function, and the function there.
    ///
    /// # Panics
    /// If it was not compiled.
    #[must_use]
    pub fn of(&self, function: &Function) -> (&Library, Function) {
        let (library, name) = self.found.get(&function.name).unwrap_or_else(|| panic!("{} was compiled", function.name));
        (&self.libraries[*library], Function { name: name.clone(), ..function.clone() })
    }
}

/// How tests compile a plan's functions.
type Compile = Box<dyn Fn(&Source) -> Players + Send + Sync>;

/// A GPU that is played: memory of this process, and a launch that has ended when it returns.
pub struct Played {
    compile: Compile,
    loaded: OnceLock<(Players, Source)>,
    failed: OnceLock<(String, String)>,
    marks: Mutex<Vec<Instant>>,
    order: u32,
}

impl Played {
    /// One that plays threads in this order.
    #[must_use]
    pub fn new(order: u32, compile: impl Fn(&Source) -> Players + Send + Sync + 'static) -> Played {
        Played { compile: Box::new(compile), loaded: OnceLock::new(), failed: OnceLock::new(), marks: Mutex::default(), order }
    }
}

impl Context for Played {
    fn load(&self, source: &Source) -> Result<(), Error> {
        let _ = self.loaded.get_or_init(|| ((self.compile)(source), source.clone()));
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<NonNull<u8>, Error> {
        let lines = vec![Aligned([0; 256]); bytes.div_ceil(256)].into_boxed_slice();
        NonNull::new(Box::into_raw(lines).cast::<u8>()).ok_or(Error::Memory { bytes: bytes as u64 })
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        let lines = std::ptr::slice_from_raw_parts_mut(start.as_ptr().cast::<Aligned>(), bytes.div_ceil(256));
        // SAFETY: `allocate` has made it, with this size.
        drop(unsafe { Box::from_raw(lines) });
    }

    unsafe fn write(&self, to: *mut u8, from: *const u8, bytes: usize) {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
    }

    unsafe fn read(&self, from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
    }

    unsafe fn launch(&self, kernel: u32, function: usize, arguments: &mut [*mut c_void]) {
        let (players, source) = self.loaded.get().expect("a plan is loaded");
        let function = &source.kernels[meshwright_plan::Kernel::from_u32(kernel)][function];
        let (library, function) = players.of(function);
        // SAFETY: as the caller promises.
        let played = unsafe { library.play(&function, arguments, self.order) };
        if let Err(why) = played {
            let _ = self.failed.set((function.name, why));
        }
    }

    fn mark(&self) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    fn marked(&self) -> Vec<Duration> {
        let marks = std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        marks.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn failure(&self) -> Option<Error> {
        self.failed.get().map(|(name, why)| Error::Cuda { what: name.clone(), why: why.clone() })
    }
}

/// The alignment that a GPU's allocations have.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Aligned(#[expect(dead_code, reason = "it is only room")] [u8; 256]);

fn refusal() -> String {
    // SAFETY: the loader's message of this thread, null if there is none.
    let message = unsafe { libc::dlerror() };
    // SAFETY: it ends in zero.
    if message.is_null() { "no library".into() } else { unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned() }
}
