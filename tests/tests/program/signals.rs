//! An instance that is loaded by a process that is told other things meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use netbridge::datapath::{Datapath, LoadOptions, Pins};
use netbridge_tests::sandbox::within;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use signal_hook::consts::SIGUSR1;
use signal_hook::flag;

/// Far shorter than the verifier takes.
const PAUSE: Duration = Duration::from_millis(1);

#[test]
fn signals_do_not_keep_the_verifier_from_its_work() -> Result<()> {
    // What nobody handles is ignored at once, and never pending.
    let heard = Arc::new(AtomicBool::new(false));
    flag::register(SIGUSR1, Arc::clone(&heard))?;
    within(|sandbox| {
        let loads = pthread_self();
        let (over, until) = mpsc::channel::<()>();
        let loaded = thread::scope(|scope| {
            scope.spawn(move || {
                // Until the other end is gone.
                while until.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                    // That it cannot be told is seen below.
                    let _ = pthread_kill(loads, Signal::SIGUSR1);
                }
            });
            let _over = over;
            Datapath::load(&Pins::new(sandbox.bpffs(), "program"), &LoadOptions::default())
        });
        loaded?;
        ensure!(heard.load(Ordering::Relaxed), "the signals came to nobody");
        Ok(())
    })
}
