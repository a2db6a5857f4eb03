//! The FORWARD filter: two banks of tables, one in force, the other being written.
//!
//! The controller compiles rules into three steps. Each field of a packet becomes a *class*: what no rule tells apart has
//! one ([`FilterHead`]'s axes). A *search* over the classes, made of [`word`]s, leads to the few [`RuleBox`]es that a packet
//! may be in. The first of these that it is in says what happens, and which of the user's rules have matched: the *path*.
//!
//! A rule that comes or goes concerns few packets. For these the rules are compiled anew, to tables of their own behind those
//! of the bank in force: a *patch*. All others go on with what was there.

use bytemuck::{Pod, Zeroable};

/// Banks; the one in force is the low bit of [`super::Config::generation`].
pub const BANKS: u32 = 2;

/// Words of a page: the controller writes pages, the programs read words.
pub const PAGE_WORDS: u32 = 512;

/// Boxes of a page.
pub const PAGE_BOXES: u32 = 64;

/// Pages of words that a bank has: 8 MiB.
pub const WORD_PAGES: u32 = 2048;

/// Pages of boxes that a bank has: 8 MiB, 131,072 boxes.
pub const BOX_PAGES: u32 = 2048;

/// Paths of a page.
pub const PAGE_PATHS: u32 = 64;

/// Pages of paths that are made room for at once.
pub const CHUNK_PAGES: u32 = 64;

/// Chunks of paths that a bank may have.
pub const CHUNKS: u32 = PATHS >> (PAGE_PATHS.trailing_zeros() + CHUNK_PAGES.trailing_zeros());

/// A page of words.
pub type WordPage = [u64; PAGE_WORDS as usize];

/// A page of boxes.
pub type BoxPage = [RuleBox; PAGE_BOXES as usize];

/// A page of what went paths.
pub type PassedPage = [Passed; PAGE_PATHS as usize];

/// Paths that consist of one place of the compiled rules: their numbers are those of the places.
pub const PLACES: u32 = 131_072;

/// Paths that consist of more, numbered from [`PLACES`] on as they are met.
pub const JOINED_PATHS: u32 = 16_384;

/// Paths that a bank counts.
pub const PATHS: u32 = PLACES + JOINED_PATHS;

/// No path: nothing is to be counted.
pub const NO_PATH: u32 = u32::MAX;

/// Patches that a bank may have: what a packet that is searched for pays for them stays small.
pub const PATCHES: u32 = 32;

/// Heads of a bank: its own, then those of its patches.
pub const HEADS: u32 = 1 + PATCHES;

/// Steps that a search may take. The controller refuses rules that need more.
pub const SEARCH_STEPS: u32 = 4096;

/// Places that a search may come back to: how many forks may be within each other.
pub const SEARCH_DEPTH: u32 = 16;

/// Steps from a value to its class.
pub const CLASS_STEPS: u32 = 12;

/// Words that say whether an address is an endpoint's, and what party it is of.
pub const PARTY_WORDS: u32 = 5;

/// Places that are looked at for a value in a table of exact ones, and for the number of a path.
pub const PROBES: u32 = 8;

/// What a box says.
pub mod verdict {
    /// Let pass.
    pub const ACCEPT: u8 = 0;
    /// Drop.
    pub const DROP: u8 = 1;
    /// Drop, and tell the sender.
    pub const REJECT: u8 = 2;
    /// Go on with [`super::RuleBox::next`].
    pub const CONTINUE: u8 = 3;
    /// Report, and go on.
    pub const LOG: u8 = 4;
}

/// What the sender of a packet is told that a rule rejects.
pub mod reject {
    /// Nothing.
    pub const NONE: u8 = 0;
    /// ICMP "destination unreachable" (RFC 792) of code c is this number and c: 1 to [`CODES`].
    pub const UNREACHABLE: u8 = 1;
    /// How many codes there are (RFC 1812, section 5.2.7.1).
    pub const CODES: u8 = 16;
    /// A TCP reset (RFC 9293, section 3.10.7.1); nothing if the packet is not TCP.
    pub const TCP_RESET: u8 = 255;
}

/// Bits of a set of connection states as `-m conntrack --ctstate` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtState;

