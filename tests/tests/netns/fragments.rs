//! Datagrams in fragments through translation: those of real sockets, and raw ones in any order. The receivers' stacks put
//! them together, and so are the judges: a datagram is whole, or it is not there.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::datapath::AttachMode;
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_common::host::build::Datagram;
use netbridge_common::host::pieces::{cut, set_place};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::udp::{UdpServer, ask};
use netbridge_tests::wait::wait_until;
use netbridge_tests::wire::Wire;

use super::{LIMIT, PAIR, pair};

const SILENCE: Duration = Duration::from_millis(300);

/// Bytes that no other payload has.
fn payload(number: u16, len: usize) -> Vec<u8> {
    let [low, _] = number.to_le_bytes();
    let place = (0..=u8::MAX)
        .cycle()
        .map(|place| place.wrapping_mul(7).wrapping_add(low));
    place.take(len).collect()
}

/// Services that answer: web's behind the published port, and the outside's.
fn servers(lab: &Lab<'_>) -> Result<(UdpServer, UdpServer)> {
    let servers = (
        UdpServer::start(&lab.node("web")?, 53)?,
        UdpServer::start(&lab.node("outside")?, 53)?,
    );
    for (from, to) in [("app", pair::OUTSIDE), ("outside", pair::HOST), ("web", pair::OUTSIDE)] {
        let node = lab.node(from)?;
        wait_until("a way there", LIMIT, || Ok(ping(&node, to, 0, SILENCE).is_ok()))?;
    }
    Ok(servers)
}

/// Where a node's raw frames leave, and a socket that hears the answers to them.
struct Sender {
    wire: Wire,
    socket: UdpSocket,
    frame: Datagram,
    to: u16,
}

impl Sender {
    /// Of `app` or `web`, to the outside's service or by the host's address to web's.
    fn inside(lab: &Lab<'_>, node: &str, port: u16, dst: Ipv4Addr, to: u16) -> Result<Self> {
        let station = lab.station(node)?;
        let gateway = lab.state()?.networks.first().context("no network")?.mac.0;
        Self::open(
            lab.wire(node, node)?,
            &lab.node(node)?,
            Datagram::new((station.mac, station.ip.octets()), (gateway, dst.octets())),
            (port, to),
        )
    }

    /// Of the outside, to web's service by its published port.
    fn outside(lab: &Lab<'_>, port: u16) -> Result<Self> {
        let node = lab.node("outside")?;
        let wire = Wire::open(&node, "eth0")?;
        let frame = Datagram::new(
            (wire.mac(), pair::OUTSIDE.octets()),
            (lab.uplink()?.mac.0, pair::HOST.octets()),
        );
        Self::open(wire, &node, frame, (port, 5353))
    }

    fn open(wire: Wire, node: &Netns, frame: Datagram, (port, to): (u16, u16)) -> Result<Self> {
        let socket = node.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            wire,
            socket,
            frame,
            to,
        })
    }

    /// A datagram in fragments with 600 bytes each.
    fn pieces(&self, id: u16, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let port = self.socket.local_addr()?.port();
        Ok(cut(&self.frame.udp(port, self.to, payload), id, 600))
    }

    fn send(&self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        pieces.into_iter().try_for_each(|piece| self.wire.send(&piece))
    }

    /// True if the next answer carries this payload; false if there is none.
    fn hears(&self, payload: &[u8], limit: Duration) -> Result<bool> {
        let mut room = vec![0; 65_536];
        self.socket.set_read_timeout(Some(limit))?;
        match self.socket.recv(&mut room) {
            Ok(length) => {
                ensure!(
                    room.get(6..length) == Some(payload),
                    "{length} bytes that are not the answer"
                );
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("no answer can come"),
        }
    }
}

/// The orders that four fragments are sent in.
const ORDERS: [&[usize]; 9] = [
    &[0, 1, 2, 3],
    &[3, 2, 1, 0],
    &[1, 2, 3, 0],
    &[3, 0, 2, 1],
    &[2, 3, 0, 1],
    &[0, 0, 1, 2, 3],
    &[3, 3, 2, 1, 0],
    &[1, 0, 1, 2, 3],
    &[0, 3, 2, 3, 1],
];

/// Sends a datagram in each order; all are answered, and none of their frames is counted as dropped.
fn in_every_order(lab: &Lab<'_>, sender: &Sender) -> Result<()> {
    let before = (lab.drops(Reason::Fragment)?, lab.drops(Reason::FragmentWaits)?);
    for (id, order) in (100..).zip(ORDERS) {
        let payload = payload(id, 2000);
        let pieces = sender.pieces(id, &payload)?;
        ensure!(pieces.len() == 4, "{} pieces", pieces.len());
        sender.send(order.iter().map(|place| pieces[*place].clone()))?;
        ensure!(sender.hears(&payload, LIMIT)?, "{order:?}: no answer");
    }
    let after = (lab.drops(Reason::Fragment)?, lab.drops(Reason::FragmentWaits)?);
    ensure!(after == before, "dropped: {after:?}, before: {before:?}");
    Ok(())
}

