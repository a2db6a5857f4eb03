//! Frames that wait, and how they come back: the frame in work is set aside, turned into the one that waited, cloned into
//! the queue of its interface, and turned back.
//!
//! A clone is received by the interface's program once this one is done with the frame in work, which is a first fragment
//! and so goes before what waited for it.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_CSUM_LEVEL_RESET, BPF_F_INGRESS};
use aya_ebpf::helpers::generated as helper;
use netbridge_common::abi::{FragmentKey, HELD_BYTES, Held, HeldHead};
use netbridge_common::datapath::env::{Env as _, Released};

use crate::env::Skb;
use crate::maps::{ASIDE, HELD, Ip};

impl Skb<'_> {
    /// Copies the frame to this CPU's room; `None` if it is longer than that.
    #[inline(always)]
    pub(crate) fn put_aside(&self, head: &HeldHead) -> Option<&'static Held> {
        let room = ASIDE.get_ptr_mut(0)?;
        let len = self.frame_len();
        if len == 0 || len > HELD_BYTES {
            return None;
        }
        // SAFETY: this CPU's own element, whose bytes have room for as many as the helper writes.
        let failed = unsafe {
            (*room).head = *head;
            let bytes = (&raw mut (*room).bytes).cast::<c_void>();
            helper::bpf_skb_load_bytes(self.raw().cast_const().cast(), 0, bytes, len)
        };
        // SAFETY: plain bytes, which nobody writes while the program does not.
        (failed == 0).then(|| unsafe { &*room })
    }

    /// Sends the frame of a place into the queue of its interface. Whoever removes it from its place does.
    #[inline(never)]
    pub(crate) fn receive_anew(&self, place: &FragmentKey<Ip>, head: &HeldHead) -> Released {
        let (Some(own), Some(held)) = (self.put_aside(head), HELD.get_ptr(place)) else {
            return Released::Kept;
        };
        let own_len = self.frame_len();
        // SAFETY: plain bytes. The kernel may give an element to another frame once it is removed: then the removal
        // below fails, unless that other frame has got the same place within these few nanoseconds; it is then not
        // whole, and its datagram fails the receiver's checksum.
        if !self.turn_into(unsafe { &raw const (*held).bytes }, head.len) {
            self.turn_into(&raw const own.bytes, own_len);
            return Released::Kept;
        }
        let mut released = Released::Kept;
        if HELD.remove(place).is_ok() {
            // SAFETY: the helper takes numbers.
            let failed = unsafe { helper::bpf_clone_redirect(self.raw(), head.ifindex, u64::from(BPF_F_INGRESS)) };
            released = if failed == 0 {
                Released::Received
            } else {
                Released::Lost
            };
        }
        self.turn_into(&raw const own.bytes, own_len);
        released
    }

    /// Makes the frame another; false if the kernel does not let it. What it knew of the frame's checksum is forgotten:
    /// the receiver computes it.
    #[inline(always)]
    fn turn_into(&self, bytes: *const [u8; HELD_BYTES as usize], len: u32) -> bool {
        if len == 0 || len > HELD_BYTES {
            return false;
        }
        // SAFETY: the helpers take numbers, and read at most as many bytes as there are. A change of length, if only by a byte
        // there and back, ends `CHECKSUM_COMPLETE`; the last call ends `CHECKSUM_UNNECESSARY`.
        unsafe {
            if helper::bpf_skb_change_tail(self.raw(), len + 1, 0) != 0
                || helper::bpf_skb_change_tail(self.raw(), len, 0) != 0
                || helper::bpf_skb_store_bytes(self.raw(), 0, bytes.cast(), len, 0) != 0
            {
                return false;
            }
            helper::bpf_csum_level(self.raw(), BPF_CSUM_LEVEL_RESET.into());
        }
        true
    }
}
