//! A packet that is described, as the filter would see it.

use std::net::Ipv4Addr;

use netbridge_common::abi::{CtState, ZONE_UPLINK, axis, proto};
use netbridge_common::datapath::filter::Subject;
use netbridge_common::wire::tcp;

use super::FilterTest;
use crate::filter::syntax::{Extension, Interface, Match, Rule, States, TcpFlags, rule};
use crate::filter::tables::World;
use crate::model::{Fault, Faults, MacAddr};
use crate::plan;
use crate::state::State;

/// Stands for anybody outside: an address of documentation (RFC 5737).
const ANYBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The port that a packet comes from, unless another is given: the first of the dynamic ones (RFC 6335, section 6).
const SOURCE_PORT: u16 = 49_152;

/// One end of a packet.
struct End {
    name: String,
    address: Ipv4Addr,
    ifindex: u32,
    network: u16,
    mac: [u8; 6],
}

/// The packet as the filter compares it, and in words; every fault of its description.
pub(super) fn subject(
    state: &State,
    world: &World,
    request: &FilterTest,
) -> Result<(Subject<[u8; 4]>, String), Faults> {
    let mut faults = Faults::default();
    let mut from = faults.keep(end(state, "--from", &request.from));
    let mut to = faults.keep(end(state, "--to", &request.to));
    for (end, name, option) in [(&mut from, &request.input, "--in"), (&mut to, &request.output, "--out")] {
        if let (Some(name), Some(end)) = (name, end)
            && let Some((ifindex, network)) = faults.keep(interface(world, option, name))
        {
            (end.ifindex, end.network, end.name) = (ifindex, network, format!("{} by {name}", end.address));
        }
    }
    if let (Some(mac), Some(from)) = (&request.mac, &mut from)
        && let Some(mac) = faults.keep(MacAddr::parse("--mac", mac))
    {
        from.mac = mac.0;
    }
    let number = protocol(request, &mut faults);
    let (sport, dport, told) = ports(request, number, &mut faults);
    let states = read(
        &mut faults,
        "--state",
        request.state.as_deref(),
        "-m conntrack --ctstate",
        |rule| {
            let Some(Extension::Conntrack { states, .. }) = rule.matches.into_iter().next() else {
                return None;
            };
            states.map(|Match { value, .. }| value.bits())
        },
    );
    let states = one_state(states.unwrap_or(CtState::NEW), request, &mut faults);
    let flags = read(
        &mut faults,
        "--tcp-flags",
        request.tcp_flags.as_deref(),
        "-p tcp --tcp-flags ALL",
        |rule| match rule.matches.into_iter().next() {
            Some(Extension::Tcp {
                flags:
                    Some(Match {
                        value: TcpFlags { set, .. },
                        ..
                    }),
                ..
            }) => Some(set),
            _ => None,
        },
    );
    let usual = if states & CtState::NEW != 0 { tcp::SYN } else { tcp::ACK };
    let flags = if number == proto::TCP {
        flags.unwrap_or(usual)
    } else {
        0
    };
    faults.check()?;
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Faults::default());
    };
    let packet = format!("{told}, {} to {}, {}", from.name, to.name, names(states));
    let subject = Subject {
        in_ifindex: from.ifindex,
        in_net: from.network.into(),
        out_ifindex: to.ifindex,
        out_net: to.network.into(),
        src: from.address.octets(),
        dst: to.address.octets(),
        sport,
        dport,
        mac: from.mac,
        proto: number,
        state: states,
        tcp: flags,
        bytes: 0,
    };
    Ok((subject, packet))
}

/// An endpoint, an address, or the outside.
fn end(state: &State, option: &str, text: &str) -> Result<End, Fault> {
    let uplink = |address| {
        let uplink = state.uplinks.first();
        End {
            name: format!("{address} outside"),
            address,
            ifindex: uplink.map_or(0, |uplink| uplink.ifindex),
            network: ZONE_UPLINK,
            mac: [0; 6],
        }
    };
    if text == "outside" {
        return Ok(uplink(ANYBODY));
    }
    let address: Option<Ipv4Addr> = text.parse().ok();
    let held = address.and_then(|address| state.holder(address));
    if let Some(endpoint) = state.endpoint(text).or(held) {
        let address = address.or(endpoint.address());
        let none = || {
            Fault::usage(
                format!("{option} {text}"),
                "has no address of its own",
                "give an address behind it",
            )
        };
        let address = address.ok_or_else(none)?;
        return Ok(End {
            name: format!("{address} of {}", endpoint.name),
            address,
            ifindex: endpoint.ifindex,
            network: state
                .network(endpoint.network.as_str())
                .map_or(ZONE_UPLINK, |network| network.id),
            mac: endpoint.mac.0,
        });
    }
    let Some(address) = address else {
        let why = "is neither an endpoint, nor an address, nor `outside`";
        return Err(Fault::not_found(
            format!("{option} {text}"),
            why,
            "`netbridge ep ls` lists endpoints",
        ));
    };
    let network = state.networks.iter().find(|network| network.subnet.contains(&address));
    Ok(match network {
        Some(network) => End {
            name: format!("{address} in {}", network.name),
            address,
            ifindex: 0,
            network: network.id,
            mac: [0; 6],
        },
        None => uplink(address),
    })
}

