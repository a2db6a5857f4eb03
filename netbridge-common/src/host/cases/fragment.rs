//! Fragments that go nowhere.

use crate::abi::{Hook, Reason, proto};

use super::super::build::Datagram;
use super::super::lab::{A, B, GATEWAY, HOST, REMOTE, ROUTER, at, ifindex, inward, lab, out};
use super::super::pieces::cut;
use super::super::{Frame, HostEnv};
use super::{Case, case};

/// Part `number` of what A sends from a port to the outside.
fn part(sport: u16, number: usize) -> Frame {
    let pieces = cut(&out(A, GATEWAY, REMOTE).udp(sport, 53, &[0x5a; 40]), 7, 16);
    at(ifindex::A, pieces.into_iter().nth(number).unwrap_or_default())
}

/// The lab after the first part has left.
fn begun() -> HostEnv {
    let env = lab();
    env.run(Hook::FromContainer, &part(5000, 0));
    env
}

/// What is refused of fragments.
pub(super) fn fragments() -> Vec<Case> {
    use Hook::{FromContainer, FromUplink, ToUplink};
    let mut full = lab();
    full.config.held_quota = 0;
    let refused = |name, env, frame| case(name, Reason::Fragment, FromContainer, env, frame);
    let unknown = Datagram::new((HOST.0, A.1), (ROUTER.0, REMOTE)).udp(5000, 53, &[0; 40]);
    let unknown = cut(&unknown, 7, 16).pop().unwrap_or_default();
    let answer = cut(&inward(REMOTE, HOST.1).udp(53, 5000, &[0; 40]), 7, 16)
        .pop()
        .unwrap_or_default();
    let over_header = cut(&out(A, GATEWAY, REMOTE).frame(proto::TCP, &[0; 40]), 7, 8).swap_remove(1);
    let mut connecting = lab();
    connecting.config.pickup_until = 0;
    let first = cut(
        &out(A, GATEWAY, REMOTE).tcp(5000, 80, crate::wire::tcp::SYN, &[0; 40]),
        7,
        24,
    )
    .swap_remove(0);
    connecting.run(FromContainer, &at(ifindex::A, first));
    let lost = begun();
    lost.flows.borrow_mut().clear();
    vec![
        case(
            "a later fragment waits for the first",
            Reason::FragmentWaits,
            FromContainer,
            lab(),
            part(5000, 1),
        ),
        case(
            "one from the outside waits too",
            Reason::FragmentWaits,
            FromUplink,
            lab(),
            at(ifindex::UPLINK, answer),
        ),
        refused("a fragment does not wait where there is no room", full, part(5000, 1)),
        refused(
            "a second first fragment with other ports is none",
            begun(),
            part(5001, 0),
        ),
        refused("a later fragment of no flow opens none", lost, part(5000, 1)),
        refused(
            "a later fragment is not laid over the header",
            connecting,
            at(ifindex::A, over_header),
        ),
        case(
            "nothing waits on its way out",
            Reason::Fragment,
            ToUplink,
            lab(),
            Frame {
                ingress: ifindex::BRIDGES[0],
                ..at(ifindex::UPLINK, unknown)
            },
        ),
        case(
            "a fragment that ends beyond the longest datagram is malformed",
            Reason::Malformed,
            FromContainer,
            lab(),
            at(
                ifindex::A,
                Datagram {
                    fragment: 0x1fff,
                    ..Datagram::new(A, B)
                }
                .frame(proto::UDP, &[0; 40]),
            ),
        ),
    ]
}
