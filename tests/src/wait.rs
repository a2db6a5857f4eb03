//! Waiting on a condition instead of on time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `condition` every 10 ms until it holds; `what` completes "gave up waiting for …".
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            bail!("gave up waiting for {what} after {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