fn interface(world: &World, option: &str, name: &str) -> Result<(u32, u16), Fault> {
    let asks = Interface {
        name: name.to_owned(),
        wildcard: false,
    };
    let mut found: Vec<(u32, u16)> = world.interfaces_named(&asks).collect();
    // Of a network's interfaces, the one that stands for all others.
    found.sort_unstable();
    let none = || Fault::not_found(format!("{option} {name}"), plan::UNKNOWN, "correct the name");
    found.first().copied().ok_or_else(none)
}

fn protocol(request: &FilterTest, faults: &mut Faults) -> u8 {
    let read = read(faults, "--proto", request.proto.as_deref(), "-p", |rule| {
        rule.protocol.map(|Match { value, .. }| value.number())
    });
    let usual = if request.sport.or(request.dport).is_some() || request.tcp_flags.is_some() {
        proto::TCP
    } else {
        proto::ICMP
    };
    read.unwrap_or(usual)
}

/// Ports as the filter compares them, and the packet in words.
fn ports(request: &FilterTest, number: u8, faults: &mut Faults) -> (u32, u32, String) {
    let is_given = request.sport.or(request.dport).is_some();
    match number {
        proto::TCP | proto::UDP => {
            let name = if number == proto::TCP { "tcp" } else { "udp" };
            let (sport, dport) = (request.sport.unwrap_or(SOURCE_PORT), request.dport);
            if dport.is_none() {
                faults.push(Fault::usage(
                    format!("--proto {name}"),
                    "goes to a port",
                    "give --dport",
                ));
            }
            let dport = dport.unwrap_or_default();
            (
                sport.into(),
                dport.into(),
                format!("{name} from port {sport} to port {dport}"),
            )
        }
        proto::ICMP => {
            if is_given {
                faults.push(Fault::usage(
                    "--proto icmp",
                    "has no ports",
                    "leave --sport and --dport out",
                ));
            }
            let read = read(
                faults,
                "--icmp-type",
                request.icmp_type.as_deref(),
                "-p icmp --icmp-type",
                |rule| {
                    let Some(Extension::Icmp(Match { value, .. })) = rule.matches.into_iter().next() else {
                        return None;
                    };
                    Some((value.kind?, value.code.unwrap_or(0)))
                },
            );
            let (kind, code) = read.unwrap_or((8, 0));
            let dport = axis::ICMP | u32::from(kind) << 8 | u32::from(code);
            (axis::NO_PORT, dport, format!("icmp {kind}/{code}"))
        }
        other => {
            if is_given {
                let what = format!("--proto {other}");
                faults.push(Fault::usage(
                    what,
                    "has no ports that are read",
                    "leave --sport and --dport out",
                ));
            }
            (axis::NO_PORT, axis::NO_PORT, format!("protocol {other}"))
        }
    }
}

/// The bits of a packet's state: it is in one, and may be translated beside.
fn one_state(bits: u8, request: &FilterTest, faults: &mut Faults) -> u8 {
    let translated = bits & (CtState::SNAT | CtState::DNAT);
    let base = match bits & !(States::SNAT | States::DNAT) {
        0 => CtState::NEW,
        base => base,
    };
    if base & CtState::ANY != base || !base.is_power_of_two() {
        let what = format!("--state {}", request.state.as_deref().unwrap_or_default());
        let remedy = "give one of INVALID, NEW, RELATED and ESTABLISHED, and SNAT or DNAT beside it";
        faults.push(Fault::usage(what, "a packet is in one state", remedy));
    }
    let reply = if request.reply { CtState::REPLY } else { 0 };
    base | translated | reply
}

fn names(bits: u8) -> String {
    let states = States::from_bits(bits & !CtState::REPLY).map_or_else(String::new, |states| states.to_string());
    if bits & CtState::REPLY == 0 {
        states
    } else {
        format!("{states}, reply")
    }
}

/// Reads an option's value as that of a rule's option.
fn read<T>(
    faults: &mut Faults,
    option: &str,
    given: Option<&str>,
    prefix: &str,
    take: impl FnOnce(Rule) -> Option<T>,
) -> Option<T> {
    let text = given?;
    match rule(&format!("{prefix} \"{}\"", text.replace(['"', '\\'], "?"))) {
        Ok(single) => {
            let taken = single.rules.into_iter().next().and_then(take);
            if taken.is_none() {
                faults.push(Fault::usage(
                    format!("{option} {text}"),
                    "is nothing that a packet has",
                    "give one value",
                ));
            }
            taken
        }
        Err(errors) => {
            for fault in errors.faults {
                faults.push(Fault::usage(format!("{option} {text}"), fault.reason, fault.advice));
            }
            None
        }
    }
}
