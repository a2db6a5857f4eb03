//! rtnetlink, judged by `ip` and `bridge`.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use netbridge::netlink::{BridgeSpec, LinkInfo, Netlink, NetlinkError, Route, VethSpec, in_namespace};
use netbridge::netns::Netns;
use netbridge_tests::sandbox::within;
use serde_json::Value;

use super::command::{lists, refused, shows};

const MAC: [u8; 6] = [0x02, 0x42, 0x0a, 0x09, 0x00, 0x02];
const MAC_TEXT: &str = "02:42:0a:09:00:02";

/// A world with a namespace `box`, and a connection to the world's own rtnetlink.
fn world_with_box<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(Netlink, Netns) -> Result<()> + Send,
{
    within(|_| {
        let inner = Netns::create_named("box")?;
        in_namespace(&Netns::current()?, async |netlink| test(netlink, inner).await)
    })
}

fn bridge_spec(name: &str) -> BridgeSpec {
    BridgeSpec {
        name: name.to_owned(),
        mac: MAC,
        mtu: 1400,
        alias: Some("network web".to_owned()),
        group: 77,
    }
}

fn veth_spec<'a>(name: &'a str, peer_netns: &'a Netns) -> VethSpec<'a> {
    VethSpec {
        name,
        alias: Some("endpoint a"),
        group: 77,
        mac: None,
        mtu: 1400,
        peer_name: "eth0",
        peer_mac: MAC,
        peer_netns,
    }
}

async fn veth(netlink: &Netlink, name: &str, peer_netns: &Netns) -> Result<LinkInfo> {
    Ok(netlink.create_veth(&veth_spec(name, peer_netns)).await?)
}

#[test]
fn a_bridge_is_as_specified() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let made = netlink.create_bridge(&bridge_spec("nb-web")).await?;
        let seen = shows("ip -j -d link show nb-web")?;
        assert_eq!(seen["ifindex"], made.index);
        assert_eq!(seen["address"], MAC_TEXT);
        assert_eq!(seen["mtu"], 1400);
        assert_eq!(seen["ifalias"], "network web");
        assert_eq!(seen["linkinfo"]["info_kind"], "bridge");
        let expected = LinkInfo {
            index: made.index,
            name: "nb-web".to_owned(),
            kind: Some("bridge".to_owned()),
            mac: Some(MAC),
            ethernet: true,
            mtu: 1400,
            up: false,
            master: None,
            alias: Some("network web".to_owned()),
            group: 77,
            ipv4: made.ipv4,
            ipv6: made.ipv6,
        };
        assert_eq!(made, expected);
        assert!(made.ipv4.is_some(), "its settings are listed");

        let taken = refused(netlink.create_bridge(&bridge_spec("nb-web")).await)?;
        assert!(taken.is_exists());
        assert_eq!(taken.to_string(), "create bridge nb-web: File exists (17)");

        let port = veth(&netlink, "nbv-a", &inner).await?;
        netlink.set_master(port.index, made.index).await?;
        netlink.set_up(made.index).await?;
        netlink.delete_link(port.index).await?;
        let after = netlink.link("nb-web").await?;
        assert_eq!(
            after,
            Some(LinkInfo { up: true, ..expected }),
            "MAC and MTU do not follow the ports"
        );
        Ok(())
    })
}

#[test]
fn a_veth_is_made_straight_into_its_namespace() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let made = veth(&netlink, "nbv-a", &inner).await?;
        let peer = shows("ip -j -n box link show eth0")?;
        assert_eq!((&peer["address"], &peer["mtu"]), (&MAC_TEXT.into(), &1400.into()));
        assert_eq!(peer["operstate"], "DOWN");
        assert_eq!(peer["link_index"], made.index, "the peer's other end is ours");
        let here = shows("ip -j link show nbv-a")?;
        assert_eq!(
            (&here["ifindex"], &here["ifalias"]),
            (&made.index.into(), &"endpoint a".into())
        );
        assert!(!made.up);
        assert_eq!(made.kind.as_deref(), Some("veth"));
        assert!(
            lists("ip -j link show type veth")?
                .iter()
                .all(|l| l["ifname"] == "nbv-a"),
            "the peer was never here"
        );

        let taken = refused(netlink.create_veth(&veth_spec("nbv-b", &inner)).await)?;
        assert!(matches!(taken, NetlinkError::PeerNameTaken { .. }), "{taken}");
        assert!(
            taken
                .to_string()
                .contains("namespace box already has an interface eth0"),
            "{taken}"
        );
        assert_eq!(netlink.link("nbv-b").await?, None, "the refusal left nothing");
        let taken = refused(netlink.create_veth(&veth_spec("nbv-a", &inner)).await)?;
        assert_eq!(taken.to_string(), "create veth nbv-a: File exists (17)");
        assert_eq!(
            netlink.link("nbv-a").await?.as_ref(),
            Some(&made),
            "the refusal changed nothing"
        );

        netlink.delete_link(made.index).await?;
        assert_eq!(
            lists("ip -j -n box link show type veth")?,
            Vec::<Value>::new(),
            "the peer goes with it"
        );
        netlink.delete_link(made.index).await?;
        assert_eq!(netlink.link_by_index(made.index).await?, None);
        Ok(())
    })
}

