//! The first packet of a flow, and the first fragment of a datagram, on two CPUs at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunOptions};
use netbridge::datapath::Datapath;
use netbridge_common::abi::{Hook, Reason};
use netbridge_common::host::Frame;
use netbridge_common::host::lab::{A, GATEWAY, HOST, REMOTE, at, ifindex, inward, lab, out, slot};
use netbridge_common::host::pieces::cut;

use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::kernel::{SHOT, context};
use netbridge_tests::processors::{keep_to, two};

/// Flows that are opened twice; without a remedy, one in ten to a hundred goes wrong on two CPUs.
const FLOWS: u16 = 8_000;

/// What each frame became, on one CPU.
fn run(
    datapath: &Datapath,
    hook: Hook,
    cpu: usize,
    frames: &[Frame],
    met: &AtomicUsize,
) -> Result<Vec<(i32, Vec<u8>)>> {
    keep_to(cpu)?;
    let program = datapath.program(hook)?;
    let send = |(number, frame): (usize, &Frame)| {
        let mut room = vec![0; frame.bytes.len()];
        // Both CPUs spin until the other has come too: waking up would take longer than the packet.
        met.fetch_add(1, Ordering::AcqRel);
        while met.load(Ordering::Acquire) < 2 * (number + 1) {
            thread::yield_now();
        }
        let result = program.test_run(TestRunOptions {
            data_in: Some(&frame.bytes),
            data_out: Some(&mut room),
            ctx_in: Some(&context(frame)),
            ..TestRunOptions::default()
        })?;
        Ok((result.return_value.cast_signed(), room))
    };
    // Everybody must come to every meeting, those who failed too.
    let results: Vec<Result<_>> = frames.iter().enumerate().map(send).collect();
    results.into_iter().collect()
}

/// Runs the same frames on both CPUs; the two must agree on each, and drop none.
fn same_on_both(datapath: &Datapath, cpus: [usize; 2], hook: Hook, frames: &[Frame]) -> Result<()> {
    let met = AtomicUsize::new(0);
    let [one, other] = thread::scope(|scope| {
        let runs = cpus.map(|cpu| {
            let met = &met;
            scope.spawn(move || run(datapath, hook, cpu, frames, met))
        });
        runs.map(|run| run.join().ok().context("a run panicked").flatten())
    });
    let (one, other) = (one?, other?);
    let dropped = one.iter().chain(&other).filter(|(code, _)| *code == SHOT).count();
    ensure!(dropped == 0, "{dropped} packets were dropped");
    let apart = one.iter().zip(&other).filter(|(one, other)| one != other).count();
    ensure!(
        apart == 0,
        "{apart} of {} packets became two different ones",
        frames.len()
    );
    Ok(())
}

#[test]
fn two_cpus_open_a_masqueraded_flow_once() -> Result<()> {
    let cpus = two()?;
    with_kernel(usize::from(FLOWS) * 2 + 64, |kernel| {
        kernel.install(&lab())?;
        let packet = |port: u16| at(ifindex::A, out(A, GATEWAY, REMOTE).udp(port, 53, b"same"));
        let frames: Vec<Frame> = (1024..1024 + FLOWS).map(packet).collect();
        same_on_both(kernel.datapath(), cpus, Hook::FromContainer, &frames)?;
        let flows = kernel.flows()?.len();
        ensure!(flows == usize::from(FLOWS) * 2, "{flows} halves of {FLOWS} flows");
        Ok(())
    })
}

#[test]
fn two_cpus_open_a_flow_to_a_published_port_once() -> Result<()> {
    let cpus = two()?;
    with_kernel(usize::from(FLOWS) * 2 + 64, |kernel| {
        kernel.install(&lab())?;
        let packet = |port: u16| at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(port, 8080));
        let frames: Vec<Frame> = (1024..1024 + FLOWS).map(packet).collect();
        same_on_both(kernel.datapath(), cpus, Hook::FromUplink, &frames)?;
        let flows = kernel.flows()?.len();
        ensure!(flows == usize::from(FLOWS) * 2, "{flows} halves of {FLOWS} flows");
        Ok(())
    })
}

/// What comes before its first waits, or finds the first there: one CPU is always the second to look.
#[test]
fn a_fragment_and_its_first_on_two_cpus_do_not_miss_each_other() -> Result<()> {
    let [one, other] = two()?;
    with_kernel(64, |kernel| {
        let env = lab();
        kernel.install(&env)?;
        let pieces = |id| cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0x5a; 40]), id, 24);
        let pieces_at = |place: usize| -> Vec<Frame> {
            let frames = (0..FLOWS).map(|id| at(ifindex::A, pieces(id).swap_remove(place)));
            frames.collect()
        };
        let (met, datapath) = (AtomicUsize::new(0), kernel.datapath());
        let (firsts, laters) = (pieces_at(0), pieces_at(1));
        let [first, later] = thread::scope(|scope| {
            let runs = [(one, &firsts), (other, &laters)].map(|(cpu, frames)| {
                let met = &met;
                scope.spawn(move || run(datapath, Hook::FromContainer, cpu, frames, met))
            });
            runs.map(|run| run.join().ok().context("a run panicked").flatten())
        });
        let (first, later) = (first?, later?);
        ensure!(first.iter().all(|(code, _)| *code != SHOT), "a first was dropped");
        let waited = later.iter().filter(|(code, _)| *code == SHOT).count();
        println!("{waited} of {FLOWS} waited");
        let (left, count) = (kernel.held()?.len(), kernel.held_by(slot::A)?);
        ensure!(left == 0 && count == 0, "{left} wait still, {count} are counted");
        // Each was received anew, and is no longer counted.
        let (waits, sent) = (kernel.dropped(Reason::FragmentWaits)?, kernel.traffic(slot::A)?);
        ensure!(
            waits == 0 && sent.drops == 0,
            "{waits} are counted as waiting, {sent:?}"
        );
        ensure!(sent.tx_packets == 2 * u64::from(FLOWS) - waited as u64, "{sent:?}");
        Ok(())
    })
}
