//! The connection table: what opens, keeps and ends a connection, RFC 5961 and scans.

use anyhow::{Context as _, Result};
use netbridge::model::Transport;
use netbridge_common::abi::proto;

use super::super::packet::Segment;
use super::super::packet::{Ip, flag, seal, tcp, udp};
use super::super::stage::EXTERNAL;
use super::super::stage::Station::{C1, C2, S1};
use super::super::world::{Call, NOBODY, OPENING, Side, World, at, connected, external, of};
use super::super::{Level, Outcome, Row, saw};

use Level::{Must, Practice, Should};
use Side::{Client, Server};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "K1",
        requirement: "Segments that no TCP sends open nothing: NULL, XMAS, SYN+FIN, SYN+RST",
        source: "RFC 9293 section 3.10.7",
        level: Practice,
        run: scans,
    },
    Row {
        id: "K2",
        requirement: "A segment with a wrong checksum is dropped",
        source: "-",
        level: Practice,
        run: bad_sum,
    },
    Row {
        id: "K3",
        requirement: "Data far outside the window are dropped",
        source: "-",
        level: Practice,
        run: far_data,
    },
    Row {
        id: "K5",
        requirement: "A SYN+ACK that is sent twice passes twice",
        source: "RFC 9293 section 3.10.7",
        level: Must,
        run: twice,
    },
    Row {
        id: "K6",
        requirement: "A segment of a connection that was never opened opens none",
        source: "-",
        level: Practice,
        run: mid_stream,
    },
    Row {
        id: "K7",
        requirement: "Headers that contradict themselves are dropped: UDP length, IP length, TCP header length",
        source: "RFC 1122 section 3.2.1, RFC 768",
        level: Practice,
        run: malformed,
    },
    Row {
        id: "K12",
        requirement: "A client that lost its connection gets the challenge ACK, resets, and opens anew",
        source: "RFC 5961 section 4.2",
        level: Must,
        run: challenge,
    },
    Row {
        id: "K13",
        requirement: "FINs and last ACKs that are lost and sent again pass",
        source: "RFC 9293 section 3.6",
        level: Must,
        run: lost_last_ack,
    },
    Row {
        id: "K14",
        requirement: "A closed connection's ports open a new one at once",
        source: "RFC 9293 section 3.6.1",
        level: Must,
        run: reuse,
    },
    Row {
        id: "K15",
        requirement: "A SYN+ACK of an old connection does not spoil a new one",
        source: "RFC 9293 section 3.5.1",
        level: Must,
        run: old_syn_ack,
    },
    Row {
        id: "K16",
        requirement: "A refused SYN leaves nothing behind: 100 to a closed port",
        source: "-",
        level: Practice,
        run: refused,
    },
    Row {
        id: "K17",
        requirement: "No container takes a published port for its own mapping",
        source: "CVE-2021-3773",
        level: Practice,
        run: shadow,
    },
    Row {
        id: "K18",
        requirement: "Other protocols leave translated or not at all: GRE, ESP, 6in4, IGMP, SCTP that is malformed, 255",
        source: "-",
        level: Practice,
        run: protocols,
    },
    Row {
        id: "K19",
        requirement: "A container that forges its source is not heard",
        source: "RFC 2827",
        level: Should,
        run: forged_source,
    },
    Row {
        id: "K20",
        requirement: "Packets from and to 127.0.0.0/8 are dropped",
        source: "RFC 1122 section 3.2.1.3",
        level: Must,
        run: loopback,
    },
    Row {
        id: "K21",
        requirement: "A UDP checksum of zero stays zero",
        source: "RFC 768, RFC 3022 section 4.1",
        level: Must,
        run: no_sum,
    },
    Row {
        id: "K22",
        requirement: "What no TCP sends passes in an established connection neither: NULL, XMAS, SYN+FIN, SYN+RST",
        source: "-",
        level: Practice,
        run: scans_inside,
    },
];

