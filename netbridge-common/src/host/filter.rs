//! Rules as tests write them, and a compiler for a few of them that is made to be believed, not to be fast: every box in
//! one list, every axis cut wherever a rule begins or ends.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "for the few rules of a test, which fails where this does"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;

use bytemuck::Zeroable;

use crate::abi::{CtState, FilterHead, Limit, LinkV4, MAX_NETWORKS, NO_PATH, RuleBox, verdict, word};

use super::Ip;

/// An interface or network that no packet has: a rule that names something gone never matches.
pub const NO_INTERFACE: u32 = u32::MAX;

/// Bits of [`RuleHead::flags`].
pub mod rule_flags {
    /// `! -i`.
    pub const NOT_IN: u8 = 1;
    /// `! -o`.
    pub const NOT_OUT: u8 = 2;
    /// `! -s`.
    pub const NOT_SRC: u8 = 4;
    /// `! -d`.
    pub const NOT_DST: u8 = 8;
    /// The rule asks for ports: a packet without them does not match.
    pub const PORTS: u8 = 16;
}

/// What a rule asks for beside addresses; 0 in both ways to name an interface leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleHead {
    /// `-i` as an interface.
    pub in_ifindex: u32,
    /// `-i` as a network.
    pub in_net: u32,
    /// `-o` as an interface.
    pub out_ifindex: u32,
    /// `-o` as a network.
    pub out_net: u32,
    /// `--sport`, first; host order.
    pub sport_min: u16,
    /// `--sport`, last.
    pub sport_max: u16,
    /// `--dport`, first.
    pub dport_min: u16,
    /// `--dport`, last.
    pub dport_max: u16,
    /// `-p`; 0 for any.
    pub proto: u8,
    /// Set of [`CtState`].
    pub states: u8,
    /// Bits of [`rule_flags`].
    pub flags: u8,
    /// One of [`verdict`].
    pub verdict: u8,
    /// How the sender is told, one of [`crate::abi::reject`].
    pub with: u8,
}

/// `-s` and `-d`; a zero mask leaves it open, others have their ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleAddrs {
    /// Source network.
    pub src: Ip,
    /// Its mask.
    pub src_mask: Ip,
    /// Destination network.
    pub dst: Ip,
    /// Its mask.
    pub dst_mask: Ip,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleV4 {
    /// What is not addresses.
    pub head: RuleHead,
    /// What is.
    pub tail: RuleAddrs,
}

/// A bank of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    /// Its head.
    pub head: FilterHead,
    /// Those of its patches.
    pub patches: Vec<FilterHead>,
    /// Its words.
    pub words: Vec<u64>,
    /// Its boxes.
    pub boxes: Vec<RuleBox>,
    /// Its limits.
    pub limits: Vec<Limit>,
}

impl Default for Bank {
    /// Everything is accepted.
    fn default() -> Self {
        Self {
            head: FilterHead::zeroed(),
            patches: Vec::new(),
            words: Vec::new(),
            boxes: Vec::new(),
            limits: Vec::new(),
        }
    }
}

/// Values from the first to the last.
type Span = (u32, u32);

const ALL: Span = (0, u32::MAX);

/// An interface: its ifindex, 0 for any other one of a network, and the network.
type Interface = (u32, u32);

