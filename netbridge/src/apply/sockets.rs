//! Ends the host's own sockets that talk to a container which is to be reached no more.
//!
//! A socket is led when it connects, and once: from then on it talks to the container's address, which may be another's
//! next. Where the kernel ends no sockets, the rest of a change stands, and the caller is told.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Error, Result};
use netbridge_common::abi::{Peer, PeerKey};
use netlink_packet_sock_diag::inet::{InetResponseHeader, StateFlags};

use crate::datapath::{DatapathError, Ipv4, Tables};
use crate::model::{Claims, Transport};
use crate::sock_diag::{Monitor, cookie, remote};
use crate::state::Endpoint;

/// Ends the sockets that were led through ports, held by the addresses that they lead to, and forgets what they asked for.
/// Those that a program connected to the container itself go on, and one whose entry the table has lost, until the endpoint
/// is detached. The ports must be published no more.
pub(super) fn end_led(tables: &Tables, ports: &Claims<Ipv4Addr>) -> Result<Option<String>, DatapathError> {
    let peers = tables.peers()?.into_iter();
    let led: HashMap<_, _> = peers.filter(|(key, asked)| was_led(None, key, *asked, ports)).collect();
    if led.is_empty() {
        return Ok(None);
    }
    let listed = Sockets::list();
    let found = listed.iter().flat_map(|sockets| &sockets.found);
    let transports: HashMap<u64, Transport> = found.map(|(transport, socket)| (cookie(socket), *transport)).collect();
    let ended = listed.and_then(|sockets| {
        sockets.end(|transport, socket| {
            let key = remote(socket).map(|remote| PeerKey {
                socket: cookie(socket),
                container: Peer::new(remote.ip().octets(), remote.port().to_be_bytes()),
            });
            let asked = key.and_then(|key| Some((key, *led.get(&key)?)));
            asked.is_some_and(|(key, asked)| was_led(Some(transport), &key, asked, ports))
        })
    });
    tables.flush_peers(|key, asked| was_led(transports.get(&{ key.socket }).copied(), key, asked, ports))?;
    Ok(ended.err().as_ref().map(warning))
}

/// Ends the sockets that are connected with an address of an endpoint that is gone, its connections to the host too, whoever
/// asked for them: what is still on its way would reach who has the address next.
pub(super) fn end_connected(endpoint: &Endpoint) -> Option<String> {
    if endpoint.addresses.is_empty() {
        return None;
    }
    let with = |socket: &InetResponseHeader| remote(socket).is_some_and(|remote| endpoint.has_address(*remote.ip()));
    let ended = Sockets::list().and_then(|sockets| sockets.end(|_, socket| with(socket)));
    ended.err().as_ref().map(warning)
}

fn warning(error: &Error) -> String {
    format!(
        "connections of the host's own programs to a container were not ended, and reach whoever has its address next: \
         {error:#}; restart these programs"
    )
}

/// The host's sockets, but for those of TCP that are not connected.
struct Sockets {
    monitor: Monitor,
    found: Vec<(Transport, InetResponseHeader)>,
}

impl Sockets {
    fn list() -> Result<Self> {
        let monitor = Monitor::open()?;
        let idle = StateFlags::LISTEN | StateFlags::CLOSE | StateFlags::TIME_WAIT;
        let mut found = Vec::new();
        for (transport, states) in [
            (Transport::Tcp, StateFlags::all().difference(idle)),
            (Transport::Udp, StateFlags::CLOSE | StateFlags::ESTABLISHED),
        ] {
            let sockets = monitor.list(transport, &states)?.into_iter();
            found.extend(sockets.map(|socket| (transport, socket)));
        }
        Ok(Self { monitor, found })
    }

    /// Ends those that are chosen, as many as can be.
    fn end(&self, chosen: impl Fn(Transport, &InetResponseHeader) -> bool) -> Result<()> {
        let all = self.found.iter();
        let mut left: Vec<_> = all.filter(|(transport, socket)| chosen(*transport, socket)).collect();
        let mut outcome = Ok(());
        // Of sockets with the same ports and addresses (SO_REUSEPORT) the kernel finds the second when the first is ended.
        let mut count = left.len() + 1;
        while left.len() < count && outcome.is_ok() {
            count = left.len();
            left.retain(|(transport, socket)| match self.monitor.end(*transport, socket) {
                Ok(ended) => !ended,
                Err(error) => {
                    outcome = Err(error);
                    true
                }
            });
        }
        outcome
    }
}

/// Whether a socket was led through one of these ports; one that is listed no more may have been of either transport.
fn was_led(transport: Option<Transport>, key: &PeerKey<Ipv4>, asked: Peer<Ipv4>, ports: &Claims<Ipv4Addr>) -> bool {
    let (container, host_port) = (key.container, u16::from_be_bytes(asked.port));
    let leads = |transport| {
        let found = ports.at(transport, asked.addr.into(), host_port);
        found.is_some_and(|(ports, address)| {
            address.octets() == { container.addr }
                && ports.behind(host_port) == Some(u16::from_be_bytes(container.port))
        })
    };
    transport.map_or_else(|| leads(Transport::Tcp) || leads(Transport::Udp), leads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use crate::state::Published;

    #[test]
    fn sockets_that_were_led_by_a_port_are_known_by_both_its_ends() {
        let mut port = fixtures::state().ports[0].clone();
        (port.host_port, port.port, port.count) = (8000, 80, 10);
        let led = |port: &Published, transport, container: ([u8; 4], u16), asked: ([u8; 4], u16)| {
            let ports = [(port.ports(), [10, 88, 0, 2].into())].into_iter().collect();
            let key = PeerKey {
                socket: 1,
                container: Peer::new(container.0, container.1.to_be_bytes()),
            };
            was_led(transport, &key, Peer::new(asked.0, asked.1.to_be_bytes()), &ports)
        };
        let (inside, loopback) = ([10, 88, 0, 2], [127, 0, 0, 1]);
        for (container, asked, expected) in [
            ((inside, 80), (loopback, 8000), true),
            ((inside, 89), ([192, 0, 2, 1], 8009), true),
            ((inside, 81), (loopback, 8000), false),
            ((inside, 90), (loopback, 8010), false),
            (([10, 88, 0, 3], 80), (loopback, 8000), false),
        ] {
            assert_eq!(led(&port, None, container, asked), expected, "{container:?} {asked:?}");
        }
        assert!(led(&port, Some(port.transport), (inside, 80), (loopback, 8000)));
        let other = [Transport::Tcp, Transport::Udp]
            .into_iter()
            .find(|other| *other != port.transport);
        assert!(
            !led(&port, other, (inside, 80), (loopback, 8000)),
            "by the other transport"
        );
        port.host_ip = Some(loopback.into());
        assert!(led(&port, None, (inside, 80), (loopback, 8000)));
        assert!(!led(&port, None, (inside, 80), ([192, 0, 2, 1], 8000)));
    }
}
