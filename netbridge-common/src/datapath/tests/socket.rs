//! Sockets of the host: where published ports lead them, what their programs see, and which ports are taken.

use crate::abi::proto;
use crate::datapath::socket::{mapped, mapped_or_any};
use crate::host::lab::{A, B, GATEWAY, HOST, HOST_COOKIE, REMOTE, ifindex, lab, publish, publish_range, slot};
use crate::host::socket::Socket;
use crate::host::{HostEnv, Ip};

const LOOPBACK: Ip = [127, 0, 0, 1];

/// A socket of the host.
fn socket(tables: &HostEnv, proto: u8) -> Socket<'_> {
    Socket {
        tables,
        namespace: HOST_COOKIE,
        cookie: 1,
        proto,
    }
}

#[test]
fn every_address_of_the_host_leads_to_the_container() {
    let mut env = lab();
    env.subnets.insert((GATEWAY.1, 32), crate::abi::SUBNET_LOCAL);
    for addr in [LOOPBACK, [127, 255, 0, 9], [0; 4], HOST.1, GATEWAY.1] {
        let tcp = socket(&env, proto::TCP);
        assert_eq!(tcp.destination(addr, 8080), (A.1, 80), "{addr:?}");
        assert_eq!(tcp.source(A.1, 80), (addr, 8080), "{addr:?}");
    }
    for addr in [REMOTE, A.1, B.1, [10, 1, 0, 99]] {
        assert_eq!(
            socket(&env, proto::TCP).destination(addr, 8080),
            (addr, 8080),
            "{addr:?}"
        );
    }
}

#[test]
fn a_port_at_one_address_leads_from_that_one_alone() {
    let mut env = lab();
    publish(&mut env, (proto::TCP, LOOPBACK, 9000), (B, ifindex::B, slot::B), 90);
    for (addr, proto, port, expected) in [
        (HOST.1, proto::UDP, 5353, (B.1, 53)),
        (LOOPBACK, proto::UDP, 5353, (LOOPBACK, 5353)),
        ([0; 4], proto::UDP, 5353, ([0; 4], 5353)),
        (HOST.1, proto::TCP, 5353, (HOST.1, 5353)),
        (HOST.1, proto::ICMP, 5353, (HOST.1, 5353)),
        (LOOPBACK, proto::TCP, 9000, (B.1, 90)),
        (HOST.1, proto::TCP, 9000, (HOST.1, 9000)),
        ([127, 0, 0, 2], proto::TCP, 9000, ([127, 0, 0, 2], 9000)),
    ] {
        assert_eq!(
            socket(&env, proto).destination(addr, port),
            expected,
            "{addr:?} {proto} {port}"
        );
    }
    // The very address comes before any.
    publish(&mut env, (proto::TCP, LOOPBACK, 8080), (B, ifindex::B, slot::B), 81);
    assert_eq!(socket(&env, proto::TCP).destination(LOOPBACK, 8080), (B.1, 81));
    assert_eq!(socket(&env, proto::TCP).destination(HOST.1, 8080), (A.1, 80));
}

#[test]
fn sockets_of_other_namespaces_are_left_alone() {
    let env = lab();
    let mut other = socket(&env, proto::TCP);
    other.namespace = HOST_COOKIE + 1;
    assert_eq!(other.destination(LOOPBACK, 8080), (LOOPBACK, 8080));
    assert!(other.may_bind([0; 4], 8080));
    assert!(env.peers.borrow().is_empty());
    socket(&env, proto::TCP).destination(LOOPBACK, 8080);
    assert_eq!(other.source(A.1, 80), (A.1, 80));
    let unconfigured = HostEnv::default();
    let mut nobody = socket(&unconfigured, proto::TCP);
    nobody.namespace = 0;
    assert_eq!(nobody.destination(LOOPBACK, 8080), (LOOPBACK, 8080));
}

#[test]
fn an_answer_comes_from_where_its_socket_asked() {
    let env = lab();
    let udp = socket(&env, proto::UDP);
    let another = Socket { cookie: 2, ..udp };
    assert_eq!(udp.source(B.1, 53), (B.1, 53), "not asked yet");
    udp.destination(HOST.1, 5353);
    assert_eq!(udp.source(B.1, 53), (HOST.1, 5353));
    assert_eq!(udp.source(B.1, 54), (B.1, 54));
    assert_eq!(another.source(B.1, 53), (B.1, 53));
    udp.destination(HOST.1, 5353);
    assert_eq!(env.peers.borrow().len(), 1, "a port asked for again");
}

#[test]
fn a_published_port_is_taken() {
    let mut env = lab();
    publish_range(
        &mut env,
        (proto::TCP, HOST.1, 9000..=9002),
        (B, ifindex::B, slot::B),
        90,
    );
    let second: Ip = [192, 0, 2, 2];
    for (addr, proto, port, expected) in [
        ([0; 4], proto::TCP, 8080, false),
        (LOOPBACK, proto::TCP, 8080, false),
        (HOST.1, proto::TCP, 8080, false),
        ([0; 4], proto::UDP, 8080, true),
        ([0; 4], proto::TCP, 8081, true),
        // Published at one address: all addresses would be that one too.
        (HOST.1, proto::TCP, 9001, false),
        ([0; 4], proto::TCP, 9001, false),
        ([0; 4], proto::TCP, 9003, true),
        (second, proto::TCP, 9001, true),
        (LOOPBACK, proto::TCP, 9001, true),
        ([0; 4], proto::UDP, 5353, false),
    ] {
        assert_eq!(
            socket(&env, proto).may_bind(addr, port),
            expected,
            "{addr:?} {proto} {port}"
        );
    }
    // A member of a group takes none of the packets to the host.
    publish(&mut env, (proto::UDP, [0; 4], 5353), (B, ifindex::B, slot::B), 53);
    assert!(socket(&env, proto::UDP).may_bind([224, 0, 0, 251], 5353));
}

#[test]
fn ipv6_sockets_mean_ipv4_by_mapped_addresses() {
    let words = |text: &str| {
        let addr: std::net::Ipv6Addr = text.parse().unwrap();
        bytemuck::cast::<[u8; 16], [u32; 4]>(addr.octets())
    };
    for (text, expected, bound) in [
        ("::ffff:127.0.0.1", Some(LOOPBACK), Some(LOOPBACK)),
        ("::ffff:0.0.0.0", Some([0; 4]), Some([0; 4])),
        ("::", None, Some([0; 4])),
        ("::1", None, None),
        ("::127.0.0.1", None, None),
        ("1::ffff:127.0.0.1", None, None),
        ("64:ff9b::127.0.0.1", None, None),
    ] {
        assert_eq!(mapped(words(text)), expected, "{text}");
        assert_eq!(mapped_or_any(words(text)), bound, "{text}");
    }
}