#[test]
fn sockets_send_and_receive_datagrams_that_are_longer_than_a_frame() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _servers = servers(lab)?;
        for (number, len) in [1473, 4000, 8000, 65_000].into_iter().enumerate() {
            let payload = payload(u16::try_from(number)?, len);
            for (from, to) in [
                ("app", SocketAddrV4::new(pair::OUTSIDE, 53)),
                ("outside", SocketAddrV4::new(pair::HOST, 5353)),
                ("app", SocketAddrV4::new(pair::HOST, 5353)),
                ("app", SocketAddrV4::new(pair::WEB, 53)),
            ] {
                ask(&lab.node(from)?, to, &payload, LIMIT)
                    .with_context(|| format!("{len} bytes from {from} to {to}"))?;
            }
            ping(&lab.node("app")?, pair::OUTSIDE, len, LIMIT)?;
            ping(&lab.node("outside")?, pair::HOST, len, LIMIT)?;
        }
        ensure!(lab.drops(Reason::Fragment)? == 0 && lab.drops(Reason::FragmentWaits)? == 0);
        Ok(())
    })
}

#[test]
fn fragments_arrive_in_any_order_out_in_and_around() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _servers = servers(lab)?;
        in_every_order(lab, &Sender::inside(lab, "app", 5000, pair::OUTSIDE, 53)?).context("out")?;
        in_every_order(lab, &Sender::outside(lab, 6000)?).context("in by a published port")?;
        in_every_order(lab, &Sender::inside(lab, "app", 5001, pair::HOST, 5353)?).context("around")
    })
}

#[test]
fn an_answer_in_any_order_finds_who_asked() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _servers = servers(lab)?;
        let app = lab.node("app")?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        app.set_read_timeout(Some(LIMIT))?;
        let mut outside = Sender::outside(lab, 5999)?;
        app.send_to(b"question", SocketAddrV4::new(pair::OUTSIDE, 5999))?;
        let mut room = vec![0; 65_536];
        let (_, seen_as) = outside.socket.recv_from(&mut room)?;
        outside.to = seen_as.port();
        for (id, order) in (200..).zip(ORDERS) {
            let payload = payload(id, 2000);
            let pieces = outside.pieces(id, &payload)?;
            outside.send(order.iter().map(|place| pieces[*place].clone()))?;
            let length = app.recv(&mut room).with_context(|| format!("{order:?}"))?;
            ensure!(room[..length] == payload, "{order:?}: {length} other bytes");
        }
        ensure!(lab.drops(Reason::Fragment)? == 0 && lab.drops(Reason::FragmentWaits)? == 0);
        Ok(())
    })
}

#[test]
fn fragments_arrive_in_any_order_by_clsact_filters_and_past_a_rule_with_ports() -> Result<()> {
    let text = Text {
        attach_mode: AttachMode::Clsact,
        ..Text::plain(PAIR)
    };
    with_lab(text, |lab| {
        let _servers = servers(lab)?;
        in_every_order(lab, &Sender::inside(lab, "app", 5000, pair::OUTSIDE, 53)?)
    })?;
    let topology = format!("filter = \"rules\"\n{PAIR}");
    let text = Text {
        filter: Some(
            "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A FORWARD \
             -p icmp -j ACCEPT\n-A FORWARD -p udp --dport 53 -j ACCEPT\nCOMMIT\n",
        ),
        ..Text::plain(&topology)
    };
    with_lab(text, |lab| {
        let _servers = servers(lab)?;
        in_every_order(lab, &Sender::inside(lab, "app", 5000, pair::OUTSIDE, 53)?).context("out")?;
        in_every_order(lab, &Sender::outside(lab, 6000)?).context("in")?;
        let mut neighbour = Sender::inside(lab, "app", 5001, pair::WEB, 53)?;
        neighbour.frame.dmac = lab.station("web")?.mac;
        in_every_order(lab, &neighbour).context("to a neighbour")?;
        neighbour.to = 54;
        let before = lab.drops(Reason::Filtered)?;
        neighbour.send(neighbour.pieces(9, &payload(9, 2000))?)?;
        lab.dropped(Reason::Filtered, before, 4)
    })
}

