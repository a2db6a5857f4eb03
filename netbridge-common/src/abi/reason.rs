//! Why a packet was dropped.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $label:literal;)*) => {
        /// Why a packet was dropped. Numbers are append-only: they index the counters and travel in events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])* $name = $number,)*
        }

        impl Reason {
            /// Every reason, `None` included.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name users see.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What it says above, in lines.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc, "\n"),*),)*
                }
            }

            /// The reason with this number.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Not dropped.
    None = 0, "none";
    /// A header is cut short or contradicts itself, or an ARP packet is neither question nor answer.
    Malformed = 1, "malformed";
    /// The source MAC is not the endpoint's, or on a trunk belongs to another endpoint or is a group address.
    SpoofedMac = 2, "spoofed-mac";
    /// The source address is not one of the endpoint's; at a published port, is a container's or the host's; on
    /// its way out, is a container's and did not come by its bridge.
    SpoofedIp = 3, "spoofed-ip";
    /// The ARP sender is not the endpoint.
    SpoofedArp = 4, "spoofed-arp";
    /// The interface or its network has no entry in the maps: nothing is known, nothing passes.
    UnknownLink = 5, "unknown-link";
    /// A rule or the policy of the FORWARD filter.
    Filtered = 6, "filtered";
    /// The destination is in another network.
    Isolated = 7, "isolated";
    /// From outside to a container's address without a published port.
    DirectAccess = 8, "direct-access";
    /// To the outside from a network without an uplink.
    NoUplink = 9, "no-uplink";
    /// No free port for SNAT after 128 tries.
    NatExhausted = 10, "nat-exhausted";
    /// The flow table is full.
    FlowTableFull = 11, "flow-table-full";
    /// To the outside with a protocol that cannot be masqueraded.
    UnsupportedProtocol = 12, "unsupported-protocol";
    /// A fragment that would have to wait and finds no room, whose first was dropped or whose flow is gone, that would overwrite
    /// the header of the first (RFC 1858, RFC 3128), or a second first one with other ports; or one of a protocol that cannot
    /// be masqueraded.
    Fragment = 13, "fragment";
    /// An ICMP error about no flow of this network on its way out, or a reply to no request.
    UntrackedIcmp = 14, "untracked-icmp";
    /// The host routes the destination out of an interface that is not the network's uplink.
    OffUplink = 15, "off-uplink";
    /// The TTL ran out; the sender is told (ICMP time exceeded).
    TtlExpired = 16, "ttl-expired";
    /// An 802.1Q or 802.1ad tag: hides the addresses from the source guard and the filter, and a tag of
    /// VLAN 0 is taken off by the receiver's stack.
    Tagged = 17, "tagged";
    /// The endpoint has as many flows as it may, and none of them can make room.
    QuotaExceeded = 18, "quota-exceeded";
    /// The tuple of the answers belongs to another flow.
    TupleTaken = 19, "tuple-taken";
    /// A TCP segment in the middle of a connection that is not known.
    MidStream = 20, "mid-stream";
    /// From outside to a port that stands for a container's, by somebody to whom that has sent nothing.
    Unsolicited = 21, "unsolicited";
    /// The host has lost the address by which the flow left.
    AddressGone = 22, "address-gone";
    /// Longer than the way out can carry, and not to be fragmented; the sender is told (ICMP fragmentation needed).
    TooBig = 23, "too-big";
    /// An IP header whose checksum is wrong (RFC 1812, section 5.2.2), or an ICMP error whose own is, or that of the IP
    /// header it quotes (RFC 5508 REQ-3).
    BadChecksum = 24, "bad-checksum";
    /// An ICMP type that is not carried: a redirect or a source quench; to the outside, any but echo, timestamp and
    /// errors.
    UnsupportedIcmp = 25, "unsupported-icmp";
    /// TCP flags that no segment has (RFC 9293; netfilter's table): from a container, or about a flow, a published
    /// port or an address of a container.
    BadFlags = 26, "bad-tcp-flags";
    /// A loose or strict source route (RFC 791) would choose the way.
    SourceRouted = 27, "source-routed";
    /// An address that is on no wire, such as 127/8 (RFC 1122, section 3.2.1.3; RFC 1812, section 5.3.7).
    Martian = 28, "martian";
    /// A container answers as a DHCP server: UDP from port 67 to port 68.
    DhcpServer = 29, "dhcp-server";
    /// IPv6 where the network has only IPv4: neither the source guard nor the filter would judge it.
    Ipv6 = 30, "ipv6";
    /// A container plays a router to others: an IPv6 Router Advertisement or Redirect (RFC 4861).
    RogueRouter = 31, "rogue-router";
    /// An ARP question or answer about an address outside the network.
    ArpTarget = 32, "arp-target";
    /// A new MAC behind a trunk that has as many as it may.
    MacLimit = 33, "mac-limit";
    /// More broadcast, multicast and unknown unicast frames of a port than all others must take.
    FloodLimit = 34, "flood-limit";
    /// To a published port whose list of sources does not have the packet's.
    SourceNotAllowed = 35, "source-not-allowed";
    /// To a group address that no bridge forwards (IEEE 802.1D-2004, table 7-10): a container takes no part in a spanning tree.
    ReservedGroup = 36, "reserved-group";
    /// A later fragment waits for the first of its datagram. When that comes, the waiting one is received anew and is no
    /// longer counted here.
    FragmentWaits = 37, "fragment-waits";
    /// A REJECT rule of the FORWARD filter; the sender is told as the rule says (ICMP destination unreachable, or a TCP reset),
    /// unless the packet had been routed by the host's own stack before.
    Rejected = 38, "rejected";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn numbers_and_names_are_one_to_one() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_u8(*reason as u8), Some(*reason));
            assert_eq!(index, *reason as usize, "numbers have no gap");
            assert!(reason.meaning().ends_with(".\n"), "{} is not explained", reason.name());
            assert_eq!(
                Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(),
                1
            );
        }
        assert_eq!(Reason::from_u8(255), None);
    }
}
