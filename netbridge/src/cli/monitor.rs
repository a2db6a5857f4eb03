//! `netbridge monitor`: drops, and what rules report, as they happen.

use std::io;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use netbridge_common::abi::{DropEvent, Hook, NO_PATH, Reason};
use serde_json::{Value, json};

use super::reply::{Reply, print_line};
use crate::model::MacAddr;
use crate::ops::{Cause, Causes, Failure, Host, filter_causes};
use crate::state::State;

/// Prints events until `count` of them, or until the process is interrupted.
pub(super) async fn run(host: &Host, count: Option<u64>, json: bool) -> Result<Reply, Failure> {
    let datapath = host.datapath()?;
    let mut events = datapath.events().map_err(anyhow::Error::from)?;
    let mut left = count.unwrap_or(u64::MAX);
    let mut causes = Causes::default();
    while left > 0 {
        let event = tokio::select! {
            event = events.next() => event.map_err(anyhow::Error::from)?,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.map_err(anyhow::Error::from)?;
                break;
            }
        };
        // Read anew: endpoints and rules come and go while this runs.
        let state = host.state()?;
        let filter = state.filter.as_ref();
        if event.path != NO_PATH && !causes.are_of(filter, event.generation) {
            let known = filter.map(|filter| filter_causes(filter, &datapath)).transpose()?;
            causes = known.unwrap_or_default();
        }
        let cause = causes.get(&datapath, event.generation, event.path)?;
        let event = describe(&event, &state, cause);
        let line = if json { event.to_string() } else { line(&event) };
        print_line(io::stdout(), &line);
        left -= 1;
    }
    Ok(Reply {
        silent: true,
        ..Reply::default()
    })
}

/// An event as JSON.
fn describe(event: &DropEvent, state: &State, cause: Option<&Cause>) -> Value {
    let reason = match Reason::from_u8(event.reason) {
        Some(Reason::None) => "reported",
        reason => reason.map_or("unknown", Reason::name),
    };
    let endpoint = state
        .endpoints
        .iter()
        .find(|endpoint| endpoint.ifindex == event.ifindex);
    let uplink = state.uplinks.iter().find(|uplink| uplink.ifindex == event.ifindex);
    let ipv4 = |wide: [u8; 16]| {
        let [a, b, c, d, ..] = wide;
        (event.family == 4).then(|| Ipv4Addr::new(a, b, c, d))
    };
    let port = |port: [u8; 2]| (event.family == 4).then(|| u16::from_be_bytes(port));
    json!({
        "time": clock(SystemTime::now()),
        "reason": reason,
        "prefix": cause.and_then(|cause| cause.prefix.as_ref()),
        "rule": cause.map(|cause| &cause.rule),
        "hook": Hook::from_u8(event.hook).map_or("unknown", Hook::name),
        "at": endpoint.map(|endpoint| endpoint.name.as_str()).or(uplink.map(|uplink| uplink.name.as_str())),
        "ifindex": event.ifindex,
        "len": event.len,
        "ethertype": format!("{:#06x}", u16::from_be_bytes(event.ethertype)),
        "smac": MacAddr(event.smac),
        "proto": event.proto,
        "src": ipv4(event.src),
        "sport": port(event.sport),
        "dst": ipv4(event.dst),
        "dport": port(event.dport),
    })
}

/// A described event as a line of text.
fn line(event: &Value) -> String {
    let text = |key: &str| match event.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let ends = if event.get("src").is_some_and(Value::is_string) {
        format!(
            "proto {} {}:{} > {}:{}",
            text("proto"),
            text("src"),
            text("sport"),
            text("dst"),
            text("dport")
        )
    } else {
        format!("ethertype {}", text("ethertype"))
    };
    let at = if text("at") == "-" {
        format!("interface {}", text("ifindex"))
    } else {
        text("at")
    };
    let (time, reason, hook) = (text("time"), text("reason"), text("hook"));
    let by = event.get("rule").and_then(Value::as_str);
    let by = by.map_or(String::new(), |rule| format!(", by {rule}"));
    // A prefix ends as its author wanted it to.
    let prefix = event.get("prefix").and_then(Value::as_str).unwrap_or_default();
    format!(
        "{time} {prefix}{reason} {hook} at {at}: {} {ends}, {} bytes{by}",
        text("smac"),
        text("len")
    )
}

/// The time of day, UTC.
fn clock(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