#[test]
fn a_failed_creation_leaves_nothing() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let alias = "a".repeat(300);
        let spec = BridgeSpec {
            alias: Some(alias.clone()),
            ..bridge_spec("nb-web")
        };
        refused(netlink.create_bridge(&spec).await)?;
        refused(
            netlink
                .create_veth(&VethSpec {
                    alias: Some(&alias),
                    ..veth_spec("nbv-a", &inner)
                })
                .await,
        )?;
        assert_eq!(netlink.links().await?.len(), 1, "only lo is here");
        assert_eq!(lists("ip -j -n box link")?.len(), 1, "only lo is there");
        Ok(())
    })
}

#[test]
fn links_are_listed_as_ip_lists_them() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let bridge = netlink.create_bridge(&bridge_spec("nb-web")).await?;
        let port = veth(&netlink, "nbv-a", &inner).await?;
        netlink.set_master(port.index, bridge.index).await?;
        netlink.set_up(port.index).await?;
        let links: HashMap<_, _> = netlink
            .links()
            .await?
            .into_iter()
            .map(|l| (l.name.clone(), l))
            .collect();
        let seen = lists("ip -j link")?;
        assert_eq!(links.len(), seen.len());
        for entry in &seen {
            let name = entry["ifname"].as_str().context("a link has a name")?;
            let link = links.get(name).with_context(|| format!("{name} is missing"))?;
            assert_eq!(entry["ifindex"], link.index);
            assert_eq!(entry["mtu"], link.mtu);
            assert_eq!(entry["link_type"] == "ether", link.ethernet);
            assert_eq!(entry["master"].as_str(), link.master.map(|_| "nb-web"));
            let up = entry["flags"]
                .as_array()
                .is_some_and(|flags| flags.contains(&"UP".into()));
            assert_eq!(up, link.up);
        }
        assert_eq!(links.get("nbv-a").and_then(|l| l.master), Some(bridge.index));
        assert_eq!(netlink.link("a-name-of-more-than-15").await?, None);
        Ok(())
    })
}

