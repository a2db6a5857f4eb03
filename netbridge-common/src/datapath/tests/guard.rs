//! What a container may claim to be.

use crate::abi::{Hook, Reason};
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, arp};
use crate::host::lab::{A, B, BEHIND_TRUNK, D, GATEWAY, HOST, REMOTE, at, ifindex, lab, out};
use crate::host::{Frame, HostEnv};

use super::{run, sends};

fn reason(env: &HostEnv, ifindex: u32, bytes: Vec<u8>) -> Reason {
    sends(env, ifindex, bytes).reason()
}

#[test]
fn an_endpoint_is_its_mac_and_its_addresses() {
    let mut env = lab();
    let second = [10, 1, 0, 200];
    env.links.get_mut(&ifindex::A).unwrap().tail.addrs[7] = second;
    let udp = |from| Datagram::new(from, B).udp(1, 2, b"");
    let question = |mac, sender| arp(mac, sender, GATEWAY.1);
    let table = [
        ("its first address", udp(A), Reason::None),
        ("its last address", udp((A.0, second)), Reason::None),
        ("another MAC", udp((B.0, A.1)), Reason::SpoofedMac),
        ("a group MAC", udp(([3, 0, 0, 0, 0, 0xa], A.1)), Reason::SpoofedMac),
        ("a neighbour's address", udp((A.0, B.1)), Reason::SpoofedIp),
        ("the gateway's address", udp((A.0, GATEWAY.1)), Reason::SpoofedIp),
        ("no address", udp((A.0, [0; 4])), Reason::SpoofedIp),
        ("an address of the outside", udp((A.0, REMOTE)), Reason::SpoofedIp),
        ("ARP of its own", question(A.0, A), Reason::None),
        ("an ARP probe", question(A.0, (A.0, [0; 4])), Reason::None),
        (
            "ARP for a neighbour's address",
            question(A.0, (A.0, B.1)),
            Reason::SpoofedArp,
        ),
        (
            "ARP for a neighbour's MAC",
            question(A.0, (B.0, A.1)),
            Reason::SpoofedArp,
        ),
        (
            "an ARP probe with a neighbour's MAC",
            question(A.0, (B.0, [0; 4])),
            Reason::SpoofedArp,
        ),
        ("ARP cut short", question(A.0, A)[..40].to_vec(), Reason::Malformed),
        ("a frame without a header", A.0.to_vec(), Reason::SpoofedMac),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(reason(&env, ifindex::A, bytes), expected, "{name}");
    }
}

#[test]
fn resolution_for_other_hardware_is_malformed() {
    let mut bytes = arp(A.0, A, GATEWAY.1);
    bytes[15] = 6;
    assert_eq!(reason(&lab(), ifindex::A, bytes), Reason::Malformed);
}

#[test]
fn resolution_is_question_or_answer() {
    for (operation, expected) in [
        (0, Reason::Malformed),
        (1, Reason::None),
        (2, Reason::None),
        (3, Reason::Malformed),
        (9, Reason::Malformed),
    ] {
        let mut bytes = arp(A.0, A, GATEWAY.1);
        bytes[21] = operation;
        assert_eq!(reason(&lab(), ifindex::A, bytes), expected, "{operation}");
    }
}

#[test]
fn resolution_stays_within_the_network() {
    let nobody = (A.0, [0; 4]);
    let table = [
        ("the gateway", A, GATEWAY.1, Reason::None),
        ("a neighbour", A, B.1, Reason::None),
        ("nobody yet in the subnet", A, [10, 1, 0, 99], Reason::None),
        ("itself", A, A.1, Reason::None),
        ("no address", A, [0; 4], Reason::None),
        ("a probe of the subnet", nobody, A.1, Reason::None),
        ("the host by another address", A, HOST.1, Reason::None),
        ("the outside", A, REMOTE, Reason::ArpTarget),
        ("another network", A, D.1, Reason::ArpTarget),
        ("cloud metadata", A, [169, 254, 169, 254], Reason::ArpTarget),
        ("a probe of the outside", nobody, REMOTE, Reason::ArpTarget),
        (
            "the outside in a neighbour's name",
            (A.0, B.1),
            REMOTE,
            Reason::SpoofedArp,
        ),
    ];
    for (name, sender, target, expected) in table {
        assert_eq!(reason(&lab(), ifindex::A, arp(A.0, sender, target)), expected, "{name}");
        if name == "the outside" {
            let question = arp(BEHIND_TRUNK.0, BEHIND_TRUNK, target);
            assert_eq!(reason(&lab(), ifindex::TRUNK, question), expected, "trunk: {name}");
        }
    }
}

#[test]
fn behind_a_trunk_is_whoever_is_nobody_else() {
    let env = lab();
    let udp = |from| Datagram::new(from, B).udp(1, 2, b"");
    let (mac, address) = BEHIND_TRUNK;
    let table = [
        ("a station of the subnet", udp(BEHIND_TRUNK), Reason::None),
        ("an endpoint's MAC", udp((A.0, address)), Reason::SpoofedMac),
        ("the gateway's MAC", udp((GATEWAY.0, address)), Reason::SpoofedMac),
        ("a group MAC", udp(([1, 0, 0x5e, 0, 0, 1], address)), Reason::SpoofedMac),
        ("no MAC", udp(([0; 6], address)), Reason::SpoofedMac),
        ("an endpoint's address", udp((mac, A.1)), Reason::SpoofedIp),
        ("the gateway's address", udp((mac, GATEWAY.1)), Reason::SpoofedIp),
        (
            "an address of another network",
            udp((mac, [10, 2, 0, 9])),
            Reason::SpoofedIp,
        ),
        (
            "ARP for an endpoint's address",
            arp(mac, (mac, A.1), B.1),
            Reason::SpoofedArp,
        ),
        ("ARP of its own", arp(mac, BEHIND_TRUNK, B.1), Reason::None),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(reason(&env, ifindex::TRUNK, bytes), expected, "{name}");
    }
}

#[test]
fn a_tag_hides_nothing_from_the_guard() {
    let spoofed = Datagram::new((A.0, B.1), B).udp(1, 2, b"");
    let beside = Frame {
        tagged: true,
        ..at(ifindex::A, spoofed.clone())
    };
    assert_eq!(run(&lab(), Hook::FromContainer, &beside).reason(), Reason::Tagged);
    for tag in [[0x81, 0, 0, 0], [0x88, 0xa8, 0, 7]] {
        let mut within = spoofed.clone();
        within.splice(12..12, tag);
        assert_eq!(reason(&lab(), ifindex::A, within), Reason::Tagged);
    }
}

#[test]
fn the_guard_comes_before_an_established_flow() {
    let env = lab();
    let bytes = out(A, GATEWAY, REMOTE).udp(5000, 53, b"");
    assert_eq!(reason(&env, ifindex::A, bytes.clone()), Reason::None);
    assert_eq!(reason(&env, ifindex::B, bytes), Reason::SpoofedMac);
}

#[test]
fn without_a_configuration_a_container_is_cut_off() {
    let mut env = lab();
    env.config.generation = 0;
    let udp = Datagram::new(A, B).udp(1, 2, b"");
    assert_eq!(sends(&env, ifindex::A, udp).to().0, Action::Drop);
    assert_eq!(env.dropped(Reason::UnknownLink), 1);
}
