//! Types that live in BPF maps, shared by the programs and the controller.
//!
//! Addresses, ports and MACs are bytes in network order; every other integer is native. A type
//! with addresses has one layout per family: an aligned *head* that both share and a byte-packed
//! *tail* that holds the addresses ([`Record`]).
//!
//! A change of any layout or map must raise [`VERSION`]: pinned maps of another version are refused.

#![expect(
    clippy::multiple_bound_locations,
    reason = "bytemuck's derive repeats the bound of a generic layout"
)]

mod addr;
mod binding;
mod config;
mod counters;
mod filter;
mod flow;
mod fragment;
pub mod generation;
mod link;
mod network;
mod port;
mod reason;
mod socket;
mod station;

pub use addr::{Addr, Family, Mac, Record, V4, V6};
pub use binding::{Binding, BindingHead, BindingKey, BindingV4, BindingV6};
pub use config::{Config, Timeouts};
pub use counters::{DropEvent, EVENT_BYTES, Hook, Load, REASON_SLOTS, SAMPLES, SLOTS, Traffic};
pub use filter::{
    BANKS, BOX_PAGES, BUCKETS, BoxPage, BucketKey, CHUNK_PAGES, CHUNKS, CLASS_STEPS, CtState, FilterHead, HEADS,
    JOINED_PATHS, LIMITS, Limit, NO_PATH, PAGE_BOXES, PAGE_PATHS, PAGE_WORDS, PARTY_WORDS, PATCHES, PATHS, PLACES,
    PROBES, Passed, PassedPage, PathKey, Region, RuleBox, SEARCH_DEPTH, SEARCH_STEPS, WORD_PAGES, WordPage, axis,
    limit_flags, reject, verdict, word,
};
pub use flow::{
    FlowHead, FlowKey, FlowState, FlowV4, FlowV6, LISTED_AT, MOST_LISTED, NO_SLOT, Nat, ZONE_UPLINK, flow_action,
    flow_flags, proto,
};
pub use fragment::{COMPLETE, FirstFragment, FragmentKey, HELD_BYTES, HELD_PLACES, Held, HeldHead};
pub use link::{LINK_ADDRS, LinkAddrs, LinkHead, LinkV4, LinkV6, link_kind};
pub use network::{MAX_NETWORKS, NetworkAddrs, NetworkHead, NetworkV4, NetworkV6, SUBNET_LOCAL, network_flags};
pub use port::{PortBlock, PortKey, PortTarget, PublishedHead, PublishedV4, PublishedV6, SourceKey, port_scope};
pub use reason::Reason;
pub use socket::{Peer, PeerKey};
pub use station::{AddrKey, Learned, MacKey, STATIONS, Station, station_flags};

/// Version of every layout in this module and of the set of maps.
pub const VERSION: u32 = 7;

/// Defines the IPv4 and the IPv6 layout of one map value, see [`Record`].
macro_rules! record {
    ($(#[$doc:meta])* $v4:ident, $v6:ident = $head:ident + $tail:ident) => {
        record!(@one $(#[$doc])* $v4, $head, $tail, [u8; 4]);
        record!(@one $(#[$doc])* $v6, $head, $tail, [u8; 16]);
    };
    (@one $(#[$doc:meta])* $name:ident, $head:ident, $tail:ident, $addr:ty) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name {
            /// What both families share.
            pub head: $head,
            /// What is addresses.
            pub tail: $tail<$addr>,
        }

        impl $crate::abi::Record for $name {
            type Head = $head;
            type Tail = $tail<$addr>;

            fn new(head: $head, tail: $tail<$addr>) -> Self {
                Self { head, tail }
            }

            fn head(&self) -> &$head {
                &self.head
            }

            fn tail(&self) -> &$tail<$addr> {
                &self.tail
            }

            fn head_mut(&mut self) -> &mut $head {
                &mut self.head
            }

            fn tail_mut(&mut self) -> &mut $tail<$addr> {
                &mut self.tail
            }
        }
    };
}
use record;

#[cfg(test)]
mod tests {
    use super::*;

    type Ip = <V4 as Family>::Addr;

    /// What has another size has another layout: raise [`VERSION`] with it.
    #[test]
    fn layouts_are_those_of_this_version() {
        let keys = [
            size_of::<AddrKey<Ip>>(),
            size_of::<BindingKey<Ip>>(),
            size_of::<BucketKey>(),
            size_of::<FlowKey<Ip>>(),
            size_of::<FragmentKey<Ip>>(),
            size_of::<MacKey>(),
            size_of::<PathKey>(),
            size_of::<PeerKey<Ip>>(),
            size_of::<PortBlock<Ip>>(),
            size_of::<PortKey<Ip>>(),
            size_of::<SourceKey<Ip>>(),
        ];
        let values = [
            size_of::<BindingV4>(),
            size_of::<Config>(),
            size_of::<FilterHead>(),
            size_of::<FirstFragment>(),
            size_of::<FlowV4>(),
            size_of::<Held>(),
            size_of::<Learned>(),
            size_of::<Limit>(),
            size_of::<LinkV4>(),
            size_of::<Load>(),
            size_of::<NetworkV4>(),
            size_of::<Passed>(),
            size_of::<Peer<Ip>>(),
            size_of::<PublishedV4>(),
            size_of::<RuleBox>(),
            size_of::<Station>(),
            size_of::<Traffic>(),
        ];
        assert_eq!(
            (VERSION, keys, values),
            (
                7,
                [8, 12, 40, 16, 16, 8, 12, 16, 12, 8, 8],
                [16, 120, 168, 16, 60, 2064, 16, 24, 48, 16, 40, 16, 8, 28, 64, 20, 40]
            )
        );
    }
}
