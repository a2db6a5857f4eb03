//! Whatever arrives, the core answers, and never asks for what the frame does not hold.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::abi::{Hook, verdict};
use crate::host::Frame;
use crate::host::lab::{A, B, BEHIND_TRUNK, GATEWAY, HOST, ROUTER, ifindex, lab};

use super::run;

fn hooks() -> impl Strategy<Value = Hook> {
    prop_oneof![
        Just(Hook::FromContainer),
        Just(Hook::ToContainer),
        Just(Hook::FromUplink),
        Just(Hook::ToUplink)
    ]
}

/// Bytes of any kind behind MACs and an `EtherType` that lead deep into the core.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let macs = prop_oneof![
        Just((A.0, GATEWAY.0)),
        Just((A.0, B.0)),
        Just((BEHIND_TRUNK.0, GATEWAY.0)),
        Just((ROUTER.0, HOST.0)),
        any::<([u8; 6], [u8; 6])>(),
    ];
    let head = prop_oneof![
        Just(vec![0x08, 0x00, 0x45]),
        Just(vec![0x08, 0x00, 0x46]),
        Just(vec![0x08, 0x06, 0, 1, 8, 0, 6, 4]),
        vec(any::<u8>(), 0..3),
    ];
    (macs, head, vec(any::<u8>(), 0..120))
        .prop_map(|((smac, dmac), head, rest)| [&dmac[..], &smac[..], &head, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(hook in hooks(), bytes in frames(), index in 9_u32..34, drop in any::<bool>()) {
        let mut env = lab();
        if drop {
            env.set_filter(verdict::DROP, &[]);
        }
        let frame = Frame { bytes, ifindex: index, ingress: ifindex::BRIDGES[0], ..Frame::default() };
        let result = run(&env, hook, &frame);
        prop_assert_eq!(result.bytes.len(), frame.bytes.len());
    }

    #[test]
    fn any_bytes_alone_get_an_answer(hook in hooks(), bytes in vec(any::<u8>(), 0..200)) {
        let frame = Frame { bytes, ifindex: ifindex::A, ..Frame::default() };
        let result = run(&lab(), hook, &frame);
        prop_assert_eq!(result.bytes.len(), frame.bytes.len());
    }
}
