//! From the controller's records to the datapath's map entries.

use std::net::Ipv4Addr;

use netbridge_common::abi::{
    AddrKey, LINK_ADDRS, LinkAddrs, LinkHead, LinkV4, MacKey, NO_SLOT, NetworkAddrs, NetworkHead, NetworkV4, PortBlock,
    PortKey, PortTarget, PublishedHead, PublishedV4, Record, Station, link_kind, network_flags, port_scope,
    station_flags,
};

use crate::state::{Dependence, Endpoint, Network, Published, Uplink};

/// The entry of an uplink.
pub fn uplink(uplink: &Uplink) -> LinkV4 {
    let head = LinkHead {
        kind: link_kind::UPLINK,
        pad: 0,
        pad2: 0,
        slot: uplink.slot,
        station: MacKey {
            mac: uplink.mac.0,
            net: 0,
        },
    };
    LinkV4::new(head, link_addresses(uplink.addresses.iter().copied()))
}

/// The entry of an endpoint in network `net`.
pub fn endpoint(endpoint: &Endpoint, net: u16) -> LinkV4 {
    let kind = if endpoint.trunk {
        link_kind::TRUNK
    } else {
        link_kind::ENDPOINT
    };
    let head = LinkHead {
        kind,
        pad: 0,
        pad2: 0,
        slot: endpoint.slot,
        station: mac_key(endpoint, net),
    };
    LinkV4::new(
        head,
        link_addresses(endpoint.addresses.iter().map(ipnet::Ipv4Net::addr)),
    )
}

/// Places not used repeat the first; all are zero if there is none.
fn link_addresses(addresses: impl Iterator<Item = Ipv4Addr>) -> LinkAddrs<[u8; 4]> {
    let mut addresses = addresses.map(|address| address.octets());
    let first = addresses.next().unwrap_or_default();
    let mut addrs = [first; LINK_ADDRS];
    for (place, address) in addrs.iter_mut().skip(1).zip(addresses) {
        *place = address;
    }
    LinkAddrs { addrs }
}

/// The entry of a network on the bridge `bridge`.
pub fn network(network: &Network, bridge: u32, uplink: Option<&Uplink>) -> NetworkV4 {
    let head = NetworkHead {
        flags: flags(network),
        bridge,
        uplink: uplink.map_or(0, |uplink| uplink.ifindex),
        mtu: uplink.map_or(network.mtu, |uplink| uplink.mtu),
        gateway: MacKey {
            mac: network.mac.0,
            net: network.id,
        },
        uplink_slot: uplink.map_or(NO_SLOT, |uplink| uplink.slot),
        pad: 0,
    };
    let first = uplink.and_then(|uplink| uplink.addresses.first());
    let snat = network.snat.as_ref().or(first).map_or([0; 4], Ipv4Addr::octets);
    NetworkV4::new(
        head,
        NetworkAddrs {
            gateway: network.gateway.octets(),
            snat,
        },
    )
}

