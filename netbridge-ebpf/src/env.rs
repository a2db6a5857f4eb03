//! The kernel as the core sees it: one `sk_buff` and the maps. Longer than other files, because a trait is implemented in
//! one block.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::{self, MaybeUninit};

use aya_ebpf::bindings::{
    __sk_buff, BPF_ANY, BPF_EXIST, BPF_F_CURRENT_NETNS, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
    BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SRC, BPF_NOEXIST, bpf_fib_lookup,
    bpf_sock_tuple,
};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::{
    AddrKey, BindingKey, BindingV4, Config, DropEvent, FilterHead, FirstFragment, FlowKey, FlowV4, FragmentKey, Held,
    HeldHead, LinkV4, Load, MacKey, NetworkV4, PortKey, PublishedV4, Reason, SAMPLES, SourceKey, Station, V4, proto,
    station_flags,
};
use netbridge_common::datapath::conntrack::Work;
use netbridge_common::datapath::env::{Env, Hop, HopKind, Inserted, Released, Renewal};
use netbridge_common::datapath::parse::Head;
use netbridge_common::datapath::search::Tables as _;
use netbridge_common::datapath::state::outlived;

use crate::filter::{self, Maps};
use crate::maps::{
    ADDRESSES, ANSWER_RATE, BINDINGS, CHUNK, CONFIG, DROPS, EVENT_RATE, EVENTS, FDB, FLOODS, FLOWS, FRAGMENTS,
    HALF_OPEN, HELD, HELD_BY, Ip, LEARNED, LINKS, LOADS, NETWORKS, PUBLISHED, RECLAIMED, SOURCES, SUBNETS, SUMMED,
    TRAFFIC,
};

/// `errno` of an insertion that must not replace.
pub(crate) const EEXIST: i32 = -17;

/// `AF_INET`.
const AF_INET: u8 = 2;

/// A one's complement sum in 16 bits.
fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// True at most once per `refresh` ticks for a table, by its place in [`RECLAIMED`].
#[inline(always)]
fn may_walk(table: u32, refresh: u32, now: u32) -> bool {
    let Some(last) = RECLAIMED.get_ptr_mut(table) else {
        return false;
    };
    // SAFETY: four aligned bytes; CPUs that come here at the same time all walk, which is only slow.
    unsafe {
        let due = now.wrapping_sub(*last) >= refresh;
        if due {
            *last = now;
        }
        due
    }
}

/// Adds to a count at once: CPUs do not lose each other's changes.
///
/// # Safety
///
/// `count` is eight aligned bytes of a map's element.
#[inline(always)]
unsafe fn add(count: *mut i64, more: i64) {
    // SAFETY: what the caller promises. The target has this instruction and none to compare and exchange, which `core`
    // wants of one with atomics.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) count, in(reg) more) };
}

/// Calls `visit` for every entry of a hash map (`bpf_for_each_map_elem`, Linux 5.13), which may remove any.
#[inline(always)]
fn walk<K, V, F: FnMut(&K, &V)>(map: *const c_void, visit: &mut F) {
    /// What the helper calls: 0 to go on.
    unsafe extern "C" fn each<K, V, F: FnMut(&K, &V)>(
        _map: *mut c_void,
        key: *const K,
        value: *const V,
        visit: *mut c_void,
    ) -> i64 {
        // SAFETY: the kernel passes a key, its value and the pointer given below.
        unsafe { (*visit.cast::<F>())(&*key, &*value) };
        0
    }
    // SAFETY: the callback has the signature the helper calls, and `visit` outlives the call.
    unsafe {
        helper::bpf_for_each_map_elem(
            map.cast_mut(),
            each::<K, V, F> as *mut c_void,
            (&raw mut *visit).cast(),
            0,
        );
    }
}

/// Calls `step` until it answers false, at most `times` times.
#[inline(always)]
pub(crate) fn repeat<S: FnMut(u32) -> bool>(times: u32, mut step: S) {
    /// What `bpf_loop` calls: 0 to go on, 1 to stop.
    unsafe extern "C" fn round<S: FnMut(u32) -> bool>(index: u32, step: *mut c_void) -> i64 {
        // SAFETY: the pointer passed to the helper below, which calls back before it returns.
        let step = unsafe { &mut *step.cast::<S>() };
        let mut stop = i64::from(!step(index));
        // SAFETY: arithmetic on a register. The verifier wants to see 0 or 1, and of a `bool` that was in memory it has
        // forgotten, and the compiler has not, that it is nothing else.
        unsafe { asm!("{0} &= 1", inout(reg) stop, options(pure, nomem, nostack)) };
        stop
    }
    // SAFETY: the callback has the signature the helper calls, and `step` outlives the call.
    unsafe {
        helper::bpf_loop(times, round::<S> as *mut c_void, (&raw mut step).cast(), 0);
    }
}

