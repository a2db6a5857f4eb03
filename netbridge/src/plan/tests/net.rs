//! Networks: created and removed.

use super::super::fixtures::{fresh_host, link};
use super::*;
use crate::facts::HostFacts;
use crate::model::{FaultKind, NetCreate};
use crate::state::Dependence;

#[test]
fn the_first_network_loads_the_datapath_and_takes_the_uplink() {
    let request = NetCreate {
        uplink: Some("up0".to_owned()),
        ..NetCreate::new("front")
    };
    let plan = net_create(&State::default(), &fresh_host(), &request).unwrap();
    assert_eq!(
        words(&plan),
        [
            "LoadDatapath",
            "CreateBridge",
            "AddUplink",
            "AddLocal",
            "AddNetwork",
            "SetUp"
        ]
    );
    let network = &plan.state.networks[0];
    assert_eq!((network.id, network.mtu), (1, 1500));
    assert_eq!(network.gateway, network.subnet.hosts().next().unwrap());
    assert_eq!(
        plan.state.uplinks[0].addresses,
        ["192.0.2.1".parse::<std::net::Ipv4Addr>().unwrap()]
    );
    assert!(
        plan.state.local.contains(&network.gateway) && plan.state.local.len() == 2,
        "loopback is no address"
    );
}

#[test]
fn another_network_shares_the_uplink() {
    let request = NetCreate {
        uplink: Some("up0".to_owned()),
        ..NetCreate::new("second")
    };
    let plan = net_create(&state(), &host(), &request).unwrap();
    assert_eq!(words(&plan), ["CreateBridge", "AddLocal", "AddNetwork", "SetUp"]);
    assert_eq!(plan.state.uplinks.len(), 1);
    assert_eq!(
        (plan.state.networks[1].id, plan.state.networks[1].subnet),
        (2, "10.88.1.0/24".parse().unwrap())
    );
}

#[test]
fn what_the_host_changed_is_noticed() {
    let mut host = host();
    assert_eq!(refresh(&state(), &host), (state(), Vec::new()));
    host.links[1] = link(7, "up0");
    host.addresses = vec![
        (7, "192.0.2.9/24".parse().unwrap()),
        (7, "192.0.2.10/24".parse().unwrap()),
    ];
    let (fresh, warnings) = refresh(&state(), &host);
    assert_eq!(
        (
            fresh.uplinks[0].ifindex,
            fresh.uplinks[0].addresses.len(),
            warnings.len()
        ),
        (7, 2, 0)
    );
    let local = ["192.0.2.9", "192.0.2.10", "10.88.0.1"].map(|address| address.parse().unwrap());
    assert_eq!(fresh.local, local.into(), "the gateway stays");
    host.addresses.clear();
    let (fresh, warnings) = refresh(&state(), &host);
    assert_eq!(fresh.uplinks, state().uplinks, "remembered as it was");
    assert!(warnings[0].contains("uplink up0 has no IPv4 address"), "{warnings:?}");
}

