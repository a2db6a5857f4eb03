//! The benchmark's own programs: one that makes traffic, one that counts what arrives of it. No part of netbridge;
//! `tests` embeds the object.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`#[classifier]` and `#[xdp]` call their function with the context by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the kernel's helpers take and return C's int and long, whose values are small"
)]

mod generate;
mod numbering;
mod sink;
mod traffic;

/// What the kernel is told: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never linked: nothing here panics, and the verifier would refuse it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