/// The tables for rules and a policy, one of [`verdict`], where these are the interfaces. A rule's place is its index, the
/// policy's is behind the last.
pub fn compile<S: BuildHasher>(policy: u8, rules: &[RuleV4], links: &HashMap<u32, LinkV4, S>) -> Bank {
    if rules.is_empty() && policy == verdict::ACCEPT {
        return Bank::default();
    }
    let interfaces = interfaces(rules, links);
    let mut words = Vec::new();
    let named: Vec<&Interface> = interfaces.iter().filter(|(ifindex, _)| *ifindex != 0).collect();
    let bits = (named.len() * 2).next_power_of_two().trailing_zeros().max(3);
    let mut head = FilterHead {
        active: 1,
        networks: 0,
        ..FilterHead::zeroed()
    };
    // Classes of interfaces are their places in order.
    let class = |wanted: Interface| interfaces.iter().position(|interface| *interface == wanted);
    let networks = (0..MAX_NETWORKS).map(|net| class((0, net)).map_or(0, |class| class as u64));
    words.extend(networks);
    head.interface = word::exact(bits, MAX_NETWORKS);
    let mut table = vec![0_u64; 1 << bits];
    for interface in named {
        let (first, mask) = word::place(head.interface, interface.0.into());
        let mut places = (0..=mask).map(|probe| ((first + probe) & mask) as usize);
        let free = places.find(|place| table[*place] == 0);
        if let (Some(place), Some(class)) = (free, class(*interface)) {
            table[place] = u64::from(interface.0) << 16 | class as u64;
        }
    }
    words.extend(table);
    let spans: Vec<Spans> = rules.iter().map(|rule| Spans::of(rule, &interfaces)).collect();
    let cuts = |axis: fn(&Spans) -> &Vec<Span>| {
        let ends = spans
            .iter()
            .flat_map(|spans| axis(spans).iter().flat_map(|(lo, hi)| [Some(*lo), hi.checked_add(1)]));
        ends.flatten()
            .chain([0])
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .collect::<Vec<u32>>()
    };
    let axes = [
        cuts(|spans| &spans.src),
        cuts(|spans| &spans.dst),
        cuts(|spans| &spans.sport),
        cuts(|spans| &spans.dport),
        cuts(|spans| &spans.proto),
    ];
    let roots = axes.each_ref().map(|cuts| split(&mut words, cuts, 0));
    [head.src, head.dst, head.sport, head.dport, head.proto] = roots;
    head.mac = word::new(word::CLASS, 0);
    let classes = |cuts: &[u32], (lo, hi): Span| {
        let place = |value: u32| cuts.partition_point(|cut| *cut <= value) as u32 - 1;
        (place(lo), place(hi) - place(lo))
    };
    let mut boxes = Vec::new();
    for (place, (rule, spans)) in rules.iter().zip(&spans).enumerate() {
        for [src, dst, sport, dport, input, output, proto] in spans.product() {
            let [src, dst, sport, dport, proto] = [
                classes(&axes[0], src),
                classes(&axes[1], dst),
                classes(&axes[2], sport),
                classes(&axes[3], dport),
                classes(&axes[4], proto),
            ];
            let small = |(first, more): (u32, u32)| (first as u16, more as u16);
            let mut made = open(rule.head.verdict, place as u32);
            made.with = rule.head.with;
            (made.src, made.src_more) = src;
            (made.dst, made.dst_more) = dst;
            (made.sport, made.sport_more) = small(sport);
            (made.dport, made.dport_more) = small(dport);
            (made.input, made.input_more) = small((input.0, input.1 - input.0));
            (made.output, made.output_more) = small((output.0, output.1 - output.0));
            (made.proto, made.proto_more) = (proto.0 as u8, proto.1 as u8);
            made.states = (0..32)
                .filter(|number| rule.head.states & base(*number) != 0)
                .map(|number| 1 << number)
                .sum();
            boxes.push(made);
        }
    }
    boxes.push(open(policy, rules.len() as u32));
    head.boxes = boxes.len() as u32;
    head.root = word::many(word::LIST, head.boxes, words.len() as u32);
    words.extend((0..head.boxes).map(u64::from));
    Bank {
        head,
        patches: Vec::new(),
        words,
        boxes,
        limits: Vec::new(),
    }
}

/// A box that holds everything.
fn open(verdict: u8, place: u32) -> RuleBox {
    RuleBox {
        tcp: u64::MAX,
        states: u32::MAX,
        src_more: u32::MAX,
        dst_more: u32::MAX,
        sport_more: u16::MAX,
        dport_more: u16::MAX,
        input_more: u16::MAX,
        output_more: u16::MAX,
        mac_more: u16::MAX,
        proto_more: u8::MAX,
        verdict,
        place,
        next: NO_PATH,
        ..RuleBox::zeroed()
    }
}

/// The state of a number, without direction and translation.
const fn base(number: u32) -> u8 {
    match number & 3 {
        0 => CtState::INVALID,
        1 => CtState::ESTABLISHED,
        2 => CtState::RELATED,
        _ => CtState::NEW,
    }
}

