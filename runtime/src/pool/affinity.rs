//! Which processors a thread may run on.
//!
//! Requires: nothing. Ensures: where the system has no notion of it, or refuses, nothing happens (pinning is a matter of speed only).

/// The processors that the thread which asked was allowed to use.
#[derive(Clone)]
pub(super) struct Affinity {
    processors: Vec<usize>,
}

#[cfg(target_os = "linux")]
impl Affinity {
    /// The calling thread's processors.
    pub(super) fn current() -> Option<Affinity> {
        // SAFETY: a zeroed set is a valid empty set, and the call writes at most its size.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
                return None;
            }
            set
        };
        // SAFETY: the index is below CPU_SETSIZE.
        let processors = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect();
        Some(Affinity { processors })
    }

    /// How many processors these are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.processors.len()
    }

    /// Keeps the calling thread on the `thread`-th of these processors, counted round.
    pub(super) fn pin(&self, thread: usize) {
        if let Some(&cpu) = self.processors.get(thread % self.processors.len().max(1)) {
            allow(&[cpu]);
        }
    }

    /// Lets the calling thread use all of these processors again.
    pub(super) fn restore(&self) {
        allow(&self.processors);
    }
}

#[cfg(target_os = "linux")]
fn allow(processors: &[usize]) {
    // SAFETY: the set is initialised, and the call only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

#[cfg(not(target_os = "linux"))]
impl Affinity {
    pub(super) fn current() -> Option<Affinity> {
        None
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.processors.len()
    }

    pub(super) fn pin(&self, _thread: usize) {}

    pub(super) fn restore(&self) {}
}
