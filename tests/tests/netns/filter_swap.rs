//! Filters are changed under load: what no filter lets pass never does, what all of them let pass always does, and a change
//! holds from the next packet on.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::ops::{self, EditKind, Options};
use netbridge::state::FilterSource;
use netbridge_common::abi::Reason;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::Connection;
use netbridge_tests::udp::{UdpClient, UdpServer, bound};
use netbridge_tests::wait::wait_until;

use super::{LIMIT, PAIR, SILENCE, pair};

/// Changes of the filter; `SWAP_RELOADS` says otherwise.
const RELOADS: u64 = 1000;
/// A run that takes longer hangs.
const DEADLINE: Duration = Duration::from_mins(10);
/// Rules of each file that these packets do not match.
const RULES: Range<u16> = 0..1000;
/// Longest silence of a stream that passes.
const STALL: Duration = Duration::from_secs(1);
/// Between two packets that must not pass.
const PROBE: Duration = Duration::from_millis(1);
/// Between two exchanges of a stream: the change of the filter is to be busy, not the hashing.
const PAUSE: Duration = Duration::from_millis(20);
/// A port that no file lets pass.
const DENIED: u16 = 9;

/// Rules that let the same pass, in another order and by other words.
fn file(second: bool) -> Result<String> {
    let mut text = String::from("*filter\n:FORWARD DROP [0:0]\n");
    let noise = |text: &mut String, numbers: Range<u16>| -> Result<()> {
        for number in numbers {
            let [high, low] = number.to_be_bytes();
            let (network, port) = (if second { 201 } else { 200 }, 10_000 + number);
            let target = if number % 3 == 0 { "DROP" } else { "ACCEPT" };
            writeln!(
                text,
                "-A FORWARD -s 10.{network}.{high}.{low}/32 -p tcp -m tcp --dport {port} -j {target}"
            )?;
        }
        Ok(())
    };
    let middle = if second { 900 } else { 100 };
    noise(&mut text, RULES.start..middle)?;
    if second {
        text += "-A FORWARD -p tcp -m multiport --ports 7000:7999 -j ACCEPT\n\
                 -A FORWARD -s 10.77.1.0/24 -p udp -m udp --dport 7001 -j ACCEPT\n\
                 -A FORWARD -p udp -m udp --sport 7001 -j ACCEPT\n";
    } else {
        text += "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                 -A FORWARD -p udp -m udp --dport 9 -j DROP\n\
                 -A FORWARD -p tcp -m tcp --dport 7000 -j ACCEPT\n\
                 -A FORWARD -p udp -m udp --dport 7001 -j ACCEPT\n";
    }
    noise(&mut text, middle..RULES.end)?;
    Ok(text + "COMMIT\n")
}

/// Puts a file in force, as `netbridge filter load` does.
async fn load(host: &ops::Host, name: &str, text: &str) -> Result<()> {
    ops::filter_load(host, &FilterSource::new(name, text), false).await?;
    Ok(())
}

/// A rule comes first, which lets pass what passes or drops what is dropped, and goes again: two patches.
async fn patch(host: &ops::Host, rule: &str) -> Result<()> {
    for (kind, words) in [(EditKind::Insert, rule), (EditKind::Delete, "1")] {
        let edit = ops::edit_of(kind, &[words.to_owned()], None)?;
        ops::filter_edit(host, &edit).await?;
    }
    Ok(())
}

/// The same as [`load`] from outside of the host's namespace.
fn load_on(host: &Netns, text: &str) -> Result<()> {
    in_namespace(host, async |_| {
        load(&ops::Host::open(&Options::default())?, "rules", text).await
    })
}

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64> {
    let given = std::env::var(name).ok();
    Ok(given.map_or(Ok(default), |value| value.parse())?)
}

/// What runs beside the changes, and what it came to.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    probes: AtomicU64,
    questions: AtomicU64,
    talks: AtomicU64,
}

