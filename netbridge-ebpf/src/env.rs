//! The kernel as the core sees it: one `sk_buff` and the maps.

use core::ffi::c_void;
use core::mem::{self, MaybeUninit};

use aya_ebpf::bindings::{
    __sk_buff, BPF_ANY, BPF_EXIST, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_NOEXIST, bpf_fib_lookup,
};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::TcContext;
use netbridge_common::abi::{
    AddrKey, Config, DropEvent, FlowKey, FlowV4, LinkV4, MacKey, NetworkV4, Policy, PortKey, PublishedV4, Reason,
    RuleV4, SourceKey, Station, V4,
};
use netbridge_common::datapath::conntrack::is_expired;
use netbridge_common::datapath::env::{Env, Hop, HopKind, Inserted};
use netbridge_common::datapath::parse::Head;

use crate::maps::{
    ADDRESSES, CONFIG, DROPS, EVENT_RATE, EVENTS, FDB, FLOWS, Ip, LINKS, NETWORKS, POLICY, PUBLISHED, RECLAIMED, RULES,
    SOURCES, SUBNETS, TRAFFIC,
};

/// `errno` of an insertion that must not replace.
const EEXIST: i32 = -17;

/// `AF_INET`.
const AF_INET: u8 = 2;

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
    fn learn(&self, key: &MacKey, station: &Station) {
        let _full = FDB.insert(key, station, u64::from(BPF_ANY));
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
    fn flow_renew(&self, key: &FlowKey<Ip>, now: u32, resolved: bool) -> Option<(u8, u8)> {
        let flow = FLOWS.get_ptr_mut(key)?;
        // SAFETY: aligned words, each written at once. The kernel may give a removed element to another flow meanwhile; that
        // one then lives a little longer, or looks for its way a second later.
        unsafe {
            (&raw mut (*flow).head.seen).write_volatile(now);
            if resolved {
                (&raw mut (*flow).head.resolved).write_volatile(now);
            }
            Some(((*flow).head.state, (*flow).head.flags))
        }
    }

    #[inline(always)]
    fn flow_remove(&self, key: &FlowKey<Ip>) {
        let _gone = FLOWS.remove(key);
    }

    fn reclaim(&self, config: &Config, now: u32) -> bool {
        /// What the callback needs to judge an entry.
        struct Walk<'a> {
            config: &'a Config,
            now: u32,
        }

        /// What `bpf_for_each_map_elem` calls: 0 to go on. An entry that expired is never renewed, only
        /// replaced; replaced at this very moment, the new half goes, its other half with the next
        /// packet that misses it, and the flow is opened again.
        unsafe extern "C" fn visit(
            _map: *mut c_void,
            key: *const FlowKey<Ip>,
            flow: *const FlowV4,
            walk: *const Walk<'_>,
        ) -> i64 {
            // SAFETY: the kernel passes a key, its value and the context given below.
            let (key, flow, walk) = unsafe { (&*key, &*flow, &*walk) };
            if is_expired(walk.config, key.proto, &flow.head, walk.now) {
                let _gone = FLOWS.remove(key);
            }
            0
        }

        let Some(last) = RECLAIMED.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: four aligned bytes; CPUs that come here at the same time all walk, which is only slow.
        unsafe {
            if now.wrapping_sub(*last) < config.refresh {
                return false;
            }
            *last = now;
        }
        let mut walk = Walk { config, now };
        // SAFETY: the callback has the signature the helper calls, and `walk` outlives the call.
        unsafe {
            helper::bpf_for_each_map_elem(
                (&raw const FLOWS).cast_mut().cast(),
                visit as *mut c_void,
                (&raw mut walk).cast(),
                0,
            );
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
    fn policy(&self, bank: u32) -> Option<&Policy> {
        POLICY.get(bank)
    }

    #[inline(always)]
    fn rule(&self, index: u32) -> Option<&RuleV4> {
        RULES.get(index)
    }

    #[inline(always)]
    fn next_hop(&self, src: Ip, dst: Ip, ifindex: u32) -> Hop {
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
                0,
            )
        };
        let kind = match u32::try_from(answer) {
            Ok(BPF_FIB_LKUP_RET_SUCCESS) => HopKind::Resolved,
            Ok(BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FWD_DISABLED) => HopKind::Unresolved,
            _ => HopKind::Stack,
        };
        let says_where =
            answer == i64::from(BPF_FIB_LKUP_RET_SUCCESS) || answer == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH);
        Hop {
            kind,
            ifindex: if says_where { params.ifindex } else { 0 },
            dmac: params.dmac,
            smac: params.smac,
        }
    }

    #[inline(always)]
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, mut step: S) {
        /// What `bpf_loop` calls: 0 to go on, 1 to stop.
        unsafe extern "C" fn round<S: FnMut(u32) -> bool>(index: u32, step: *mut c_void) -> i64 {
            // SAFETY: the pointer passed to the helper below, which calls back before it returns.
            let step = unsafe { &mut *step.cast::<S>() };
            i64::from(!step(index))
        }
        // SAFETY: the callback has the signature the helper calls, and `step` outlives the call.
        unsafe {
            helper::bpf_loop(times, round::<S> as *mut c_void, (&raw mut step).cast(), 0);
        }
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
    fn may_report(&self, tick: u32, limit: u32) -> bool {
        // SAFETY: this CPU's own element.
        EVENT_RATE
            .get_ptr_mut(0)
            .is_some_and(|budget| unsafe { (*budget).take(tick, limit) })
    }

    #[inline(always)]
    fn report(&self, event: &DropEvent) {
        let _full = EVENTS.output(event, 0);
    }
}
