//! Carries the edits of a verdict out.
//!
//! Checksums of layer 4 go through the kernel's helpers: only they know whether the frame's checksum
//! is complete or still to be computed by the device (`CHECKSUM_PARTIAL`). IP header checksums are
//! always complete, and come finished from the core.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated as helper;
use netbridge_common::abi::{Mac, proto};
use netbridge_common::datapath::env::Env as _;
use netbridge_common::datapath::verdict::{Verdict, checksum_offset, edits};
use netbridge_common::wire::{ethernet, icmp, ipv4};

use crate::env::Skb;
use crate::maps::Ip;

/// Offset of what routing leaves alone, between the MACs and the TTL.
const BETWEEN: u16 = 12;

/// A frame up to the ports behind a plain IPv4 header, behind padding that puts its words where they are aligned.
#[repr(C, align(4))]
struct RoutedHead {
    pad: u16,
    dmac: Mac,
    smac: Mac,
    /// `EtherType`, and the IP header up to the TTL.
    between: [u8; 10],
    ttl: u8,
    proto: u8,
    checksum: [u8; 2],
    src: Ip,
    dst: Ip,
    ports: [u8; 4],
}

/// Length of the ports, bytes.
const PORTS: u16 = 4;

/// True if there are new ports, and they lie right behind the addresses.
fn has_plain_ports(verdict: &Verdict<Ip>) -> bool {
    verdict.edits & edits::L4 != 0 && verdict.l4 == ipv4::PLAIN_END && verdict.proto != proto::ICMP
}

impl Skb<'_> {
    /// Writes bytes into the frame; every offset was read successfully before, so this cannot fail.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: u16, bytes: [u8; N]) {
        // SAFETY: the helper reads N bytes from a buffer of N bytes and checks the offset itself.
        unsafe {
            helper::bpf_skb_store_bytes(
                self.raw(),
                u32::from(offset),
                bytes.as_ptr().cast::<c_void>(),
                N as u32,
                0,
            );
        }
    }

    /// Adds a difference to a layer-4 checksum.
    #[inline(always)]
    pub(crate) fn mend(&self, offset: u16, diff: u32, flags: u32) {
        // SAFETY: the helper checks the offset itself.
        unsafe {
            helper::bpf_l4_csum_replace(self.raw(), u32::from(offset), 0, u64::from(diff), u64::from(flags));
        }
    }

    /// Carries out every edit.
    #[inline(always)]
    pub(crate) fn rewrite(&self, verdict: &Verdict<Ip>) {
        if verdict.edits & edits::MACS != 0 {
            self.rewrite_head(verdict);
        } else if verdict.edits & edits::IP != 0 {
            let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (verdict.src, verdict.dst);
            let [c0, c1] = verdict.ip_sum;
            let header = [verdict.ttl, verdict.proto, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3];
            self.store(ethernet::LEN + ipv4::TTL, header);
        }
        if verdict.edits & edits::L4 != 0 {
            self.rewrite_l4(verdict);
        }
        if verdict.edits & edits::INNER != 0 {
            self.rewrite_quote(verdict);
        }
    }

    /// Writes MACs, IP header and, where they follow it, ports at once: every helper that writes makes sure that the frame may be written.
    #[inline(always)]
    fn rewrite_head(&self, verdict: &Verdict<Ip>) {
        let Some(between) = self.load(BETWEEN) else {
            return;
        };
        let head = RoutedHead {
            pad: 0,
            dmac: verdict.dmac,
            smac: verdict.smac,
            between,
            ttl: verdict.ttl,
            proto: verdict.proto,
            checksum: verdict.ip_sum,
            src: verdict.src,
            dst: verdict.dst,
            ports: verdict.ports,
        };
        let len = if has_plain_ports(verdict) {
            ipv4::PLAIN_END + PORTS
        } else {
            ipv4::PLAIN_END
        };
        // SAFETY: the helper reads at most what is behind the padding, and checks the offset in the frame itself.
        unsafe {
            helper::bpf_skb_store_bytes(
                self.raw(),
                0,
                (&raw const head.dmac).cast::<c_void>(),
                u32::from(len),
                0,
            );
        }
    }

    #[inline(always)]
    fn rewrite_l4(&self, verdict: &Verdict<Ip>) {
        let stored = verdict.edits & edits::MACS != 0 && has_plain_ports(verdict);
        if !stored {
            self.store_ports(verdict.proto, verdict.l4, verdict.ports);
        }
        let checksum = verdict.l4 + checksum_offset(verdict.proto);
        // A UDP checksum of zero means "none" and stays; one that becomes zero is written as 0xffff.
        let mangled = if verdict.proto == proto::UDP {
            BPF_F_MARK_MANGLED_0
        } else {
            0
        };
        if verdict.pseudo_diff != 0 {
            self.mend(checksum, verdict.pseudo_diff, BPF_F_PSEUDO_HDR | mangled);
        }
        if verdict.proto == proto::ICMP {
            self.mend_echo(checksum, verdict.l4_diff);
        } else if verdict.l4_diff != 0 {
            self.mend(checksum, verdict.l4_diff, mangled);
        }
    }

    #[inline(always)]
    fn rewrite_quote(&self, verdict: &Verdict<Ip>) {
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (verdict.inner_src, verdict.inner_dst);
        let [c0, c1] = verdict.inner_ip_sum;
        self.store(verdict.inner + ipv4::CHECKSUM, [c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]);
        if !proto::is_portless(verdict.inner_proto) {
            self.store_ports(verdict.inner_proto, verdict.inner_l4, verdict.inner_ports);
        }
        if verdict.inner_sum != 0 {
            self.store(verdict.inner_sum, verdict.inner_l4_sum);
        }
        self.mend(verdict.l4 + icmp::CHECKSUM, verdict.l4_diff, 0);
    }

    /// Adds a difference to an echo's checksum, which is never zero ([`Verdict::never_zero`]).
    #[inline(always)]
    fn mend_echo(&self, offset: u16, diff: u32) {
        self.mend(offset, diff, 0);
        if self.load(offset) == Some([0_u8; 2]) {
            self.store(offset, [0xff; 2]);
        }
    }

    /// Writes both ports, or an echo's identifier.
    #[inline(always)]
    fn store_ports(&self, protocol: u8, l4: u16, ports: [u8; 4]) {
        if protocol == proto::ICMP {
            let [a, b, ..] = ports;
            self.store(l4 + icmp::ID, [a, b]);
        } else {
            self.store(l4, ports);
        }
    }
}
