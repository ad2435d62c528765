//! Takes a GPU of this machine, with what compiles for it.
//!
//! Requires: nothing. Ensures: what is missing is told all at once, and nothing was loaded that does not work.

use super::driver::Gpu;
use super::find::Machine;
use super::nvrtc::{Cache, Compiler, folder};
use super::survey::survey;
use super::{Arch, Context, Native};
use crate::error::Error;
use std::sync::Arc;

/// The first GPU of the wanted architecture, or the first that kernels run on. What is compiled is kept in the user's cache.
///
/// # Errors
/// [`Error::CudaMissing`]; [`Error::CudaLibrary`]; [`Error::Cuda`]: no GPU is of that architecture, or the driver refuses it.
pub fn take(wanted: Option<Arch>) -> Result<Arc<dyn Context>, Error> {
    let machine = Machine::here();
    let survey = survey(machine);
    let nvrtc = survey.ready()?;
    let gpus: Vec<&Gpu> = survey.driver.iter().flat_map(|driver| &driver.gpus).collect();
    let fits = |own: Arch| wanted.is_none_or(|wanted| wanted.number() == own.number());
    let fitting = (0..).zip(&gpus).find_map(|(ordinal, gpu)| Some((ordinal, gpu.arch.filter(|own| fits(*own))?)));
    let Some((ordinal, arch)) = fitting else {
        let names: Vec<String> = gpus.iter().filter_map(|gpu| Some(format!("{} ({})", gpu.name, gpu.arch?))).collect();
        let what = wanted.map_or_else(|| "taking a GPU".to_string(), |wanted| format!("taking a GPU of {wanted}"));
        return Err(Error::Cuda { what, why: format!("this machine has {}; `--target cuda` takes what there is", names.join(", ")) });
    };
    let compiler = Compiler::open(&nvrtc.path, folder(machine.variable).map(Cache::new))?;
    Ok(Arc::new(Native::open(ordinal, arch, compiler)?))
}