const SCANS: [(&str, u8); 4] = [
    ("NULL", 0),
    ("XMAS", flag::FIN | flag::PSH | flag::URG),
    ("SYN+FIN", flag::SYN | flag::FIN),
    ("SYN+RST", flag::SYN | flag::RST),
];
/// Far from every window.
pub(super) const FAR: u32 = 1_000_000_000;

fn passed(names: &[&str]) -> Outcome {
    if names.is_empty() {
        saw("all dropped", true)
    } else {
        saw(format!("pass: {}", names.join(", ")), false)
    }
}

fn scans(world: &mut World<'_>) -> Result<Outcome> {
    let mut through = Vec::new();
    for (name, flags) in SCANS {
        world.router.reset()?;
        if Call::new(proto::TCP, 5000, 80).send(world, Client, flags, &[])? {
            through.push(name);
        }
    }
    Ok(passed(&through))
}

fn scans_inside(world: &mut World<'_>) -> Result<Outcome> {
    let mut through = Vec::new();
    for (name, flags) in SCANS {
        world.router.reset()?;
        let mut call = connected(world)?;
        let before = call;
        let client = call.send(world, Client, flags, &[])?;
        call = before;
        if client || call.send(world, Server, flags, &[])? {
            through.push(name);
        }
    }
    Ok(passed(&through))
}

pub(super) fn word(passes: bool) -> &'static str {
    if passes { "forwarded" } else { "dropped" }
}

fn bad_sum(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    let mut data = call.next(Server, flag::ACK | flag::PSH, b"down");
    data.body[16] ^= 0x55;
    let passes = call.carry(world, Server, &data)?.is_some();
    Ok(saw(word(passes), !passes))
}

fn far_data(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    call.server.seq += FAR;
    let passes = call.send(world, Server, flag::ACK | flag::PSH, b"down")?;
    Ok(saw(word(passes), !passes))
}

fn twice(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = Call::new(proto::TCP, 5000, 80);
    call.play(world, &OPENING[..1])?;
    let answer = call.next(Server, flag::SYN | flag::ACK, &[]);
    let one = call.carry(world, Server, &answer)?.is_some();
    let two = call.carry(world, Server, &answer)?.is_some();
    call.play(world, &OPENING[2..])?;
    let three = call.carry(world, Server, &answer)?.is_some();
    Ok(saw(
        format!("{}, {}; after the handshake {}", word(one), word(two), word(three)),
        one && two && three,
    ))
}

fn mid_stream(world: &mut World<'_>) -> Result<Outcome> {
    let out = Call::new(proto::TCP, 5000, 80).send(world, Client, flag::ACK, &[])?;
    world.router.reset()?;
    world.publish(Transport::Tcp, 5000, C1, 5000)?;
    let inside = Call::new(proto::TCP, 5000, 80).send(world, Server, flag::ACK, &[])?;
    Ok(saw(
        format!("outwards {}, to a published port {}", word(out), word(inside)),
        !out && !inside,
    ))
}