/// Every interface that is or that a rule names, each with its network, and "any other" of each network.
fn interfaces<S: BuildHasher>(rules: &[RuleV4], links: &HashMap<u32, LinkV4, S>) -> Vec<Interface> {
    let known: BTreeMap<u32, u32> = links
        .iter()
        .map(|(ifindex, link)| (*ifindex, link.head.station.net.into()))
        .collect();
    let named = rules
        .iter()
        .flat_map(|rule| [rule.head.in_ifindex, rule.head.out_ifindex]);
    let all: BTreeSet<u32> = known
        .keys()
        .copied()
        .chain(named)
        .filter(|ifindex| *ifindex != NO_INTERFACE)
        .collect();
    let named = all.into_iter().filter(|ifindex| *ifindex != 0);
    let named = named.map(|ifindex| (ifindex, known.get(&ifindex).copied().unwrap_or(0)));
    (0..MAX_NETWORKS).map(|net| (0, net)).chain(named).collect()
}

/// The values that a rule takes, on each axis.
struct Spans {
    src: Vec<Span>,
    dst: Vec<Span>,
    sport: Vec<Span>,
    dport: Vec<Span>,
    input: Vec<Span>,
    output: Vec<Span>,
    proto: Vec<Span>,
}

impl Spans {
    fn of(RuleV4 { head, tail }: &RuleV4, interfaces: &[Interface]) -> Self {
        let negated = |bit: u8| head.flags & bit != 0;
        let ports = |min: u16, max: u16| {
            let asks = negated(rule_flags::PORTS);
            if !asks {
                vec![ALL]
            } else if min <= max {
                vec![(min.into(), max.into())]
            } else {
                Vec::new()
            }
        };
        Self {
            src: addresses(tail.src, tail.src_mask, negated(rule_flags::NOT_SRC)),
            dst: addresses(tail.dst, tail.dst_mask, negated(rule_flags::NOT_DST)),
            sport: ports(head.sport_min, head.sport_max),
            dport: ports(head.dport_min, head.dport_max),
            input: named(interfaces, (head.in_ifindex, head.in_net), negated(rule_flags::NOT_IN)),
            output: named(
                interfaces,
                (head.out_ifindex, head.out_net),
                negated(rule_flags::NOT_OUT),
            ),
            proto: vec![if head.proto == 0 {
                (0, 255)
            } else {
                (head.proto.into(), head.proto.into())
            }],
        }
    }

    /// One span of each axis, in every way.
    fn product(&self) -> Vec<[Span; 7]> {
        let axes = [
            &self.src,
            &self.dst,
            &self.sport,
            &self.dport,
            &self.input,
            &self.output,
            &self.proto,
        ];
        let mut boxes = vec![[ALL; 7]];
        for (place, spans) in axes.into_iter().enumerate() {
            let with = |made: &[Span; 7]| {
                let made = *made;
                let each = spans.iter().map(move |span| {
                    let mut made = made;
                    made[place] = *span;
                    made
                });
                each.collect::<Vec<_>>()
            };
            boxes = boxes.iter().flat_map(with).collect();
        }
        boxes
    }
}

fn addresses(net: Ip, mask: Ip, negated: bool) -> Vec<Span> {
    let mask = u32::from_be_bytes(mask);
    let first = u32::from_be_bytes(net) & mask;
    let last = first | !mask;
    if !negated {
        return vec![(first, last)];
    }
    let below = first.checked_sub(1).map(|end| (0, end));
    let above = last.checked_add(1).map(|start| (start, u32::MAX));
    below.into_iter().chain(above).collect()
}

/// The classes of the interfaces that a name stands for.
fn named(interfaces: &[Interface], (ifindex, net): Interface, negated: bool) -> Vec<Span> {
    let wanted = |asked: u32, is: u32| asked == 0 || asked == is;
    let mut spans: Vec<Span> = Vec::new();
    for (class, (is, of)) in (0_u32..).zip(interfaces) {
        if (wanted(ifindex, *is) && wanted(net, *of)) == negated {
            continue;
        }
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == class => *last = class,
            _ => spans.push((class, class)),
        }
    }
    spans
}

/// Writes the way from a value to the number of the last cut that is not above it, `first` the number of the first.
fn split(words: &mut Vec<u64>, cuts: &[u32], first: u32) -> u64 {
    if cuts.len() <= 1 {
        return word::new(word::CLASS, first);
    }
    let middle = cuts.len() >> 1;
    let at = words.len();
    words.extend([u64::from(cuts[middle]), 0, 0]);
    words[at + 1] = split(words, &cuts[..middle], first);
    words[at + 2] = split(words, &cuts[middle..], first + middle as u32);
    word::new(word::SPLIT, at as u32)
}
