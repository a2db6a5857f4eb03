//! Makes traffic: test-run with live frames, each of which the kernel then takes as received by the interface that the
//! run names.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

use crate::numbering;
use crate::traffic::{HEADERS, Plan};

/// What to write. Userspace sets it before a run; a run is on one CPU, so nobody else writes it meanwhile.
#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();

/// Writes the headers of the next frame. All of them: a page that comes back from an earlier round still holds what the
/// path made of its frame.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    let Some(plan) = PLAN.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the one element of the array, which has one user at a time.
    let plan = unsafe { &mut *plan };
    numbering::advance(plan);
    // SAFETY: the helper reads as many bytes as it is told, and the headers have as many.
    let failed = unsafe { helper::bpf_xdp_store_bytes(ctx.ctx, 0, plan.headers.as_mut_ptr().cast(), HEADERS as u32) };
    if failed == 0 { XDP_PASS } else { XDP_ABORTED }
}