/// The bits of [`network_flags`] for a network.
fn flags(network: &Network) -> u32 {
    [
        (network.masquerade, network_flags::MASQUERADE),
        (network.snat.is_some(), network_flags::FIXED_SNAT),
        (
            network.mapping == Dependence::Independent,
            network_flags::INDEPENDENT_MAPPING,
        ),
        (
            network.filtering == Dependence::Independent,
            network_flags::INDEPENDENT_FILTERING,
        ),
        (network.routed, network_flags::ROUTED),
        (network.tunnels, network_flags::TUNNELS),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// The key of an address in network `net`.
pub fn address_key(address: Ipv4Addr, net: u16) -> AddrKey<[u8; 4]> {
    AddrKey {
        addr: address.octets(),
        net: net.to_ne_bytes(),
        pad: [0; 2],
    }
}

/// The key of an endpoint's MAC in network `net`.
pub fn mac_key(endpoint: &Endpoint, net: u16) -> MacKey {
    MacKey {
        mac: endpoint.mac.0,
        net,
    }
}

/// Where an endpoint is: behind `ifindex`.
pub fn station(endpoint: &Endpoint, ifindex: u32) -> Station {
    Station {
        ifindex,
        slot: endpoint.slot,
        seen: 0,
        mac: endpoint.mac.0,
        flags: station_flags::STATIC,
    }
}

/// The keys of published ports.
pub fn port_blocks(published: &Published) -> impl Iterator<Item = PortBlock<[u8; 4]>> {
    PortBlock::cover(first_key(published), published.ports().last())
}

/// The keys that say that ports of one address are published somewhere. Ports of several addresses may have them in common,
/// and where they lead is not in them: all zero.
pub fn somewhere_blocks(published: &Published) -> impl Iterator<Item = PortBlock<[u8; 4]>> {
    let first = published.host_ip.map(|_| first_key(published).somewhere());
    let last = published.ports().last();
    first.into_iter().flat_map(move |first| PortBlock::cover(first, last))
}

fn first_key(published: &Published) -> PortKey<[u8; 4]> {
    PortKey {
        addr: published.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
        proto: published.transport.number(),
        scope: port_scope::HERE,
        port: published.host_port.to_be_bytes(),
    }
}

/// Where all of them lead: an endpoint in network `net`.
pub fn port_target(port: &Published, endpoint: &Endpoint, net: u16) -> PublishedV4 {
    let head = PublishedHead {
        ifindex: endpoint.ifindex,
        slot: endpoint.slot,
        mac: endpoint.mac.0,
        net,
        sources: port.list,
    };
    let addr = endpoint.address().map_or([0; 4], |address| address.octets());
    PublishedV4::new(
        head,
        PortTarget {
            addr,
            shift: PortTarget::<[u8; 4]>::shift(port.host_port, port.port),
            pad: [0; 2],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn unused_places_repeat_the_first_address() {
        let mut state = fixtures::state();
        let single = endpoint(&state.endpoints[0], 1);
        assert_eq!({ single.tail.addrs }, [[10, 88, 0, 2]; LINK_ADDRS]);
        state.endpoints[0].addresses.push("10.88.0.3/29".parse().unwrap());
        let double = endpoint(&state.endpoints[0], 1);
        let addrs = { double.tail.addrs };
        assert_eq!(addrs[..3], [[10, 88, 0, 2], [10, 88, 0, 3], [10, 88, 0, 2]]);
    }

    #[test]
    fn a_network_without_an_uplink_has_no_way_out() {
        let state = fixtures::state();
        let entry = network(&state.networks[0], 9, None);
        assert_eq!(
            (entry.head.uplink, entry.head.uplink_slot, entry.head.bridge),
            (0, NO_SLOT, 9)
        );
        let entry = network(&state.networks[0], 9, state.uplinks.first());
        assert_eq!({ entry.tail.snat }, [192, 0, 2, 1]);
    }

    #[test]
    fn ports_are_in_network_order() {
        let mut state = fixtures::state();
        let blocks = |port: &Published| {
            port_blocks(port)
                .map(|block| ({ block.first.port }, block.prefix))
                .collect::<Vec<_>>()
        };
        assert_eq!(blocks(&state.ports[0]), [([0, 80], 64)]);
        let target = port_target(&state.ports[0], &state.endpoints[0], 1);
        assert_eq!(target.tail.port([0, 80]), [0x1f, 0x90]);
        assert_eq!(
            somewhere_blocks(&state.ports[0]).count(),
            0,
            "at any address is somewhere"
        );
        state.ports[0].count = 3;
        assert_eq!(blocks(&state.ports[0]), [([0, 80], 63), ([0, 82], 64)]);
        assert_eq!(port_target(&state.ports[0], &state.endpoints[0], 1), target);
        state.ports[0].host_ip = Some(Ipv4Addr::LOCALHOST);
        let somewhere: Vec<_> = somewhere_blocks(&state.ports[0]).collect();
        let keys = port_blocks(&state.ports[0]).map(|block| (block.first.somewhere(), block.prefix));
        assert!(keys.eq(somewhere.iter().map(|block| (block.first, block.prefix))));
    }
}
