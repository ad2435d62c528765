//! `--target`: what kernels are made for.

use crate::outcome::Failure;
use meshwright_compiler as compiler;
use meshwright_plan::Plan;
use meshwright_runtime::device::Device;
use meshwright_runtime::device::cuda::{self, Arch, Context, Cuda, emit};
use meshwright_runtime::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What kernels are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This machine's processor.
    Cpu,
    /// A GPU of this architecture, or of whatever the machine has.
    Cuda(Option<Arch>),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Target::Cpu),
            None if text == "cuda" => Ok(Target::Cuda(None)),
            Some(("cuda", arch)) => arch.parse().map(|arch| Target::Cuda(Some(arch))),
            _ => Err("a target is cpu, cuda, or cuda with an architecture, as in cuda:sm_90".into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Cpu => f.write_str("cpu"),
            Target::Cuda(None) => f.write_str("cuda"),
            Target::Cuda(Some(arch)) => write!(f, "cuda:{arch}"),
        }
    }
}

impl Target {
    /// What plans are made for.
    pub fn plans(self) -> compiler::Target {
        match self {
            Target::Cpu => compiler::Target::Cpu,
            Target::Cuda(_) => compiler::Target::Cuda,
        }
    }

    /// The text of a plan's kernels in the target's language; none for the CPU, whose machine code has no text but the plan's.
    ///
    /// It needs no GPU, and is the same for all architectures so far.
    pub fn text(self, plan: &Plan) -> Result<Option<String>, Error> {
        match self {
            Target::Cpu => Ok(None),
            Target::Cuda(_) => Ok(Some(emit::source(plan)?.text())),
        }
    }

    /// Takes the GPU that is the target; none if it is the CPU.
    pub fn open(self) -> Result<Option<Arc<dyn Context>>, Failure> {
        let Target::Cuda(wanted) = self else { return Ok(None) };
        Ok(Some(cuda::take(wanted)?))
    }
}

/// A device with a plan's kernels: the GPU that was taken, or this machine's processor. `place` says where in a spec a kernel comes from that
/// cannot be made.
pub fn device(gpu: Option<Arc<dyn Context>>, plan: &Plan, place: &dyn Fn(Error) -> Failure) -> Result<Device, Failure> {
    match gpu {
        Some(gpu) => Cuda::load(plan, gpu).map(Device::Cuda).map_err(place),
        None => {
            crate::memory::fits(plan)?;
            Device::cpu(plan).map_err(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back() {
        for text in ["cpu", "cuda", "cuda:sm_90", "cuda:sm_90a"] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "gpu", "cpu:avx2", "cuda:", "cuda:90", "CUDA"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
