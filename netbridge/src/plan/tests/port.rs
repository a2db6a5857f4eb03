//! Published ports and the filter.

use super::*;
use crate::listener::Listener;
use crate::model::{FaultKind, Transport};

/// A program that listens at every address of the host.
fn listener(port: u16) -> Listener {
    Listener {
        transport: Transport::Tcp,
        address: None,
        port,
    }
}

#[test]
fn ports_collide_within_a_request_and_with_sockets_of_the_host() {
    let listeners = [listener(22)];
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
    let text = whys(port_add(&state(), &host(), &listeners, &request));
    for why in [
        "port 192.0.2.1:1001/tcp: is published for endpoint web already, as 0.0.0.0:1000-1001/tcp",
        "port 0.0.0.0:22/tcp: is in use by a socket",
        "port 192.0.2.1:80/tcp: is published for endpoint web already",
        "not an address of uplink up0; give 192.0.2.1",
    ] {
        assert!(text.contains(why), "{why}: {text}");
    }
    assert!(port_add(&state(), &host(), &listeners, &ports("web", &["22:22/udp"])).is_ok());
}

#[test]
fn a_range_is_one_and_meets_whatever_shares_a_port_with_it() {
    let listeners = [listener(9500)];
    let plan = port_add(&state(), &host(), &listeners, &ports("web", &["8000-8999:18000-18999"])).unwrap();
    let range = &plan.state.ports[1];
    assert_eq!((range.host_port, range.port, range.count), (8000, 18000, 1000));
    assert!(plan.steps == [Step::Publish(vec![range.clone()])]);
    for (spec, why) in [
        (
            "8999:1",
            "port 0.0.0.0:8999/tcp: is published for endpoint web already, as 0.0.0.0:8000-8999/tcp",
        ),
        ("192.0.2.1:7990-8000:1-11", "as 0.0.0.0:8000-8999/tcp"),
        ("79-81:1-3", "as 0.0.0.0:80/tcp"),
        ("9000-9999:1-1000", "port 9500 is in use by a socket"),
    ] {
        let text = whys(port_add(&plan.state, &host(), &listeners, &ports("web", &[spec])));
        assert!(text.contains(why), "{spec}: {text}");
    }
    let faults = port_add(
        &plan.state,
        &host(),
        &listeners,
        &ports("web", &["8000-8999:18000-18999"]),
    )
    .unwrap_err();
    assert_eq!(faults.kind(), Some(FaultKind::Exists));
    for free in ["7999:1", "9000:1", "8000-8999:1-1000/udp"] {
        assert!(
            port_add(&plan.state, &host(), &listeners, &ports("web", &[free])).is_ok(),
            "{free}"
        );
    }
}

#[test]
fn a_range_is_removed_whole() {
    let before = port_add(&state(), &host(), &[], &ports("web", &["8000-8999:18000-18999"]))
        .unwrap()
        .state;
    for part in [
        "8000:18000",
        "8000-8998:18000-18998",
        "8000-8999:18001-19000",
        "7000-9999:17000-19999",
    ] {
        let text = whys(port_remove(&before, &ports("web", &[part])));
        let remedy = "`netbridge port rm web 8000-8999:18000-18999/tcp` removes that, which goes as a whole";
        assert!(
            text.contains("is not published as such") && text.contains(remedy),
            "{part}: {text}"
        );
    }
    let plan = port_remove(&before, &ports("web", &["8000-8999:18000-18999"])).unwrap();
    assert_eq!(plan.state, state());
}

#[test]
fn ports_need_an_uplink() {
    let mut state = state();
    state.networks[0].uplink = None;
    assert!(whys(port_add(&state, &host(), &[], &ports("web", &["81:81"]))).contains("no uplink"));
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
