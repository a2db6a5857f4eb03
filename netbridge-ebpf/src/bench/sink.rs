//! Counts what arrives of the generator's frames and takes it out of the network; everything else, ARP for one, goes on.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;

use crate::traffic::{HEADERS, MARK, Seen, Tuple, Wanted};

/// Offset of the IPv4 source address; the destination and the UDP ports follow.
const TUPLE: usize = 26;

/// What is looked for. Written by userspace.
#[btf_map]
static WANTED: Array<Wanted, 1> = Array::new();

/// What was seen. Zeroed by userspace.
#[btf_map]
static SEEN: PerCpuArray<Seen, 1> = PerCpuArray::new();

/// Counts or answers a frame that has the mark.
#[classifier]
fn sink(ctx: TcContext) -> i32 {
    match ctx.load::<[u8; MARK.len()]>(HEADERS) {
        Ok(MARK) => {}
        _ => return TC_ACT_UNSPEC,
    }
    let (Ok(tuple), Some(wanted), Some(seen)) = (ctx.load::<Tuple>(TUPLE), WANTED.get(0), SEEN.get_ptr_mut(0)) else {
        return TC_ACT_UNSPEC;
    };
    // SAFETY: this CPU's own element, and TC programs of one CPU do not interrupt each other here.
    let seen = unsafe { &mut *seen };
    seen.frames += 1;
    seen.last = tuple;
    if !is_wanted(&tuple, wanted) {
        seen.strange += 1;
        seen.last_strange = tuple;
    }
    if wanted.answer == 0 || !exchange(&ctx, tuple) {
        return TC_ACT_SHOT;
    }
    // SAFETY: no preconditions; the context is valid while the program runs.
    unsafe { helper::bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 }
}

/// True if all bits that matter are as they must be.
fn is_wanted(tuple: &Tuple, wanted: &Wanted) -> bool {
    let differs = |seen: u32, wanted: u32, free: u32| (seen ^ wanted) & !free;
    let ports =
        |tuple: &Tuple| (u32::from(u16::from_ne_bytes(tuple.sport)) << 16) | u32::from(u16::from_ne_bytes(tuple.dport));
    let word = u32::from_ne_bytes;
    let (want, free) = (&wanted.tuple, &wanted.free);
    let different = differs(word(tuple.src), word(want.src), word(free.src))
        | differs(word(tuple.dst), word(want.dst), word(free.dst))
        | differs(ports(tuple), ports(want), ports(free));
    different == 0
}

/// Makes the frame its own answer. No checksum changes: sums do not mind the order of what they add.
fn exchange(ctx: &TcContext, tuple: Tuple) -> bool {
    let Ok([dst, src]) = ctx.load::<[[u8; 6]; 2]>(0) else {
        return false;
    };
    let back = Tuple {
        src: tuple.dst,
        dst: tuple.src,
        sport: tuple.dport,
        dport: tuple.sport,
    };
    ctx.store(0, &[src, dst], 0).is_ok() && ctx.store(TUPLE, &back, 0).is_ok()
}