#[test]
fn an_address_to_send_from_that_is_gone_is_told() {
    let mut state = state();
    state.networks[0].snat = Some([192, 0, 2, 1].into());
    assert!(refresh(&state, &host()).1.is_empty());
    let mut host = host();
    host.addresses[1] = (2, "192.0.2.9/24".parse().unwrap());
    let (_, warnings) = refresh(&state, &host);
    let [told] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(
        told.starts_with("network front: its --snat address 192.0.2.1 is no address of up0 any more"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_with_the_uplink_is_told_once() {
    let told = |uplink: Option<&str>, snat: &str| {
        let request = NetCreate {
            uplink: uplink.map(str::to_owned),
            snat: Some(snat.to_owned()),
            ..NetCreate::new("second")
        };
        whys(net_create(&state(), &host(), &request))
    };
    assert_eq!(told(Some("nope"), "1.2.3.4").lines().count(), 1);
    assert_eq!(told(Some("nope"), "x").lines().count(), 2);
    assert!(told(None, "1.2.3.4").contains("the network has no uplink"));
    assert!(told(Some("up0"), "1.2.3.4").contains("is no address of up0"));
}

#[test]
fn what_is_said_of_masquerading_is_said_of_a_network_that_does() {
    let told = |routed, masquerade| {
        let request = NetCreate {
            uplink: Some("up0".to_owned()),
            snat: Some("192.0.2.1".to_owned()),
            filtering: Dependence::Independent,
            tunnels: true,
            routed,
            masquerade,
            ..NetCreate::new("second")
        };
        net_create(&state(), &host(), &request)
            .err()
            .map_or(0, |faults| faults.iter().count())
    };
    assert_eq!((told(false, true), told(true, true), told(false, false)), (0, 3, 3));
}

#[test]
fn every_fault_of_a_network_is_told_at_once() {
    let request = NetCreate {
        name: "Front".to_owned(),
        subnet: Some("10.88.0.0/25".to_owned()),
        gateway: Some("10.88.0.127".to_owned()),
        uplink: Some("up9".to_owned()),
        mtu: Some(100),
        ..NetCreate::new("")
    };
    let faults = net_create(&state(), &host(), &request).unwrap_err();
    assert_eq!(faults.iter().count(), 5, "{faults}");
    assert_eq!(faults.kind(), Some(FaultKind::Usage));
    let text = faults.to_string();
    for why in [
        "overlaps network front",
        "broadcast",
        "no such interface",
        "out of range",
        "\"Front\"",
    ] {
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn subnets_of_the_host_are_refused() {
    for (subnet, why) in [
        ("192.0.2.128/25", "the address 192.0.2.1/24 of up0"),
        ("172.16.5.0/24", "the route to 172.16.0.0/12 through up0"),
        ("10.88.0.0/16", "network front"),
    ] {
        let request = NetCreate {
            subnet: Some(subnet.to_owned()),
            ..NetCreate::new("new")
        };
        let text = whys(net_create(&state(), &host(), &request));
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn uplinks_that_cannot_be_are_refused() {
    let mut host = host();
    host.links.push(link(20, "bare"));
    host.links.push(crate::netlink::LinkInfo {
        ethernet: false,
        ..link(21, "tun0")
    });
    for (uplink, why) in [
        ("nb-front", "of netbridge itself"),
        ("lo", "not an Ethernet"),
        ("tun0", "not an Ethernet"),
        ("bare", "no IPv4 address"),
        ("none", "no such interface"),
    ] {
        let request = NetCreate {
            uplink: Some(uplink.to_owned()),
            ..NetCreate::new("new")
        };
        let text = whys(net_create(&state(), &host, &request));
        assert!(text.contains(why), "{uplink}: {text}");
    }
    let contradiction = NetCreate {
        uplink: Some("up0".to_owned()),
        internal: true,
        ..NetCreate::new("new")
    };
    assert!(whys(net_create(&state(), &host, &contradiction)).contains("contradicts"));
}

#[test]
fn what_exists_is_said_to_exist() {
    let exists = |result: Result<Plan, Faults>| assert_eq!(result.unwrap_err().kind(), Some(FaultKind::Exists));
    exists(net_create(&state(), &host(), &NetCreate::new("front")));
    exists(attach_app(&state(), &request("web", &[])));
    exists(port_add(&state(), &host(), &[], &ports("web", &["80:8080"])));
}

#[test]
fn an_interface_of_someone_else_is_left_alone() {
    let mut host = host();
    host.links.push(link(30, "nb-new"));
    host.links.push(link(
        31,
        &crate::names::host_interface("default", &"app".parse().unwrap()),
    ));
    assert!(whys(net_create(&state(), &host, &NetCreate::new("new"))).contains("interface nb-new: exists"));
    let result = attach(
        &state(),
        &host,
        Some(&target()),
        &request("app", &[]),
        Faults::default(),
    );
    assert!(whys(result).contains("belongs to something else"));
}

#[test]
fn a_network_with_endpoints_goes_only_by_force() {
    let names = ["front".to_owned()];
    assert!(whys(net_remove(&state(), &host(), &names, false)).contains("has endpoints: web"));
    let plan = net_remove(&filtered(), &host(), &names, true).unwrap();
    assert_eq!(words(&plan).last().unwrap(), "UnloadDatapath");
    assert_eq!(plan.state, State::default());
}

#[test]
fn an_uplink_goes_with_its_last_network() {
    let request = NetCreate {
        uplink: Some("up0".to_owned()),
        ..NetCreate::new("second")
    };
    let both = net_create(&state(), &host(), &request).unwrap().state;
    let plan = net_remove(&both, &host(), &["second".to_owned()], false).unwrap();
    assert_eq!(words(&plan), ["RemoveNetwork", "RemoveLocal", "DeleteLink"]);
    assert_eq!(plan.state.uplinks.len(), 1);
}

#[test]
fn a_state_without_its_programs_is_noticed() {
    let gone = HostFacts {
        loaded: false,
        ..host()
    };
    assert!(whys(net_create(&state(), &gone, &NetCreate::new("b"))).contains("net rm --force front"));
    assert!(
        net_remove(&state(), &gone, &["front".to_owned()], true).is_ok(),
        "the way out stays open"
    );
}
