//! Waiting on a condition instead of on time.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `condition` every 10 ms until it holds; `what` completes "gave up waiting for …".
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            bail!("gave up waiting for {what} after {limit:?}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Binds as soon as nobody holds the address any more; an error after three seconds in which somebody does.
///
/// A socket that a test has closed may be open for a moment longer: between its fork and its execve, a child that another
/// thread starts has all descriptors of this process.
pub fn when_free<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const LIMIT: Duration = Duration::from_secs(3);
    let start = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < LIMIT => thread::sleep(PAUSE),
            bound => return bound,
        }
    }
}
