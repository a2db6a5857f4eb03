//! Has the kernel's verifier check a program, whatever the process is told meanwhile.

use std::io;

use aya::programs::ProgramError;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::DatapathError;

/// How often a program is offered that the verifier lays aside: as often as libbpf offers it.
const TRIES: usize = 5;

/// Loads program `name` by `load`. What the verifier lays aside is offered again.
///
/// It gives up with EAGAIN when a signal is pending for the thread (Linux 4.20). [`SignalsWait`] keeps most of them
/// away; what cannot wait (a stop and its continuation, what the kernel itself has to say to the thread) costs a try.
pub(super) fn load(name: &'static str, load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), DatapathError> {
    offer(load, laid_aside).map_err(DatapathError::refused(name))
}

/// Whether the verifier gave up, and not a program.
fn laid_aside(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock)
}

/// Offers a program until it is taken or refused.
fn offer<E>(mut load: impl FnMut() -> Result<(), E>, laid_aside: impl Fn(&E) -> bool) -> Result<(), E> {
    let mut loaded = load();
    for _ in 1..TRIES {
        match &loaded {
            Err(error) if laid_aside(error) => loaded = load(),
            _ => break,
        }
    }
    loaded
}

/// Lets the calling thread's signals wait until it is dropped.
///
/// The verifier works on the largest of our programs for a tenth of a second or more and looks for signals at every
/// instruction; the end of a child may be one. What libraries load to learn what the kernel can do is not tried again at
/// all: it counts as refused for the life of the process.
pub(super) struct SignalsWait {
    /// What was blocked before.
    before: SigSet,
}

impl SignalsWait {
    /// None where the kernel does not let them wait: then the tries must do.
    pub(super) fn begin() -> Option<Self> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Self { before })
    }
}

impl Drop for SignalsWait {
    fn drop(&mut self) {
        // The mask is one that the kernel gave out: it takes it.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn what_is_laid_aside_is_offered_again_and_what_is_refused_is_not() {
        for (error, succeeds_after, offered) in [("aside", 3, 4), ("aside", 99, 5), ("refused", 99, 1)] {
            let mut offers = 0;
            let load = || {
                offers += 1;
                if offers > succeeds_after { Ok(()) } else { Err(error) }
            };
            let loaded = offer(load, |error| *error == "aside");
            assert_eq!((offers, loaded.is_ok()), (offered, offered > succeeds_after), "{error}");
        }
    }

    #[test]
    fn signals_wait_until_they_need_not() {
        let waits = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGCHLD);
        assert!(!waits());
        let waiting = SignalsWait::begin();
        assert!(waits());
        drop(waiting);
        assert!(!waits());
    }
}
