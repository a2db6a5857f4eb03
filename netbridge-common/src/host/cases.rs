//! One packet for every way to be dropped: run by the core's tests and, through the kernel, by the
//! programs'.

use crate::abi::{FlowKey, Hook, Mac, Reason, proto, verdict};
use crate::wire::icmp;

use super::build::{Datagram, arp, packet_of};
use super::lab::{
    A, B, BEHIND_TRUNK, D, ELSEWHERE, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, UNREACHABLE, at, ifindex, inward, lab,
    out, restrict,
};
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
    [guard(), sent(), arriving(), slow_path()]
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

/// What a container may not claim to be.
fn guard() -> Vec<Case> {
    use Hook::FromContainer as Hook;
    let to_neighbour = || Datagram::new(A, B);
    let short_udp = to_neighbour().frame(proto::UDP, &[0, 1, 0, 2, 0, 8, 0]);
    let multicast: Mac = [3, 0, 0, 0, 0, 1];
    let claimed = ((B.0, BEHIND_TRUNK.1), ([0xff; 6], [10, 1, 0, 255]));
    vec![
        case(
            "a UDP header cut short is malformed",
            Reason::Malformed,
            Hook,
            lab(),
            at(ifindex::A, short_udp),
        ),
        case(
            "another MAC than the endpoint's is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(ifindex::A, Datagram::new((B.0, A.1), B).udp(1, 2, b"")),
        ),
        case(
            "an endpoint's MAC behind the trunk is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(ifindex::TRUNK, Datagram::new(claimed.0, claimed.1).udp(1, 2, b"")),
        ),
        case(
            "a group MAC behind the trunk is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(
                ifindex::TRUNK,
                Datagram::new((multicast, BEHIND_TRUNK.1), B).udp(1, 2, b""),
            ),
        ),
        case(
            "a neighbour's address is spoofed",
            Reason::SpoofedIp,
            Hook,
            lab(),
            at(ifindex::A, Datagram::new((A.0, B.1), B).udp(1, 2, b"")),
        ),
        case(
            "an endpoint's address behind the trunk is spoofed",
            Reason::SpoofedIp,
            Hook,
            lab(),
            at(ifindex::TRUNK, Datagram::new((BEHIND_TRUNK.0, A.1), B).udp(1, 2, b"")),
        ),
        case(
            "an ARP sender with a neighbour's address is spoofed",
            Reason::SpoofedArp,
            Hook,
            lab(),
            at(ifindex::A, arp(A.0, (A.0, B.1), GATEWAY.1)),
        ),
        case(
            "an interface without an entry is unknown",
            Reason::UnknownLink,
            Hook,
            lab(),
            at(ifindex::OTHER, to_neighbour().udp(1, 2, b"")),
        ),
        case(
            "a tag would hide the addresses",
            Reason::Tagged,
            Hook,
            lab(),
            at(ifindex::A, tagged(to_neighbour().udp(1, 2, b"twelve bytes"))),
        ),
    ]
}

/// What a container may not send.
fn sent() -> Vec<Case> {
    use Hook::FromContainer as Hook;
    let to_world = || out(A, GATEWAY, REMOTE);
    let fragment = Datagram {
        fragment: 0x2000,
        ..to_world()
    }
    .udp(5000, 53, b"first");
    let error = to_world().error(icmp::UNREACHABLE, &packet_of(&inward(REMOTE, A.1).udp(53, 5000, b"")));
    vec![
        case(
            "a policy to drop filters",
            Reason::Filtered,
            Hook,
            with_policy_drop(),
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
            "GRE cannot be masqueraded",
            Reason::UnsupportedProtocol,
            Hook,
            lab(),
            at(ifindex::A, to_world().frame(47, &[0; 8])),
        ),
        case(
            "a fragment cannot be masqueraded",
            Reason::Fragment,
            Hook,
            lab(),
            at(ifindex::A, fragment),
        ),
        case(
            "an ICMP error about nothing is untracked",
            Reason::UntrackedIcmp,
            Hook,
            lab(),
            at(ifindex::A, error),
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

/// What may not come in.
fn arriving() -> Vec<Case> {
    use Hook::FromUplink as Hook;
    let fragment = Datagram {
        fragment: 0x2000,
        ..inward(REMOTE, HOST.1)
    }
    .udp(5000, 5353, b"first");
    let dying = Datagram {
        ttl: 1,
        ..inward(REMOTE, HOST.1)
    }
    .syn(5000, 8080);
    vec![
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
            "a fragment cannot reach a published port",
            Reason::Fragment,
            Hook,
            lab(),
            at(ifindex::UPLINK, fragment),
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
    let gre = leaving(out(A, GATEWAY, UNREACHABLE)).frame(47, &[0; 8]);
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
            "the slow path masquerades no GRE",
            Reason::UnsupportedProtocol,
            Hook::ToUplink,
            lab(),
            Frame {
                bytes: gre,
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

/// The frame behind a tag of VLAN 0, as it stands in the bytes where the kernel has not moved it out.
fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, 0]);
    frame
}

fn with_policy_drop() -> HostEnv {
    let mut env = lab();
    env.set_filter(verdict::DROP, &[]);
    env
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