/// One frame in the kernel.
pub(crate) struct Skb<'a> {
    /// The context of the running program.
    pub(crate) ctx: &'a TcContext,
}

impl Skb<'_> {
    /// The context as the kernel's helpers take it.
    pub(crate) fn raw(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }

    /// A field of the context.
    fn field<T>(&self, read: impl FnOnce(&__sk_buff) -> T) -> T {
        // SAFETY: the kernel passes a valid context that outlives the program's run, and rewrites
        // every aligned field access of it.
        read(unsafe { &*self.raw() })
    }
}

impl Env for Skb<'_> {
    type F = V4;

    #[inline(always)]
    fn head<'a>(&'a self, room: &'a mut Head) -> &'a Head {
        let (start, end) = (self.ctx.data(), self.ctx.data_end());
        if start + size_of::<Head>() <= end {
            // SAFETY: the bytes are there, as the verifier checks too, and nothing moves them while the core reads.
            // Frames lie at even addresses: the kernel reads their MACs by halfwords itself (`ether_addr_equal`).
            return unsafe { &*(start as *const Head) };
        }
        let there = self.frame_len().min(size_of::<Head>() as u32);
        if there != 0 {
            // SAFETY: the helper writes at most as many bytes as the room has. It cannot fail: so many are there.
            unsafe {
                helper::bpf_skb_load_bytes(
                    self.raw().cast_const().cast(),
                    0,
                    (&raw mut *room).cast::<c_void>(),
                    there,
                );
            }
        }
        room
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u16) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes to a buffer of N bytes, or fails.
        let failed = unsafe {
            helper::bpf_skb_load_bytes(
                self.raw().cast_const().cast(),
                u32::from(offset),
                bytes.as_mut_ptr().cast::<c_void>(),
                N as u32,
            )
        };
        // SAFETY: the helper succeeded, so it has written every byte.
        (failed == 0).then(|| unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn sum(&self, at: u16, len: u16) -> Option<u16> {
        let bytes = SUMMED.get_ptr_mut(0)?.cast::<u8>();
        let (mut at, mut left) = (u32::from(at), u32::from(len));
        let mut total = 0;
        self.repeat(left.div_ceil(CHUNK), |_| {
            let there = left.min(CHUNK);
            if there == 0 {
                return false;
            }
            // SAFETY: this CPU's own element, of four bytes more than a chunk has. The helpers write as many bytes as are
            // there, or fail, and read no more than whole words of them, the last padded with zero.
            let summed = unsafe {
                bytes.add(there as usize).cast::<[u8; 3]>().write([0; 3]);
                if helper::bpf_skb_load_bytes(self.raw().cast_const().cast(), at, bytes.cast(), there) != 0 {
                    return false;
                }
                helper::bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), (there + 3) & !3, total)
            };
            let Ok(summed) = u32::try_from(summed) else {
                return false;
            };
            total = summed;
            at += there;
            left -= there;
            true
        });
        (left == 0).then(|| folded(total))
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.field(|skb| skb.len)
    }

    #[inline(always)]
    fn tagged(&self) -> bool {
        self.field(|skb| skb.vlan_present) != 0
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        self.field(|skb| skb.gso_size)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.field(|skb| skb.ifindex)
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        self.field(|skb| skb.ingress_ifindex)
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: no preconditions. The JIT inlines this helper as a load of `jiffies` (Linux 5.6,
        // commit 5576b991e9c1).
        (unsafe { helper::bpf_jiffies64() } >> 6) as u32
    }

    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0).filter(|config| config.generation != 0)
    }

    #[inline(always)]
    fn link(&self, ifindex: u32) -> Option<&LinkV4> {
        // SAFETY: only the controller writes this map, of plain bytes. The kernel may reuse an element that it removes at
        // once; the last frame of a link that goes away is then judged by another link's entry.
        unsafe { LINKS.get(ifindex) }
    }

    #[inline(always)]
    fn network(&self, id: u16) -> Option<&NetworkV4> {
        NETWORKS.get(u32::from(id))
    }

    #[inline(always)]
    fn subnet(&self, addr: Ip) -> Option<u32> {
        SUBNETS.get(&Key::new(32, addr)).copied()
    }

    #[inline(always)]
    fn address(&self, key: &AddrKey<Ip>) -> Option<Station> {
        // SAFETY: copied at once; only the controller writes this map.
        unsafe { ADDRESSES.get(key) }.copied()
    }

    #[inline(always)]
    fn station(&self, key: &MacKey) -> Option<Station> {
        // SAFETY: copied at once. A racing update swaps the element; a reader of the old one sees the
        // station's previous place, as if its frame had come a moment earlier.
        unsafe { FDB.get(key) }.copied()
    }

    #[inline(always)]
    fn learn(&self, key: &MacKey, station: &Station) -> bool {
        FDB.insert(key, station, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn learned(&self, slot: u32) -> i64 {
        LEARNED.get(slot).map_or(0, |learned| learned.count)
    }

    #[inline(always)]
    fn count_learned(&self, slot: u32, more: i32) {
        if let Some(learned) = LEARNED.get_ptr_mut(slot) {
            // SAFETY: a field of a map's element.
            unsafe { add(&raw mut (*learned).count, i64::from(more)) };
        }
    }

    fn forget_aged(&self, config: &Config, slot: u32, now: u32) {
        let Some(learned) = LEARNED.get_ptr_mut(slot) else {
            return;
        };
        // SAFETY: four aligned bytes; CPUs that come here at the same time all walk, which is only slow.
        unsafe {
            if now.wrapping_sub((*learned).walked) < config.refresh {
                return;
            }
            (*learned).walked = now;
        }
        let mut live = 0_i64;
        // A station that is heard at this very moment may go, and is learned again with its next frame.
        walk((&raw const FDB).cast(), &mut |key: &MacKey, station: &Station| {
            if station.slot == slot && station.flags & station_flags::STATIC == 0 {
                if outlived(now, station.seen, config.fdb_ageing) {
                    let _gone = FDB.remove(key);
                } else {
                    live = live.wrapping_add(1);
                }
            }
        });
        // SAFETY: eight aligned bytes. What another CPU learns meanwhile is not counted: the limit is exceeded by that,
        // until the next walk.
        unsafe { (&raw mut (*learned).count).write_volatile(live) };
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey<Ip>, into: &mut FlowV4) -> bool {
        // SAFETY: plain bytes, copied at once. A racing update swaps the element, so the copy is of one version, unless
        // another CPU reuses the old one within the nanoseconds of the copy; one that is deleted meanwhile is followed
        // for this one packet.
        let found = unsafe { FLOWS.get(key) };
        if let Some(flow) = found {
            *into = *flow;
        }
        found.is_some()
    }

    #[inline(always)]
    fn flow_insert(&self, key: &FlowKey<Ip>, flow: &FlowV4) -> Inserted {
        match FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Inserted::Yes,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn flow_update(&self, key: &FlowKey<Ip>, flow: &FlowV4) {
        let _gone = FLOWS.insert(key, flow, u64::from(BPF_EXIST));
    }

    #[inline(always)]
    fn flow_renew(&self, key: &FlowKey<Ip>, renewal: &Renewal) -> Option<u8> {
        let flow = FLOWS.get_ptr_mut(key)?;
        // SAFETY: aligned words and a byte, each written at once. The kernel may give a removed element to another flow
        // meanwhile; that one then lives longer or shorter for a while, asks the filter once more, or looks for its way
        // a second later.
        unsafe {
            let before = (&raw const (*flow).head.state).read_volatile();
            (&raw mut (*flow).head.seen).write_volatile(renewal.now);
            if before != renewal.state as u8 {
                (&raw mut (*flow).head.state).write_volatile(renewal.state as u8);
            }
            if renewal.resolved {
                (&raw mut (*flow).head.resolved).write_volatile(renewal.now);
            }
            if renewal.ask {
                (&raw mut (*flow).head.epoch).write_volatile(0);
            }
            Some(before)
        }
    }

    #[inline(always)]
    fn flow_remove(&self, key: &FlowKey<Ip>) -> bool {
        FLOWS.remove(key).is_ok()
    }

    #[inline(always)]
    fn each_flow<V: FnMut(&FlowKey<Ip>, &FlowV4)>(&self, mut visit: V) {
        walk((&raw const FLOWS).cast(), &mut |key, flow: &FlowV4| {
            // SAFETY: plain bytes. A copy: another CPU may use the element for another flow as soon as this one is removed.
            let flow = unsafe { (&raw const *flow).read_volatile() };
            visit(key, &flow);
        });
    }

    #[inline(always)]
    fn may_reclaim(&self, refresh: u32, now: u32) -> bool {
        may_walk(0, refresh, now)
    }

    #[inline(always)]
    fn load_of(&self, slot: u32) -> Load {
        LOADS.get(slot).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn charge(&self, slot: u32, change: Load) {
        if let Some(load) = LOADS.get_ptr_mut(slot) {
            // The low half carries into the high one where it passes zero, which the next addition the other way takes back.
            let flows = (i64::from(change.half_open) << 32).wrapping_add(i64::from(change.flows));
            // SAFETY: an element of the map: eight aligned bytes, whose halves make one such word, and eight more.
            unsafe {
                if flows != 0 {
                    add(load.cast(), flows);
                }
                if change.ports != 0 {
                    add(&raw mut (*load).ports, change.ports);
                }
            }
        }
    }

    #[inline(always)]
    fn sample(&self, slot: u32, place: u32) -> Option<FlowKey<Ip>> {
        HALF_OPEN.get(slot.wrapping_mul(SAMPLES).wrapping_add(place)).copied()
    }

    #[inline(always)]
    fn keep_sample(&self, slot: u32, place: u32, key: &FlowKey<Ip>) {
        if let Some(kept) = HALF_OPEN.get_ptr_mut(slot.wrapping_mul(SAMPLES).wrapping_add(place)) {
            // SAFETY: plain bytes. A key of which another CPU reads or writes half names no flow, or one like any other.
            unsafe { *kept = *key };
        }
    }

    #[inline(always)]
    fn may_reclaim_bindings(&self, refresh: u32, now: u32) -> bool {
        may_walk(2, refresh, now)
    }

    #[inline(always)]
    fn binding(&self, key: &BindingKey<Ip>) -> Option<BindingV4> {
        // SAFETY: copied at once; an element that is reused meanwhile names another port, which is then tried or not found.
        unsafe { BINDINGS.get(key) }.copied()
    }

    #[inline(always)]
    fn binding_insert(&self, key: &BindingKey<Ip>, binding: &BindingV4) -> Inserted {
        match BINDINGS.insert(key, binding, u64::from(BPF_NOEXIST)) {
            Ok(()) => Inserted::Yes,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn binding_extend(&self, key: &BindingKey<Ip>, until: u32) {
        if let Some(binding) = BINDINGS.get_ptr_mut(key) {
            // SAFETY: an aligned word. A binding that gets a removed element meanwhile lasts longer or shorter for a while.
            unsafe { (&raw mut (*binding).head.until).write_volatile(until) };
        }
    }

    #[inline(always)]
    fn binding_share(&self, key: &BindingKey<Ip>) {
        if let Some(binding) = BINDINGS.get_ptr_mut(key) {
            // SAFETY: an aligned half-word. A binding that gets a removed element meanwhile is not given up early.
            unsafe { (&raw mut (*binding).head.shared).write_volatile(1) };
        }
    }

    #[inline(always)]
    fn binding_remove(&self, key: &BindingKey<Ip>) -> bool {
        BINDINGS.remove(key).is_ok()
    }

    #[inline(always)]
    fn each_binding<V: FnMut(&BindingKey<Ip>, &BindingV4)>(&self, mut visit: V) {
        walk((&raw const BINDINGS).cast(), &mut |key, binding: &BindingV4| {
            // SAFETY: as for `each_flow`.
            let binding = unsafe { (&raw const *binding).read_volatile() };
            visit(key, &binding);
        });
    }

    #[inline(always)]
    fn first_fragment(&self, key: &FragmentKey<Ip>, into: &mut FirstFragment) -> bool {
        // SAFETY: copied at once; an element that is evicted and used again meanwhile has the ports of another datagram, with
        // which this packet has no flow, or one of its own endpoints'.
        let found = unsafe { FRAGMENTS.get(key) };
        if let Some(first) = found {
            *into = *first;
        }
        found.is_some()
    }

    #[inline(always)]
    fn note_first(&self, key: &FragmentKey<Ip>, first: &FirstFragment) {
        let _full = FRAGMENTS.insert(key, first, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn advance(&self, key: &FragmentKey<Ip>, next: u16) {
        if let Some(first) = FRAGMENTS.get_ptr_mut(key) {
            // SAFETY: two aligned bytes. A datagram that gets an evicted element meanwhile is not known to be complete, or may
            // be thought to be.
            unsafe { (&raw mut (*first).next).write_volatile(next) };
        }
    }

    #[inline(always)]
    fn held(&self, place: &FragmentKey<Ip>, into: &mut HeldHead) -> bool {
        // SAFETY: copied at once; if the element is removed and used again meanwhile, the removal of this one fails.
        let found = unsafe { HELD.get(place) };
        if let Some(held) = found {
            *into = held.head;
        }
        found.is_some()
    }

    #[inline(always)]
    fn hold(&self, place: &FragmentKey<Ip>, head: &HeldHead) -> Inserted {
        self.put_aside(head).map_or(Inserted::Full, |held| {
            match HELD.insert(place, held, u64::from(BPF_NOEXIST)) {
                Ok(()) => Inserted::Yes,
                Err(EEXIST) => Inserted::Exists,
                Err(_) => Inserted::Full,
            }
        })
    }

    #[inline(always)]
    fn held_remove(&self, place: &FragmentKey<Ip>) -> bool {
        HELD.remove(place).is_ok()
    }

    #[inline(always)]
    fn release(&self, place: &FragmentKey<Ip>, head: &HeldHead) -> Released {
        self.receive_anew(place, head)
    }

    #[inline(always)]
    fn each_held<V: FnMut(&FragmentKey<Ip>, &HeldHead)>(&self, mut visit: V) {
        walk((&raw const HELD).cast(), &mut |place, held: &Held| {
            visit(place, &held.head);
        });
    }

    #[inline(always)]
    fn may_reclaim_held(&self, refresh: u32, now: u32) -> bool {
        may_walk(1, refresh, now)
    }

    #[inline(always)]
    fn held_by(&self, slot: u32) -> i32 {
        HELD_BY.get(slot).map_or(0, |count| *count as i32)
    }

    #[inline(always)]
    fn count_held(&self, slot: u32, more: i32) {
        if let Some(count) = HELD_BY.get_ptr_mut(slot) {
            // SAFETY: an element of the map.
            unsafe { add(count, i64::from(more)) };
        }
    }

    #[inline(always)]
    fn host_socket(&self, key: &FlowKey<Ip>) -> bool {
        // SAFETY: all-zero is a valid value of this plain C union.
        let mut tuple: bpf_sock_tuple = unsafe { mem::zeroed() };
        tuple.__bindgen_anon_1.ipv4.saddr = u32::from_ne_bytes(key.src);
        tuple.__bindgen_anon_1.ipv4.daddr = u32::from_ne_bytes(key.dst);
        tuple.__bindgen_anon_1.ipv4.sport = u16::from_ne_bytes(key.sport);
        tuple.__bindgen_anon_1.ipv4.dport = u16::from_ne_bytes(key.dport);
        // SAFETY: the member that was written above. Its size is what names the family.
        let size = size_of_val(unsafe { &tuple.__bindgen_anon_1.ipv4 }) as u32;
        let here = i64::from(BPF_F_CURRENT_NETNS).cast_unsigned();
        let skb = self.raw().cast::<c_void>();
        // SAFETY: the helpers get the context and a tuple of the size they are told; a socket they find is released at once.
        unsafe {
            let socket: *mut c_void = if key.proto == proto::TCP {
                helper::bpf_skc_lookup_tcp(skb, &raw mut tuple, size, here, 0).cast()
            } else {
                helper::bpf_sk_lookup_udp(skb, &raw mut tuple, size, here, 0).cast()
            };
            if socket.is_null() {
                return false;
            }
            helper::bpf_sk_release(socket);
        }
        true
    }

    #[inline(always)]
    fn published(&self, key: &PortKey<Ip>) -> Option<&PublishedV4> {
        PUBLISHED.get(&Key::new(PortKey::<Ip>::BITS, *key))
    }

    #[inline(always)]
    fn is_source(&self, key: &SourceKey<Ip>) -> bool {
        SOURCES.get(&Key::new(SourceKey::<Ip>::BITS, *key)).is_some()
    }

    #[inline(always)]
    fn filter(&self, bank: u32) -> Option<&FilterHead> {
        Maps.head(bank, 0)
    }

    #[inline(always)]
    fn filter_word(&self, bank: u32, index: u32) -> u64 {
        Maps.word(bank, index)
    }

    #[inline(always)]
    fn search(&self, generation: u32, _work: &mut Work<V4>) {
        filter::search(generation);
    }

    #[inline(always)]
    fn count_path(&self, bank: u32, path: u32, bytes: u32) {
        Maps.count(bank, path, bytes);
    }

    #[inline(never)]
    fn next_hop(&self, src: Ip, dst: Ip, ifindex: u32) -> Hop<Ip> {
        // SAFETY: all-zero is a valid value of this plain C struct.
        let mut params: bpf_fib_lookup = unsafe { mem::zeroed() };
        params.family = AF_INET;
        params.ifindex = ifindex;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(src);
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(dst);
        // SAFETY: the helper gets the context and a struct of the size it is told.
        let answer = unsafe {
            helper::bpf_fib_lookup(
                self.raw().cast(),
                &raw mut params,
                size_of::<bpf_fib_lookup>() as i32,
                BPF_FIB_LOOKUP_SRC,
            )
        };
        let kind = match u32::try_from(answer) {
            Ok(BPF_FIB_LKUP_RET_SUCCESS) => HopKind::Resolved,
            Ok(BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FWD_DISABLED) => HopKind::Unresolved,
            Ok(BPF_FIB_LKUP_RET_NOT_FWDED) => HopKind::Local,
            _ => HopKind::Stack,
        };
        let says_where =
            answer == i64::from(BPF_FIB_LKUP_RET_SUCCESS) || answer == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH);
        Hop {
            kind,
            ifindex: if says_where { params.ifindex } else { 0 },
            dmac: params.dmac,
            smac: params.smac,
            src: if says_where {
                // SAFETY: all members of the union are plain bytes, and the helper has written these.
                unsafe { params.__bindgen_anon_3.ipv4_src }.to_ne_bytes()
            } else {
                [0; 4]
            },
        }
    }

    #[inline(always)]
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S) {
        repeat(times, step);
    }

    #[inline(always)]
    fn count_tx(&self, slot: u32, bytes: u32) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
            // SAFETY: this CPU's own element, and programs of one CPU do not interrupt each other here.
            unsafe {
                (*traffic).tx_packets += 1;
                (*traffic).tx_bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count_rx(&self, slot: u32, bytes: u32) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
            // SAFETY: as for `count_tx`.
            unsafe {
                (*traffic).rx_packets += 1;
                (*traffic).rx_bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count_drop(&self, slot: u32, reason: Reason) {
        if let Some(drops) = DROPS.get_ptr_mut(reason as u32) {
            // SAFETY: as for `count_tx`.
            unsafe { *drops += 1 };
        }
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
            // SAFETY: as for `count_tx`.
            unsafe { (*traffic).drops += 1 };
        }
    }

    #[inline(always)]
    fn uncount(&self, slot: u32, bytes: u32, reason: Reason) {
        if let Some(drops) = DROPS.get_ptr_mut(reason as u32) {
            // SAFETY: as for `count_tx`. It may have been counted by another CPU: the sum over all of them is right.
            unsafe { *drops = (*drops).wrapping_sub(1) };
        }
        if let Some(traffic) = TRAFFIC.get_ptr_mut(slot) {
            // SAFETY: likewise.
            unsafe {
                (*traffic).drops = (*traffic).drops.wrapping_sub(1);
                (*traffic).tx_packets = (*traffic).tx_packets.wrapping_sub(1);
                (*traffic).tx_bytes = (*traffic).tx_bytes.wrapping_sub(u64::from(bytes));
            }
        }
    }

    #[inline(always)]
    fn may_report(&self, tick: u32, limit: u32) -> bool {
        // SAFETY: this CPU's own element.
        EVENT_RATE
            .get_ptr_mut(0)
            .is_some_and(|budget| unsafe { (*budget).take(tick, 1, limit) })
    }

    #[inline(always)]
    fn may_flood(&self, slot: u32, now: u32, span: u32, limit: u32) -> bool {
        // SAFETY: this CPU's own element, and programs of one CPU do not interrupt each other here.
        FLOODS
            .get_ptr_mut(slot)
            .is_none_or(|budget| unsafe { (*budget).take(now, span, limit) })
    }

    #[inline(always)]
    fn may_answer(&self, tick: u32, limit: u32) -> bool {
        // SAFETY: this CPU's own element.
        ANSWER_RATE
            .get_ptr_mut(0)
            .is_some_and(|budget| unsafe { (*budget).take(tick, 1, limit) })
    }

    #[inline(always)]
    fn report(&self, event: &DropEvent) {
        let _full = EVENTS.output(event, 0);
    }
}
