//! One packet for every way to be dropped: run by the core's tests and, through the kernel, by the
//! programs'.
//!
//! Long, because it is one table with a row for every reason.

mod fragment;
mod guard;

use crate::abi::{FlowKey, Hook, Reason, network_flags, proto, reject, verdict};
use crate::wire::{icmp, tcp};

use super::build::{Datagram, packet_of};
use super::lab::{
    A, B, D, ELSEWHERE, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, SECOND, UNREACHABLE, at, ifindex, inward, lab, out,
    publish, restrict, rule, slot,
};
use super::rewrite::apply;
use super::{Frame, HostEnv, Prefix};

/// A packet that must be dropped.
pub struct Case {
    /// What happens, as a sentence.
    pub name: &'static str,
    /// Why it is dropped.
    pub reason: Reason,
    /// Where it is seen.
    pub hook: Hook,
    /// The state of the world.
    pub env: HostEnv,
    /// The packet.
    pub frame: Frame,
}

/// Every case; each [`Reason`] occurs.
pub fn cases() -> Vec<Case> {
    [
        guard::claimed(),
        guard::said(),
        guard::limits(),
        guard::arriving(),
        fragment::fragments(),
        sent(),
        told(),
        flows(),
        arriving(),
        slow_path(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn case(name: &'static str, reason: Reason, hook: Hook, env: HostEnv, frame: Frame) -> Case {
    Case {
        name,
        reason,
        hook,
        env,
        frame,
    }
}

/// Flows that may not begin, or not go on.
fn flows() -> Vec<Case> {
    let ask = |sport| out(A, GATEWAY, REMOTE).udp(sport, 53, b"");
    vec![
        case(
            "an endpoint with a quota of nothing opens no flow",
            Reason::QuotaExceeded,
            Hook::FromContainer,
            with(|env| env.config.quota = 0),
            at(ifindex::A, ask(5000)),
        ),
        case(
            "a second port that leads to the same one would take the first one's answers",
            Reason::TupleTaken,
            Hook::FromUplink,
            with(|env| {
                publish(env, (proto::TCP, HOST.1, 8081), (A, ifindex::A, slot::A), 80);
                env.run(
                    Hook::FromUplink,
                    &at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(5000, 8081)),
                );
            }),
            at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(5000, 8080)),
        ),
        case(
            "a segment in the middle of a connection opens nothing",
            Reason::MidStream,
            Hook::FromContainer,
            lab(),
            at(ifindex::A, out(A, GATEWAY, REMOTE).tcp(5000, 80, tcp::ACK, b"data")),
        ),
        case(
            "a port that stands for a container's is not open to everybody",
            Reason::Unsolicited,
            Hook::FromUplink,
            with(|env| {
                set_flags(env, network_flags::INDEPENDENT_MAPPING);
                env.run(Hook::FromContainer, &at(ifindex::A, ask(5000)));
            }),
            at(ifindex::UPLINK, inward(REMOTE, HOST.1).udp(54, 5000, b"")),
        ),
        case(
            "a flow by an address that the host has no more is over",
            Reason::AddressGone,
            Hook::FromContainer,
            with(|env| {
                set_flags(env, network_flags::FIXED_SNAT);
                if let Some(network) = env.networks.get_mut(1) {
                    network.tail.snat = [192, 0, 2, 9];
                }
                env.run(Hook::FromContainer, &at(ifindex::A, ask(5000)));
                set_flags(env, 0);
                env.now += SECOND;
            }),
            at(ifindex::A, ask(5000)),
        ),
    ]
}

/// The lab after something has happened.
fn with(happens: impl FnOnce(&mut HostEnv)) -> HostEnv {
    let mut env = lab();
    happens(&mut env);
    env
}

/// Gives A's network these flags besides masquerading.
fn set_flags(env: &mut HostEnv, flags: u32) {
    if let Some(network) = env.networks.get_mut(1) {
        network.head.flags = network_flags::MASQUERADE | flags;
    }
}

/// What a container may not send.
fn sent() -> Vec<Case> {
    use Hook::FromContainer as Hook;
    let to_world = || out(A, GATEWAY, REMOTE);
    vec![
        case(
            "a policy to drop filters",
            Reason::Filtered,
            Hook,
            with_policy_drop(),
            at(ifindex::A, Datagram::new(A, B).udp(1, 2, b"")),
        ),
        case(
            "a rule rejects",
            Reason::Rejected,
            Hook,
            with_rejection(),
            at(ifindex::A, Datagram::new(A, B).udp(1, 2, b"")),
        ),
        case(
            "another network is isolated",
            Reason::Isolated,
            Hook,
            lab(),
            at(ifindex::A, out(A, GATEWAY, D.1).syn(1, 2)),
        ),
        case(
            "an internal network has no uplink",
            Reason::NoUplink,
            Hook,
            lab(),
            at(ifindex::D, out(D, GATEWAYS[1], REMOTE).syn(1, 2)),
        ),
        case(
            "one SNAT port, taken, is exhausted",
            Reason::NatExhausted,
            Hook,
            with_one_port_taken(),
            at(ifindex::A, to_world().udp(40_001, 53, b"")),
        ),
        case(
            "a full flow table refuses a new flow",
            Reason::FlowTableFull,
            Hook,
            with_full_table(),
            at(ifindex::A, to_world().udp(40_001, 53, b"")),
        ),
        case(
            "AH cannot be masqueraded",
            Reason::UnsupportedProtocol,
            Hook,
            lab(),
            at(ifindex::A, to_world().frame(51, &[0; 8])),
        ),
        case(
            "a route out of another interface is off the uplink",
            Reason::OffUplink,
            Hook,
            lab(),
            at(ifindex::A, out(A, GATEWAY, ELSEWHERE).syn(40_001, 2)),
        ),
    ]
}

/// What ends at the gateway, and what ICMP may not say to the outside.
fn told() -> Vec<Case> {
    let sent = |name, reason, bytes| case(name, reason, Hook::FromContainer, lab(), at(ifindex::A, bytes));
    let to_world = || out(A, GATEWAY, REMOTE);
    let whole = Datagram {
        fragment: 0x4000,
        ..to_world()
    };
    let error = to_world().error(icmp::UNREACHABLE, &packet_of(&inward(REMOTE, A.1).udp(53, 5000, b"")));
    vec![
        sent("an ICMP error about nothing is untracked", Reason::UntrackedIcmp, error),
        sent(
            "the TTL ends at the gateway",
            Reason::TtlExpired,
            Datagram { ttl: 1, ..to_world() }.udp(40_001, 53, b""),
        ),
        sent(
            "what does not fit the uplink and may not be cut is too big",
            Reason::TooBig,
            whole.udp(40_001, 53, &[0; 1473]),
        ),
        sent(
            "a redirect is for nobody",
            Reason::UnsupportedIcmp,
            out(A, GATEWAY, GATEWAY.1).error(icmp::REDIRECT, &[0x45; 28]),
        ),
        sent(
            "an address mask request does not leave",
            Reason::UnsupportedIcmp,
            to_world().echo(17, 1, &[0; 4]),
        ),
        sent(
            "a reply to nothing is untracked",
            Reason::UntrackedIcmp,
            to_world().echo(icmp::ECHO_REPLY, 1, b""),
        ),
    ]
}

/// What may not come in.
fn arriving() -> Vec<Case> {
    use Hook::FromUplink as Hook;
    let dying = Datagram {
        ttl: 1,
        ..inward(REMOTE, HOST.1)
    }
    .syn(5000, 8080);
    let (asked, sent) = with_one_question();
    let back = |name, reason, bytes| case(name, reason, Hook, asked.clone(), at(ifindex::UPLINK, bytes));
    let about = |icmp_type| inward(ROUTER.1, HOST.1).error(icmp_type, &sent);
    // The ICMP header's last byte, which means nothing in this error, and the quoted identification's first.
    let damaged = flipped(about(icmp::TIME_EXCEEDED), 41);
    let misquoting = inward(ROUTER.1, HOST.1).error(icmp::TIME_EXCEEDED, &flipped(sent.clone(), 4));
    vec![
        back("a damaged error is not carried", Reason::BadChecksum, damaged),
        back(
            "an error with a damaged quote is not carried",
            Reason::BadChecksum,
            misquoting,
        ),
        back(
            "a redirect about a flow is not carried",
            Reason::UnsupportedIcmp,
            about(icmp::REDIRECT),
        ),
        back(
            "nor is a source quench",
            Reason::UnsupportedIcmp,
            about(icmp::SOURCE_QUENCH),
        ),
        case(
            "a container's address is not for the outside",
            Reason::DirectAccess,
            Hook,
            lab(),
            at(ifindex::UPLINK, inward(REMOTE, A.1).syn(5000, 80)),
        ),
        case(
            "a policy to drop filters published ports",
            Reason::Filtered,
            Hook,
            with_policy_drop(),
            at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(5000, 8080)),
        ),
        case(
            "a source that is on no list of a published port stays outside",
            Reason::SourceNotAllowed,
            Hook,
            with_sources(&[(ROUTER.1, 32)]),
            at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(5000, 8080)),
        ),
        case(
            "the TTL ends at a published port",
            Reason::TtlExpired,
            Hook,
            lab(),
            at(ifindex::UPLINK, dying),
        ),
        case(
            "a full flow table refuses a published port",
            Reason::FlowTableFull,
            Hook,
            with_full_table(),
            at(ifindex::UPLINK, inward(REMOTE, HOST.1).syn(5000, 8080)),
        ),
    ]
}

