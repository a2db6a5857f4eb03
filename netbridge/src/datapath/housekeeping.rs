//! Flows that end by the controller's will. The programs remove them, because they count them.

use aya::programs::SchedClassifier;
use aya::{TestRun, TestRunOptions};
use netbridge_common::abi::{FlowKey, LISTED_AT, MOST_LISTED};

use super::object::{END, REAP, pinned_program};
use super::tables::Ipv4;
use super::{DatapathError, Pins};

/// Shortest packet that the kernel takes for a test run of any kind, and more.
pub(super) const FRAME: [u8; 64] = [0; 64];

/// Ends the halves of flows with these keys, and returns how many there were. The port of one that stood for a container's
/// outside is kept from others for a while.
pub(super) fn end(pins: &Pins, keys: &[FlowKey<Ipv4>]) -> Result<usize, DatapathError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let program = pinned_program(pins, END)?;
    let mut ended = 0;
    for keys in keys.chunks(MOST_LISTED as usize) {
        let mut frame = vec![0; LISTED_AT.into()];
        frame.extend_from_slice(bytemuck::cast_slice(keys));
        ended += run(&program, END, &frame)?;
    }
    Ok(ended)
}

/// Removes what has expired, and returns how many halves of flows that were.
pub(super) fn reap(pins: &Pins) -> Result<usize, DatapathError> {
    run(&pinned_program(pins, REAP)?, REAP, &FRAME)
}

fn run(program: &SchedClassifier, name: &'static str, frame: &[u8]) -> Result<usize, DatapathError> {
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    let run = program.test_run(options).map_err(DatapathError::program("run", name))?;
    Ok(run.return_value as usize)
}