impl Load {
    /// Does something until all is over, and ends it all if that fails.
    fn go_on(&self, count: &AtomicU64, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = step() {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Changes the filter as often as asked for, or until it is told to stop; how often.
fn change(host: &Netns, load_beside: &Load) -> Result<u64> {
    let reloads = number("SWAP_RELOADS", RELOADS)?;
    let files = [file(false)?, file(true)?];
    let start = Instant::now();
    in_namespace(host, async |_| {
        let host = ops::Host::open(&Options::default())?;
        let mut done = 0;
        for text in files.iter().cycle() {
            ensure!(
                start.elapsed() < DEADLINE,
                "{done} of {reloads} changes, and no time left"
            );
            if done == reloads || load_beside.stop.load(Ordering::Relaxed) {
                break;
            }
            load(&host, "rules", text).await?;
            patch(&host, "-p udp --dport 9 -j DROP").await?;
            patch(&host, "-s 10.77.1.20 -p tcp --dport 7000 -j ACCEPT").await?;
            done += 1;
        }
        Ok(done)
    })
}

/// A socket that sends and one that must hear nothing of it.
fn denied(from: &Netns, to: &Netns) -> Result<(UdpSocket, UdpSocket)> {
    let receiver = bound(to, DENIED, LIMIT)?;
    receiver.set_nonblocking(true)?;
    Ok((bound(from, 40_000, LIMIT)?, receiver))
}

/// Fails if anything has arrived.
fn heard_nothing(socket: &UdpSocket, who: &str) -> Result<()> {
    match socket.recv_from(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        heard => Err(anyhow!("{who} heard {heard:?}")),
    }
}

/// Sends what must not arrive, and waits a moment.
fn probe(socket: &UdpSocket, to: SocketAddrV4) -> Result<()> {
    socket.send_to(b"netbridge must not carry this", to)?;
    thread::sleep(PROBE);
    Ok(())
}

/// A connection that may be silent for [`STALL`] at most.
fn stream(from: &Netns, to: SocketAddrV4, at: (&Netns, u16)) -> Result<Connection> {
    let connection = Connection::open(from, to, at)?;
    for end in [&connection.near, &connection.far] {
        end.set_read_timeout(Some(STALL))?;
        end.set_write_timeout(Some(STALL))?;
    }
    Ok(connection)
}

#[test]
fn a_thousand_changes_let_nothing_through_and_hold_nothing_up() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (host, web, app, outside) = (
            lab.node("host")?,
            lab.node("web")?,
            lab.node("app")?,
            lab.node("outside")?,
        );
        load_on(&host, &file(false)?)?;
        let _server = UdpServer::start(&web, 7001)?;
        let client = UdpClient::open(&app, SocketAddrV4::new(pair::WEB, 7001), STALL)?;
        let streams = [
            stream(&app, SocketAddrV4::new(pair::WEB, 7000), (&web, 7000))?,
            stream(&app, SocketAddrV4::new(pair::OUTSIDE, 7000), (&outside, 7000))?,
        ];
        let (to_web, at_web) = denied(&app, &web)?;
        let (to_outside, at_outside) = denied(&web, &outside)?;
        let (beside, before) = (Load::default(), lab.drops(Reason::Filtered)?);
        let start = Instant::now();
        let reloads = thread::scope(|scope| {
            let (beside, client) = (&beside, &client);
            let mut workers = vec![
                scope.spawn(move || {
                    beside.go_on(&beside.probes, || probe(&to_web, SocketAddrV4::new(pair::WEB, DENIED)))
                }),
                scope.spawn(move || {
                    let to = SocketAddrV4::new(pair::OUTSIDE, DENIED);
                    beside.go_on(&beside.probes, || probe(&to_outside, to))
                }),
                scope.spawn(move || {
                    beside.go_on(&beside.questions, || {
                        client.ask(b"is anybody there?").context("a datagram was lost")?;
                        thread::sleep(PROBE);
                        Ok(())
                    })
                }),
            ];
            for stream in &streams {
                workers.push(scope.spawn(move || {
                    beside.go_on(&beside.talks, || {
                        stream.talk().context("a stream was held up")?;
                        thread::sleep(PAUSE);
                        Ok(())
                    })
                }));
            }
            let reloads = change(&host, beside);
            beside.stop.store(true, Ordering::Relaxed);
            let ended: Vec<_> = workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_panic| anyhow!("a thread panicked"))?)
                .collect();
            ended.into_iter().collect::<Result<()>>()?;
            reloads
        })?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let probes = count(&beside.probes);
        println!(
            "{reloads} changes in {:.1?}, {probes} packets denied, {} datagrams and {} KiB of streams carried",
            start.elapsed(),
            count(&beside.questions) * 2,
            count(&beside.talks) * 32
        );
        heard_nothing(&at_web, "web")?;
        heard_nothing(&at_outside, "the outside")?;
        ensure!(probes > reloads && count(&beside.questions) > 0 && count(&beside.talks) > 0);
        // Each one that was sent was dropped by the filter, and nothing else was.
        lab.dropped(Reason::Filtered, before, probes)
    })
}

