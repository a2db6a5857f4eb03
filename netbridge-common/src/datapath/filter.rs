//! The FORWARD filter: what is asked about a packet, and what the answer means.

use crate::abi::{Addr, Family, FilterHead, Mac, PATCHES, Reason, Region, axis, generation, proto, verdict};

use crate::wire::ethernet;

use super::conntrack::{Cx, Work};
use super::env::{AddrOf, Env};
use super::parse::Fragment;
use super::pipeline;
use super::search::{self, Search, Tables};
use super::verdict::{Action, Verdict};

/// What the filter sees of a packet: the container's side of every translation, as netfilter's
/// FORWARD hook does (after DNAT, before SNAT).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Subject<A> {
    /// Interface it came in by, 0 if unknown.
    pub in_ifindex: u32,
    /// Network it came from, 0 for the outside.
    pub in_net: u32,
    /// Interface it will leave by, 0 if there is not exactly one.
    pub out_ifindex: u32,
    /// Network it goes to, 0 for the outside.
    pub out_net: u32,
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, host order; from [`axis::NO_PORT`] on where there is none.
    pub sport: u32,
    /// Destination port; for ICMP [`axis::ICMP`] with type and code.
    pub dport: u32,
    /// Source MAC.
    pub mac: Mac,
    /// IP protocol.
    pub proto: u8,
    /// Bits of [`crate::abi::CtState`].
    pub state: u8,
    /// TCP flags.
    pub tcp: u8,
    /// Length from the IP header on, as it is counted.
    pub bytes: u32,
}

impl<A: Addr> Subject<A> {
    /// Nothing to ask about yet.
    pub const EMPTY: Self = Self {
        in_ifindex: 0,
        in_net: 0,
        out_ifindex: 0,
        out_net: 0,
        src: A::UNSPECIFIED,
        dst: A::UNSPECIFIED,
        sport: 0,
        dport: 0,
        mac: [0; 6],
        proto: 0,
        state: 0,
        tcp: 0,
        bytes: 0,
    };

