//! Links: bridges, veth pairs, and what is known of any interface.

use std::os::fd::AsRawFd as _;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, Inet6DevConf, InetDevConf, InfoData, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo as KindInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Netlink, NetlinkError};
use crate::netns::Netns;

/// The longest interface name, in bytes.
const NAME_MAX: usize = 15;

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The interface's index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, …; none for a physical device and for `lo`.
    pub kind: Option<String>,
    /// Its MAC address, if it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Whether it carries Ethernet frames.
    pub ethernet: bool,
    /// The largest packet it carries, in bytes, link header not counted.
    pub mtu: u32,
    /// Whether it was set up; it can be so without a carrier.
    pub up: bool,
    /// The index of the bridge (or other master) it is a port of.
    pub master: Option<u32>,
    /// The text attached to it.
    pub alias: Option<String>,
    /// The group it is in; 0 is that of interfaces nobody put into one.
    pub group: u32,
    /// Its IPv4 settings.
    pub ipv4: Option<InetDevConf>,
    /// Its IPv6 settings; none where the kernel has no IPv6, or for an MTU below 1280.
    pub ipv6: Option<Inet6DevConf>,
}

/// A bridge to create.
#[derive(Clone, Debug)]
pub struct BridgeSpec {
    /// Its name.
    pub name: String,
    /// Its MAC address. A bridge without one takes its ports', and so changes it as they come and go.
    pub mac: [u8; 6],
    /// The largest packet it carries, in bytes.
    pub mtu: u32,
    /// The text to attach, once it exists.
    pub alias: Option<String>,
    /// The group it is made in.
    pub group: u32,
}

/// A veth pair to create: one end here, the peer in another namespace.
#[derive(Clone, Debug)]
pub struct VethSpec<'a> {
    /// The name of the end here.
    pub name: &'a str,
    /// The text to attach to the end here, once it exists.
    pub alias: Option<&'a str>,
    /// The group the end here is made in.
    pub group: u32,
    /// The MAC address of the end here; the kernel chooses one if it is left open.
    pub mac: Option<[u8; 6]>,
    /// The largest packet both ends carry, in bytes.
    pub mtu: u32,
    /// The name of the peer.
    pub peer_name: &'a str,
    /// The MAC address of the peer.
    pub peer_mac: [u8; 6],
    /// Where the peer is made.
    pub peer_netns: &'a Netns,
}

