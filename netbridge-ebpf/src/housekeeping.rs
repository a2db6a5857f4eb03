//! Removes flows for the controller, which counts them as the programs do. Never attached, only test-run.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use bytemuck::Zeroable;
use netbridge_common::abi::{FlowKey, FlowV4, LISTED_AT, MOST_LISTED};
use netbridge_common::datapath::env::Env as _;
use netbridge_common::datapath::{binding, flows, fragments};

use crate::env::Skb;
use crate::maps::Ip;

/// Ends the halves whose keys the frame lists behind its Ethernet header; how many there were.
#[classifier]
fn end(ctx: TcContext) -> i32 {
    let skb = Skb { ctx: &ctx };
    let mut ended = 0;
    // Not the scratch space: before Linux 6.11 a test run may be interrupted by a packet on the same CPU.
    let mut half = FlowV4::zeroed();
    skb.repeat(MOST_LISTED, |index| {
        let offset = u32::from(LISTED_AT).wrapping_add(index.wrapping_mul(size_of::<FlowKey<Ip>>() as u32));
        let Some(bytes) = skb.load::<{ size_of::<FlowKey<Ip>>() }>((offset & 0xffff) as u16) else {
            return false;
        };
        ended += i32::from(flows::end(&skb, &bytemuck::cast(bytes), &mut half, skb.now()));
        true
    });
    ended
}

/// Removes what has expired, fragments that wait included; how many halves of flows that were.
#[classifier]
fn reap(ctx: TcContext) -> i32 {
    let skb = Skb { ctx: &ctx };
    let Some(config) = skb.config() else {
        return 0;
    };
    let now = skb.now();
    binding::reap(&skb, config.quarantine, now);
    fragments::reap(&skb, config, now);
    flows::reap(&skb, config, now) as i32
}
