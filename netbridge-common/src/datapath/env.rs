//! What the core needs from the world: the packet, the tables, a tick counter.

use crate::abi::{
    AddrKey, BindingKey, Config, DropEvent, Family, FilterHead, FirstFragment, FlowKey, FlowState, FragmentKey,
    HeldHead, Load, Mac, MacKey, PortKey, Reason, SourceKey, Station,
};

use super::conntrack::Work;
use super::parse::Head;

/// Addresses of an environment's family.
pub type AddrOf<E> = <<E as Env>::F as Family>::Addr;
/// Flow halves of an environment's family.
pub type FlowOf<E> = <<E as Env>::F as Family>::Flow;
/// Keys of an environment's flow table.
pub type FlowKeyOf<E> = FlowKey<AddrOf<E>>;

/// Bindings of an environment's family.
pub type BindingOf<E> = <<E as Env>::F as Family>::Binding;
/// Keys of an environment's bindings.
pub type BindingKeyOf<E> = BindingKey<AddrOf<E>>;

/// Keys of an environment's fragments.
pub type FragmentKeyOf<E> = FragmentKey<AddrOf<E>>;

/// What came of an insertion that must not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Inserted {
    /// The entry is there now.
    Yes = 0,
    /// The key was taken; nothing changed.
    Exists = 1,
    /// The table is full; nothing changed.
    Full = 2,
}

/// What came of a frame that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Released {
    /// It waits still, or somebody else has taken it.
    Kept = 0,
    /// It is gone, and nobody received it.
    Lost = 1,
    /// Its interface receives it anew.
    Received = 2,
}

/// How the host would route a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HopKind {
    /// Out of `ifindex`, and both MACs are known.
    Resolved = 0,
    /// The neighbour is not resolved, or the host does not say (forwarding is off): the stack must ask.
    Unresolved = 1,
    /// There is no way there: the stack answers.
    Stack = 2,
    /// The destination is the host itself.
    Local = 3,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<A> {
    /// What is known.
    pub kind: HopKind,
    /// The interface; 0 where the host does not say.
    pub ifindex: u32,
    /// The next hop's MAC.
    pub dmac: Mac,
    /// The interface's MAC.
    pub smac: Mac,
    /// The address that the host itself would send from; unspecified where it does not say.
    pub src: A,
}

/// What is written in place into half a flow that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Ticks.
    pub now: u32,
    /// Its way was looked up too.
    pub resolved: bool,
    /// It must ask the filter again.
    pub ask: bool,
    /// Its state.
    pub state: FlowState,
}

/// How much of something one CPU has let by in the current span of time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Budget {
    /// Ticks at which the span began.
    pub since: u32,
    /// What was asked for in it.
    pub used: u32,
}

impl Budget {
    /// True if one more is within `limit` in `span` ticks, and counts it. A span begins with the first that comes after
    /// the last one's end.
    pub fn take(&mut self, now: u32, span: u32, limit: u32) -> bool {
        if now.wrapping_sub(self.since) >= span {
            *self = Self { since: now, used: 0 };
        }
        let free = self.used < limit;
        self.used = self.used.saturating_add(1);
        free
    }
}

/// The world as the core sees it: one packet and the tables.
///
/// Implemented in `netbridge-ebpf` over `TcContext` and BPF maps, and in [`crate::host`] over a
/// byte vector and hash maps. Tables the controller owns are read by reference; those the datapath
/// writes are copied, because another CPU may replace the entry at any time.
pub trait Env {
    /// The address family of the tables.
    type F: Family;

    /// The frame's first bytes, where they are or copied to `room`; what is behind the frame's end means nothing.
    fn head<'a>(&'a self, room: &'a mut Head) -> &'a Head;
    /// `N` bytes of the frame at `offset`; `None` if it is shorter.
    fn load<const N: usize>(&self, offset: u16) -> Option<[u8; N]>;
    /// The one's complement sum of `len` bytes of the frame at an even offset: words in native order (as
    /// [`crate::wire::checksum`] has them), an odd byte padded with zero; `None` if the frame is shorter. Sound bytes that
    /// hold their own checksum come to 0xffff.
    fn sum(&self, at: u16, len: u16) -> Option<u16>;
    /// Length of the frame, bytes.
    fn frame_len(&self) -> u32;
    /// True if the frame carries an 802.1Q tag, which the kernel keeps beside the bytes.
    fn tagged(&self) -> bool;
    /// Payload bytes of each packet that a GSO frame will be cut into, 0 for a plain frame.
    fn gso_size(&self) -> u32;
    /// The interface whose program runs.
    fn ifindex(&self) -> u32;
    /// The interface the frame came in by, 0 if the host made it.
    fn ingress_ifindex(&self) -> u32;

