//! RFC 5961: segments that somebody forges, or that only look so.

use anyhow::Result;

use super::super::packet::flag;
use super::super::world::{OPENING, Side, World, connected};
use super::super::{Level, Outcome, Row, saw};
use super::conntrack::{FAR, word};
use super::tcp::lifetime_after;

use Level::{Practice, Should};
use Side::Server;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "K4",
        requirement: "A forged SYN changes nothing in an established connection",
        source: "RFC 5961 section 4",
        level: Should,
        run: forged_syn,
    },
    Row {
        id: "K8",
        requirement: "A blind RST changes nothing that lasts",
        source: "RFC 5961 section 3",
        level: Should,
        run: blind_reset,
    },
    Row {
        id: "K9",
        requirement: "A RST inside the window that is not the next number passes, and the connection lives on",
        source: "RFC 5961 section 3.2",
        level: Should,
        run: inexact_reset,
    },
    Row {
        id: "K10",
        requirement: "A RST with the very next number shortens the connection's life",
        source: "RFC 5961 section 3.2",
        level: Practice,
        run: exact_reset,
    },
    Row {
        id: "K11",
        requirement: "A blind FIN changes nothing that lasts",
        source: "RFC 5961 section 5",
        level: Should,
        run: blind_fin,
    },
];

/// Sends a segment into an established connection in the server's name, `ahead` of its number: whether it passed, and the
/// connection's lifetime after it, and after the next data of both sides.
fn forged(world: &mut World<'_>, flags: u8, ahead: u32) -> Result<(bool, u32, u32)> {
    let mut passes = false;
    let mut lifetime = |data: bool| {
        world.lifetime(
            |world| {
                let mut call = connected(world)?;
                let mut forger = call;
                forger.server.seq = call.server.seq.wrapping_add(ahead);
                passes = forger.send(world, Server, flags, &[])?;
                if data {
                    call.converse(world)?;
                }
                Ok(call)
            },
            |world, call| call.hears(world),
        )
    };
    let (at_once, after_data) = (lifetime(false)?, lifetime(true)?);
    Ok((passes, at_once, after_data))
}

/// How much of an established connection's life is left.
fn left(seconds: u32, established: u32) -> String {
    if seconds >= established {
        "the connection lives on".to_owned()
    } else {
        format!("{seconds} s left")
    }
}

/// What a forged segment does: met if after the next data all is as it was.
fn judge_forged(world: &mut World<'_>, flags: u8, ahead: u32) -> Result<Outcome> {
    let established = lifetime_after(world, &OPENING)?;
    let (passes, at_once, after_data) = forged(world, flags, ahead)?;
    let later = if at_once < established {
        format!("; after the next data {}", left(after_data, established))
    } else {
        String::new()
    };
    Ok(saw(
        format!("{}; {}{later}", word(passes), left(at_once, established)),
        after_data >= established,
    ))
}

fn forged_syn(world: &mut World<'_>) -> Result<Outcome> {
    judge_forged(world, flag::SYN, FAR)
}

fn blind_reset(world: &mut World<'_>) -> Result<Outcome> {
    judge_forged(world, flag::RST, FAR)
}

fn blind_fin(world: &mut World<'_>) -> Result<Outcome> {
    judge_forged(world, flag::FIN | flag::ACK, FAR)
}

fn inexact_reset(world: &mut World<'_>) -> Result<Outcome> {
    judge_forged(world, flag::RST, 100)
}

fn exact_reset(world: &mut World<'_>) -> Result<Outcome> {
    let established = lifetime_after(world, &OPENING)?;
    let (passes, at_once, _) = forged(world, flag::RST, 0)?;
    Ok(saw(
        format!("{}; {}", word(passes), left(at_once, established)),
        passes && at_once < established,
    ))
}