impl CtState {
    /// Belongs to no flow and cannot start one.
    pub const INVALID: u8 = 1;
    /// Of a flow that was answered, or the answer itself.
    pub const ESTABLISHED: u8 = 2;
    /// An ICMP error about a tracked flow.
    pub const RELATED: u8 = 4;
    /// Of a flow not answered yet.
    pub const NEW: u8 = 8;
    /// Any of these.
    pub const ANY: u8 = 15;
    /// Goes against the direction of the flow's first packet.
    pub const REPLY: u8 = 16;
    /// Of a flow whose source is replaced.
    pub const SNAT: u8 = 32;
    /// Of a flow whose destination is replaced.
    pub const DNAT: u8 = 64;

    /// The number of a packet's state, one of the first four bits with any of the others: below 32.
    #[must_use]
    pub const fn number(state: u8) -> u32 {
        let base = match state & Self::ANY {
            Self::INVALID => 0,
            Self::ESTABLISHED => 1,
            Self::RELATED => 2,
            _ => 3,
        };
        base | ((state >> 2) & 0x1c) as u32
    }
}

/// What a packet is compared by, see [`FilterHead`]. The numbers are places in a packet's list of classes.
pub mod axis {
    /// Source address, as a number.
    pub const SRC: u32 = 0;
    /// Destination address.
    pub const DST: u32 = 1;
    /// Source port; [`NO_PORT`] where it means nothing.
    pub const SPORT: u32 = 2;
    /// Destination port; for ICMP [`ICMP`] with type and code; [`NO_PORT`] where there is none.
    pub const DPORT: u32 = 3;
    /// The interface it comes from.
    pub const INPUT: u32 = 4;
    /// The interface it goes to.
    pub const OUTPUT: u32 = 5;
    /// IP protocol.
    pub const PROTO: u32 = 6;
    /// Source MAC.
    pub const MAC: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;

    /// First of the destination ports that stand for ICMP: the type, then the code in the low byte, are added.
    pub const ICMP: u32 = 0x1_0000;
    /// The port of a packet that has none. What a limit takes for one all the same is added, see [`super::super::proto::labels`].
    pub const NO_PORT: u32 = 0x2_0000;
}

/// A word of the search, and of the way from a value to its class.
pub mod word {
    /// Nothing there.
    pub const EMPTY: u64 = 0;
    /// The word at `index` plus some bits of the class on an axis, or of the value, is next.
    pub const CUT: u64 = 1;
    /// `count` pairs of words at `index`, a word and the least box behind it, are all to be looked at, in that order.
    pub const FORK: u64 = 2;
    /// `count` words at `index` are boxes, in order.
    pub const LIST: u64 = 3;
    /// `index` is a box.
    pub const ONE: u64 = 4;
    /// `index` is a class.
    pub const CLASS: u64 = 5;
    /// The word at `index` is a value; smaller ones go on with the word behind it, others with the one after that.
    pub const SPLIT: u64 = 6;
    /// At `index` is a table of two to the power of `bits` words, each a value above sixteen bits of class.
    pub const EXACT: u64 = 7;

    const KIND: u32 = 32;
    const AXIS: u32 = 35;
    const SHIFT: u32 = 38;
    const BITS: u32 = 43;
    const COUNT: u32 = 38;

    /// One with an index alone.
    #[must_use]
    pub const fn new(kind: u64, index: u32) -> u64 {
        kind << KIND | index as u64
    }

    /// [`CUT`] by `bits` bits, less than 32, from `shift`, less than 32, on.
    #[must_use]
    pub const fn cut(axis: u32, shift: u32, bits: u32, index: u32) -> u64 {
        new(CUT, index) | (axis as u64) << AXIS | (shift as u64) << SHIFT | (bits as u64) << BITS
    }

    /// [`FORK`] or [`LIST`] of `count`, less than 2²⁴.
    #[must_use]
    pub const fn many(kind: u64, count: u32, index: u32) -> u64 {
        new(kind, index) | (count as u64) << COUNT
    }

    /// [`EXACT`].
    #[must_use]
    pub const fn exact(bits: u32, index: u32) -> u64 {
        new(EXACT, index) | (bits as u64) << BITS
    }

