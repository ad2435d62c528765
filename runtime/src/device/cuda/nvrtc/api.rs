//! The functions of NVRTC that are used, found in the library at a path.
//!
//! Requires: a library whose functions have the signatures of `nvrtc.h`, the same since CUDA 11.3. Ensures: every program is destroyed.

use super::Form;
use crate::device::cuda::find;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

type Program = *mut c_void;
type Code = c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> Code;
type Bytes = unsafe extern "C" fn(Program, *mut c_char) -> Code;

/// The library's functions.
pub(super) struct Api {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code,
    count: unsafe extern "C" fn(*mut c_int) -> Code,
    architectures: unsafe extern "C" fn(*mut c_int) -> Code,
    create: unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> Code,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code,
    destroy: unsafe extern "C" fn(*mut Program) -> Code,
    log: (Size, Bytes),
    cubin: (Size, Bytes),
    ptx: (Size, Bytes),
    text: unsafe extern "C" fn(Code) -> *const c_char,
    /// Never unloaded: what it registered to run at exit would be gone by then.
    _library: ManuallyDrop<Library>,
}

/// How a compilation ended.
pub(super) struct Done {
    /// The code, or what kind of failure it is.
    pub code: Result<Vec<u8>, String>,
    /// What the compiler says.
    pub log: String,
}

/// NVRTC's result for a program with errors; others are faults of the library or of how it is called.
const COMPILATION: Code = 6;

fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: `T` is the type of this function in nvrtc.h, as the fields of `Api` give it.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|found| *found).map_err(|_| format!("it has no {name}: it is older than CUDA 12"))
}

impl Api {
    /// Loads the library.
    pub(super) fn load(path: &Path) -> Result<Api, String> {
        let library = find::open(path)?;
        let pair = |name: &str| {
            Ok::<_, String>((symbol(&library, &format!("nvrtcGet{name}Size"))?, symbol(&library, &format!("nvrtcGet{name}"))?))
        };
        Ok(Api {
            version: symbol(&library, "nvrtcVersion")?,
            count: symbol(&library, "nvrtcGetNumSupportedArchs")?,
            architectures: symbol(&library, "nvrtcGetSupportedArchs")?,
            create: symbol(&library, "nvrtcCreateProgram")?,
            compile: symbol(&library, "nvrtcCompileProgram")?,
            destroy: symbol(&library, "nvrtcDestroyProgram")?,
            log: pair("ProgramLog")?,
            cubin: pair("CUBIN")?,
            ptx: pair("PTX")?,
            text: symbol(&library, "nvrtcGetErrorString")?,
            _library: ManuallyDrop::new(library),
        })
    }

    /// Major and minor.
    pub(super) fn version(&self) -> Result<(u32, u32), String> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two places to write to.
        self.check(unsafe { (self.version)(&mut major, &mut minor) })?;
        Ok((major.unsigned_abs(), minor.unsigned_abs()))
    }

    /// The numbers of all architectures that it makes machine code for, sorted.
    pub(super) fn architectures(&self) -> Result<Vec<u32>, String> {
        let mut count = 0;
        // SAFETY: a place to write to.
        self.check(unsafe { (self.count)(&mut count) })?;
        let mut numbers = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: as many places as it has just said that it writes.
        self.check(unsafe { (self.architectures)(numbers.as_mut_ptr()) })?;
        let mut numbers: Vec<u32> = numbers.into_iter().map(c_int::unsigned_abs).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Compiles a text.
    ///
    /// # Errors
    /// The library fails for another reason than the text.
    pub(super) fn compile(&self, text: &str, options: &[String], form: Form) -> Result<Done, String> {
        let text = CString::new(text).map_err(|_| "the source has a zero byte".to_string())?;
        let options: Vec<CString> = options.iter().filter_map(|option| CString::new(option.as_str()).ok()).collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = Running { api: self, program: ptr::null_mut() };
        // SAFETY: strings that end, and live as long as the program; no headers.
        let made = unsafe { (self.create)(&mut program.program, text.as_ptr(), c"kernels.cu".as_ptr(), 0, ptr::null(), ptr::null()) };
        self.check(made)?;
        // SAFETY: a program that was made, and so many strings that end.
        let ended = unsafe { (self.compile)(program.program, options.len() as c_int, options.as_ptr()) };
        // The assembler's part comes behind a zero byte of its own.
        let log = String::from_utf8_lossy(&program.bytes(self.log)?).replace('\0', "\n").trim_end().to_string();
        let code = match ended {
            0 => Ok(program.bytes(match form {
                Form::Cubin => self.cubin,
                Form::Ptx => self.ptx,
            })?),
            COMPILATION => Err(self.name(ended)),
            other if log.is_empty() => return Err(self.name(other)),
            other => return Err(format!("{}: {log}", self.name(other))),
        };
        Ok(Done { code, log })
    }

    fn name(&self, code: Code) -> String {
        // SAFETY: it gives a constant string for every number.
        unsafe { CStr::from_ptr((self.text)(code)) }.to_string_lossy().into_owned()
    }

    fn check(&self, code: Code) -> Result<(), String> {
        if code == 0 { Ok(()) } else { Err(self.name(code)) }
    }
}

/// A program until it is destroyed.
struct Running<'a> {
    api: &'a Api,
    program: Program,
}

impl Running<'_> {
    /// What the library copies out for this program.
    fn bytes(&self, (size, copy): (Size, Bytes)) -> Result<Vec<u8>, String> {
        let mut count = 0;
        // SAFETY: a program that was made, and a place to write to.
        self.api.check(unsafe { size(self.program, &mut count) })?;
        let mut bytes = vec![0u8; count];
        // SAFETY: as many bytes as it has just said that it writes.
        self.api.check(unsafe { copy(self.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: a program that was made, and is not used again.
            unsafe { (self.api.destroy)(&mut self.program) };
        }
    }
}