fn malformed(world: &mut World<'_>) -> Result<Outcome> {
    let mut through = Vec::new();
    let good = udp(at(C1, 5000), at(S1, 7000), b"question");
    let mut short_udp = good.clone();
    short_udp.body[4..6].copy_from_slice(&7_u16.to_be_bytes());
    seal(&mut short_udp, 6);
    let mut long_udp = good.clone();
    long_udp.body[4..6].copy_from_slice(&999_u16.to_be_bytes());
    seal(&mut long_udp, 6);
    let opening = Segment {
        flags: flag::SYN,
        seq: 1,
        ack: 0,
        options: &[],
        data: &[],
    };
    let mut cut = tcp(at(C1, 5000), at(S1, 80), opening);
    cut.body.truncate(12);
    let mut header = tcp(at(C1, 5001), at(S1, 80), opening);
    header.body[12] = 4 << 4;
    seal(&mut header, 16);
    for (name, packet) in [
        ("UDP length 7", short_udp),
        ("UDP length 999", long_udp),
        ("cut TCP header", cut),
        ("TCP header of 16 bytes", header),
    ] {
        if world.reaches(C1, &packet, S1)? {
            through.push(name);
        }
    }
    for (name, at_byte, value) in [
        ("IP length 19", 3, 19),
        ("IP header of 16 bytes", 0, 0x44),
        ("IP version 5", 0, 0x55),
    ] {
        let mut bytes = good.bytes();
        bytes[at_byte] = value;
        if at_byte == 3 {
            bytes[2] = 0;
        }
        let sum = resealed(&bytes);
        bytes[10..12].copy_from_slice(&sum);
        world.stage().send_bytes(C1, S1.ip(), &bytes)?;
        if world.stage().arrived()?.iter().any(|seen| seen.at == S1) {
            through.push(name);
        }
    }
    Ok(passed(&through))
}