#[test]
fn addresses_are_added_once() -> Result<()> {
    world_with_box(async |netlink, _| {
        let bridge = netlink.create_bridge(&bridge_spec("nb-web")).await?;
        let gateway = "10.9.0.1/24".parse()?;
        netlink.add_address(bridge.index, gateway).await?;
        netlink.add_address(bridge.index, gateway).await?;
        netlink.add_address(bridge.index, "10.9.1.1/32".parse()?).await?;
        let seen = shows("ip -j -4 address show nb-web")?;
        let pairs: Vec<_> = seen["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| (&a["local"], &a["prefixlen"]))
            .collect();
        assert_eq!(
            pairs,
            [(&"10.9.0.1".into(), &24.into()), (&"10.9.1.1".into(), &32.into())]
        );
        assert_eq!(
            netlink.addresses(bridge.index).await?,
            [gateway, "10.9.1.1/32".parse()?]
        );
        assert!(netlink.all_addresses().await?.contains(&(bridge.index, gateway)));
        let absent = refused(netlink.add_address(9999, gateway).await)?;
        assert!(absent.is_not_found(), "{absent}");
        assert!(
            absent
                .to_string()
                .starts_with("add address 10.9.0.1/24 to interface 9999: No such device (19)")
        );
        Ok(())
    })
}

#[test]
fn routes_of_a_container_on_a_subnet() -> Result<()> {
    world_with_box(async |netlink, inner| {
        veth(&netlink, "nbv-a", &inner).await?;
        let routes = in_namespace(&inner, async |netlink| {
            let eth0 = netlink.link("eth0").await?.context("eth0")?.index;
            netlink.set_up(eth0).await?;
            netlink.add_address(eth0, "10.9.0.2/24".parse()?).await?;
            let default = Route {
                dst: "0.0.0.0/0".parse()?,
                via: Some("10.9.0.1".parse()?),
                index: eth0,
                onlink: false,
            };
            netlink.add_route(&default).await?;
            netlink.add_route(&default).await?;
            let other = refused(
                netlink
                    .add_route(&Route {
                        via: Some("10.9.0.3".parse()?),
                        ..default
                    })
                    .await,
            )?;
            assert!(other.is_exists(), "another default route is not the same: {other}");
            let astray = Route {
                dst: "10.8.0.0/16".parse()?,
                via: Some("192.0.2.1".parse()?),
                index: eth0,
                onlink: false,
            };
            let astray = refused(netlink.add_route(&astray).await)?.to_string();
            assert!(
                astray.ends_with("Network is unreachable (101): Nexthop has invalid gateway"),
                "{astray}"
            );
            let routes = netlink.routes().await?;
            assert!(routes.contains(&default), "{routes:?}");
            Ok(routes)
        })?;
        assert_eq!(routes.len(), lists("ip -j -n box -4 route")?.len());
        let default = shows("ip -j -n box route show default")?;
        assert_eq!(
            (&default["gateway"], &default["dev"]),
            (&"10.9.0.1".into(), &"eth0".into())
        );
        Ok(())
    })
}

#[test]
fn routes_of_a_point_to_point_link() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let host = veth(&netlink, "nbv-a", &inner).await?;
        netlink.set_up(host.index).await?;
        let device = Route {
            dst: "10.9.0.2/32".parse()?,
            via: None,
            index: host.index,
            onlink: false,
        };
        netlink.add_route(&device).await?;
        netlink.add_route(&device).await?;
        let seen = shows("ip -j route show 10.9.0.2")?;
        assert_eq!((&seen["dev"], &seen["scope"]), (&"nbv-a".into(), &"link".into()));

        in_namespace(&inner, async |netlink| {
            let eth0 = netlink.link("eth0").await?.context("eth0")?.index;
            netlink.set_up(eth0).await?;
            netlink.add_address(eth0, "10.9.0.2/32".parse()?).await?;
            let onlink = Route {
                dst: "0.0.0.0/0".parse()?,
                via: Some("169.254.1.1".parse()?),
                index: eth0,
                onlink: true,
            };
            netlink.add_route(&onlink).await?;
            netlink.add_route(&onlink).await?;
            assert_eq!(netlink.routes().await?, [onlink]);
            Ok(())
        })?;
        let seen = shows("ip -j -n box route show default")?;
        assert_eq!(
            (&seen["gateway"], &seen["flags"][0]),
            (&"169.254.1.1".into(), &"onlink".into())
        );
        Ok(())
    })
}

#[test]
fn a_bridge_port_has_static_entries_and_does_not_learn() -> Result<()> {
    world_with_box(async |netlink, inner| {
        let bridge = netlink.create_bridge(&bridge_spec("nb-web")).await?;
        let port = veth(&netlink, "nbv-a", &inner).await?;
        let mac = [0x02, 0, 0, 0, 0, 0x17];
        refused(netlink.add_static_fdb(port.index, mac).await).context("it is no bridge port yet")?;
        netlink.set_master(port.index, bridge.index).await?;
        netlink.set_learning(port.index, false).await?;
        assert_eq!(
            shows("ip -j -d link show nbv-a")?["linkinfo"]["info_slave_data"]["learning"],
            false
        );
        netlink.add_static_fdb(port.index, mac).await?;
        netlink.add_static_fdb(port.index, mac).await?;
        let entries = lists("bridge -j fdb show dev nbv-a")?;
        let ours: Vec<_> = entries.iter().filter(|e| e["mac"] == "02:00:00:00:00:17").collect();
        assert_eq!(ours.len(), 1, "{entries:?}");
        assert_eq!(
            (&ours[0]["state"], &ours[0]["master"]),
            (&"static".into(), &"nb-web".into())
        );
        netlink.set_learning(port.index, true).await?;
        assert_eq!(
            shows("ip -j -d link show nbv-a")?["linkinfo"]["info_slave_data"]["learning"],
            true
        );
        Ok(())
    })
}
