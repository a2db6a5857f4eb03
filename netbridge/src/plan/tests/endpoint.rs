//! Endpoints: attached and detached.

use super::*;
use crate::facts::TargetFacts;
use crate::model::{FaultKind, MacAddr};

/// `app` in a namespace, with nothing asked for.
fn attach_to(target: &TargetFacts) -> Result<Plan, Faults> {
    attach(&state(), &host(), Some(target), &request("app", &[]), Faults::default())
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
    let unasked = Attach {
        default_route: false,
        ..request("app", &["10.88.0.3/29@10.88.0.1"])
    };
    assert_eq!(gateway(&state(), &routed, &unasked), (None, 0));
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
    let plan = attach_to(&target).unwrap();
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
    assert!(whys(port_add(&state, &host(), &[], &ports("web", &["81:81"]))).contains("has no address"));
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
fn the_namespace_of_the_first_process_is_no_containers() {
    let target = TargetFacts {
        inode: host().machine.unwrap(),
        ..target()
    };
    let plan = attach_to(&target);
    assert!(whys(plan).contains("machine's own"));
}

#[test]
fn a_taken_address_is_not_told_again_as_a_taken_mac() {
    let plan = |request| attach_app(&state(), &request);
    assert!(!whys(plan(request("app", &["10.88.0.2"]))).contains("MAC"));
    let mac = Some("02:42:0a:58:00:02".to_owned());
    assert!(
        whys(plan(Attach {
            mac,
            ..request("app", &[])
        }))
        .contains("is that of endpoint web")
    );
}

#[test]
fn a_network_without_its_bridge_takes_no_endpoint() {
    let mut host = host();
    host.links.retain(|link| link.name != "nb-front");
    let plan = attach(
        &state(),
        &host,
        Some(&target()),
        &request("app", &[]),
        Faults::default(),
    );
    assert!(whys(plan).contains("bridge nb-front was removed; `netbridge net rm --force front`"));
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
