//! What the programs log, for debugging: handed to a [`log::Log`].

use std::io;
use std::os::fd::OwnedFd;

use aya_log::EbpfLogger;
use log::Log;
use tokio::io::unix::AsyncFd;

use super::events::watch;
use super::{Datapath, DatapathError, HOOKS};

/// The log of one instance's programs. Empty unless it was loaded with a log level.
pub struct LogReader<L> {
    ready: AsyncFd<OwnedFd>,
    logger: EbpfLogger<L>,
}

impl<L: Log> LogReader<L> {
    /// Opens the log. One reader at a time: two would take each other's records. Call it inside a tokio runtime.
    pub fn open(datapath: &Datapath, sink: L) -> Result<Self, DatapathError> {
        let [hook, ..] = HOOKS;
        let info = datapath
            .program(hook)?
            .info()
            .map_err(DatapathError::program("query", hook.name()))?;
        let logger = EbpfLogger::init_from_id_with_logger(info.id(), sink).map_err(DatapathError::Log)?;
        Ok(Self {
            ready: watch("AYA_LOGS", &logger)?,
            logger,
        })
    }

    /// Waits for records and hands them to the sink; returns after each batch, which may be empty.
    pub async fn forward(&mut self) -> io::Result<()> {
        let mut ready = self.ready.readable().await?;
        self.logger.flush();
        ready.clear_ready();
        Ok(())
    }
}
