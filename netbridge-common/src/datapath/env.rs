//! What the core needs from the world: the packet, the tables, a tick counter.

use crate::abi::{
    AddrKey, Config, DropEvent, Family, FlowKey, Mac, MacKey, Policy, PortKey, Reason, SourceKey, Station,
};

use super::parse::Head;

/// Addresses of an environment's family.
pub type AddrOf<E> = <<E as Env>::F as Family>::Addr;
/// Flow halves of an environment's family.
pub type FlowOf<E> = <<E as Env>::F as Family>::Flow;
/// Keys of an environment's flow table.
pub type FlowKeyOf<E> = FlowKey<AddrOf<E>>;

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

/// How the host would route a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HopKind {
    /// Out of `ifindex`, and both MACs are known.
    Resolved = 0,
    /// The neighbour is not resolved, or the host does not say (forwarding is off): the stack must ask.
    Unresolved = 1,
    /// The destination is the host itself or there is no way there: the stack answers.
    Stack = 2,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What is known.
    pub kind: HopKind,
    /// The interface; 0 where the host does not say.
    pub ifindex: u32,
    /// The next hop's MAC.
    pub dmac: Mac,
    /// The interface's MAC.
    pub smac: Mac,
}

/// How many drop events one CPU has sent in the current tick.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct EventBudget {
    /// The tick.
    pub tick: u32,
    /// Events sent in it.
    pub used: u32,
}

impl EventBudget {
    /// True if one more event may be sent at `tick`, and counts it.
    pub fn take(&mut self, tick: u32, limit: u32) -> bool {
        if self.tick != tick {
            *self = Self { tick, used: 0 };
        }
        let free = self.used < limit;
        self.used = self.used.wrapping_add(1);
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
    /// Writes an FDB entry; a full table is no error, the station stays unknown.
    fn learn(&self, key: &MacKey, station: &Station);
    /// Copies half a flow, expired or not, to `into`; false if there is none.
    fn flow(&self, key: &FlowKeyOf<Self>, into: &mut FlowOf<Self>) -> bool;
    /// Adds half a flow (`BPF_NOEXIST`).
    fn flow_insert(&self, key: &FlowKeyOf<Self>, flow: &FlowOf<Self>) -> Inserted;
    /// Replaces half a flow (`BPF_EXIST`); one that is gone stays gone.
    fn flow_update(&self, key: &FlowKeyOf<Self>, flow: &FlowOf<Self>);
    /// Notes in place that half a flow was used at `now`, and if `resolved` that its way was looked up too; its state and
    /// flags, none if it is gone.
    fn flow_renew(&self, key: &FlowKeyOf<Self>, now: u32, resolved: bool) -> Option<(u8, u8)>;
    /// Removes half a flow.
    fn flow_remove(&self, key: &FlowKeyOf<Self>);
    /// Removes every expired half, at most once per `config.refresh` ticks; false if it is not time.
    fn reclaim(&self, config: &Config, now: u32) -> bool;
    /// Where a published port leads, by the longest prefix that holds the key.
    fn published(&self, key: &PortKey<AddrOf<Self>>) -> Option<&<Self::F as Family>::Published>;
    /// Whether a list of sources has an address.
    fn is_source(&self, key: &SourceKey<AddrOf<Self>>) -> bool;
    /// The head of a filter bank.
    fn policy(&self, bank: u32) -> Option<&Policy>;
    /// A rule: bank · `MAX_RULES` + position.
    fn rule(&self, index: u32) -> Option<&<Self::F as Family>::Rule>;
    /// How the host routes to `dst` a packet that comes in by `ifindex`.
    fn next_hop(&self, src: AddrOf<Self>, dst: AddrOf<Self>, ifindex: u32) -> Hop;

    /// Calls `step` with 0, 1, … until it answers false, at most `times` times. The verifier walks the
    /// step once, not once per round (`bpf_loop`, Linux 5.17, commit e6f2dd0f8067).
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S);

    /// Counts a packet that the owner of `slot` sent.
    fn count_tx(&self, slot: u32, bytes: u32);
    /// Counts a packet handed to the owner of `slot`.
    fn count_rx(&self, slot: u32, bytes: u32);
    /// Counts a drop, and against the sender if `slot` is one.
    fn count_drop(&self, slot: u32, reason: Reason);
    /// True if one more drop event may be sent now.
    fn may_report(&self, tick: u32, limit: u32) -> bool;
    /// Sends a drop event.
    fn report(&self, event: &DropEvent);
}
