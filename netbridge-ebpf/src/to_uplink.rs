//! Sent to the outside by the host's stack: egress of an uplink.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::Hook;

use crate::env::Skb;

/// Sent to the outside by the host's stack: egress of an uplink.
#[classifier]
fn to_uplink(ctx: TcContext) -> i32 {
    Skb { ctx: &ctx }.run(Hook::ToUplink)
}
