//! Published ports and the filter.

use super::*;
use crate::facts::HostFacts;
use crate::listener::Listener;
use crate::model::{FaultKind, Transport};
use crate::state::FilterSource;

/// A program that listens at every address of the host.
fn listener(port: u16) -> Listener {
    Listener {
        transport: Transport::Tcp,
        address: None,
        port,
        inode: 0,
        holder: None,
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
        "port 192.0.2.1:1001/tcp: is asked for twice, here and as 0.0.0.0:1000-1001/tcp",
        "port 0.0.0.0:22/tcp: is in use by a socket",
        "port 192.0.2.1:80/tcp: is published for endpoint web already",
        "198.51.100.1 is not an address of the host; give 10.88.0.1, 192.0.2.1, 127.0.0.1 for the host alone",
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
fn a_port_in_use_is_refused_with_the_name_of_its_holder() {
    let mut busy = listener(22);
    busy.holder = Some("sshd (pid 7)".to_owned());
    let text = whys(port_add(&state(), &host(), &[busy], &ports("web", &["22:22"])));
    assert!(
        text.contains("port 0.0.0.0:22/tcp: is in use by sshd (pid 7); choose another, or stop that"),
        "{text}"
    );
}

#[test]
fn ports_are_published_at_addresses_of_the_host() {
    for spec in [
        "127.0.0.1:81:81",
        "127.3.2.1:81:81",
        "192.0.2.1:81:81",
        "10.88.0.1:81:81",
    ] {
        let plan = port_add(&state(), &host(), &[], &ports("web", &[spec])).unwrap();
        let inner = spec.starts_with("10.");
        let told = "not an address of uplink up0: 10.88.0.1; the ports there are not reachable by it";
        let expected: &[&str] = if inner { &[told] } else { &[] };
        assert_eq!(plan.warnings, expected, "{spec}");
    }
    for spec in [
        "10.88.0.2:81:81",
        "192.0.2.2:81:81",
        "8.8.8.8:81:81",
        "255.255.255.255:81:81",
    ] {
        let text = whys(port_add(&state(), &host(), &[], &ports("web", &[spec])));
        assert!(text.contains("is not an address of the host"), "{spec}: {text}");
    }
}

#[test]
fn what_does_not_reach_everybody_is_told() {
    let warnings = |state: &State, host: &HostFacts, spec| {
        let plan = port_add(state, host, &[], &ports("web", &[spec])).unwrap();
        plan.warnings.join("\n")
    };
    let mut inner = state();
    inner.networks[0].uplink = None;
    let told = warnings(&inner, &host(), "81:81");
    assert!(told.contains("network front has no uplink: the ports are not reachable from outside"));
    let mut unhooked = host();
    unhooked.unhooked = Some("no cgroup".to_owned());
    let told = warnings(&state(), &unhooked, "81:81");
    assert!(
        told.contains("not from the host itself") && told.contains(": no cgroup; from the host, use the container")
    );
    let told = warnings(&state(), &host(), "32760-32768:1-9/udp");
    assert!(told.contains("ip_local_reserved_ports=32760-32768`"), "{told}");
    let mut reserving = host();
    reserving.reserved = vec![32768..=32768];
    assert_eq!(warnings(&state(), &reserving, "32760-32768:1-9/udp"), "");
}

#[test]
fn a_port_that_is_named_twice_is_a_malformed_request() {
    let faults = port_add(&state(), &host(), &[], &ports("web", &["90:90", "90:90"])).unwrap_err();
    assert_eq!(faults.kind(), Some(FaultKind::Usage));
    assert!(faults.to_string().contains("is asked for twice"), "{faults}");
}

#[test]
fn an_uplink_has_no_more_addresses_than_the_programs_know() {
    let mut host = host();
    let more = (10..19).map(|last| format!("192.0.2.{last}/24").parse().unwrap());
    host.addresses.extend(more.map(|net| (2, net)));
    let (state, _) = refresh(&state(), &host);
    let told = |spec| port_add(&state, &host, &[], &ports("web", &[spec])).unwrap().warnings;
    let all = "only the first 8 addresses of uplink up0 lead in: the ports are not reachable from outside by 192.0.2.17, \
               192.0.2.18; remove addresses that nobody uses";
    assert_eq!(told("81:81"), [all]);
    assert!(told("192.0.2.18:81:81").concat().contains("outside by 192.0.2.18;"));
    assert!(told("192.0.2.16:81:81").is_empty());
}

#[test]
fn whoever_publishes_what_masquerading_needs_is_warned() {
    let told = |state: &State, spec: &str| {
        let plan = port_add(state, &host(), &[], &ports("web", &[spec])).unwrap();
        (plan.warnings.join("\n"), plan.state)
    };
    let few = "of the tcp ports that masquerading uses at 192.0.2.1 (1024-32767), 0 are not published";
    assert!(told(&state(), "81-65535:81-65535").0.contains(few));
    let (most, next) = told(&state(), "1024-31743:1024-31743");
    assert_eq!(most, "", "1024 are left");
    assert!(told(&next, "31743-31743:1/udp").0.is_empty());
    assert!(told(&next, "32000:1").0.contains("1023 are not published"));
    assert_eq!(told(&state(), "127.0.0.1:81-32767:81-32767").0, "");
}

#[test]
fn free_ports_are_chosen_after_those_that_are_named() {
    let plan = port_add(
        &state(),
        &host(),
        &[],
        &ports("web", &["1", ":2", "61000:3", "0:4/udp"]),
    )
    .unwrap();
    let chosen: Vec<_> = plan.state.ports[1..].iter().map(ToString::to_string).collect();
    assert_eq!(
        chosen,
        [
            "0.0.0.0:61000/tcp to web:3",
            "0.0.0.0:61001/tcp to web:1",
            "0.0.0.0:61002/tcp to web:2",
            "0.0.0.0:61000/udp to web:4",
        ]
    );
    let text = whys(port_remove(&plan.state, &ports("web", &["1"])));
    assert!(text.contains("does not say which to remove"), "{text}");
}

#[test]
fn equal_lists_of_sources_have_one_number() {
    let add = |state: &State, spec: &str, from: &[&str]| {
        let mut request = ports("web", &[spec]);
        request.from = from.iter().map(|&text| text.to_owned()).collect();
        port_add(state, &host(), &[], &request)
    };
    let first = add(
        &state(),
        "1:1",
        &["10.0.0.0/9", "10.128.0.0/9", "192.0.2.7", "10.1.1.1"],
    )
    .unwrap()
    .state;
    assert_eq!(
        first.ports[1].to_string(),
        "0.0.0.0:1/tcp to web:1 from 10.0.0.0/8, 192.0.2.7/32"
    );
    let second = add(&first, "2:2", &["192.0.2.7/32", "10.0.0.0/8"]).unwrap().state;
    let third = add(&second, "3:3", &["0.0.0.0/0"]).unwrap().state;
    let lists: Vec<u32> = third.ports.iter().map(|port| port.list).collect();
    assert_eq!(lists, [0, 1, 1, 2]);
    let text = whys(add(&first, "4:4", &["x", "10.0.0.1/8", "", "::1"]));
    for what in [
        "--from \"x\"",
        "--from \"10.0.0.1/8\": has host bits set; write 10.0.0.0/8",
        "--from \"\"",
        "--from \"::1\"",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
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
    let rules = |body: &str| FilterSource::new("f", format!("*filter\n:FORWARD ACCEPT [0:0]\n{body}\nCOMMIT\n"));
    let good = rules("-A FORWARD -i front -o web -j DROP\n-A FORWARD -i up0 -o nb-front -j DROP");
    assert!(filter_load(&state(), &host(), &good, false).is_ok());
    let text = whys(filter_load(
        &state(),
        &host(),
        &rules("-A FORWARD -i nope -j DROP"),
        false,
    ));
    assert!(text.contains("f:3: `nope`"), "{text}");
    let text = whys(filter_load(
        &state(),
        &host(),
        &rules("-A FORWARD -j MARK\n-A FORWARD -m owner -j DROP"),
        false,
    ));
    assert!(text.contains("f:3:") && text.contains("f:4:"), "{text}");
}
