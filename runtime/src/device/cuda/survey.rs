//! What of CUDA is on this machine: each library with its version, the GPUs, and what is missing for training.
//!
//! Requires: nothing. Ensures: everything that is found was loaded and asked, so that what is said to be here works.

use super::driver::{Driver, driver};
use super::find::{Found, Library, Machine, Search, find, open};
use super::nvrtc::Compiler;
use crate::error::Error;
use std::ffi::c_int;

/// What is here.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Every library, in the order of [`Library::ALL`].
    pub parts: Vec<Part>,
    /// The driver with its GPUs, where it works.
    pub driver: Option<Driver>,
}

/// A library.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub library: Library,
    /// Where it was looked for, and found.
    pub search: Search,
    /// Its version as people write it, or why it does not work; none if it was not found.
    pub state: Option<Result<String, String>>,
}

impl Part {
    /// Why it cannot be used; none if it can.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match &self.state {
            None => Some("not found".into()),
            Some(Err(why)) => Some(why.clone()),
            Some(Ok(_)) => None,
        }
    }
}

/// Looks at a machine.
#[must_use]
pub fn survey(machine: Machine<'_>) -> Survey {
    let mut here = None;
    let parts = Library::ALL.map(|library| {
        let search = find(library, machine);
        let state = search.found.as_ref().map(|found| match library {
            Library::Driver => driver(found).map(|driver| dotted(here.insert(driver).version)),
            Library::Nvrtc => Compiler::open(&found.path, None).map(|compiler| dotted(compiler.version())).map_err(|why| why.to_string()),
            Library::CublasLt => cublaslt(found),
            Library::Nccl => nccl(found),
        });
        Part { library, search, state }
    });
    Survey { parts: parts.into(), driver: here }
}

impl Survey {
    /// NVRTC, where nothing is missing that training on one GPU needs.
    ///
    /// # Errors
    /// [`Error::CudaMissing`] with all that is missing.
    pub fn ready(&self) -> Result<&Found, Error> {
        // products are functions of our own so far, and ranks share one GPU
        let needed = |part: &&Part| match part.library {
            Library::Driver | Library::Nvrtc => true,
            Library::CublasLt | Library::Nccl => false,
        };
        let fault = |part: &Part| Some((format!("{} ({})", part.library.title(), part.fault()?), part.library.install().to_string()));
        let mut missing: Vec<(String, String)> = self.parts.iter().filter(needed).filter_map(fault).collect();
        missing.extend(self.driver.as_ref().and_then(no_gpu));
        let nvrtc = self.parts.iter().find(|part| part.library == Library::Nvrtc).and_then(|part| part.search.found.as_ref());
        nvrtc.filter(|_| missing.is_empty()).ok_or(Error::CudaMissing { missing })
    }
}

/// What a driver without a GPU that kernels run on is told.
fn no_gpu(driver: &Driver) -> Option<(String, String)> {
    let advice = "Meshwright's kernels run on NVIDIA's Ampere and newer; `CUDA_VISIBLE_DEVICES` may hide one".to_string();
    if driver.gpus.is_empty() {
        return Some(("a GPU (the driver sees none)".into(), advice));
    }
    let old = |gpu: &super::driver::Gpu| format!("{} has compute capability {}", gpu.name, dotted(gpu.capability));
    let all: Vec<String> = driver.gpus.iter().map(old).collect();
    driver.gpus.iter().all(|gpu| gpu.arch.is_none()).then(|| (format!("a GPU that is new enough ({})", all.join(", ")), advice))
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// `120902` → 12.9.2.
fn cublaslt(found: &Found) -> Result<String, String> {
    let library = open(&found.path)?;
    // SAFETY: the type of this function in cublasLt.h.
    let version = unsafe { library.get::<unsafe extern "C" fn() -> usize>(b"cublasLtGetVersion") }.map_err(|why| why.to_string())?;
    // SAFETY: it takes nothing and gives a number.
    let version = unsafe { version() };
    // Loaded for good: cudarc looks for it by name later.
    std::mem::forget(library);
    Ok(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
}

/// `22703` → 2.27.3.
fn nccl(found: &Found) -> Result<String, String> {
    let library = open(&found.path)?;
    // SAFETY: the type of this function in nccl.h.
    let ask = unsafe { library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"ncclGetVersion") }.map_err(|why| why.to_string())?;
    let mut version = 0;
    // SAFETY: a place to write to.
    let code = unsafe { ask(&mut version) };
    if code != 0 {
        return Err(format!("ncclGetVersion says {code}"));
    }
    std::mem::forget(library);
    Ok(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
}