    /// What kind of word.
    #[must_use]
    pub const fn kind(word: u64) -> u64 {
        word >> KIND & 7
    }

    /// Its index.
    #[must_use]
    pub const fn index(word: u64) -> u32 {
        (word & 0xffff_ffff) as u32
    }

    /// The axis of a [`CUT`].
    #[must_use]
    pub const fn axis(word: u64) -> u32 {
        (word >> AXIS & 7) as u32
    }

    /// What a [`CUT`] adds for a class or value.
    #[must_use]
    pub const fn part(word: u64, value: u32) -> u32 {
        let (shift, bits) = (word >> SHIFT & 31, word >> BITS & 31);
        (value >> shift) & ((1_u32 << bits) - 1)
    }

    /// How many a [`FORK`] or [`LIST`] has.
    #[must_use]
    pub const fn count(word: u64) -> u32 {
        (word >> COUNT & 0xff_ffff) as u32
    }

    /// The first of the places in an [`EXACT`] table where a value of 48 bits may be, and the last place of the table.
    #[must_use]
    pub const fn place(word: u64, value: u64) -> (u32, u32) {
        let bits = word >> BITS & 31;
        // Fibonacci hashing: the upper bits of the product are the mixed ones.
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mask = (1_u32 << bits) - 1;
        ((mixed as u32) & mask, mask)
    }
}

/// Packets, by the first and the last of their addresses, ports and protocols.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Region {
    /// Source addresses, by their first 32 bits as a number.
    pub src: [u32; 2],
    /// Destination addresses, likewise.
    pub dst: [u32; 2],
    /// Source ports, as on [`axis::SPORT`] but not cut off at [`axis::NO_PORT`].
    pub sport: [u32; 2],
    /// Destination ports, likewise.
    pub dport: [u32; 2],
    /// IP protocols.
    pub proto: [u32; 2],
}

impl Region {
    /// All packets.
    pub const ALL: Self = Self {
        src: [0, u32::MAX],
        dst: [0, u32::MAX],
        sport: [0, u32::MAX],
        dport: [0, u32::MAX],
        proto: [0, u32::MAX],
    };
}

/// Head of a bank, or of a patch of it: tables for the packets of a region, in place of those of the bank and of the patches
/// before.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FilterHead {
    /// Where the search begins.
    pub root: u64,
    /// From source address to class; a [`word::CLASS`] if all are the same, as in those that follow.
    pub src: u64,
    /// From destination address to class.
    pub dst: u64,
    /// From source port to class.
    pub sport: u64,
    /// From destination port to class.
    pub dport: u64,
    /// From protocol to class.
    pub proto: u64,
    /// From source MAC to class, [`word::EXACT`].
    pub mac: u64,
    /// From ifindex to class, [`word::EXACT`]; one that is not found has the class of its network.
    pub interface: u64,
    /// From network to class: the first of [`super::MAX_NETWORKS`] words.
    pub networks: u32,
    /// From slot to party: the first of [`super::SLOTS`] times [`PARTY_WORDS`] words, for each slot its party below its ifindex,
    /// and its address.
    pub endpoints: u32,
    /// From a pair of parties to what becomes of their packets: the first word of the first party's row. Zero if the search must
    /// say it, else the path below the verdict, from bit 40 on and more by one, and how a rejected packet's sender is told, from
    /// bit 48 on.
    pub pairs: u32,
    /// Parties: as many rows, and words in each. 0 if every packet is to be searched for.
    pub parties: u32,
    /// Where its words end in the bank.
    pub words: u32,
    /// Where its boxes do.
    pub boxes: u32,
    /// Where its limits do.
    pub limits: u32,
    /// The first of its places of the compiled rules.
    pub first_place: u32,
    /// Where its places end.
    pub places: u32,
    /// Zero if everything is accepted and nothing counted: nothing to ask, nothing to track.
    pub active: u32,
    /// For which rules each place counts: the first of as many words, which the controller alone reads.
    pub legend: u32,
    /// [`super::Config::generation`] from which on its bank is in force.
    pub generation: u32,
    /// What all that is in force was made from, as a number, in a bank's own head: the controller knows by it if that is what it
    /// would make.
    pub digest: u64,
    /// What the bank itself was made from, likewise: it says whose rules its places are. 0 in a patch.
    pub base: u64,
    /// The packets that they are for: those of a bank for all.
    pub region: Region,
}

