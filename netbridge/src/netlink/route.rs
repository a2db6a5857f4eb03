//! Routes of the main table.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Netlink, NetlinkError};

/// A unicast route through one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; a prefix of length 0 is the default route.
    pub dst: IpNet,
    /// The next hop, of the same family; none when the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// The index of the interface.
    pub index: u32,
    /// Take the next hop to be on the link, though no address of the interface says so.
    pub onlink: bool,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(
            f,
            " through interface {}{}",
            self.index,
            if self.onlink { " onlink" } else { "" }
        )
    }
}

impl Netlink {
    /// Adds a route. That the same route exists is no error; another one to the same destination is.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let operation = format!("add route {route}");
        let message = RouteNetlinkMessage::NewRoute(route.to_message());
        match self.change(&operation, message, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(e) if e.is_exists() && self.routes_of(family(route.dst)).await?.contains(route) => Ok(()),
            done => done,
        }
    }

    /// The IPv4 routes of the main table; without multipath routes and those that lead to no interface.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        self.routes_of(AddressFamily::Inet).await
    }

    async fn routes_of(&self, family: AddressFamily) -> Result<Vec<Route>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answer = self.list("list routes", RouteNetlinkMessage::GetRoute(message)).await?;
        Ok(answer.into_iter().filter_map(describe).collect())
    }
}

impl Route {
    fn to_message(self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.dst);
        message.header.destination_prefix_length = self.dst.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if self.via.is_some() {
            RouteScope::Universe
        } else {
            RouteScope::Link
        };
        message.header.flags.set(RouteFlags::Onlink, self.onlink);
        message
            .attributes
            .push(RouteAttribute::Destination(self.dst.network().into()));
        message
            .attributes
            .extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        message.attributes.push(RouteAttribute::Oif(self.index));
        message
    }
}

fn family(net: IpNet) -> AddressFamily {
    match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

fn describe(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(RouteMessage { header, attributes, .. }) = message else {
        return None;
    };
    let mut dst = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut via, mut index, mut table) = (None, None, u32::from(header.table));
    for attribute in attributes {
        match attribute {
            RouteAttribute::Destination(address) => dst = ip(&address)?,
            RouteAttribute::Gateway(address) => via = Some(ip(&address)?),
            RouteAttribute::Oif(oif) => index = Some(oif),
            RouteAttribute::Table(id) => table = id,
            _ => {}
        }
    }
    if header.kind != RouteType::Unicast || table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let dst = IpNet::new(dst, header.destination_prefix_length).ok()?;
    Some(Route {
        dst,
        via,
        index: index?,
        onlink: header.flags.contains(RouteFlags::Onlink),
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