/// What the kernel's own path may not carry.
fn slow_path() -> Vec<Case> {
    let routed_in = Datagram::new((GATEWAY.0, REMOTE), A).syn(5000, 80);
    let slow = Frame {
        ingress: ifindex::BRIDGES[0],
        ..at(ifindex::UPLINK, Vec::new())
    };
    let leaving = |datagram: Datagram| Datagram {
        smac: HOST.0,
        dmac: ROUTER.0,
        ..datagram
    };
    let signed = leaving(out(A, GATEWAY, UNREACHABLE)).frame(51, &[0; 8]);
    let malformed = Datagram::new((GATEWAY.0, REMOTE), A).frame(proto::UDP, &[0; 7]);
    let astray = leaving(out(A, GATEWAY, REMOTE)).syn(1, 2);
    let internal = leaving(out(D, GATEWAYS[1], REMOTE)).syn(1, 2);
    vec![
        case(
            "what the host routes in from outside is refused",
            Reason::DirectAccess,
            Hook::ToContainer,
            lab(),
            Frame {
                ingress: ifindex::UPLINK,
                ..at(ifindex::A, routed_in)
            },
        ),
        case(
            "what the host routes in must be well-formed",
            Reason::Malformed,
            Hook::ToContainer,
            lab(),
            Frame {
                ingress: ifindex::UPLINK,
                ..at(ifindex::A, malformed)
            },
        ),
        case(
            "the slow path leads out of the network's uplink alone",
            Reason::OffUplink,
            Hook::ToUplink,
            lab(),
            Frame {
                ifindex: ifindex::OTHER,
                bytes: astray,
                ..slow.clone()
            },
        ),
        case(
            "the slow path masquerades no AH",
            Reason::UnsupportedProtocol,
            Hook::ToUplink,
            lab(),
            Frame {
                bytes: signed,
                ..slow.clone()
            },
        ),
        case(
            "the slow path is closed to an internal network",
            Reason::NoUplink,
            Hook::ToUplink,
            lab(),
            Frame {
                bytes: internal,
                ingress: ifindex::BRIDGES[1],
                ..slow.clone()
            },
        ),
        case(
            "a container's address leaves by way of its bridge alone",
            Reason::SpoofedIp,
            Hook::ToUplink,
            lab(),
            Frame {
                bytes: leaving(out(A, GATEWAY, REMOTE)).syn(1, 2),
                ingress: ifindex::OTHER,
                ..slow
            },
        ),
        case(
            "a neighbour's address is not routed in from outside",
            Reason::DirectAccess,
            Hook::ToContainer,
            lab(),
            Frame {
                ingress: ifindex::UPLINK,
                ..at(ifindex::A, Datagram::new((GATEWAY.0, B.1), A).syn(5000, 80))
            },
        ),
    ]
}

