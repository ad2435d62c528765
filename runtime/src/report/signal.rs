//! Ctrl-C and termination: the first one asks the run to end after its step and write its weights, the second ends it at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// The exit code of a run that was ended at once, as shells give it for SIGINT.
const AT_ONCE: libc::c_int = 130;

/// Begins to catch SIGINT and SIGTERM. Before it they end the program as usual.
pub fn catch() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only swaps an atomic and calls `_exit`, both of which are allowed in a signal handler; the action is
        // zeroed and then filled in, so no field is left undefined.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
            // Reads and writes in progress go on: a half-written file would be worse than a late stop.
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether the run was asked to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

extern "C" fn on_signal(_: libc::c_int) {
    if STOP.swap(true, Ordering::Relaxed) {
        // SAFETY: `_exit` may be called from a signal handler; no destructor runs, which is what "at once" means.
        unsafe { libc::_exit(AT_ONCE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `body` in a child process, since handlers and flags belong to the whole process; gives its exit code.
    fn in_child(body: fn() -> libc::c_int) -> libc::c_int {
        // SAFETY: the child only raises signals, reads an atomic and calls `_exit`: nothing that another thread's lock could block.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "{}", io::Error::last_os_error());
            if child == 0 {
                libc::_exit(body());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFEXITED(status));
            libc::WEXITSTATUS(status)
        }
    }

    fn raise(signal: libc::c_int) {
        // SAFETY: the signal's handler was set by `catch`.
        unsafe { libc::raise(signal) };
    }

    #[test]
    fn the_first_asks_the_second_ends() {
        let first = || {
            let before = catch().is_ok() && !stop_requested();
            raise(libc::SIGINT);
            libc::c_int::from(!(before && stop_requested()))
        };
        assert_eq!(in_child(first), 0);
        let second = || {
            let _ = catch();
            raise(libc::SIGTERM);
            raise(libc::SIGINT);
            1
        };
        assert_eq!(in_child(second), AT_ONCE);
    }
}
