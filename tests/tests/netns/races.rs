//! What holds at every moment while the controller works: programs are there, policy is there before the first packet, and
//! nothing of a container is left behind its detaching.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use netbridge::datapath::tcx_supported;
use netbridge_common::abi::Reason;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::udp::{UdpServer, ask, bound};
use netbridge_tests::wait::wait_until;
use netbridge_tests::wire::{Wire, counters};

use super::command::{says, tool};
use super::hand::named;
use super::killed::killed;
use super::{LIMIT, PAIR, SILENCE, networks, pair};

/// The address of who comes late.
const LATE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 30);

/// Neighbours do not reach each other, but for answers.
const CLOSED: &str = "*filter\n:FORWARD DROP [0:0]\n\
    -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n";

/// Does `work` while `other` runs again and again; fails if either does.
fn meanwhile<T>(mut other: impl FnMut() -> Result<()> + Send, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let runs = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                other()?;
            }
            Ok(())
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        runs.join().map_err(|_panic| anyhow!("a thread panicked"))?.and(done)
    })
}

/// Sends a datagram about every millisecond or oftener; that there is no way now is no failure.
fn sends(socket: &UdpSocket, to: SocketAddrV4, sent: &AtomicU64) -> Result<()> {
    match socket.send_to(b"netbridge must not carry this", to) {
        Ok(_) => {
            sent.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error.into()),
        Err(_no_way) => {}
    }
    thread::sleep(Duration::from_micros(500));
    Ok(())
}

/// Fails if anything has arrived.
fn got_nothing(socket: &UdpSocket, who: &str) -> Result<()> {
    socket.set_nonblocking(true)?;
    match socket.recv_from(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        got => Err(anyhow!("{who} got {got:?}")),
    }
}

/// A program of ours is first on each of these interfaces, in both directions.
fn are_guarded(interfaces: &[String]) -> Result<()> {
    for name in interfaces {
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            let guarded = if tcx_supported() {
                let (_, programs) = SchedClassifier::query_tcx(name, direction)?;
                !programs.is_empty()
            } else {
                let side = if direction == TcAttachType::Ingress {
                    "ingress"
                } else {
                    "egress"
                };
                tool(&format!("tc filter show dev {name} {side}"))?.contains("bpf")
            };
            ensure!(guarded, "{name} is bare");
        }
    }
    Ok(())
}

/// CVE-2023-27595: while programs were replaced, there were none.
#[test]
fn programs_stay_while_others_come_and_go() -> Result<()> {
    const CHANGES: u64 = 50;

    with_lab(Text::plain(&networks()), |lab| {
        let db = SocketAddrV4::new(pair::DB, 9);
        let (receiver, sender) = (bound(&lab.node("db")?, 9, LIMIT)?, bound(&lab.node("web")?, 9, LIMIT)?);
        let mut interfaces = vec![lab.uplink()?.name];
        for endpoint in ["web", "app", "db"] {
            interfaces.push(lab.endpoint(endpoint)?.host_if);
        }
        let host = lab.node("host")?;
        tool("ip netns add late")?;
        let (sent, looks) = (AtomicU64::new(0), AtomicU64::new(0));
        let before = lab.drops(Reason::Isolated)?;
        meanwhile(
            || sends(&sender, db, &sent),
            || {
                meanwhile(
                    || {
                        looks.fetch_add(1, Ordering::Relaxed);
                        host.run(|| are_guarded(&interfaces))?
                    },
                    || {
                        for change in 0..CHANGES {
                            if change % 5 == 0 {
                                killed("-n lab-host attach late --net front --ip 10.77.1.30", 2 * change)?;
                                killed("-n lab-host detach late", change)?;
                                // Whatever became of it.
                                let _gone = says("-n lab-host detach late");
                            }
                            says("-n lab-host attach late --net front --ip 10.77.1.30")?;
                            says("-n lab-host port add late 9090:90")?;
                            says("-n lab-host detach late")?;
                        }
                        Ok(())
                    },
                )
            },
        )?;
        let (sent, looks) = (sent.into_inner(), looks.into_inner());
        ensure!(sent > 1000 && looks > 100, "{sent} packets, {looks} looks");
        lab.dropped(Reason::Isolated, before, sent)?;
        got_nothing(&receiver, "db")
    })
}

