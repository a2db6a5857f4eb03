//! Has the kernel's verifier check a program, whatever the process is told meanwhile.

use std::io;

use aya::programs::ProgramError;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::DatapathError;

/// How often a program is offered again that the verifier laid aside: as often as libbpf does.
const RETRIES: usize = 5;

/// Loads program `name` by `load`, undisturbed.
///
/// To check one of ours takes the verifier up to half a second, and it gives up with EAGAIN when it sees a signal pending,
/// which it looks for at every instruction (Linux 4.20): the end of a child may be enough. So the calling thread's
/// signals wait until it is done. Those that cannot (a stop and its continuation, what the kernel itself has to say to
/// the thread) cost another try.
pub(super) fn load(name: &'static str, load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), DatapathError> {
    let _waiting = SignalsWait::begin();
    offer(load, laid_aside).map_err(DatapathError::refused(name))
}

/// Whether the verifier gave up, and not a program.
fn laid_aside(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock)
}

/// Offers a program until it is taken or refused.
fn offer<E>(mut load: impl FnMut() -> Result<(), E>, laid_aside: impl Fn(&E) -> bool) -> Result<(), E> {
    let mut loaded = load();
    for _ in 0..RETRIES {
        match &loaded {
            Err(error) if laid_aside(error) => loaded = load(),
            _ => break,
        }
    }
    loaded
}

/// Blocks the calling thread's signals until it is dropped.
struct SignalsWait {
    /// What was blocked before.
    before: SigSet,
}

impl SignalsWait {
    /// None where the kernel does not let them wait: then the tries must do.
    fn begin() -> Option<Self> {
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
        for (error, succeeds_after, offered) in [("aside", 3, 4), ("aside", 99, 6), ("refused", 99, 1)] {
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
    fn signals_wait_for_the_verifier_and_no_longer() {
        let waits = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGCHLD);
        assert!(!waits());
        let load = || {
            assert!(waits());
            Ok(())
        };
        super::load("from_container", load).unwrap();
        assert!(!waits());
    }
}
