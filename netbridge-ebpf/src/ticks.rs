//! Tells the controller how far the kernel's tick counter is. Never attached, only test-run.

use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// The low 32 bits of `jiffies64`.
#[classifier]
fn ticks(_ctx: TcContext) -> i32 {
    // SAFETY: no preconditions.
    unsafe { helper::bpf_jiffies64() as i32 }
}