/// What a packet must be to match, and what happens then: on each axis the first class and how many more follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RuleBox {
    /// TCP flags, FIN to URG as in the header: the bit of their number says if they match. All ones if they are not asked for.
    pub tcp: u64,
    /// States: the bit of [`CtState::number`] says if it matches.
    pub states: u32,
    /// First class of source addresses.
    pub src: u32,
    /// Classes behind it.
    pub src_more: u32,
    /// First class of destination addresses.
    pub dst: u32,
    /// Classes behind it.
    pub dst_more: u32,
    /// First class of source ports.
    pub sport: u16,
    /// Classes behind it.
    pub sport_more: u16,
    /// First class of destination ports.
    pub dport: u16,
    /// Classes behind it.
    pub dport_more: u16,
    /// First class of interfaces it comes from.
    pub input: u16,
    /// Classes behind it.
    pub input_more: u16,
    /// First class of interfaces it goes to.
    pub output: u16,
    /// Classes behind it.
    pub output_more: u16,
    /// First class of source MACs.
    pub mac: u16,
    /// Classes behind it.
    pub mac_more: u16,
    /// First class of protocols.
    pub proto: u8,
    /// Classes behind it.
    pub proto_more: u8,
    /// One of [`verdict`].
    pub verdict: u8,
    /// How a rejected packet's sender is told; where the verdict is not final, how many boxes of the place are behind this one.
    pub with: u8,
    /// The place of the compiled rules that this box is part of, or [`NO_PATH`].
    pub place: u32,
    /// The first box that may be next where the verdict is not final; where it is, that of the place behind, for packets that
    /// there is no token for.
    pub next: u32,
    /// 0, or the number of the [`Limit`] that must have a token, from 1 on.
    pub limit: u32,
}

/// Limits that a bank has.
pub const LIMITS: u32 = 1024;

/// A limit of packets in time, as `-m limit` and `-m hashlimit` set them. Each of the buckets that it has is the moment, in
/// units of 2⁻¹⁶ jiffies, at which the next packet would be due if they came at this very rate (GCRA; ITU-T I.371, annex A).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Limit {
    /// Units of time between two packets, on the average.
    pub interval: u64,
    /// Units of time that a packet may come before it is due.
    pub tolerance: u64,
    /// Whose buckets these are: the same in all limits that share them, and after the rules have changed.
    pub id: u32,
    /// Leading bits of the source address that tell buckets apart.
    pub source: u8,
    /// Of the destination address.
    pub destination: u8,
    /// Bits of [`limit_flags`].
    pub flags: u8,
    /// Zero.
    pub pad: u8,
}

/// Bits of [`Limit::flags`].
pub mod limit_flags {
    /// The source port tells buckets apart.
    pub const SPORT: u8 = 1;
    /// The destination port does.
    pub const DPORT: u8 = 2;
    /// Packets for which there is no token match, and others do not.
    pub const ABOVE: u8 = 4;
}

/// Which bucket: the limit's [`Limit::id`] and what tells it apart, zero elsewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct BucketKey {
    /// [`Limit::id`].
    pub id: u32,
    /// Source address.
    pub src: [u32; 4],
    /// Destination address.
    pub dst: [u32; 4],
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// Buckets that are kept; those that were not used for longest make room.
pub const BUCKETS: u32 = 16_384;

/// A path of several places: the last of them, and the path up to there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PathKey {
    /// [`FilterHead::generation`] of the rules.
    pub generation: u32,
    /// The path up to its last place.
    pub path: u32,
    /// Its last place.
    pub place: u32,
}

impl PathKey {
    /// The first of the numbers that it may have, less [`PLACES`].
    #[must_use]
    pub const fn place_of_number(&self) -> u32 {
        let mixed =
            (self.path ^ self.place.rotate_left(16) ^ self.generation.rotate_left(24)).wrapping_mul(0x9e37_79b9);
        mixed >> 16
    }
}

/// What went a path.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Passed {
    /// Packets.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
}
