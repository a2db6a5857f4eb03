//! IEEE 802.1D and 802.1Q: a bridge, its stations on four ports.

use anyhow::Result;

use super::super::router::Setting;
use super::super::stage::Station::{self, C1, C2, T1, T2};
use super::super::stage::frame;
use super::super::world::World;
use super::super::{Level, Outcome, Row, saw};

use Level::{May, Must, Practice, Should};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "B1",
        requirement: "A frame for an unknown station leaves by every other port, and never by its own",
        source: "IEEE 802.1D-2004 7.7",
        level: Must,
        run: unknown,
    },
    Row {
        id: "B2",
        requirement: "A frame for a learned station leaves by its port alone",
        source: "IEEE 802.1D-2004 7.8",
        level: Must,
        run: learned,
    },
    Row {
        id: "B3",
        requirement: "A frame for a station on the port it came by goes nowhere",
        source: "IEEE 802.1D-2004 7.7.1",
        level: Must,
        run: own_port,
    },
    Row {
        id: "B4",
        requirement: "Broadcast and multicast leave once by every other port",
        source: "IEEE 802.1D-2004 7.7",
        level: Must,
        run: groups,
    },
    Row {
        id: "B5",
        requirement: "A station that moves is found at its new port from its first frame on",
        source: "IEEE 802.1D-2004 7.8",
        level: Must,
        run: moves,
    },
    Row {
        id: "B5a",
        requirement: "Nobody takes over a container's MAC",
        source: "-",
        level: Practice,
        run: taken_over,
    },
    Row {
        id: "B6",
        requirement: "A station that is not heard is forgotten after 300 s",
        source: "IEEE 802.1D-2004 table 7-5",
        level: Should,
        run: ageing,
    },
    Row {
        id: "B7",
        requirement: "A static entry never moves",
        source: "IEEE 802.1D-2004 7.9.1",
        level: Must,
        run: fixed,
    },
    Row {
        id: "B8",
        requirement: "Frames for 01:80:c2:00:00:01 to :0f are not forwarded, those for :10 and :20 are",
        source: "IEEE 802.1D-2004 table 7-10",
        level: Must,
        run: reserved,
    },
    Row {
        id: "B9",
        requirement: "A frame for 01:80:c2:00:00:00 (spanning tree) is not forwarded",
        source: "IEEE 802.1D-2004 7.12.3",
        level: Must,
        run: spanning_tree,
    },
    Row {
        id: "B10",
        requirement: "A frame from a group address, or from none, is dropped",
        source: "IEEE 802.1D-2004 7.8",
        level: Must,
        run: bad_source,
    },
    Row {
        id: "B11",
        requirement: "A frame that claims the bridge's own MAC is dropped",
        source: "-",
        level: Practice,
        run: own_mac,
    },
    Row {
        id: "B12",
        requirement: "Tagged frames, LLC and unknown types pass a bridge that knows no VLANs",
        source: "IEEE 802.1D-2004 7.1",
        level: Should,
        run: kinds,
    },
    Row {
        id: "B13",
        requirement: "Frames of 1514 bytes pass, and shorter than 60 bytes too",
        source: "-",
        level: Practice,
        run: lengths,
    },
    Row {
        id: "B14",
        requirement: "2000 new stations on a port do not make the bridge forget one in use",
        source: "-",
        level: Practice,
        run: flood,
    },
    Row {
        id: "B15",
        requirement: "Ports can be kept apart from each other",
        source: "-",
        level: May,
        run: isolation,
    },
    Row {
        id: "B16",
        requirement: "Two ports cabled together do not keep broadcasts going round: a container's, and those of stations behind one of them",
        source: "-",
        level: Practice,
        run: ring,
    },
];

/// A local experimental `EtherType` (IEEE 802).
const TYPE: [u8; 2] = [0x88, 0xb5];
const BROADCAST: [u8; 6] = [0xff; 6];
/// Stations behind trunks.
const MOBILE: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0xaa, 0, 0, 0, 2];
const UNKNOWN: [u8; 6] = [2, 0xaa, 0, 0, 0, 0x99];
/// What frames carry.
const DATA: [u8; 46] = *b"a frame that only this row sends, and nobody 1";

/// Where the frame arrives, in order.
fn heard(world: &World<'_>, from: Station, bytes: &[u8]) -> Result<Vec<Station>> {
    world.stage().send_frame(from, bytes)?;
    let seen = world.stage().arrived()?;
    let mut at: Vec<_> = seen
        .iter()
        .filter(|seen| seen.frame.ends_with(&DATA))
        .map(|seen| seen.at)
        .collect();
    at.sort_unstable();
    Ok(at)
}

