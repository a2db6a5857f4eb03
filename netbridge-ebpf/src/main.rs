//! The TC programs of netbridge, one file per entry point. Each builds an [`env::Skb`], lets the core
//! in `netbridge-common` decide, and carries the verdict out ([`forward`], [`rewrite`]); nothing is
//! decided here. So do the programs on [`sockets`] of the host.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(clippy::inline_always, reason = "as in the core: a frame on the stack has a reason")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`#[classifier]` calls its function with the context by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the kernel's helpers take and return C's int and long, whose values are small"
)]

mod answer;
mod env;
mod filter;
mod forward;
mod fragments;
mod from_container;
mod from_uplink;
mod housekeeping;
mod maps;
mod rewrite;
mod sockets;
mod ticks;
mod to_container;
mod to_uplink;

/// What the kernel is told: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never linked: the core has no panic path, and the verifier would refuse one.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
