//! The generator: its program, and running it.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, TestRun as _, TestRunOptions};
use netbridge::netns::Netns;

use super::object;
use super::stream::Stream;
use super::traffic::Plan;
use crate::processors::{allowed, keep_to};

const PROGRAM: &str = "generate";

/// Frames that the kernel receives at a stretch, with bottom halves off. What a path hands from one interface to another
/// waits in this CPU's backlog until they are on again, which is after every batch: `local_bh_enable` then runs the
/// softirq in the same thread, and that takes up to 64 packets (`dev_weight`) before anything else. So the backlog never
/// holds more than one batch of the 1000 packets (`netdev_max_backlog`) beyond which it drops, and the whole path is in
/// the run's time. A driver, too, receives up to 64 at a stretch.
const BATCH: u32 = 64;

/// Frames were sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    /// How many.
    pub frames: u32,
    /// Time per frame, nanoseconds: from making the frame to its end, whatever path it took. Setting up the run is not
    /// in it, nor is what other tasks took of the CPU between batches.
    pub ns: f64,
}

/// Makes frames appear on an interface as if they had been received there.
pub struct Generator {
    object: Ebpf,
    plan: RefCell<Array<MapData, Plan>>,
    cpu: usize,
}

impl Generator {
    /// Loads the program. Its runs keep to the last CPU that the calling thread may use.
    pub fn load() -> Result<Self> {
        let mut object = object::open()?;
        let plan = object::take(&mut object, "PLAN")?;
        let program: &mut Xdp = object
            .program_mut(PROGRAM)
            .context("the benchmark's eBPF object has no generator")?
            .try_into()?;
        program.load().context("cannot load the generator")?;
        Ok(Self {
            object,
            plan: RefCell::new(plan),
            cpu: last_cpu()?,
        })
    }

    /// Sends `frames` of the stream, beginning with number `first`, as received by interface `ifindex` of `namespace`.
    /// When it returns, the kernel is done with all of them; only if softirqs take 2 ms on end and others wait for the
    /// CPU are some left to the softirq thread, and the time of those is missing: see
    /// [`Arrived::late`](super::Arrived::late).
    pub fn send(&self, namespace: &Netns, ifindex: u32, stream: &Stream, first: u32, frames: u32) -> Result<Sent> {
        ensure!(frames > 0, "no frames to send");
        self.plan.borrow_mut().set(0, stream.plan(first)?, 0)?;
        let program: &Xdp = self
            .object
            .program(PROGRAM)
            .context("the benchmark's eBPF object has no generator")?
            .try_into()?;
        let cpu = self.cpu;
        let frame = stream.frame()?;
        let took = namespace.run(|| run(program, cpu, &frame, ifindex, frames))??;
        let made = self.plan.borrow().get(&0, 0)?.next.wrapping_sub(first);
        if made != frames {
            bail!("the generator made {made} frames of {frames}");
        }
        Ok(Sent {
            frames,
            ns: took.as_secs_f64() * 1e9,
        })
    }
}

/// Runs the program on a CPU; the time of one frame.
fn run(program: &Xdp, cpu: usize, frame: &[u8], ifindex: u32, frames: u32) -> Result<Duration> {
    keep_to(cpu)?;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, u32::try_from(frame.len())?, 0, ifindex, 0, 0];
    let mut options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(bytemuck::cast_slice(&context)),
        repeat: frames,
        ..TestRunOptions::default()
    };
    options.attrs = options.attrs.xdp_live_frames(BATCH);
    let done = program
        .test_run(options)
        .with_context(|| format!("cannot send {frames} frames through interface {ifindex}"))?;
    Ok(done.duration)
}

/// The last CPU that this thread may use: interrupts prefer the first.
fn last_cpu() -> Result<usize> {
    allowed()?.pop().context("no CPU may be used")
}
