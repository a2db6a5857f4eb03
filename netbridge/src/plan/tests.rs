//! Plans of every operation, and the faults each finds.

use super::fixtures::{fresh_host, host, link, state, target};
use super::*;
use crate::facts::{HostFacts, Listener, TargetFacts};
use crate::model::{Attach, FaultKind, MacAddr, NetCreate, Ports, Transport};
use crate::state::FilterSource;

/// The steps in short.
fn words(plan: &Plan) -> Vec<String> {
    let first = |step: &Step| {
        format!("{step:?}")
            .split(['(', ' '])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    plan.steps.iter().map(first).collect()
}

/// What is said of each fault, one a line.
fn whys<T: std::fmt::Debug>(result: Result<T, Faults>) -> String {
    result.unwrap_err().to_string()
}

fn ports(endpoint: &str, specs: &[&str]) -> Ports {
    Ports {
        endpoint: endpoint.to_owned(),
        specs: specs.iter().map(ToString::to_string).collect(),
    }
}

fn request(netns: &str, ips: &[&str]) -> Attach {
    Attach {
        ips: ips.iter().map(ToString::to_string).collect(),
        ..Attach::new(netns, "front")
    }
}

fn attach_app(state: &State, request: &Attach) -> Result<Plan, Faults> {
    attach(state, &host(), Some(&target()), request, Faults::default())
}

fn filtered() -> State {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i web -j ACCEPT\nCOMMIT\n".to_owned();
    State {
        filter: Some(FilterSource {
            file: "f".to_owned(),
            text,
        }),
        ..state()
    }
}

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
fn programs_without_a_state_are_loaded_anew() {
    let plan = net_create(
        &State::default(),
        &HostFacts {
            loaded: true,
            ..fresh_host()
        },
        &NetCreate::new("a"),
    )
    .unwrap();
    assert_eq!(words(&plan)[..2], ["UnloadDatapath", "LoadDatapath"]);
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
    exists(port_add(&state(), &host(), &ports("web", &["80:8080"])));
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
fn an_endpoint_comes_up_last() {
    let plan = attach_app(&filtered(), &request("app", &[])).unwrap();
    let expected = [
        "CreateVeth",
        "AddEndpoint",
        "AttachPrograms",
        "JoinBridge",
        "Configure",
        "SwapFilter",
        "SetUp",
    ];
    assert_eq!(words(&plan), expected);
    let endpoint = &plan.state.endpoints[1];
    assert_eq!(endpoint.addresses, ["10.88.0.3/29".parse().unwrap()]);
    assert_eq!(endpoint.mac, MacAddr([0x02, 0x42, 10, 88, 0, 3]));
    assert_eq!((endpoint.ifname.as_str(), endpoint.slot), ("eth0", 2));
    assert_eq!(endpoint.gateway, Some("10.88.0.1".parse().unwrap()));
}

#[test]
fn addresses_with_prefix_and_gateway_are_taken_as_given() {
    let plan = attach_app(&state(), &request("app", &["10.88.0.4/32@10.88.0.2", "10.88.0.5"])).unwrap();
    let endpoint = &plan.state.endpoints[1];
    assert_eq!(
        endpoint.addresses,
        ["10.88.0.4/32".parse().unwrap(), "10.88.0.5/29".parse().unwrap()]
    );
    assert_eq!(endpoint.gateway, Some("10.88.0.2".parse().unwrap()));
}

#[test]
fn a_default_route_is_added_only_where_there_is_none() {
    let gateway = |state: &State, target: &TargetFacts, request: &Attach| {
        let plan = attach(state, &host(), Some(target), request, Faults::default()).unwrap();
        (plan.state.endpoints[1].gateway, plan.warnings.len())
    };
    let plain = request("app", &[]);
    let routed = TargetFacts {
        default_route: true,
        ..target()
    };
    assert_eq!(gateway(&state(), &routed, &plain), (None, 0));
    assert_eq!(
        gateway(&state(), &routed, &request("app", &["10.88.0.3/29@10.88.0.1"])),
        (None, 1)
    );
    assert_eq!(
        gateway(
            &state(),
            &target(),
            &Attach {
                default_route: false,
                ..plain.clone()
            }
        ),
        (None, 0)
    );
    let mut internal = state();
    internal.networks[0].internal = true;
    assert_eq!(gateway(&internal, &target(), &plain), (None, 0));
}

#[test]
fn the_next_free_interface_name_is_taken() {
    let target = TargetFacts {
        links: ["lo", "eth0", "eth1"].map(str::to_owned).into(),
        ..target()
    };
    let plan = attach(
        &state(),
        &host(),
        Some(&target),
        &request("app", &[]),
        Faults::default(),
    )
    .unwrap();
    assert_eq!(plan.state.endpoints[1].ifname, "eth2");
}

#[test]
fn a_trunk_has_no_address_unless_it_asks_for_one() {
    let trunk = Attach {
        trunk: true,
        ..request("app", &[])
    };
    let endpoint = attach_app(&state(), &trunk).unwrap().state.endpoints.remove(1);
    assert!(endpoint.addresses.is_empty() && endpoint.gateway.is_none());
    let mut state = state();
    state.endpoints[0].addresses.clear();
    assert!(whys(port_add(&state, &host(), &ports("web", &["81:81"]))).contains("has no address"));
}

#[test]
fn every_fault_of_an_attachment_is_told_at_once() {
    let request = Attach {
        name: Some("web".to_owned()),
        mac: Some("01:00:00:00:00:00".to_owned()),
        ifname: Some("lo".to_owned()),
        ..request(
            "app",
            &[
                "10.88.0.1",
                "10.88.0.2",
                "10.88.0.7",
                "10.1.0.1",
                "x",
                "10.88.0.3/29@10.1.0.1",
            ],
        )
    };
    let target = TargetFacts {
        inode: host().inode,
        ..target()
    };
    let text = whys(attach(&state(), &host(), Some(&target), &request, Faults::default()));
    for why in [
        "endpoint web: exists",
        "host's own",
        "group address",
        "exists in namespace",
        "is the gateway",
        "taken by endpoint web",
        "broadcast",
        "outside of network",
        "--ip x",
        "cannot be reached",
    ] {
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn a_missing_namespace_does_not_hide_other_faults() {
    let faults: Faults = Fault::not_found("namespace app", "none", "make it").into();
    let mut request = request("app", &[]);
    request.net = "nope".to_owned();
    let text = whys(attach(&state(), &host(), None, &request, faults));
    assert!(
        text.contains("namespace app") && text.contains("network nope"),
        "{text}"
    );
}

#[test]
fn a_full_network_says_so() {
    let mut state = state();
    for number in 3..7 {
        let request = request(&format!("c{number}"), &[]);
        state = attach_app(&state, &request).unwrap().state;
    }
    assert!(whys(attach_app(&state, &request("more", &[]))).contains("no free address left in 10.88.0.0/29"));
}

#[test]
fn detaching_withdraws_ports_and_ends_flows() {
    let plan = detach(&filtered(), &host(), &["web".to_owned(), "web".to_owned()]).unwrap();
    let expected = [
        "Unpublish",
        "DeleteLink",
        "DetachPrograms",
        "RemoveEndpoint",
        "EndFlows",
        "SwapFilter",
    ];
    assert_eq!(words(&plan), expected);
    assert!(plan.state.endpoints.is_empty() && plan.state.ports.is_empty());
    let faults = detach(&state(), &host(), &["a".to_owned(), "b".to_owned()]).unwrap_err();
    assert_eq!((faults.iter().count(), faults.kind()), (2, Some(FaultKind::NotFound)));
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
fn ports_collide_within_a_request_and_with_sockets_of_the_host() {
    let mut host = host();
    host.listeners.push(Listener {
        transport: Transport::Tcp,
        address: None,
        port: 22,
    });
    let request = ports(
        "web",
        &[
            "1000-1001:1-2",
            "192.0.2.1:1001:9",
            "22:22",
            "192.0.2.1:80:1",
            "198.51.100.1:90:90",
        ],
    );
    let text = whys(port_add(&state(), &host, &request));
    for why in [
        "port 192.0.2.1:1001/tcp: is published for endpoint web already, as 0.0.0.0:1001/tcp",
        "port 0.0.0.0:22/tcp: is in use by a socket",
        "port 192.0.2.1:80/tcp: is published for endpoint web already",
        "not an address of uplink up0; give 192.0.2.1",
    ] {
        assert!(text.contains(why), "{why}: {text}");
    }
    assert!(port_add(&state(), &host, &ports("web", &["22:22/udp"])).is_ok());
}

#[test]
fn ports_need_an_uplink() {
    let mut state = state();
    state.networks[0].uplink = None;
    assert!(whys(port_add(&state, &host(), &ports("web", &["81:81"]))).contains("no uplink"));
}

#[test]
fn only_published_ports_can_be_removed() {
    let plan = port_remove(&state(), &ports("web", &["80:8080"])).unwrap();
    assert!(plan.state.ports.is_empty() && words(&plan) == ["Unpublish"]);
    let all = port_remove(&state(), &ports("web", &[])).unwrap();
    assert_eq!(all.steps, plan.steps);
    let faults = port_remove(&state(), &ports("web", &["80:81"])).unwrap_err();
    assert_eq!(faults.kind(), Some(FaultKind::NotFound));
}

#[test]
fn names_in_a_filter_must_exist() {
    let rules = |body: &str| format!("*filter\n:FORWARD ACCEPT [0:0]\n{body}\nCOMMIT\n");
    let good = rules("-A FORWARD -i front -o web -j DROP\n-A FORWARD -i up0 -o nb-front -j DROP");
    assert!(filter_load(&state(), &host(), "f", &good).is_ok());
    let text = whys(filter_load(
        &state(),
        &host(),
        "f",
        &rules("-A FORWARD -i nope -j DROP"),
    ));
    assert!(text.contains("f:3: `nope`"), "{text}");
    let text = whys(filter_load(
        &state(),
        &host(),
        "f",
        &rules("-A FORWARD -j REJECT\n-A FORWARD -j LOG"),
    ));
    assert!(text.contains("f:3:") && text.contains("f:4:"), "{text}");
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

#[test]
fn undoing_every_step_of_an_attachment_leaves_nothing() {
    let plan = attach_app(&filtered(), &request("app", &[])).unwrap();
    let inverses: Vec<_> = plan
        .steps
        .iter()
        .rev()
        .filter_map(|step| step.inverse("default"))
        .collect();
    let undo = Plan {
        steps: inverses,
        ..Plan::default()
    };
    assert_eq!(
        words(&undo),
        ["RestoreFilter", "DetachPrograms", "RemoveEndpoint", "DeleteLink"]
    );
}