/// The checksum of a header of twenty bytes.
fn resealed(bytes: &[u8]) -> [u8; 2] {
    let words = bytes[..20].chunks(2).enumerate().filter(|(index, _)| *index != 5);
    let mut sum: u32 = words
        .map(|(_, word)| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

fn challenge(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    let honest = call;
    // The client has forgotten, and starts with a new number.
    call.client.seq = honest.client.seq.wrapping_add(FAR);
    let syn = call.send(world, Client, flag::SYN, &[])?;
    // The server answers with the numbers of the old connection.
    let mut old = honest;
    let ack = old.send(world, Server, flag::ACK, &[])?;
    // The client resets that one.
    let rst = old.send(world, Client, flag::RST, &[])?;
    let mut anew = Call::new(proto::TCP, 5000, 80);
    anew.client.seq = call.client.seq.wrapping_add(1000);
    anew.server.seq = honest.server.seq.wrapping_add(FAR);
    let opens = anew.open(world).is_ok() && anew.talks(world)?;
    let lost: Vec<_> = [
        ("SYN", syn),
        ("challenge ACK", ack),
        ("RST", rst),
        ("new connection", opens),
    ]
    .into_iter()
    .filter_map(|(name, passes)| (!passes).then_some(name))
    .collect();
    Ok(if lost.is_empty() {
        saw("SYN, challenge ACK, RST and the new connection pass", true)
    } else {
        saw(format!("lost: {}", lost.join(", ")), opens)
    })
}

fn lost_last_ack(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    call.play(world, &[(Client, flag::FIN | flag::ACK), (Server, flag::ACK)])?;
    let fin = call.next(Server, flag::FIN | flag::ACK, &[]);
    let mut passes = true;
    for _ in 0..3 {
        passes &= call.carry(world, Server, &fin)?.is_some();
        passes &= call.send(world, Client, flag::ACK, &[])?;
    }
    Ok(saw(if passes { "all pass" } else { "some are lost" }, passes))
}

fn reuse(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    call.play(
        world,
        &[
            (Server, flag::FIN | flag::ACK),
            (Client, flag::ACK),
            (Client, flag::FIN | flag::ACK),
            (Server, flag::ACK),
        ],
    )?;
    call.client.seq += 100_000;
    call.server.seq += 100_000;
    let opens = call.open(world).is_ok() && call.talks(world)?;
    Ok(saw(
        if opens {
            "opens and carries data"
        } else {
            "does not open"
        },
        opens,
    ))
}

fn old_syn_ack(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = Call::new(proto::TCP, 5000, 80);
    call.play(world, &OPENING[..1])?;
    let mut old = call;
    old.client.seq = 77;
    old.server.seq = 99;
    let answer = old.send(world, Server, flag::SYN | flag::ACK, &[])?;
    let rst = old.send(world, Client, flag::RST, &[])?;
    // The client's SYN, sent again.
    call.client.seq -= 1;
    let opens = call.open(world).is_ok() && call.talks(world)?;
    Ok(saw(
        format!(
            "old SYN+ACK {}, RST {}; the new connection {}",
            word(answer),
            word(rst),
            if opens { "opens" } else { "does not open" }
        ),
        opens,
    ))
}

fn refused(world: &mut World<'_>) -> Result<Outcome> {
    for sport in 6000..6100 {
        let mut call = Call::new(proto::TCP, sport, 81);
        call.play(world, &[(Client, flag::SYN), (Server, flag::RST | flag::ACK)])?;
    }
    let left = world.router.connections()?;
    Ok(saw(format!("{left} connections are left"), left == 0))
}

fn shadow(world: &mut World<'_>) -> Result<Outcome> {
    world.publish(Transport::Udp, 8053, C2, 53)?;
    let seen = world.mapped((C1, 8053), (S1, 7000))?;
    let reached = world.udp_in((S1, 7000), external(8053))?;
    let kept = if seen.port() == 8053 { "kept" } else { "changed" };
    Ok(saw(
        format!(
            "the container's port is {kept}; the published port leads to {}",
            reached.map_or("nobody".to_owned(), |station| format!("{station:?}"))
        ),
        reached == Some(C2),
    ))
}

fn protocols(world: &mut World<'_>) -> Result<Outcome> {
    let (mut words, mut bare) = (Vec::new(), false);
    for (name, number) in [
        ("GRE", 47),
        ("ESP", 50),
        ("6in4", 41),
        ("IGMP", 2),
        // All zero: a chunk shorter than its own header, under a wrong checksum.
        ("SCTP", 132),
        ("255", 255),
    ] {
        let sent = Ip::new(C1.ip(), S1.ip(), number, vec![0; 24]);
        let seen = world.carry(C1, &sent, S1)?;
        let what = match &seen {
            None => "dropped",
            Some(packet) if packet.src == EXTERNAL => "translated",
            Some(_) => "untranslated",
        };
        bare |= what == "untranslated";
        words.push(format!("{name} {what}"));
    }
    Ok(saw(words.join(", "), !bare))
}

fn forged_source(world: &mut World<'_>) -> Result<Outcome> {
    let mut through = Vec::new();
    for (name, source) in [
        ("outside the network", NOBODY),
        ("its neighbour's", C2.ip()),
        ("the server's own", S1.ip()),
    ] {
        let mut forged = udp(at(C1, 5000), at(S1, 7000), b"question");
        forged.src = source;
        seal(&mut forged, 6);
        let seen = world.exchange(C1, &forged)?;
        if of(&seen, S1).next().is_some() {
            through.push(name);
        }
    }
    Ok(passed(&through))
}

fn loopback(world: &mut World<'_>) -> Result<Outcome> {
    let mut through = Vec::new();
    let mut from = udp(at(C1, 5000), at(S1, 7000), b"question");
    from.src = std::net::Ipv4Addr::LOCALHOST;
    seal(&mut from, 6);
    if !world.exchange(C1, &from)?.is_empty() {
        through.push("from a container");
    }
    let mut outside = udp(at(S1, 5000), external(7000), b"question");
    outside.dst = std::net::Ipv4Addr::LOCALHOST;
    seal(&mut outside, 6);
    if !world.exchange(S1, &outside)?.is_empty() {
        through.push("from outside");
    }
    Ok(passed(&through))
}

fn no_sum(world: &mut World<'_>) -> Result<Outcome> {
    let mut bare = udp(at(C1, 5000), at(S1, 7000), b"question");
    bare.body[6..8].fill(0);
    let sum = world
        .carry(C1, &bare, S1)?
        .context("a datagram without a checksum did not arrive")?
        .udp_sum();
    Ok(saw(if sum == 0 { "stays zero" } else { "becomes another" }, sum == 0))
}