    /// Ticks (64 jiffies each).
    fn now(&self) -> u32;
    /// The configuration.
    fn config(&self) -> Option<&Config>;
    /// An interface that netbridge's programs run on.
    fn link(&self, ifindex: u32) -> Option<&<Self::F as Family>::Link>;
    /// A network; an id that is not in use gives one whose bridge is 0.
    fn network(&self, id: u16) -> Option<&<Self::F as Family>::Network>;
    /// Whose address this is, by longest prefix: [`crate::abi::SUBNET_LOCAL`] or a network's id.
    fn subnet(&self, addr: AddrOf<Self>) -> Option<u32>;
    /// The endpoint that holds an address.
    fn address(&self, key: &AddrKey<AddrOf<Self>>) -> Option<Station>;
    /// The FDB's entry for a MAC, aged or not.
    fn station(&self, key: &MacKey) -> Option<Station>;
    /// Writes an FDB entry; false if the table is full, and the station stays unknown.
    fn learn(&self, key: &MacKey, station: &Station) -> bool;
    /// MACs learned behind the port of a slot.
    fn learned(&self, slot: u32) -> i64;
    /// Notes that so many more are; a slot that is none has no count.
    fn count_learned(&self, slot: u32, more: i32);
    /// Removes what was learned behind the port of a slot and has aged, and counts the rest; at most once per
    /// `config.refresh` ticks.
    fn forget_aged(&self, config: &Config, slot: u32, now: u32);
    /// Copies half a flow, expired or not, to `into`; false if there is none.
    fn flow(&self, key: &FlowKeyOf<Self>, into: &mut FlowOf<Self>) -> bool;
    /// Adds half a flow (`BPF_NOEXIST`).
    fn flow_insert(&self, key: &FlowKeyOf<Self>, flow: &FlowOf<Self>) -> Inserted;
    /// Replaces half a flow (`BPF_EXIST`); one that is gone stays gone.
    fn flow_update(&self, key: &FlowKeyOf<Self>, flow: &FlowOf<Self>);
    /// Notes in place that half a flow was used; the state it had, none if it is gone.
    fn flow_renew(&self, key: &FlowKeyOf<Self>, renewal: &Renewal) -> Option<u8>;
    /// Removes half a flow; false if it was gone.
    fn flow_remove(&self, key: &FlowKeyOf<Self>) -> bool;
    /// Shows every half of a flow to `visit`, which may remove any; halves that are added meanwhile may be missed.
    fn each_flow<V: FnMut(&FlowKeyOf<Self>, &FlowOf<Self>)>(&self, visit: V);
    /// True at most once per `refresh` ticks: somebody may walk over the flows now.
    fn may_reclaim(&self, refresh: u32, now: u32) -> bool;
    /// The flows on the quota of a slot's owner.
    fn load_of(&self, slot: u32) -> Load;
    /// Adds to the counts of a slot's owner.
    fn charge(&self, slot: u32, change: Load);
    /// The key of a flow on a slot's quota that may not be established yet, one of [`crate::abi::SAMPLES`].
    fn sample(&self, slot: u32, place: u32) -> Option<FlowKeyOf<Self>>;
    /// Keeps such a key.
    fn keep_sample(&self, slot: u32, place: u32, key: &FlowKeyOf<Self>);
    /// True at most once per `pause` ticks: bindings that ended may be looked for.
    fn may_reclaim_bindings(&self, pause: u32, now: u32) -> bool;
    /// One side of a binding, ended or not.
    fn binding(&self, key: &BindingKeyOf<Self>) -> Option<BindingOf<Self>>;
    /// Adds one side of a binding (`BPF_NOEXIST`).
    fn binding_insert(&self, key: &BindingKeyOf<Self>, binding: &BindingOf<Self>) -> Inserted;
    /// Writes until when one side of a binding lasts; one that is gone stays gone.
    fn binding_extend(&self, key: &BindingKeyOf<Self>, until: u32);
    /// Notes that one side of a binding has more than one flow.
    fn binding_share(&self, key: &BindingKeyOf<Self>);
    /// Removes one side of a binding; false if it was gone.
    fn binding_remove(&self, key: &BindingKeyOf<Self>) -> bool;
    /// Shows every side of a binding to `visit`, which may remove any.
    fn each_binding<V: FnMut(&BindingKeyOf<Self>, &BindingOf<Self>)>(&self, visit: V);
    /// Copies what the first fragment of a datagram said, too long ago or not, to `into`; false if that is not known.
    fn first_fragment(&self, key: &FragmentKeyOf<Self>, into: &mut FirstFragment) -> bool;
    /// Notes what a first fragment said. The table forgets what was used least lately.
    fn note_first(&self, key: &FragmentKeyOf<Self>, first: &FirstFragment);
    /// Notes in place where a datagram's next fragment begins.
    fn advance(&self, key: &FragmentKeyOf<Self>, next: u16);
    /// Copies whose frame waits in a place, for too long or not, to `into`; false if none does.
    fn held(&self, place: &FragmentKeyOf<Self>, into: &mut HeldHead) -> bool;
    /// Lets a copy of the frame, which is not too long, wait in a place (`BPF_NOEXIST`).
    fn hold(&self, place: &FragmentKeyOf<Self>, head: &HeldHead) -> Inserted;
    /// Takes a frame that waits out of its place; false if it was gone.
    fn held_remove(&self, place: &FragmentKeyOf<Self>) -> bool;
    /// Takes a frame that waits out of its place, and has the interface it came in by receive it once this one is done.
    fn release(&self, place: &FragmentKeyOf<Self>, head: &HeldHead) -> Released;
    /// Shows every frame that waits to `visit`, which may remove any.
    fn each_held<V: FnMut(&FragmentKeyOf<Self>, &HeldHead)>(&self, visit: V);
    /// True at most once per `refresh` ticks: somebody may walk over the frames that wait now.
    fn may_reclaim_held(&self, refresh: u32, now: u32) -> bool;
    /// How many frames wait that came in by the interface of a slot.
    fn held_by(&self, slot: u32) -> i32;
    /// Notes that so many more do; a slot that is none has no count.
    fn count_held(&self, slot: u32, more: i32);
    /// True if a socket of the host takes what `key` names: packets to its destination from its source.
    fn host_socket(&self, key: &FlowKeyOf<Self>) -> bool;
    /// Where a published port leads, by the longest prefix that holds the key.
    fn published(&self, key: &PortKey<AddrOf<Self>>) -> Option<&<Self::F as Family>::Published>;
    /// Whether a list of sources has an address.
    fn is_source(&self, key: &SourceKey<AddrOf<Self>>) -> bool;
    /// The head of a filter bank.
    fn filter(&self, bank: u32) -> Option<&FilterHead>;
    /// A word of a filter bank; [`crate::abi::word::EMPTY`] beyond its end.
    fn filter_word(&self, bank: u32, index: u32) -> u64;
    /// Searches the filter of a generation for what becomes of `work.subject`: [`super::filter::decide`], which is the same for
    /// every program, and long.
    fn search(&self, generation: u32, work: &mut Work<Self::F>);
    /// Counts a packet on a path of a bank.
    fn count_path(&self, bank: u32, path: u32, bytes: u32);
    /// How the host routes to `dst` a packet of `src` that comes in by `ifindex`.
    fn next_hop(&self, src: AddrOf<Self>, dst: AddrOf<Self>, ifindex: u32) -> Hop<AddrOf<Self>>;

    /// Calls `step` with 0, 1, … until it answers false, at most `times` times. The verifier walks the
    /// step once, not once per round (`bpf_loop`, Linux 5.17, commit e6f2dd0f8067).
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S);

    /// Counts a packet that the owner of `slot` sent.
    fn count_tx(&self, slot: u32, bytes: u32);
    /// Counts a packet handed to the owner of `slot`.
    fn count_rx(&self, slot: u32, bytes: u32);
    /// Counts a drop, and against the sender if `slot` is one.
    fn count_drop(&self, slot: u32, reason: Reason);
    /// Takes back what was counted of a packet that the owner of `slot` sent and that was dropped.
    fn uncount(&self, slot: u32, bytes: u32, reason: Reason);
    /// True if one more drop event may be sent now.
    fn may_report(&self, tick: u32, limit: u32) -> bool;
    /// True if one more ICMP error may be made now.
    fn may_answer(&self, tick: u32, limit: u32) -> bool;
    /// True if the port of a slot may send one more frame to all others, of `limit` in `span` ticks.
    fn may_flood(&self, slot: u32, now: u32, span: u32, limit: u32) -> bool;
    /// Sends a drop event.
    fn report(&self, event: &DropEvent);
}
