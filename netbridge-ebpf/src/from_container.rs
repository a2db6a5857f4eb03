//! Left a container: ingress of its veth's host end.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::Hook;

use crate::env::Skb;

/// Left a container: ingress of its veth's host end.
#[classifier]
fn from_container(ctx: TcContext) -> i32 {
    Skb { ctx: &ctx }.run(Hook::FromContainer)
}