/// CVE-2024-42488: the first packets of a container passed before its policy was there.
#[test]
fn a_container_is_never_there_without_its_policy() -> Result<()> {
    const TIMES: u32 = 100;

    let topology = format!("filter = \"f.rules\"\n{PAIR}");
    let text = Text {
        filter: Some(CLOSED),
        ..Text::plain(&topology)
    };
    with_lab(text, |lab| {
        tool("ip netns add late")?;
        let late = named("late")?;
        let neighbour = "lladdr 02:42:0a:4d:01:1e nud permanent dev eth0";
        tool(&format!("ip -n lab-web neigh add {LATE} {neighbour}"))?;
        let web = bound(&lab.node("web")?, 9, LIMIT)?;
        let inside = bound(&late, 9, LIMIT)?;
        let (to_late, to_web) = (AtomicU64::new(0), AtomicU64::new(0));
        let before = lab.drops(Reason::Filtered)?;
        meanwhile(
            || sends(&web, SocketAddrV4::new(LATE, 9), &to_late),
            || {
                meanwhile(
                    || sends(&inside, SocketAddrV4::new(pair::WEB, 9), &to_web),
                    || {
                        for _ in 0..TIMES {
                            let sent = to_web.load(Ordering::Relaxed);
                            says("-n lab-host attach late --net front --ip 10.77.1.30")?;
                            wait_until("it to send", LIMIT, || Ok(to_web.load(Ordering::Relaxed) > sent))?;
                            says("-n lab-host detach late")?;
                        }
                        Ok(())
                    },
                )
            },
        )?;
        let dropped = lab.drops(Reason::Filtered)? - before;
        ensure!(dropped > u64::from(TIMES), "{dropped} packets in {TIMES} lives");
        got_nothing(&inside, "late")?;
        got_nothing(&web, "web")?;
        // The same without a filter: the test would see it.
        says("-n lab-host filter flush")?;
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        for (socket, to) in [(&web, LATE), (&inside, pair::WEB)] {
            socket.set_nonblocking(false)?;
            socket.send_to(b"hello", (to, 9))?;
        }
        inside.recv_from(&mut [0; 64]).context("the test shows nothing")?;
        web.recv_from(&mut [0; 64]).context("the test shows nothing")?;
        Ok(())
    })
}

/// CVE-2025-32793: packets of a container that was being removed went out another way.
#[test]
fn nothing_of_a_container_leaves_after_its_detaching() -> Result<()> {
    const TIMES: u32 = 20;

    with_lab(Text::plain(PAIR), |lab| {
        tool("ip netns add late")?;
        let late = named("late")?;
        let outside = lab.node("outside")?;
        let wire = Wire::open(&outside, "eth0")?;
        wire.ignore_outgoing()?;
        let (before, mut arrived) = (counters(&outside, "eth0")?.rx_packets, 0);
        let inside = bound(&late, 5000, LIMIT)?;
        let sent = AtomicU64::new(0);
        let is_of_late = |frame: &[u8]| frame.ends_with(b"netbridge must not carry this");
        let mut carried = 0;
        meanwhile(
            || {
                // In bursts, about 10,000 a second.
                for _ in 0..10 {
                    if inside
                        .send_to(b"netbridge must not carry this", (pair::OUTSIDE, 9))
                        .is_ok()
                    {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                thread::sleep(Duration::from_millis(1));
                Ok(())
            },
            || {
                for _ in 0..TIMES {
                    says("-n lab-host attach late --net front --ip 10.77.1.30")?;
                    let out = wire.receive(LIMIT, |frame| {
                        arrived += 1;
                        is_of_late(frame)
                    })?;
                    ensure!(out.is_some(), "nothing comes out while it is attached");
                    says("-n lab-host detach late")?;
                    wait_until("all that passed to arrive", LIMIT, || {
                        let out = wire.waiting()?;
                        arrived += out.len() as u64;
                        carried += out.iter().filter(|frame| is_of_late(frame)).count();
                        // Counted before it waits in front of a processor.
                        Ok(before + arrived >= counters(&outside, "eth0")?.rx_packets)
                    })?;
                    let late = wire.receive(SILENCE, |frame| {
                        arrived += 1;
                        is_of_late(frame)
                    })?;
                    ensure!(late.is_none(), "it still sends: {late:x?}");
                }
                Ok(())
            },
        )?;
        ensure!(carried > 0 && sent.into_inner() > 100, "{carried} packets came out");
        others_go_on(lab)
    })
}

/// Whoever stays does so unharmed.
fn others_go_on(lab: &Lab<'_>) -> Result<()> {
    let _server = UdpServer::start(&lab.node("outside")?, 53)?;
    ask(&lab.node("web")?, SocketAddrV4::new(pair::OUTSIDE, 53), b"x", LIMIT).map(drop)
}
