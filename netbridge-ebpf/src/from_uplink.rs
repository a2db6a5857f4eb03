//! Came from the outside: ingress of an uplink.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::Hook;

use crate::env::Skb;

/// Came from the outside: ingress of an uplink.
#[classifier]
fn from_uplink(ctx: TcContext) -> i32 {
    Skb { ctx: &ctx }.run(Hook::FromUplink)
}
