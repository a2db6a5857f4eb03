//! From a verdict to what the kernel is told.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated as helper;
use aya_log_ebpf::debug;
use netbridge_common::abi::Hook;
use netbridge_common::datapath::env::Env as _;
use netbridge_common::datapath::pipeline;
use netbridge_common::datapath::verdict::{Action, Verdict};

use crate::env::Skb;
use crate::maps::{Ip, SCRATCH};

impl Skb<'_> {
    /// Lets the core decide and carries out what it says.
    #[inline(always)]
    pub(crate) fn run(&self, hook: Hook) -> i32 {
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return TC_ACT_SHOT;
        };
        // SAFETY: this CPU's own element, written by nobody else while the program runs; all-zero, as
        // the kernel makes it, is a valid value of every field.
        let scratch = unsafe { &mut *scratch };
        pipeline::run(self, hook, scratch);
        self.carry_out(hook, &scratch.work.verdict)
    }

    /// Rewrites the frame and sends it on its way.
    ///
    /// "Not mine" is `TC_ACT_UNSPEC`, which is `TCX_NEXT` under tcx: other programs on the device
    /// still run, and the kernel after them.
    #[inline(always)]
    fn carry_out(&self, hook: Hook, verdict: &Verdict<Ip>) -> i32 {
        debug!(
            self.ctx,
            "action {} reason {} ifindex {}", verdict.action as u8, verdict.reason as u8, verdict.ifindex
        );
        if verdict.action as u8 == Action::Drop as u8 {
            return TC_ACT_SHOT;
        }
        if verdict.action as u8 == Action::Answer as u8 {
            // Elsewhere the core makes none.
            return if hook.is_entry() {
                self.send_back(hook, verdict)
            } else {
                TC_ACT_SHOT
            };
        }
        self.rewrite(verdict);
        // SAFETY: these helpers take numbers, and no parameters where a pointer may be null.
        let answer = unsafe {
            match verdict.action {
                Action::Pass | Action::Drop | Action::Answer => return TC_ACT_UNSPEC,
                Action::Peer => helper::bpf_redirect_peer(verdict.ifindex, 0),
                Action::Redirect => helper::bpf_redirect(verdict.ifindex, 0),
                Action::Neigh => helper::bpf_redirect_neigh(verdict.ifindex, core::ptr::null_mut(), 0, 0),
            }
        };
        answer as i32
    }

    /// Puts the answer in the frame's place and sends it back: into the container that the frame came from, past the
    /// programs on its way there, or out of the uplink. What the kernel has no room for is lost, as packets may be.
    #[inline(always)]
    fn send_back(&self, hook: Hook, verdict: &Verdict<Ip>) -> i32 {
        let written = if verdict.quote == 0 {
            self.write_segment(verdict)
        } else {
            self.write_error(verdict)
        };
        if !written {
            return TC_ACT_SHOT;
        }
        // SAFETY: these helpers take numbers.
        let answer = unsafe {
            if hook as u8 == Hook::FromContainer as u8 {
                helper::bpf_redirect_peer(self.ifindex(), 0)
            } else {
                helper::bpf_redirect(self.ifindex(), 0)
            }
        };
        answer as i32
    }
}