/// The same for a frame of no known type.
fn plain(world: &World<'_>, from: Station, to: [u8; 6], as_if: [u8; 6]) -> Result<Vec<Station>> {
    heard(world, from, &frame(to, as_if, TYPE, &DATA))
}

/// The same from a container's own MAC.
fn own(world: &World<'_>, from: Station, to: [u8; 6]) -> Result<Vec<Station>> {
    plain(world, from, to, world.stage().mac(from))
}

fn names(at: &[Station]) -> String {
    if at.is_empty() {
        return "nowhere".to_owned();
    }
    at.iter()
        .map(|station| format!("{station:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where it arrived, and that it should have been there.
fn judged(at: &[Station], wanted: &[Station]) -> Outcome {
    saw(names(at), at == wanted)
}

fn unknown(world: &mut World<'_>) -> Result<Outcome> {
    Ok(judged(&own(world, C1, UNKNOWN)?, &[C2, T1, T2]))
}

fn learned(world: &mut World<'_>) -> Result<Outcome> {
    plain(world, T1, BROADCAST, MOBILE)?;
    Ok(judged(&own(world, C1, MOBILE)?, &[T1]))
}

fn own_port(world: &mut World<'_>) -> Result<Outcome> {
    plain(world, T1, BROADCAST, MOBILE)?;
    Ok(judged(&plain(world, T1, MOBILE, OTHER)?, &[]))
}

fn groups(world: &mut World<'_>) -> Result<Outcome> {
    let broadcast = own(world, C1, BROADCAST)?;
    let multicast = own(world, C1, [1, 0, 0x5e, 1, 2, 3])?;
    let all = [C2, T1, T2];
    Ok(saw(
        format!("broadcast: {}; multicast: {}", names(&broadcast), names(&multicast)),
        broadcast == all && multicast == all,
    ))
}

fn moves(world: &mut World<'_>) -> Result<Outcome> {
    plain(world, T1, BROADCAST, MOBILE)?;
    plain(world, T2, BROADCAST, MOBILE)?;
    Ok(judged(&own(world, C1, MOBILE)?, &[T2]))
}

/// Where C1's frame for C2 arrives after T1 has claimed C2's MAC.
fn claimed(world: &World<'_>) -> Result<Vec<Station>> {
    own(world, C2, BROADCAST)?;
    plain(world, T1, BROADCAST, world.stage().mac(C2))?;
    own(world, C1, world.stage().mac(C2))
}

fn taken_over(world: &mut World<'_>) -> Result<Outcome> {
    let at = claimed(world)?;
    Ok(if at == [C2] {
        saw("the container keeps its MAC", true)
    } else {
        saw(format!("its frames go to {}", names(&at)), false)
    })
}

fn ageing(world: &mut World<'_>) -> Result<Outcome> {
    let seconds = world.ageing(
        |world| plain(world, T1, BROADCAST, MOBILE).map(drop),
        |world| Ok(own(world, C1, MOBILE)? == [T1]),
    )?;
    Ok(saw(format!("{seconds} s"), seconds == 300))
}

fn fixed(world: &mut World<'_>) -> Result<Outcome> {
    if !world.set(Setting::Pin(C2))? {
        return Ok(saw("no static entries", false));
    }
    Ok(judged(&claimed(world)?, &[C2]))
}

fn reserved(world: &mut World<'_>) -> Result<Outcome> {
    let mut forwarded = Vec::new();
    for last in (1..=15).chain([0x10, 0x20]) {
        if !own(world, C1, [1, 0x80, 0xc2, 0, 0, last])?.is_empty() {
            forwarded.push(last);
        }
    }
    let words: Vec<_> = forwarded.iter().map(|last| format!(":{last:02x}")).collect();
    let words = if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    };
    Ok(saw(format!("forwarded: {words}"), forwarded == [0x10, 0x20]))
}

fn spanning_tree(world: &mut World<'_>) -> Result<Outcome> {
    Ok(judged(&own(world, C1, [1, 0x80, 0xc2, 0, 0, 0])?, &[]))
}

fn bad_source(world: &mut World<'_>) -> Result<Outcome> {
    let mut passed = Vec::new();
    for (name, source) in [
        ("multicast", [3, 0, 0, 0, 0, 1]),
        ("broadcast", BROADCAST),
        ("zero", [0; 6]),
    ] {
        if !plain(world, T1, BROADCAST, source)?.is_empty() {
            passed.push(name);
        }
    }
    Ok(if passed.is_empty() {
        saw("dropped", true)
    } else {
        saw(format!("pass: {}", passed.join(", ")), false)
    })
}

fn own_mac(world: &mut World<'_>) -> Result<Outcome> {
    Ok(judged(&plain(world, T1, BROADCAST, world.stage().gateway())?, &[]))
}

fn kinds(world: &mut World<'_>) -> Result<Outcome> {
    own(world, C2, BROADCAST)?;
    let (to, from) = (world.stage().mac(C2), world.stage().mac(C1));
    let tag = [0, 5];
    let mut words = Vec::new();
    let mut all = true;
    for (name, head) in [
        ("802.1Q", [&[0x81, 0][..], &tag, &TYPE].concat()),
        ("802.1ad", [&[0x88, 0xa8][..], &tag, &[0x81, 0], &tag, &TYPE].concat()),
        ("LLC", vec![0, 46]),
        ("unknown type", TYPE.to_vec()),
    ] {
        let passes = heard(world, C1, &[&to[..], &from, &head, &DATA].concat())? == [C2];
        all &= passes;
        words.push(format!("{name} {}", if passes { "passes" } else { "dropped" }));
    }
    Ok(saw(words.join(", "), all))
}

fn lengths(world: &mut World<'_>) -> Result<Outcome> {
    own(world, C2, BROADCAST)?;
    let (to, from) = (world.stage().mac(C2), world.stage().mac(C1));
    let mut lost = Vec::new();
    for length in [15, 19, 33, 42, 59, 60, 1514] {
        let mut bytes = frame(to, from, TYPE, &[]);
        bytes.resize(length, 0x5a);
        world.stage().send_frame(C1, &bytes)?;
        let seen = world.stage().arrived()?;
        if !seen.iter().any(|seen| seen.at == C2 && seen.frame.starts_with(&bytes)) {
            lost.push(length.to_string());
        }
    }
    Ok(if lost.is_empty() {
        saw("15 to 1514 bytes pass", true)
    } else {
        saw(format!("lost: {} bytes", lost.join(", ")), false)
    })
}

fn flood(world: &mut World<'_>) -> Result<Outcome> {
    plain(world, T2, BROADCAST, MOBILE)?;
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let from = [2, 0xbb, 0, 0, high, low];
        world.stage().send_frame(T1, &frame(MOBILE, from, TYPE, &DATA))?;
        if number % 256 == 0 {
            world.stage().arrived()?;
        }
    }
    world.stage().arrived()?;
    Ok(judged(&own(world, C1, MOBILE)?, &[T2]))
}

fn isolation(world: &mut World<'_>) -> Result<Outcome> {
    if !(world.set(Setting::Isolate(C1))? && world.set(Setting::Isolate(C2))?) {
        return Ok(saw("no such option", false));
    }
    for station in Station::PORTS {
        own(world, station, BROADCAST)?;
    }
    let apart = own(world, C1, world.stage().mac(C2))?.is_empty();
    let others = own(world, C1, world.stage().mac(T1))? == [T1];
    Ok(match (apart, others) {
        (true, true) => saw("isolated ports do not reach each other, and reach the others", true),
        (false, _) => saw("isolated ports reach each other", false),
        (true, false) => saw("isolated ports reach nobody", false),
    })
}

/// Rounds that frames may go.
const ROUNDS: usize = 200;
/// Frames that go round together: so many that a limit of frames in a second shows at once.
const TOGETHER: usize = 100;

/// Sends broadcasts where T1 and T2 are cabled together, and says after how many rounds nothing of them is left.
fn rounds(world: &World<'_>, from: Station, as_if: [u8; 6]) -> Result<Option<usize>> {
    for _ in 0..TOGETHER {
        world.stage().send_frame(from, &frame(BROADCAST, as_if, TYPE, &DATA))?;
    }
    // The cable is this loop: what one end gets, the other sends.
    for round in 0..ROUNDS {
        let seen = world.stage().arrived()?;
        let mut any = false;
        for seen in seen.iter().filter(|seen| seen.frame.ends_with(&DATA)) {
            let far = match seen.at {
                T1 => T2,
                T2 => T1,
                _ => continue,
            };
            world.stage().send_frame(far, &seen.frame)?;
            any = true;
        }
        if !any {
            return Ok(Some(round));
        }
    }
    Ok(None)
}

fn ring(world: &mut World<'_>) -> Result<Outcome> {
    let container = rounds(world, C1, world.stage().mac(C1))?;
    world.router.reset()?;
    let behind = rounds(world, T1, MOBILE)?;
    let word = |rounds: Option<usize>| match rounds {
        Some(0..=1) => "end at once".to_owned(),
        Some(_) => "end after some rounds".to_owned(),
        None => format!("are still going after {ROUNDS} rounds"),
    };
    Ok(saw(
        format!(
            "a container's {}; those of a station behind one {}",
            word(container),
            word(behind)
        ),
        container.is_some() && behind.is_some(),
    ))
}
