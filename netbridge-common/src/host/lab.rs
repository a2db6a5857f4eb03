//! A small instance with one of everything, for tests and for trying things out.
//!
//! ```text
//! net 1 "web", 10.1.0.0/24, masqueraded          A .2   B .3   trunk (anything else)
//! net 2 "db", 10.2.0.0/24, internal              D .2
//! net 3 "open", 10.3.0.0/24, not masqueraded     E .2
//! uplink 192.0.2.1/24, gateway .254              A publishes tcp 8080 → 80, B udp 192.0.2.1:5353 → 53
//! ```
//!
//! Time is scaled so that the real clock's progress during a test does not matter: what is a second
//! elsewhere is [`SECOND`] ticks here.

use core::ops::RangeInclusive;

use crate::abi::{
    AddrKey, Config, CtState, LINK_ADDRS, LinkAddrs, LinkHead, LinkV4, Mac, MacKey, NO_SLOT, NetworkAddrs, NetworkHead,
    NetworkV4, PortBlock, PortKey, PortTarget, PublishedHead, PublishedV4, SUBNET_LOCAL, Station, Timeouts, VERSION,
    generation, link_kind, network_flags, port_scope, proto, station_flags, verdict,
};
use crate::datapath::env::{Hop, HopKind};

use super::build::Datagram;
use super::filter::{RuleAddrs, RuleHead, RuleV4};
use super::{Frame, HostEnv, Ip, Prefix};

/// Ticks of a second.
pub const SECOND: u32 = 100_000;

/// A MAC and an address.
pub type Node = (Mac, Ip);

/// Container A.
pub const A: Node = (mac(0xa), [10, 1, 0, 2]);
/// Container B, a neighbour of A.
pub const B: Node = (mac(0xb), [10, 1, 0, 3]);
/// A station behind the trunk.
pub const BEHIND_TRUNK: Node = (mac(0x7), [10, 1, 0, 77]);
/// Container D, without a way out.
pub const D: Node = (mac(0xd), [10, 2, 0, 2]);
/// Container E, routed without masquerade.
pub const E: Node = (mac(0xe), [10, 3, 0, 2]);
/// The gateways of the three networks.
pub const GATEWAYS: [Node; 3] = [
    (mac(0x21), [10, 1, 0, 1]),
    (mac(0x22), [10, 2, 0, 1]),
    (mac(0x23), [10, 3, 0, 1]),
];
/// The gateway of A and B.
pub const GATEWAY: Node = (mac(0x21), [10, 1, 0, 1]);
/// The host on its uplink.
pub const HOST: Node = (mac(0x31), [192, 0, 2, 1]);
/// The router beyond the uplink.
pub const ROUTER: Node = (mac(0x32), [192, 0, 2, 254]);
/// A server or client beyond the router; frames to and from it carry the router's MAC.
pub const REMOTE: Ip = [203, 0, 113, 9];
/// A destination on the uplink whose MAC is not known.
pub const UNRESOLVED: Ip = [192, 0, 2, 77];
/// A destination that the host routes elsewhere.
pub const ELSEWHERE: Ip = [198, 51, 100, 9];
/// A destination that the host refuses to route.
pub const UNREACHABLE: Ip = [192, 88, 99, 9];

/// Cookie of the host's network namespace.
pub const HOST_COOKIE: u64 = 7;

/// Interface numbers.
pub mod ifindex {
    /// Host side of A's veth.
    pub const A: u32 = 11;
    /// Host side of B's.
    pub const B: u32 = 12;
    /// Host side of the trunk.
    pub const TRUNK: u32 = 13;
    /// Host side of D's.
    pub const D: u32 = 14;
    /// Host side of E's.
    pub const E: u32 = 15;
    /// The bridges of the three networks.
    pub const BRIDGES: [u32; 3] = [21, 22, 23];
    /// The uplink.
    pub const UPLINK: u32 = 31;
    /// An interface that is none of netbridge's.
    pub const OTHER: u32 = 32;
}

/// Traffic slots, in the order of [`ifindex`].
pub mod slot {
    /// A's.
    pub const A: u32 = 1;
    /// B's.
    pub const B: u32 = 2;
    /// The trunk's.
    pub const TRUNK: u32 = 3;
    /// D's.
    pub const D: u32 = 4;
    /// E's.
    pub const E: u32 = 5;
    /// The uplink's.
    pub const UPLINK: u32 = 6;
}

/// A locally administered unicast MAC.
const fn mac(last: u8) -> Mac {
    [0x02, 0, 0, 0, 0, last]
}

