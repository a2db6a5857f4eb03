//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Netlink, NetlinkError};

impl Netlink {
    /// Gives an interface an address; the prefix length is that of its subnet. That it has it already is no error.
    pub async fn add_address(&self, index: u32, net: IpNet) -> Result<(), NetlinkError> {
        let length = net.prefix_len();
        let message = match net.addr() {
            IpAddr::V4(addr) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index)
                .address(addr, length)
                .build(),
            IpAddr::V6(addr) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(index)
                .address(addr, length)
                .build(),
        };
        let operation = format!("add address {net} to interface {index}");
        match self
            .change(
                &operation,
                RouteNetlinkMessage::NewAddress(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .await
        {
            Err(e) if e.is_exists() && self.addresses(index).await?.contains(&net) => Ok(()),
            done => done,
        }
    }

    /// The addresses of an interface, each with its prefix length.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let all = self.all_addresses().await?;
        Ok(all
            .into_iter()
            .filter(|(owner, _)| *owner == index)
            .map(|(_, net)| net)
            .collect())
    }

    /// The addresses of all interfaces, each with the interface's index.
    pub async fn all_addresses(&self) -> Result<Vec<(u32, IpNet)>, NetlinkError> {
        let answer = self
            .list(
                "list addresses",
                RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            )
            .await?;
        Ok(answer.into_iter().filter_map(describe).collect())
    }
}

fn describe(message: RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = message else {
        return None;
    };
    // On a point-to-point link `Local` is ours and `Address` the other side's; IPv6 mostly says `Address` alone.
    let local = attributes.iter().find_map(|a| {
        if let AddressAttribute::Local(ip) = a {
            Some(*ip)
        } else {
            None
        }
    });
    let address = || {
        attributes.iter().find_map(|a| {
            if let AddressAttribute::Address(ip) = a {
                Some(*ip)
            } else {
                None
            }
        })
    };
    let net = IpNet::new(local.or_else(address)?, header.prefix_len).ok()?;
    Some((header.index, net))
}
