//! A client and a server in a world: what they send each other, where it appears, and as what it must arrive.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
use netbridge::netns::Netns;

use crate::bench::classbench::Probe;
use crate::bench::generator::{Arrived, Flows, Stream};
use crate::bench::world::{Host, Layout, Place, Published};

/// Source port of the first flow: where Linux clients begin.
const CLIENT: u16 = 32_768;
/// The server's port, if a case has no reason for another.
pub(super) const SERVER: u16 = 9000;
/// The port of the host that leads to the server in container B.
pub(super) const PUBLISHED: Published = Published {
    proto: 17,
    host: 8080,
    container: SERVER,
};

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Container A to container B.
    Neighbours,
    /// Container A to the outside, with the host's address.
    Masqueraded,
    /// The outside to container B, by a published port.
    Published,
}

/// The interface on which a packet appears.
#[derive(Clone, Copy)]
pub(super) struct Entrance<'a> {
    pub(super) netns: &'a Netns,
    pub(super) ifindex: u32,
}

/// One way of a conversation: what is sent where, and where it must arrive as what.
pub(super) struct Way<'a> {
    /// Where the frames appear.
    pub(super) entrance: Entrance<'a>,
    /// The frames; one flow.
    pub(super) stream: Stream,
    /// Whose interface they reach.
    pub(super) exit: &'a Place,
    /// Their source when they do; port 0 for any.
    pub(super) src: SocketAddrV4,
    /// Their destination when they do.
    pub(super) dst: SocketAddrV4,
}

/// Both ends in a layout.
pub(super) struct Conversation<'a> {
    relation: Relation,
    layout: &'a Layout,
    client: &'a Place,
    server: &'a Place,
    /// The server's.
    port: u16,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(relation: Relation, layout: &'a Layout, port: u16) -> Self {
        let (client, server) = match relation {
            Relation::Neighbours => (&layout.a, &layout.b),
            Relation::Masqueraded => (&layout.a, &layout.outside),
            Relation::Published => (&layout.outside, &layout.b),
        };
        Self {
            relation,
            layout,
            client,
            server,
            port,
        }
    }

    /// The packet for which filter rules are made, as a host sees it that forwards it.
    pub(super) fn probe(&self) -> Probe {
        Probe {
            src: self.client.ip,
            dst: self.server.ip,
            proto: PUBLISHED.proto,
            dport: self.port,
        }
    }

    /// Where the client's answers arrive.
    pub(super) fn client(&self) -> &'a Place {
        self.client
    }

    /// From the client to the server.
    pub(super) fn request(&self) -> Result<Way<'a>> {
        let (client, server) = (self.client, self.server);
        let src = SocketAddrV4::new(client.ip, CLIENT);
        let seen_src = match self.relation {
            Relation::Neighbours | Relation::Published => src,
            Relation::Masqueraded => SocketAddrV4::new(self.host()?.uplink.ip, 0),
        };
        let dst = match self.relation {
            Relation::Neighbours | Relation::Masqueraded => SocketAddrV4::new(server.ip, self.port),
            Relation::Published => SocketAddrV4::new(self.host()?.uplink.ip, PUBLISHED.host),
        };
        Ok(Way {
            entrance: self.entrance(client)?,
            stream: self.stream(client, src, server, dst)?,
            exit: server,
            src: seen_src,
            dst: SocketAddrV4::new(server.ip, self.port),
        })
    }

    /// From the server back to the client of the first flow, whose request `arrived`.
    pub(super) fn reply(&self, arrived: &Arrived) -> Result<Way<'a>> {
        let request = self.request()?.stream;
        Ok(Way {
            entrance: self.entrance(self.server)?,
            stream: self.stream(self.server, arrived.dst, self.client, arrived.src)?,
            exit: self.client,
            src: request.dst,
            dst: request.src,
        })
    }

    fn host(&self) -> Result<&'a Host> {
        self.layout.host.as_ref().context("there is no host between the ends")
    }

    /// Where what `from` sends appears first.
    fn entrance(&self, from: &Place) -> Result<Entrance<'a>> {
        let host = self.host()?;
        let port = match from.ip {
            ip if ip == self.layout.a.ip => host.a_port,
            ip if ip == self.layout.b.ip => host.b_port,
            _ => host.uplink,
        };
        Ok(Entrance {
            netns: &host.netns,
            ifindex: port.ifindex,
        })
    }

    /// What `from` sends to `to`: by the gateway's MAC, the uplink's, or its own.
    fn stream(&self, from: &Place, src: SocketAddrV4, to: &Place, dst: SocketAddrV4) -> Result<Stream> {
        let dmac = match self.relation {
            Relation::Neighbours => to.mac,
            _ if from.ip == self.layout.outside.ip => self.host()?.uplink.mac,
            _ => self.host()?.gateway.mac,
        };
        Ok(Stream {
            smac: from.mac,
            dmac,
            src,
            dst,
            flows: Flows::One,
        })
    }
}

/// The same end, whatever its port.
pub(super) fn any_port(end: SocketAddrV4) -> SocketAddrV4 {
    let ip: Ipv4Addr = *end.ip();
    SocketAddrV4::new(ip, 0)
}