    /// A packet as it stands, from where it arrived.
    pub fn of<E: Env>(cx: &Cx<'_, E>, state: u8) -> Self
    where
        E::F: Family<Addr = A>,
    {
        let packet = &*cx.packet;
        let (mut sport, mut dport) = (axis::NO_PORT, axis::NO_PORT);
        if packet.has_ports() {
            sport = u16::from_be_bytes(packet.key.sport).into();
            dport = u16::from_be_bytes(packet.key.dport).into();
        } else if packet.is_icmp() {
            dport = axis::ICMP | u32::from(packet.key.icmp) << 8 | u32::from(packet.code);
        } else if packet.key.proto != proto::ICMP {
            let [one, other] = labels(cx);
            sport |= u32::from(one);
            dport |= u32::from(other);
        }
        Self {
            in_ifindex: cx.arrival.ifindex,
            in_net: u32::from(cx.arrival.zone),
            out_ifindex: 0,
            out_net: 0,
            src: packet.key.src,
            dst: packet.key.dst,
            sport,
            dport,
            mac: packet.from.mac,
            proto: packet.key.proto,
            state,
            tcp: packet.tcp,
            bytes: length(cx),
        }
    }

    /// The source MAC as a number.
    const fn mac_value(&self) -> u64 {
        let [a, b, c, d, e, f] = self.mac;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Where it goes.
    #[must_use]
    pub const fn to(mut self, ifindex: u32, net: u16) -> Self {
        self.out_ifindex = ifindex;
        self.out_net = net as u32;
        self
    }
}

/// What a packet without ports has where the kernel looks for them, host order; zero where that is nowhere.
#[inline(never)]
fn labels<E: Env>(cx: &Cx<'_, E>) -> [u16; 2] {
    let packet = &*cx.packet;
    let has_header = packet.is_whole() || packet.fragment as u8 == Fragment::First as u8;
    let place = proto::labels(packet.key.proto).filter(|_| has_header);
    let [a, b, c, d] = place
        .and_then(|place| cx.env.load(packet.l4.wrapping_add(place)))
        .unwrap_or_default();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// Length of a packet as it is counted: from its IP header on, and without what pads a frame.
#[inline(always)]
pub fn length<E: Env>(cx: &Cx<'_, E>) -> u32 {
    let end = cx.env.frame_len().min(cx.packet.end.into());
    end.wrapping_sub(ethernet::LEN.into())
}

/// The bank in force.
#[inline(always)]
pub(super) const fn bank<E: Env>(cx: &Cx<'_, E>) -> u32 {
    generation::bank(cx.arrival.generation)
}

/// True unless everything is accepted without being counted. A head that cannot be read counts as a filter: it fails closed.
#[inline(always)]
pub fn is_active<E: Env>(cx: &Cx<'_, E>) -> bool {
    cx.env.filter(bank(cx)).is_none_or(|head| head.active != 0)
}

/// What the filter says of `subject`; which rules matched is kept in the verdict, to be counted when the packet is settled,
/// and in `work.search`, for the flow. [`Action::Pass`] to let pass.
#[inline(always)]
pub fn ask<E: Env>(cx: &Cx<'_, E>, subject: Subject<AddrOf<E>>, work: &mut Work<E::F>) -> Action {
    work.subject = subject;
    asked(cx, work)
}

/// [`ask`] about `work.subject`.
#[inline(always)]
pub fn asked<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    cx.env.search(cx.arrival.generation, work);
    let Work { search, verdict, .. } = work;
    verdict.path = search.path;
    if search.logs != 0 {
        pipeline::report_logged(cx, search);
    }
    match search.verdict {
        verdict::ACCEPT => verdict.refuse(Reason::None),
        verdict::REJECT => verdict.reject(search.with),
        _ => verdict.refuse(Reason::Filtered),
    }
}

/// Searches the bank of a generation for what becomes of a packet. A head that cannot be read is a filter that drops
/// everything.
#[inline(always)]
pub fn decide<A: Addr, E: Tables>(env: &E, generation: u32, subject: &Subject<A>, search: &mut Search) {
    let bank = generation::bank(generation);
    let Some(head) = env.head(bank, 0) else {
        return search.settle(verdict::DROP);
    };
    if head.active == 0 {
        return search.settle(verdict::ACCEPT);
    }
    let number = patch(env, generation, subject);
    let Some(head) = env.head(bank, number) else {
        return search.settle(verdict::DROP);
    };
    classify(env, head, bank, subject, search);
    search.run(env, head, bank, subject);
}

/// True if this is the filter's word and not only that of a flow, whose packets may be told more.
#[inline(always)]
pub fn is_final<A>(action: Action, verdict: &Verdict<A>) -> bool {
    action as u8 == Action::Drop as u8
        || (action as u8 == Action::Answer as u8 && verdict.reason as u8 == Reason::Rejected as u8)
}

/// The number of the head for a packet: that of the last patch in force that it is concerned by, else the bank's.
#[inline(always)]
fn patch<A: Addr, E: Tables>(env: &E, generation: u32, subject: &Subject<A>) -> u32 {
    let (bank, patches) = (generation::bank(generation), generation::patches(generation));
    let mut last = 0;
    if patches == 0 {
        return last;
    }
    env.repeat(PATCHES, |before| {
        let number = before.wrapping_add(1);
        let patch = env.head(bank, number);
        if patch.is_some_and(|patch| concerns(&patch.region, subject)) {
            last = number;
        }
        number < patches
    });
    last
}

/// True if a packet is in a region.
#[inline(always)]
fn concerns<A: Addr>(region: &Region, subject: &Subject<A>) -> bool {
    let within = |value: u32, [first, last]: [u32; 2]| first <= value && value <= last;
    within(subject.src.word(0), region.src)
        && within(subject.dst.word(0), region.dst)
        && within(subject.dport, region.dport)
        && within(subject.sport, region.sport)
        && within(subject.proto.into(), region.proto)
}

/// Fills in the classes of a packet.
#[inline(always)]
fn classify<A: Addr, E: Tables>(env: &E, head: &FilterHead, bank: u32, subject: &Subject<A>, search: &mut Search) {
    // One by one: together they would not fit the registers.
    let [src, dst, sport, dport, input, output, proto, mac] = &mut search.classes;
    *src = address(env, bank, head.src, subject.src);
    *dst = address(env, bank, head.dst, subject.dst);
    *sport = search::class(env, bank, head.sport, subject.sport.min(axis::NO_PORT));
    *dport = search::class(env, bank, head.dport, subject.dport.min(axis::NO_PORT));
    *input = search::interface(env, head, bank, subject.in_ifindex, subject.in_net);
    *output = search::interface(env, head, bank, subject.out_ifindex, subject.out_net);
    *proto = search::class(env, bank, head.proto, subject.proto.into());
    *mac = search::exact(env, bank, head.mac, subject.mac_value(), 0);
}

/// The class of an address: that of its first 32 bits names where those of the next begin.
#[inline(always)]
fn address<A: Addr, E: Tables>(env: &E, bank: u32, root: u64, addr: A) -> u32 {
    let mut found = search::class(env, bank, root, addr.word(0));
    for place in 1..A::WORDS {
        found = search::class(env, bank, env.word(bank, found), addr.word(place));
    }
    found
}