#[test]
fn what_is_no_datagram_does_not_arrive() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _servers = servers(lab)?;
        let sender = Sender::outside(lab, 6000)?;
        let other = Sender::outside(lab, 6001)?;
        let payload = payload(1, 2000);
        // Overlapping: the receiver's stack gives the datagram up.
        let mut pieces = sender.pieces(1, &payload)?;
        set_place(&mut pieces[2], 1, 1192, true);
        sender.send(pieces)?;
        ensure!(!sender.hears(&payload, SILENCE)?, "an overlapping fragment was taken");
        // Without the first, and with one too many, which leads elsewhere.
        sender.send(sender.pieces(2, &payload)?.into_iter().skip(1))?;
        let (mine, theirs) = (sender.pieces(3, &payload)?, other.pieces(3, &payload)?);
        sender.send([mine[0].clone(), theirs[0].clone()])?;
        sender.send(mine.into_iter().skip(1))?;
        ensure!(sender.hears(&payload, LIMIT)?, "the datagram is lost");
        ensure!(!sender.hears(&payload, SILENCE)? && !other.hears(&payload, SILENCE)?);
        lab.dropped(Reason::Fragment, 0, 1)?;
        lab.dropped(Reason::FragmentWaits, 0, 3)?;
        // The way is open for the next.
        sender.send(sender.pieces(4, &payload)?)?;
        ensure!(sender.hears(&payload, LIMIT)?, "another datagram does not arrive");
        Ok(())
    })
}

#[test]
fn a_flood_of_fragments_leaves_others_theirs_and_every_frame_is_accounted_for() -> Result<()> {
    // More firsts than can be known at once.
    const FLOOD: u16 = 14_000;
    with_lab(Text::plain(PAIR), |lab| {
        let _servers = servers(lab)?;
        lab.node("outside")?
            .run(|| std::fs::write("/proc/sys/net/ipv4/ipfrag_high_thresh", "100000000"))??;
        let (app, web) = (
            Sender::inside(lab, "app", 5000, pair::OUTSIDE, 53)?,
            Sender::inside(lab, "web", 5000, pair::OUTSIDE, 53)?,
        );
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let before = (
            lab.traffic("app")?,
            lab.drops(Reason::Fragment)?,
            lab.drops(Reason::FragmentWaits)?,
        );
        // Later ones without a first, and firsts without a later one.
        for id in 1000..1000 + FLOOD {
            let pieces = app.pieces(id, &payload(id, 1500))?;
            app.send(pieces.into_iter().skip(usize::from(id % 3 == 0)).take(1))?;
        }
        let sent = u64::from(FLOOD);
        wait_until("the flood", LIMIT, || {
            Ok(lab.traffic("app")?.tx_packets - before.0.tx_packets == sent)
        })?;
        let through = (0..FLOOD).filter(|number| (1000 + number) % 3 != 0).count() as u64;
        let waits = 64;
        lab.dropped(Reason::FragmentWaits, before.2, waits)?;
        lab.dropped(Reason::Fragment, before.1, sent - through - waits)?;
        ensure!(lab.traffic("app")?.drops - before.0.drops == sent - through);
        let mut arrived = 0;
        while outside.receive(SILENCE, is_fragment)?.is_some() {
            arrived += 1;
        }
        ensure!(arrived == through, "{arrived} of {through} arrived");
        // The flooder's own datagrams in order, and its neighbour's in any.
        let datagram = payload(7, 2000);
        app.send(app.pieces(7, &datagram)?)?;
        ensure!(app.hears(&datagram, LIMIT)?, "in order");
        in_every_order(lab, &web)
    })
}

/// True for a fragment that is a container's.
fn is_fragment(bytes: &[u8]) -> bool {
    bytes.len() > 34 && bytes[12..14] == [8, 0] && bytes[26..30] == pair::HOST.octets() && bytes[20..22] != [0x40, 0]
}

#[test]
fn fragments_that_do_not_fit_the_uplink_are_cut_again_by_the_hosts_stack() -> Result<()> {
    let topology = PAIR
        .replace("[outside]", "[outside]\nmtu = 1300")
        .replace("name = \"front\"", "name = \"front\"\nmtu = 1500");
    with_lab(Text::plain(&topology), |lab| {
        let _servers = servers(lab)?;
        let socket = lab.node("app")?.run(|| {
            // Routers may cut what sockets send from here.
            std::fs::write("/proc/sys/net/ipv4/ip_no_pmtu_disc", "1")?;
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        })??;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(SocketAddrV4::new(pair::OUTSIDE, 53))?;
        let mut room = vec![0; 65_536];
        for (number, len) in [1400, 4000, 20_000].into_iter().enumerate() {
            let payload = payload(u16::try_from(number)?, len);
            socket.send(&payload)?;
            let length = socket
                .recv(&mut room)
                .with_context(|| format!("no answer to {len} bytes"))?;
            ensure!(
                room.get(6..length) == Some(&payload[..]),
                "{len} bytes come back as others"
            );
        }
        ensure!(lab.drops(Reason::Fragment)? == 0 && lab.drops(Reason::FragmentWaits)? == 0);
        Ok(())
    })
}