/// Lets everything pass but TCP to and from port 7000.
const WITHOUT_STREAMS: &str = "*filter\n:FORWARD ACCEPT [0:0]\n\
    -A FORWARD -p tcp -m multiport --ports 7000 -j DROP\nCOMMIT\n";
/// The same, and tells.
const REJECTED_STREAMS: &str = "*filter\n:FORWARD ACCEPT [0:0]\n\
    -A FORWARD -p tcp -m multiport --ports 7000 -j REJECT --reject-with tcp-reset\nCOMMIT\n";
/// Lets all of it pass, and tracks.
const WITH_STREAMS: &str = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n\
    -A FORWARD -j ACCEPT\nCOMMIT\n";

/// Connections of every kind to port 7000, each by a name.
fn connections(lab: &Lab<'_>) -> Result<Vec<(&'static str, Connection)>> {
    let (web, app, outside) = (lab.node("web")?, lab.node("app")?, lab.node("outside")?);
    Ok(vec![
        (
            "neighbours",
            Connection::open(&app, SocketAddrV4::new(pair::WEB, 7000), (&web, 7000))?,
        ),
        (
            "out",
            Connection::open(&app, SocketAddrV4::new(pair::OUTSIDE, 7000), (&outside, 7000))?,
        ),
        (
            "in",
            Connection::open(&outside, SocketAddrV4::new(pair::HOST, 7070), (&web, 7000))?,
        ),
    ])
}

#[test]
fn a_change_is_seen_by_the_next_packet_of_every_flow() -> Result<()> {
    let topology = PAIR.replace("\"8080:80\"", "\"7070:7000\"");
    with_lab(Text::plain(&topology), |lab| {
        let host = lab.node("host")?;
        load_on(&host, WITH_STREAMS)?;
        let all = connections(lab)?;
        for (name, connection) in &all {
            connection.talk().context(*name)?;
        }
        for round in 0..3 {
            load_on(&host, WITHOUT_STREAMS)?;
            for (name, connection) in &all {
                // From either side: the reply half of a flow keeps an answer of its own.
                for (mut from, mut to) in [(&connection.near, &connection.far), (&connection.far, &connection.near)] {
                    let before = lab.drops(Reason::Filtered)?;
                    from.write_all(b"held back")?;
                    wait_until("a drop", LIMIT, || Ok(lab.drops(Reason::Filtered)? > before))?;
                    to.set_read_timeout(Some(SILENCE / 4))?;
                    let heard = to.read(&mut [0; 16]);
                    let silent = heard.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                    ensure!(silent, "round {round}, {name}: {heard:?} arrived");
                }
            }
            load_on(&host, WITH_STREAMS)?;
            for (name, connection) in &all {
                for mut end in [&connection.near, &connection.far] {
                    end.set_read_timeout(Some(LIMIT))?;
                    let mut held = [0; 9];
                    end.read_exact(&mut held).with_context(|| format!("{name} has ended"))?;
                    ensure!(held == *b"held back", "{name}: {held:?} arrived");
                }
                connection.talk().context(*name)?;
            }
        }
        load_on(&host, REJECTED_STREAMS)?;
        for (name, connection) in &all {
            let mut end = &connection.near;
            end.write_all(b"refused")?;
            let heard = end.read(&mut [0; 16]);
            let reset = heard
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
            ensure!(reset, "{name} was not told: {heard:?}");
        }
        Ok(())
    })
}