impl Netlink {
    /// The interface of this name, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<LinkInfo>, NetlinkError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Ok(None);
        }
        let message = LinkUnspec::new_with_name(name)
            .append_extra_attribute(without_statistics())
            .build();
        Ok(self
            .get(&format!("find interface {name}"), RouteNetlinkMessage::GetLink(message))
            .await?
            .and_then(describe))
    }

    /// The interface of this index, if there is one.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<LinkInfo>, NetlinkError> {
        let message = LinkUnspec::new_with_index(index)
            .append_extra_attribute(without_statistics())
            .build();
        let operation = format!("find interface {index}");
        Ok(self
            .get(&operation, RouteNetlinkMessage::GetLink(message))
            .await?
            .and_then(describe))
    }

    /// All interfaces of the namespace.
    pub async fn links(&self) -> Result<Vec<LinkInfo>, NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .append_extra_attribute(without_statistics())
            .build();
        let answer = self
            .list("list interfaces", RouteNetlinkMessage::GetLink(message))
            .await?;
        Ok(answer.into_iter().filter_map(describe).collect())
    }

    /// Creates a bridge; it is down. A name that is taken is refused.
    pub async fn create_bridge(&self, spec: &BridgeSpec) -> Result<LinkInfo, NetlinkError> {
        let operation = format!("create bridge {}", spec.name);
        let bridge = LinkMessageBuilder::<LinkBridge>::new(&spec.name)
            .address(spec.mac.to_vec())
            .append_extra_attribute(LinkAttribute::Group(spec.group))
            .build();
        self.change(
            &operation,
            RouteNetlinkMessage::NewLink(bridge),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .await?;
        // An MTU given at creation does not bind the bridge: it would follow its ports'.
        let mut more = LinkUnspec::new_with_name(&spec.name).mtu(spec.mtu);
        if let Some(alias) = &spec.alias {
            more = more.alias(alias);
        }
        self.finish(&operation, &spec.name, more.build()).await
    }

    /// Creates a veth pair, its peer straight in the other namespace, both ends down; returns the end here.
    pub async fn create_veth(&self, spec: &VethSpec<'_>) -> Result<LinkInfo, NetlinkError> {
        let operation = format!("create veth {}", spec.name);
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(spec.peer_name)
            .address(spec.peer_mac.to_vec())
            .mtu(spec.mtu)
            .setns_by_fd(spec.peer_netns.as_fd().as_raw_fd())
            .build();
        let mut veth = LinkMessageBuilder::<LinkVeth>::new(spec.name, spec.peer_name)
            .mtu(spec.mtu)
            .append_extra_attribute(LinkAttribute::Group(spec.group))
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if let Some(mac) = spec.mac {
            veth = veth.address(mac.to_vec());
        }
        let veth = veth.build();
        match self
            .change(
                &operation,
                RouteNetlinkMessage::NewLink(veth),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .await
        {
            // The kernel does not say which of the two names is taken.
            Err(e) if e.is_exists() && self.link(spec.name).await?.is_none() => {
                return Err(NetlinkError::PeerNameTaken {
                    name: spec.name.to_owned(),
                    peer: spec.peer_name.to_owned(),
                    netns: spec.peer_netns.to_string(),
                });
            }
            made => made?,
        }
        let mut more = LinkUnspec::new_with_name(spec.name);
        if let Some(alias) = spec.alias {
            more = more.alias(alias);
        }
        self.finish(&operation, spec.name, more.build()).await
    }

    /// Deletes an interface, a veth's peer with it. That it is gone already is no error.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).build();
        match self
            .change(
                &format!("delete interface {index}"),
                RouteNetlinkMessage::DelLink(message),
                0,
            )
            .await
        {
            Err(e) if e.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// Sets an interface up.
    pub async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.change(
            &format!("set interface {index} up"),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
        .await
    }

    /// Makes an interface a port of a bridge; it leaves the one it was a port of.
    pub async fn set_master(&self, index: u32, master: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).controller(master).build();
        let operation = format!("make interface {index} a port of bridge {master}");
        self.change(&operation, RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Gives a new link what the kernel does not take at its creation, and reads it back; on failure deletes it.
    async fn finish(&self, operation: &str, name: &str, more: LinkMessage) -> Result<LinkInfo, NetlinkError> {
        let finished = async {
            self.change(operation, RouteNetlinkMessage::SetLink(more), 0).await?;
            self.link(name).await?.ok_or_else(|| NetlinkError::NoAnswer {
                operation: operation.to_owned(),
            })
        }
        .await;
        if finished.is_err() {
            let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_name(name).build());
            // The first failure is the one to report.
            let _ = self.change(&format!("delete interface {name}"), message, 0).await;
        }
        finished
    }
}

/// Statistics are most of the bytes of an answer, and nobody here reads them.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn describe(message: RouteNetlinkMessage) -> Option<LinkInfo> {
    let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = message else {
        return None;
    };
    let mut link = LinkInfo {
        index: header.index,
        name: String::new(),
        kind: None,
        mac: None,
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        master: None,
        alias: None,
        group: 0,
        ipv4: None,
        ipv6: None,
    };
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::AfSpecUnspec(families) => {
                for family in families {
                    match family {
                        AfSpecUnspec::Inet(told) => link.ipv4 = told.iter().find_map(ipv4),
                        AfSpecUnspec::Inet6(told) => link.ipv6 = told.iter().find_map(ipv6),
                        _ => {}
                    }
                }
            }
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    KindInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn ipv4(told: &AfSpecInet) -> Option<InetDevConf> {
    match told {
        AfSpecInet::DevConf(conf) => Some(*conf),
        _ => None,
    }
}

fn ipv6(told: &AfSpecInet6) -> Option<Inet6DevConf> {
    match told {
        AfSpecInet6::DevConf(conf) => Some(*conf),
        _ => None,
    }
}
