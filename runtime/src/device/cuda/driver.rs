//! The CUDA driver and the GPUs that it offers.
//!
//! Requires: the driver's library, found. Ensures: no context is made, so nothing is taken of a GPU; a driver that is there and does not work is
//! told apart from one that is not there.

use super::Arch;
use super::find::{Found, preload};
use super::native::words;
use cudarc::driver::result::{DriverError, device, init};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};

/// A driver that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The newest version of CUDA that it knows: major, minor.
    pub version: (u32, u32),
    /// The GPUs, in the driver's order.
    pub gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability: major, minor.
    pub capability: (u32, u32),
    /// What kernels are compiled for; none if it is too old.
    pub arch: Option<Arch>,
    /// Bytes of memory.
    pub memory: u64,
    /// Multiprocessors.
    pub multiprocessors: u32,
}

/// Asks the driver.
///
/// # Errors
/// Why it does not work.
pub fn driver(found: &Found) -> Result<Driver, String> {
    preload(found)?;
    // SAFETY: it only tries to load the library that has just been loaded. Everything else of cudarc ends the program without it.
    if !unsafe { sys::is_culib_present() } {
        return Err(format!("{} is not what the system's loader finds by its name", found.path.display()));
    }
    started().map_err(|why| format!("it does not start: {}", words(&why)))
}

fn started() -> Result<Driver, DriverError> {
    match init() {
        // A driver without a GPU: a machine whose GPU is taken out, or hidden.
        Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => return Ok(Driver { version: version()?, gpus: Vec::new() }),
        other => other?,
    }
    let gpus = (0..device::get_count()?).map(gpu).collect::<Result<_, _>>()?;
    Ok(Driver { version: version()?, gpus })
}

fn version() -> Result<(u32, u32), DriverError> {
    let mut version = 0;
    // SAFETY: a place to write to.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok((version.unsigned_abs() / 1000, version.unsigned_abs() % 1000 / 10))
}

fn gpu(ordinal: i32) -> Result<Gpu, DriverError> {
    let gpu = device::get(ordinal)?;
    // SAFETY: the driver has just given this GPU.
    let attribute = |attribute| unsafe { device::get_attribute(gpu, attribute) }.map(i32::unsigned_abs);
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let memory = unsafe { device::total_mem(gpu) }? as u64;
    let multiprocessors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    Ok(Gpu { name: device::get_name(gpu)?, capability: (major, minor), arch: Arch::of_device(major, minor), memory, multiprocessors })
}
