//! The benchmark's generator and sink: every frame is counted, and none that is not what it must be.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::netns::Netns;
use netbridge_tests::bench::generator::{Flows, Generator, Mode, Sink, Stream};
use netbridge_tests::sandbox::within;
use netbridge_tests::wire::{Capture, Wire};
use nix::net::if_::if_nametoindex;
use nix::unistd::pipe;

use super::command::tool;
use super::hand::named;

const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 32_768);
const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 3), 9000);
const ANY: SocketAddrV4 = SocketAddrV4::new(*A.ip(), 0);

fn index(namespace: &Netns, interface: &str) -> Result<u32> {
    Ok(namespace.run(|| if_nametoindex(interface))??)
}

/// A veth pair between namespaces `a` and `b`, and what A sends to B.
fn pair() -> Result<Stream> {
    for name in ["a", "b"] {
        tool(&format!("ip netns add {name}"))?;
    }
    tool("ip -n a link add eth0 type veth peer name eth0 netns b")?;
    // Without an address of IPv6 the kernel sends nothing of its own.
    for name in ["a", "b"] {
        tool(&format!("ip -n {name} link set eth0 addrgenmode none up"))?;
    }
    Ok(Stream {
        smac: Wire::open(&named("a")?, "eth0")?.mac(),
        dmac: Wire::open(&named("b")?, "eth0")?.mac(),
        src: A,
        dst: B,
        flows: Flows::One,
    })
}

#[test]
fn what_is_sent_is_counted_to_the_last_frame() -> Result<()> {
    within(|_| {
        let stream = pair()?;
        let b = named("b")?;
        let ifindex = index(&b, "eth0")?;
        let (generator, mut sink) = (Generator::load()?, Sink::at(&b, ifindex)?);
        let capture = Capture::start(named("b")?, "eth0")?;
        for (flows, from) in [
            (Flows::One, A),
            (Flows::InOrder(1024), ANY),
            (Flows::Scattered(1024), ANY),
        ] {
            for frames in [1, 63, 64, 65, 10_000] {
                sink.expect(from, B, Mode::Drop)?;
                let sent = generator.send(&b, ifindex, &stream.with_flows(flows), 0, frames)?;
                let count = sink.settle(sent.frames)?;
                ensure!(sent.frames == frames && sent.ns > 0.0);
                ensure!(count.dst == B && count.late == 0, "{count:?}");
            }
        }
        let captured = capture.finish()?;
        ensure!(captured.bad.is_empty(), "bad frames: {:?}", captured.bad);
        ensure!(captured.longest == 60 && captured.frames >= 3 * 10_193, "{captured:?}");
        Ok(())
    })
}

#[test]
fn what_is_not_what_it_must_be_is_an_error() -> Result<()> {
    within(|_| {
        let stream = pair()?;
        let b = named("b")?;
        let ifindex = index(&b, "eth0")?;
        let (generator, mut sink) = (Generator::load()?, Sink::at(&b, ifindex)?);
        sink.expect(A, SocketAddrV4::new(*B.ip(), 9001), Mode::Drop)?;
        generator.send(&b, ifindex, &stream, 0, 5)?;
        let error = sink.settle(5).err().context("the wrong port was accepted")?.to_string();
        ensure!(
            error.contains("5 frames of 5") && error.contains("10.77.0.3:9000"),
            "{error}"
        );
        for claimed in [4, 6] {
            sink.expect(A, B, Mode::Drop)?;
            generator.send(&b, ifindex, &stream, 0, 5)?;
            let error = sink.settle(claimed).err().context("a wrong count was accepted")?;
            ensure!(error.to_string().contains("5 frames came of"), "{error}");
        }
        let error = generator.send(&b, ifindex + 100, &stream, 0, 1);
        ensure!(error.is_err(), "sent through an interface that there is not");
        Ok(())
    })
}

#[test]
fn an_answer_goes_back_with_ends_exchanged_and_checksums_right() -> Result<()> {
    within(|_| {
        let stream = pair()?.with_flows(Flows::InOrder(256));
        let (a, b) = (named("a")?, named("b")?);
        let ifindex = index(&b, "eth0")?;
        let (generator, mut there) = (Generator::load()?, Sink::at(&b, ifindex)?);
        there.expect(ANY, B, Mode::Answer)?;
        let capture = Capture::start(named("a")?, "eth0")?;
        generator.send(&b, ifindex, &stream, 0, 1000)?;
        there.settle(1000)?;
        let captured = capture.finish()?;
        ensure!(captured.frames >= 1000 && captured.bad.is_empty(), "{captured:?}");
        let mut back = Sink::at(&a, index(&a, "eth0")?)?;
        back.expect(B, ANY, Mode::Drop)?;
        generator.send(&b, ifindex, &stream, 0, 1000)?;
        back.settle(1000)?;
        Ok(())
    })
}

/// Another thread's child, between `fork` and `execve`, holds whatever this process has open.
#[test]
fn a_sink_that_is_detached_meets_no_frame_even_if_a_child_holds_it() -> Result<()> {
    within(|_| {
        let stream = pair()?;
        let b = named("b")?;
        let ifindex = index(&b, "eth0")?;
        let (generator, mut behind) = (Generator::load()?, Sink::at(&b, ifindex)?);
        let mut before = Sink::at(&b, ifindex)?;
        let (forked, tell) = pipe()?;
        let mut child = Command::new("true");
        let hold = move || {
            nix::unistd::write(&tell, b"!")?;
            std::thread::sleep(Duration::from_millis(100));
            Ok(())
        };
        // SAFETY: between `fork` and `execve` this writes to a pipe and sleeps, and allocates nothing.
        unsafe { child.pre_exec(hold) };
        let spawned = std::thread::spawn(move || child.status());
        nix::unistd::read(&forked, &mut [0])?;
        before.detach(&b, ifindex)?;
        behind.expect(A, B, Mode::Drop)?;
        generator.send(&b, ifindex, &stream, 0, 1)?;
        behind.settle(1)?;
        let Ok(status) = spawned.join() else {
            bail!("the thread that started it panicked");
        };
        ensure!(status?.success());
        Ok(())
    })
}