/// The bytes with one of them changed.
fn flipped(mut bytes: Vec<u8>, place: usize) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(place) {
        *byte = !*byte;
    }
    bytes
}

fn with_rejection() -> HostEnv {
    let mut env = lab();
    let mut reject = rule(verdict::REJECT);
    reject.head.with = reject::UNREACHABLE + 3;
    env.set_filter(verdict::ACCEPT, &[reject]);
    env
}

fn with_policy_drop() -> HostEnv {
    let mut env = lab();
    env.set_filter(verdict::DROP, &[]);
    env
}

/// A has asked a server; the packet that the server gets.
fn with_one_question() -> (HostEnv, Vec<u8>) {
    let env = lab();
    let frame = at(ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    let mut bytes = frame.bytes.clone();
    apply(&env.run(Hook::FromContainer, &frame), &mut bytes);
    (env, packet_of(&bytes))
}

/// The one port of the SNAT range is B's, towards the same remote port.
fn with_one_port_taken() -> HostEnv {
    let mut env = lab();
    env.config.snat_ports = 1;
    let frame = at(ifindex::B, out(B, GATEWAY, REMOTE).udp(40_001, 53, b""));
    env.run(Hook::FromContainer, &frame);
    env
}

/// Published ports for these sources alone.
fn with_sources(sources: &[Prefix]) -> HostEnv {
    let mut env = lab();
    restrict(&mut env, sources);
    env
}

/// As many entries as a table of [`FULL`] holds, none of them of use.
fn with_full_table() -> HostEnv {
    let mut env = lab();
    let donor = at(ifindex::B, out(B, GATEWAY, REMOTE).udp(40_001, 53, b""));
    env.run(Hook::FromContainer, &donor);
    let flow = env.flows.borrow().values().next().copied();
    for port in 0..FULL {
        let zone = u16::MAX.to_ne_bytes();
        let sport = u16::try_from(port).unwrap_or(0).to_be_bytes();
        let key = FlowKey {
            src: ROUTER.1,
            dst: HOST.1,
            sport,
            dport: [0; 2],
            zone,
            proto: proto::UDP,
            icmp: 0,
        };
        env.flows.borrow_mut().extend(flow.map(|flow| (key, flow)));
    }
    env.flows
        .borrow_mut()
        .retain(|key, _| key.zone == u16::MAX.to_ne_bytes());
    env.flow_capacity = FULL;
    env
}

/// Entries of a full flow table: a kernel that runs the cases must be given this very size.
pub const FULL: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Reason, cases};

    #[test]
    fn each_case_is_dropped_and_counted_for_its_reason() {
        for case in cases() {
            let verdict = case.env.run(case.hook, &case.frame);
            assert_eq!(verdict.reason, case.reason, "{}: {verdict:?}", case.name);
            assert_eq!(case.env.dropped(case.reason), 1, "{}", case.name);
            let events = case.env.events.borrow();
            let event = events.last().expect(case.name);
            assert_eq!(
                (event.reason, event.hook),
                (case.reason as u8, case.hook as u8),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn every_reason_has_a_case() {
        let missing = |reason: &Reason| !cases().iter().any(|case| case.reason == *reason);
        let missing: Vec<_> = Reason::ALL.iter().skip(1).copied().filter(missing).collect();
        assert!(missing.is_empty(), "no case produces {missing:?}");
    }
}