/// The instance, with an empty filter that accepts.
pub fn lab() -> HostEnv {
    use network_flags::{MASQUERADE, TUNNELS};
    let mut env = HostEnv {
        now: 1_000_000_000,
        config: config(),
        ..HostEnv::default()
    };
    env.set_filter(verdict::ACCEPT, &[]);
    for (net, gateway, flags, uplink) in [
        (1, GATEWAYS[0], MASQUERADE | TUNNELS, ifindex::UPLINK),
        (2, GATEWAYS[1], MASQUERADE, 0),
        (3, GATEWAYS[2], 0, ifindex::UPLINK),
    ] {
        add_network(&mut env, net, gateway, flags, uplink);
    }
    for (node, net, index, slot) in [
        (A, 1, ifindex::A, slot::A),
        (B, 1, ifindex::B, slot::B),
        (D, 2, ifindex::D, slot::D),
        (E, 3, ifindex::E, slot::E),
    ] {
        add_endpoint(&mut env, node, net, index, slot);
    }
    env.links
        .insert(ifindex::TRUNK, link(link_kind::TRUNK, 1, slot::TRUNK, ([0; 6], [0; 4])));
    env.links
        .insert(ifindex::UPLINK, link(link_kind::UPLINK, 0, slot::UPLINK, HOST));
    env.subnets.insert((HOST.1, 32), SUBNET_LOCAL);
    env.subnets.insert(([192, 0, 2, 255], 32), SUBNET_LOCAL);
    publish(&mut env, (proto::TCP, [0; 4], 8080), (A, ifindex::A, slot::A), 80);
    publish(&mut env, (proto::UDP, HOST.1, 5353), (B, ifindex::B, slot::B), 53);
    let resolved = Hop {
        kind: HopKind::Resolved,
        ifindex: ifindex::UPLINK,
        dmac: ROUTER.0,
        smac: HOST.0,
        src: HOST.1,
    };
    let unresolved = Hop {
        kind: HopKind::Unresolved,
        dmac: [0; 6],
        smac: [0; 6],
        ..resolved
    };
    let local = Hop {
        kind: HopKind::Local,
        ifindex: 0,
        dmac: [0; 6],
        smac: [0; 6],
        src: [0; 4],
    };
    for address in [HOST.1, [192, 0, 2, 255], GATEWAYS[0].1, GATEWAYS[1].1, GATEWAYS[2].1] {
        env.hops.insert((address, 32), local);
    }
    env.hops.insert(([0; 4], 0), resolved);
    env.hops.insert(([192, 0, 2, 0], 24), unresolved);
    env.hops.insert((ROUTER.1, 32), resolved);
    env.hops.insert(
        ([198, 51, 100, 0], 24),
        Hop {
            ifindex: ifindex::OTHER,
            ..unresolved
        },
    );
    env.hops.insert(
        ([192, 88, 99, 0], 24),
        Hop {
            kind: HopKind::Stack,
            ..local
        },
    );
    env
}

/// A frame in front of the program of an interface, come in by that interface.
pub fn at(ifindex: u32, bytes: Vec<u8>) -> Frame {
    Frame {
        bytes,
        ifindex,
        ingress: ifindex,
        ..Frame::default()
    }
}

/// A datagram from a container through its gateway, for the outside or another network.
pub const fn out(from: Node, gateway: Node, dst: Ip) -> Datagram {
    Datagram::new(from, (gateway.0, dst))
}

/// A datagram from the outside for the uplink.
pub const fn inward(src: Ip, dst: Ip) -> Datagram {
    Datagram::new((ROUTER.0, src), (HOST.0, dst))
}

/// A rule that matches everything, to be narrowed.
pub const fn rule(decision: u8) -> RuleV4 {
    RuleV4 {
        head: RuleHead {
            in_ifindex: 0,
            in_net: 0,
            out_ifindex: 0,
            out_net: 0,
            sport_min: 0,
            sport_max: u16::MAX,
            dport_min: 0,
            dport_max: u16::MAX,
            proto: 0,
            states: CtState::ANY,
            flags: 0,
            verdict: decision,
            with: 0,
        },
        tail: RuleAddrs {
            src: [0; 4],
            src_mask: [0; 4],
            dst: [0; 4],
            dst_mask: [0; 4],
        },
    }
}

/// Publishes `(protocol, host address or zero, port)` at a port of an endpoint.
pub fn publish(env: &mut HostEnv, (proto, addr, port): (u8, Ip, u16), endpoint: (Node, u32, u32), to: u16) {
    publish_range(env, (proto, addr, port..=port), endpoint, to);
}

