//! Handed to a container by the host's stack or the kernel bridge: egress of its veth's host end.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::Hook;

use crate::env::Skb;

/// Handed to a container by the host's stack or the kernel bridge: egress of its veth's host end.
#[classifier]
fn to_container(ctx: TcContext) -> i32 {
    Skb { ctx: &ctx }.run(Hook::ToContainer)
}
