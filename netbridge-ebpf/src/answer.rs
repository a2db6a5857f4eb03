//! Makes the answer to a frame out of the frame: what is quoted stays, headers are put before it; a TCP segment takes the
//! place of the one that it answers.
//!
//! A frame of a local stack is often `CHECKSUM_PARTIAL`: a device is yet to sum it up from its layer-4 header on, and to
//! write that sum where TCP or UDP have their checksum. No helper undoes that. So a quote stays where the kernel believes
//! this header to be, and has a checksum there that comes out of the device as it went in; and a segment has its own header
//! there, with the checksum that the device is to complete. Nor can such a frame be cut off before that checksum.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC};
use aya_ebpf::helpers::generated as helper;
use netbridge_common::abi::proto;
use netbridge_common::datapath::answer::Headers;
use netbridge_common::datapath::env::Env as _;
use netbridge_common::datapath::verdict::{Verdict, checksum_offset};
use netbridge_common::wire::checksum::{Diff, standing};
use netbridge_common::wire::{ethernet, ipv4, tcp};

use crate::env::Skb;
use crate::maps::Ip;

impl Skb<'_> {
    /// Turns the frame into an error that quotes it; false if the kernel does not let it.
    #[inline(never)]
    pub(crate) fn write_error(&self, verdict: &Verdict<Ip>) -> bool {
        let mut headers = verdict.answer;
        if !self.cut(ethernet::LEN + verdict.quote) {
            return false;
        }
        if matches!(verdict.proto, proto::TCP | proto::UDP) {
            self.settle_checksum(verdict, &mut headers);
        }
        if !self.widen(i32::from(Headers::GROWTH)) {
            return false;
        }
        self.store_headers(&headers, Headers::GROWTH);
        true
    }

    /// Turns the frame, which holds a TCP header, into a segment without payload; false if the kernel does not let it.
    #[inline(never)]
    pub(crate) fn write_segment(&self, verdict: &Verdict<Ip>) -> bool {
        let mut headers = verdict.answer;
        if !self.cut(verdict.l4 + tcp::MIN_LEN) {
            return false;
        }
        if self.unfinished(verdict.l4 + tcp::CHECKSUM).is_some() {
            let [.., [sum_0, sum_1, _, _]] = &mut headers.l4;
            [*sum_0, *sum_1] = verdict.partial;
        }
        // What is taken out lies before the TCP header, which stays where the kernel believes it to be.
        let options = i32::from(verdict.l4) - i32::from(ipv4::PLAIN_END);
        if options > 0 && !self.widen(-options) {
            return false;
        }
        self.store_headers(&headers, Headers::SEGMENT);
        true
    }

    /// Cuts the frame off; a GSO frame becomes a plain one.
    #[inline(always)]
    fn cut(&self, end: u16) -> bool {
        // SAFETY: the helper takes numbers, and fails where it cannot do as it is told.
        unsafe { helper::bpf_skb_change_tail(self.raw(), u32::from(end), 0) == 0 }
    }

    /// Makes room between the MACs and what has been the packet, or takes so much of that away, which also takes the frame's
    /// `CHECKSUM_UNNECESSARY` away (Linux 5.8, commit 836e66c218f3).
    #[inline(always)]
    fn widen(&self, by: i32) -> bool {
        // SAFETY: as for `cut`.
        unsafe { helper::bpf_skb_adjust_room(self.raw(), by, BPF_ADJ_ROOM_MAC, 0) == 0 }
    }

    /// Writes the Ethernet header and `behind` bytes of what follows, all of which the frame has room for. What the kernel may
    /// know the sum of begins behind the former.
    #[inline(always)]
    fn store_headers(&self, headers: &Headers, behind: u16) {
        let start = (&raw const *headers).cast::<c_void>();
        // SAFETY: the helper reads what `Headers` holds, the Ethernet header first, and checks the offset in the frame itself.
        unsafe {
            helper::bpf_skb_store_bytes(self.raw(), 0, start, u32::from(ethernet::LEN), 0);
            helper::bpf_skb_store_bytes(
                self.raw(),
                u32::from(ethernet::LEN),
                start.byte_add(usize::from(ethernet::LEN)),
                u32::from(behind),
                u64::from(BPF_F_RECOMPUTE_CSUM),
            );
        }
    }

    /// The layer-4 checksum at `at` if a device is still to complete it: the frame is `CHECKSUM_PARTIAL`.
    #[inline(always)]
    fn unfinished(&self, at: u16) -> Option<[u8; 2]> {
        let old = self.load::<2>(at)?;
        // This helper leaves the checksum of such a frame alone, and nothing else tells them apart.
        self.mend(at, 1, 0);
        if self.load::<2>(at) != Some(old) {
            self.store(at, old);
            return None;
        }
        Some(old)
    }

    /// Gives the quote of a `CHECKSUM_PARTIAL` frame a layer-4 checksum that stands, and the error's own checksum what
    /// that changes.
    #[inline(always)]
    fn settle_checksum(&self, verdict: &Verdict<Ip>, headers: &mut Headers) {
        let at = verdict.l4 + checksum_offset(verdict.proto);
        let Some(old) = self.unfinished(at) else {
            return;
        };
        self.store(at, [0; 2]);
        let behind = ethernet::LEN + verdict.quote - verdict.l4;
        let Some(rest) = self.sum(verdict.l4, behind) else {
            return;
        };
        let new = standing(rest);
        self.store(at, new);
        let [[_, _, sum_0, sum_1], ..] = &mut headers.l4;
        [*sum_0, *sum_1] = Diff::default().replace2(old, new).apply([*sum_0, *sum_1]);
    }
}
