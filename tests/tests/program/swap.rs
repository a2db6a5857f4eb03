//! A filter that is swapped while packets are being judged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunOptions};
use netbridge::datapath::Datapath;
use netbridge::filter::syntax::parse;
use netbridge::filter::tables::{Tables, World, compile};
use netbridge_common::abi::Hook;
use netbridge_common::host::build::Datagram;
use netbridge_common::host::lab::{A, B, at, ifindex, lab};
use netbridge_tests::wait::wait_until;

use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::kernel::context;
use netbridge_tests::processors::{keep_to, two};

/// Swaps to a filter that drops; a verdict is cached wrongly at about every tenth where that is possible.
const ROUNDS: u32 = 300;

const LIMIT: Duration = Duration::from_secs(5);

/// Opens one flow after the other, on another CPU than the controller's if there is one.
fn flood(datapath: &Datapath, cpu: usize, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    keep_to(cpu)?;
    let program = datapath.program(Hook::FromContainer)?;
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let [high, low] = [number >> 16, number & 0xffff].map(u16::try_from);
        let frame = at(ifindex::A, Datagram::new(A, B).udp(low?, high?, b""));
        program.test_run(TestRunOptions {
            data_in: Some(&frame.bytes),
            ctx_in: Some(&context(&frame)),
            ..TestRunOptions::default()
        })?;
        sent.fetch_add(1, Ordering::Release);
    }
    Ok(())
}

/// Rules that match none of these packets, and a policy that decides about all.
fn tables(policy: &str, rules: usize) -> Result<Tables> {
    let rules = "-A FORWARD -p tcp -j DROP\n".repeat(rules);
    let text = format!("*filter\n:FORWARD {policy} [0:0]\n{rules}COMMIT\n");
    Ok(compile(&parse("rules", &text, None)?.ruleset, &World::default(), 250)?)
}

/// Every verdict in force that accepts, after a swap to a filter that drops everything.
fn swap(datapath: &Datapath, [accepts, drops]: [&Tables; 2], sent: &AtomicU64) -> Result<usize> {
    let tables = datapath.tables();
    tables.swap_filter(accepts)?;
    tables.swap_filter(drops)?;
    // The packet that was being judged is done when two more have followed.
    let before = sent.load(Ordering::Acquire);
    wait_until("two more packets", LIMIT, || {
        Ok(sent.load(Ordering::Acquire) >= before + 2)
    })?;
    let generation = tables.config()?.generation;
    let flows = tables.flows()?;
    let wrong = flows
        .iter()
        .filter(|(_, flow)| flow.head.epoch == generation && flow.head.reason == 0);
    let wrong = wrong.count();
    tables.flush_flows(|_, _| true)?;
    Ok(wrong)
}

#[test]
fn a_verdict_of_the_old_filter_is_never_kept_as_one_of_the_new() -> Result<()> {
    let [_, other] = two()?;
    with_kernel(4096, |kernel| {
        kernel.install(&lab())?;
        let [accepts, drops] = ["ACCEPT", "DROP"].map(|policy| tables(policy, 64));
        let (accepts, drops) = (accepts?, drops?);
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let datapath = kernel.datapath();
        let wrong = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(datapath, other, &stop, &sent));
            let wrong = (0..ROUNDS).try_fold(0, |sum, _| {
                Ok::<_, anyhow::Error>(sum + swap(datapath, [&accepts, &drops], &sent)?)
            });
            stop.store(true, Ordering::Relaxed);
            flood.join().ok().context("the flood panicked")??;
            wrong
        })?;
        ensure!(wrong == 0, "{wrong} flows kept a verdict of the filter before");
        Ok(())
    })
}
