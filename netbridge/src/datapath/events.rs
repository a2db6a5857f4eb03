//! The ring buffer of drop events, as a stream.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapData, RingBuf};
use bytemuck::checked::try_pod_read_unaligned;
use netbridge_common::abi::DropEvent;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::map::pinned;
use super::object::maps::EVENTS;
use super::{DatapathError, Pins};

/// The drop events of one instance.
pub struct Events {
    ready: AsyncFd<OwnedFd>,
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let ring: RingBuf<MapData> = pinned(pins, EVENTS)?;
        Ok(Self {
            ready: watch(EVENTS, &ring)?,
            ring,
        })
    }

    /// Waits for the next event. Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> io::Result<DropEvent> {
        loop {
            let mut ready = self.ready.readable().await?;
            if let Some(record) = self.ring.next() {
                return parse(&record);
            }
            ready.clear_ready();
        }
    }
}

/// Watches a ring buffer for records, through a descriptor of its own. Needs a tokio runtime.
pub(super) fn watch(map: &'static str, ring: &impl AsFd) -> Result<AsyncFd<OwnedFd>, DatapathError> {
    let failed = |source| DatapathError::Watch { map, source };
    let fd = ring.as_fd().try_clone_to_owned().map_err(failed)?;
    // SAFETY: an OwnedFd is open and stays the same until AsyncFd drops it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|error| failed(error.into()))
}

fn parse(record: &[u8]) -> io::Result<DropEvent> {
    try_pod_read_unaligned(record)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes: {error}", record.len())))
}