/// Publishes `(protocol, host address or zero, ports)` at as many ports of an endpoint, from `to` on.
pub fn publish_range(
    env: &mut HostEnv,
    (proto, addr, ports): (u8, Ip, RangeInclusive<u16>),
    (node, ifindex, slot): (Node, u32, u32),
    to: u16,
) {
    let first = PortKey {
        addr,
        proto,
        scope: port_scope::HERE,
        port: ports.start().to_be_bytes(),
    };
    let head = PublishedHead {
        ifindex,
        slot,
        mac: node.0,
        net: 1,
        sources: 0,
    };
    let tail = PortTarget {
        addr: node.1,
        shift: PortTarget::<Ip>::shift(*ports.start(), to),
        pad: [0; 2],
    };
    let keys = [Some(first), (addr != [0; 4]).then(|| first.somewhere())];
    let blocks = keys
        .into_iter()
        .flatten()
        .flat_map(|key| PortBlock::cover(key, *ports.end()));
    env.published
        .extend(blocks.map(|block| (block, PublishedV4 { head, tail })));
}

/// Lets only these sources in through the ports that are published so far.
pub fn restrict(env: &mut HostEnv, sources: &[Prefix]) {
    const LIST: u32 = 1;
    for target in env.published.values_mut() {
        target.head.sources = LIST;
    }
    env.sources.extend(sources.iter().map(|prefix| (LIST, *prefix)));
}

fn config() -> Config {
    Config {
        generation: generation::FIRST,
        refresh: SECOND,
        timeouts: Timeouts {
            tcp_opening: 240 * SECOND,
            tcp_answered: 230 * SECOND,
            tcp_established: 7440 * SECOND,
            tcp_half_closed: 3600 * SECOND,
            tcp_closing: 220 * SECOND,
            tcp_reset: 210 * SECOND,
            udp_opening: 200 * SECOND,
            udp_established: 300 * SECOND,
            icmp: 60 * SECOND,
            other: 600 * SECOND,
        },
        quarantine: 120 * SECOND,
        pickup_until: 0,
        quota: 65_536,
        half_open_quota: 16_384,
        fdb_ageing: 300 * SECOND,
        snat_min: 1024,
        snat_ports: 31_744,
        local_min: 32_768,
        local_max: 60_999,
        secret: 0x5eed_5eed,
        events_per_tick: 16,
        answers_per_tick: 16,
        learned_per_port: 256,
        floods_per_second: 1000,
        fragment_timeout: 30 * SECOND,
        held_quota: 64,
        version: VERSION,
        silent: 0,
        host: HOST_COOKIE,
    }
}

fn add_network(env: &mut HostEnv, net: u16, gateway: Node, flags: u32, uplink: u32) {
    let head = NetworkHead {
        flags,
        bridge: ifindex::BRIDGES.get(usize::from(net - 1)).copied().unwrap_or(0),
        uplink,
        mtu: 1500,
        gateway: MacKey { mac: gateway.0, net },
        uplink_slot: if uplink == 0 { NO_SLOT } else { slot::UPLINK },
        pad: 0,
    };
    if let Some(place) = env.networks.get_mut(usize::from(net)) {
        *place = NetworkV4 {
            head,
            tail: NetworkAddrs {
                gateway: gateway.1,
                snat: HOST.1,
            },
        };
    }
    let [a, b, c, _] = gateway.1;
    env.subnets.insert(([a, b, c, 0], 24), net.into());
    env.subnets.insert((gateway.1, 32), SUBNET_LOCAL);
}

fn add_endpoint(env: &mut HostEnv, node: Node, net: u16, ifindex: u32, slot: u32) {
    env.links.insert(ifindex, link(link_kind::ENDPOINT, net, slot, node));
    let station = Station {
        ifindex,
        slot,
        seen: 0,
        mac: node.0,
        flags: station_flags::STATIC,
    };
    env.fdb.borrow_mut().insert(MacKey { mac: node.0, net }, station);
    env.addresses.insert(
        AddrKey {
            addr: node.1,
            net: net.to_ne_bytes(),
            pad: [0; 2],
        },
        station,
    );
}

const fn link(kind: u8, net: u16, slot: u32, (mac, addr): Node) -> LinkV4 {
    let head = LinkHead {
        kind,
        pad: 0,
        pad2: 0,
        slot,
        station: MacKey { mac, net },
    };
    LinkV4 {
        head,
        tail: LinkAddrs {
            addrs: [addr; LINK_ADDRS],
        },
    }
}
