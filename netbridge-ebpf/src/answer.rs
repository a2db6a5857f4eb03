//! Makes the answer to a frame out of the frame: what is quoted stays, headers are put before it.
//!
//! A frame of a local stack is often `CHECKSUM_PARTIAL`: a device is yet to sum it up from its layer-4 header on, and to
//! write that sum where TCP or UDP have their checksum. No helper undoes that, so the quote stays where the kernel
//! believes this header to be, and has a checksum there that comes out of the device as it went in.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated as helper;
use netbridge_common::abi::proto;
use netbridge_common::datapath::answer::Headers;
use netbridge_common::datapath::env::Env as _;
use netbridge_common::datapath::verdict::{Verdict, checksum_offset};
use netbridge_common::wire::checksum::{Diff, standing};
use netbridge_common::wire::ethernet;

use crate::env::Skb;
use crate::maps::Ip;

impl Skb<'_> {
    /// Turns the frame into the answer; false if the kernel does not let it.
    #[inline(never)]
    pub(crate) fn write_answer(&self, verdict: &Verdict<Ip>) -> bool {
        let mut headers = verdict.answer;
        let end = u32::from(ethernet::LEN + verdict.quote);
        // SAFETY: these helpers take numbers, and fail where they cannot do as they are told. A GSO frame becomes a plain
        // one here; room is made between the MACs and what has been the packet, which takes the frame's `CHECKSUM_UNNECESSARY`
        // away (Linux 5.8, commit 836e66c218f3).
        unsafe {
            if helper::bpf_skb_change_tail(self.raw(), end, 0) != 0 {
                return false;
            }
            if matches!(verdict.proto, proto::TCP | proto::UDP) {
                self.settle_checksum(verdict, &mut headers);
            }
            if helper::bpf_skb_adjust_room(self.raw(), i32::from(Headers::GROWTH), BPF_ADJ_ROOM_MAC, 0) != 0 {
                return false;
            }
        }
        let start = (&raw const headers).cast::<c_void>();
        // SAFETY: the helper reads what `Headers` holds, the MACs and the `EtherType` first; both places are in the frame now.
        // What the kernel may know the sum of begins behind them.
        unsafe {
            helper::bpf_skb_store_bytes(self.raw(), 0, start, u32::from(ethernet::LEN), 0);
            helper::bpf_skb_store_bytes(
                self.raw(),
                u32::from(ethernet::LEN),
                start.byte_add(usize::from(ethernet::LEN)),
                u32::from(Headers::GROWTH),
                u64::from(BPF_F_RECOMPUTE_CSUM),
            );
        }
        true
    }

    /// Gives the quote of a `CHECKSUM_PARTIAL` frame a layer-4 checksum that stands, and the answer's own checksum what
    /// that changes.
    #[inline(always)]
    fn settle_checksum(&self, verdict: &Verdict<Ip>, headers: &mut Headers) {
        let at = verdict.l4 + checksum_offset(verdict.proto);
        let Some(old) = self.load::<2>(at) else {
            return;
        };
        // This helper leaves the checksum of such a frame alone, and nothing else tells them apart.
        self.mend(at, 1, 0);
        if self.load::<2>(at) != Some(old) {
            self.store(at, old);
            return;
        }
        self.store(at, [0; 2]);
        let behind = ethernet::LEN + verdict.quote - verdict.l4;
        let Some(rest) = self.sum(verdict.l4, behind) else {
            return;
        };
        let new = standing(rest);
        self.store(at, new);
        let [[_, _, sum_0, sum_1], _] = &mut headers.icmp;
        [*sum_0, *sum_1] = Diff::default().replace2(old, new).apply([*sum_0, *sum_1]);
    }
}
