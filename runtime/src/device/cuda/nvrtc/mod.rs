//! NVRTC: CUDA C → machine code for one architecture, without a GPU and without a driver.
//!
//! Requires: NVRTC 12 or newer, wherever `find` found it. Ensures: equal source, architecture, version and options give equal code; where a
//! cache is given, they are compiled once. A compiler's complaint names the kernel and shows the line.
//!
//! cudarc's own wrapper is not used: it loads NVRTC by name only, ends the program where that fails, and gives PTX but no machine code.

mod api;
mod cache;
mod complaint;
#[cfg(test)]
mod tests;
mod usage;

pub use cache::{Cache, folder};
pub use usage::Usage;

use super::Arch;
use super::emit::Source;
use crate::error::Error;
use api::Api;
use std::path::{Path, PathBuf};

/// A compiler that is loaded.
pub struct Compiler {
    api: Api,
    path: PathBuf,
    version: (u32, u32),
    /// Numbers of the architectures that it knows, sorted.
    known: Vec<u32>,
    cache: Option<Cache>,
}

/// What a source became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What the driver loads.
    pub code: Vec<u8>,
    /// What it is.
    pub form: Form,
    /// What each function needs; empty for PTX, whose registers are given out when it is loaded.
    pub usage: Vec<Usage>,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Why it could not be kept in the cache.
    pub unkept: Option<String>,
}

/// What a driver loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Machine code of one architecture.
    Cubin,
    /// Text that the driver compiles for its GPU: where the GPU is newer than the compiler.
    Ptx,
}

/// What is the same for every source.
const OPTIONS: [&str; 7] = [
    // what the prelude's templates are written in
    "--std=c++17",
    // as on the CPU: a product and a sum in one rounding
    "--fmad=true",
    // small numbers, quotients and roots as IEEE 754 has them: results stay close to the CPU's, and the tests' tolerances are about sums only
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    // profilers show lines; the instructions are the same
    "--generate-line-info",
    // registers, stack and spills of each function, in the log
    "--ptxas-options=-v",
];

impl Compiler {
    /// Loads it; `cache` is a folder for what it makes.
    ///
    /// # Errors
    /// [`Error::CudaLibrary`]: it cannot be loaded, or is too old.
    pub fn open(path: &Path, cache: Option<Cache>) -> Result<Compiler, Error> {
        let refused = |why: String| Error::CudaLibrary { name: "NVRTC", path: path.to_path_buf(), why };
        let api = Api::load(path).map_err(refused)?;
        let version = api.version().map_err(refused)?;
        let known = api.architectures().map_err(refused)?;
        Ok(Compiler { api, path: path.to_path_buf(), version, known, cache })
    }

    /// Major and minor: that of the toolkit it is from.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Compiles all functions of a plan.
    ///
    /// # Errors
    /// [`Error::Kernel`]: the source does not compile, which is a bug of ours. [`Error::CudaLibrary`]: the compiler itself fails, or knows only
    /// architectures that are newer.
    pub fn compile(&self, source: &Source, arch: Arch) -> Result<Compiled, Error> {
        let (target, form) = target(arch, &self.known).ok_or_else(|| self.refused(format!("it does not know {arch}")))?;
        let text = source.text();
        let options: Vec<String> = std::iter::once(format!("--gpu-architecture={target}")).chain(OPTIONS.map(String::from)).collect();
        let key = cache::key(self.version, &options, &text);
        if let Some((code, usage)) = self.cache.as_ref().and_then(|cache| cache.read(&key)) {
            return Ok(Compiled { code, form, usage, cached: true, unkept: None });
        }
        let done = self.api.compile(&text, &options, form).map_err(|why| self.refused(why))?;
        let code = done.code.map_err(|why| complaint::error(source, &text, &done.log, &why))?;
        let usage = usage::read(&done.log);
        let unkept = self.cache.as_ref().and_then(|cache| cache.write(&key, &code, &usage).err());
        Ok(Compiled { code, form, usage, cached: false, unkept })
    }

    fn refused(&self, why: String) -> Error {
        Error::CudaLibrary { name: "NVRTC", path: self.path.clone(), why }
    }
}

/// What to compile for: the architecture itself, or the newest older one that is known, as text for the driver.
fn target(arch: Arch, known: &[u32]) -> Option<(String, Form)> {
    if known.contains(&arch.number()) {
        return Some((arch.to_string(), Form::Cubin));
    }
    let older = known.iter().rev().find(|number| (Arch::OLDEST.number()..arch.number()).contains(*number))?;
    Some((format!("compute_{older}"), Form::Ptx))
}
