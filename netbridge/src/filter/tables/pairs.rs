//! Pairs of endpoints for which the rules have one answer, whatever the packet: see
//! [`netbridge_common::datapath::pairs`].

use std::collections::HashMap;

use netbridge_common::abi::{FilterHead, PARTY_WORDS, RuleBox, SLOTS, verdict};

use super::classes::Classes;
use super::forest::AXES;
use super::words::{Room, Words};
use super::world::{KnownEndpoint, World};

/// Boxes that may be looked at to find pairs: what it costs to compile stays small beside the rest.
const EFFORT: usize = 1 << 19;

/// Endpoints that the rules do not tell apart: their classes as sender and as receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Party {
    src: u32,
    dst: u32,
    interface: u32,
    network: u16,
}

/// Writes the parties of the endpoints and what becomes of packets between them, if there are few enough parties and for one
/// pair at least that is known.
pub(super) fn write(
    words: &mut Words,
    head: &mut FilterHead,
    room: Room,
    world: &World,
    classes: &[Classes; AXES],
    boxes: &[RuleBox],
) {
    let interfaces: HashMap<u32, u32> = (0..)
        .zip(&world.interfaces)
        .map(|(place, known)| (known.ifindex, place))
        .collect();
    let mut parties: Vec<Party> = Vec::new();
    let mut members: Vec<(&KnownEndpoint, usize)> = Vec::new();
    for endpoint in &world.endpoints {
        let Some(place) = interfaces.get(&endpoint.ifindex) else {
            continue;
        };
        let [src, dst, _, _, input, ..] = classes;
        let address = endpoint.address.to_bits();
        let party = Party {
            src: src.class(address),
            dst: dst.class(address),
            interface: input.class(*place),
            network: endpoint.network,
        };
        let known = parties.iter().position(|other| *other == party).unwrap_or_else(|| {
            parties.push(party);
            parties.len() - 1
        });
        members.push((endpoint, known));
        if parties.len() * boxes.len() > EFFORT {
            return;
        }
    }
    let rows: Vec<Vec<u64>> = parties.iter().map(|from| row(*from, &parties, boxes)).collect();
    let accepts = |word: u64| word >> 40 & 0xff == u64::from(verdict::ACCEPT) + 1;
    let cell = |from: usize, to: usize| rows.get(from).and_then(|row| row.get(to)).copied().unwrap_or(0);
    let count = parties.len();
    // The answers to what passes without a flow would belong to none.
    let pairs = (0..count * count).map(|place| {
        let (from, to) = (place / count, place % count);
        let (forth, back) = (cell(from, to), cell(to, from));
        if accepts(forth) && back == 0 { 0 } else { forth }
    });
    let pairs: Vec<u64> = pairs.collect();
    if pairs.iter().all(|pair| *pair == 0) {
        return;
    }
    if words.all.len() + pairs.len() + (SLOTS * PARTY_WORDS) as usize > room.most_words() {
        return;
    }
    head.pairs = words.reserve(pairs.len());
    words.put(head.pairs, &pairs);
    head.endpoints = words.reserve((SLOTS * PARTY_WORDS) as usize);
    for (endpoint, party) in members.into_iter().filter(|(endpoint, _)| endpoint.slot < SLOTS) {
        let at = head.endpoints + endpoint.slot * PARTY_WORDS;
        let party = u64::try_from(party).unwrap_or(u64::MAX);
        words.put(
            at,
            &[
                u64::from(endpoint.ifindex) << 32 | party,
                endpoint.address.to_bits().into(),
            ],
        );
    }
    head.parties = u32::try_from(count).unwrap_or(u32::MAX);
}

/// What becomes of packets from a party to each of them; 0 if that depends on the packet, or they are of different networks.
fn row(from: Party, parties: &[Party], boxes: &[RuleBox]) -> Vec<u64> {
    let sends = |found: &&RuleBox| {
        within(from.src, found.src, found.src_more)
            && within(from.interface, found.input.into(), found.input_more.into())
    };
    let reached: Vec<&RuleBox> = boxes.iter().filter(sends).collect();
    let to = |to: &Party| {
        let receives = |found: &&&RuleBox| {
            within(to.dst, found.dst, found.dst_more)
                && within(to.interface, found.output.into(), found.output_more.into())
        };
        let first = reached.iter().find(receives).filter(|_| to.network == from.network);
        first.filter(|found| holds_all(found)).map_or(0, |found| word(found))
    };
    parties.iter().map(to).collect()
}

fn within(class: u32, first: u32, more: u32) -> bool {
    class.wrapping_sub(first) <= more
}

/// True if a box asks for nothing but addresses and interfaces, and is the last word.
fn holds_all(found: &RuleBox) -> bool {
    let open = |first: u32, more: u32, all: u32| first == 0 && more == all;
    open(found.sport.into(), found.sport_more.into(), u16::MAX.into())
        && open(found.dport.into(), found.dport_more.into(), u16::MAX.into())
        && open(found.mac.into(), found.mac_more.into(), u16::MAX.into())
        && open(found.proto.into(), found.proto_more.into(), u8::MAX.into())
        && found.states == u32::MAX
        && found.tcp == u64::MAX
        && found.limit == 0
        && matches!(found.verdict, verdict::ACCEPT | verdict::DROP | verdict::REJECT)
}

/// A final box as the pairs have it.
fn word(found: &RuleBox) -> u64 {
    // Not 0 in this byte, so that half of a word says nothing either.
    u64::from(found.with) << 48 | (u64::from(found.verdict) + 1) << 40 | u64::from(found.place)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netbridge_common::abi::generation::bank;
    use netbridge_common::abi::{Hook, Reason};
    use netbridge_common::datapath::verdict::Action;
    use netbridge_common::host::HostEnv;
    use netbridge_common::host::build::Datagram;
    use netbridge_common::host::filter::Bank;
    use netbridge_common::host::lab::{A, B, Node, at, ifindex, lab, slot};

    use crate::filter::syntax::parse;
    use crate::filter::tables::{KnownEndpoint, KnownInterface, Tables, World, compile};

    fn world() -> World {
        let interface = |ifindex, names: &[&str]| KnownInterface {
            ifindex,
            network: 1,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let endpoint = |slot, ifindex, (_, address): Node| KnownEndpoint {
            slot,
            ifindex,
            network: 1,
            address: Ipv4Addr::from(address),
        };
        World {
            interfaces: vec![
                KnownInterface::default(),
                interface(0, &[]),
                interface(ifindex::A, &["a"]),
                interface(ifindex::B, &["b"]),
            ],
            endpoints: vec![endpoint(slot::A, ifindex::A, A), endpoint(slot::B, ifindex::B, B)],
            ..World::default()
        }
    }

    fn compiled(policy: &str, rules: &str) -> Tables {
        let text = format!("*filter\n:FORWARD {policy} [0:0]\n{rules}\nCOMMIT\n");
        compile(&parse("f", &text, None).unwrap().ruleset, &world(), 250).unwrap()
    }

    fn env(tables: Tables) -> HostEnv {
        let mut env = lab();
        env.swap_filter(Bank {
            head: tables.head,
            patches: Vec::new(),
            words: tables.words,
            boxes: tables.boxes,
            limits: tables.limits,
        });
        env
    }

    /// What becomes of a datagram, and how many halves of flows there are then.
    fn sent(env: &HostEnv, (index, from): (u32, Node), to: Node) -> (Action, Reason, usize) {
        let frame = at(index, Datagram::new(from, to).udp(1000, 53, b"x"));
        let verdict = env.run(Hook::FromContainer, &frame);
        (verdict.action, verdict.reason, env.flows.borrow().len())
    }

    const FROM_A: (u32, Node) = (ifindex::A, A);
    const FROM_B: (u32, Node) = (ifindex::B, B);

    #[test]
    fn a_pair_that_always_passes_has_no_flow_and_is_counted() {
        let env = env(compiled(
            "DROP",
            "-A FORWARD -i a -o b -j ACCEPT\n-A FORWARD -i b -o a -j ACCEPT",
        ));
        assert_eq!(sent(&env, FROM_A, B), (Action::Peer, Reason::None, 0));
        assert_eq!(sent(&env, FROM_B, A), (Action::Peer, Reason::None, 0));
        let passed = env.passed.borrow();
        let packets: Vec<_> = [0, 1]
            .map(|place| passed.get(&(bank(env.config.generation), place)).map(|it| it.packets))
            .into();
        assert_eq!(packets, [Some(1), Some(1)]);
    }

    #[test]
    fn a_pair_whose_answers_are_told_apart_is_tracked() {
        let rules = "-A FORWARD -i a -o b -j ACCEPT\n-A FORWARD -i b -o a -m conntrack --ctstate ESTABLISHED -j ACCEPT";
        let env = env(compiled("DROP", rules));
        assert_eq!(sent(&env, FROM_A, B), (Action::Peer, Reason::None, 2));
    }

    #[test]
    fn a_pair_that_never_passes_is_dropped_without_a_search() {
        let env = env(compiled("ACCEPT", "-A FORWARD -s 10.1.0.2/32 -j DROP"));
        assert_eq!(sent(&env, FROM_A, B), (Action::Drop, Reason::Filtered, 0));
        // Its answers would be told apart if it could ask.
        assert_eq!(sent(&env, FROM_B, A), (Action::Peer, Reason::None, 0));
    }

    #[test]
    fn what_a_rule_tells_apart_within_a_pair_is_searched_for() {
        for rule in [
            "-p udp -m udp --dport 9 -j DROP",
            "-p tcp -j DROP",
            "-m conntrack --ctstate INVALID -j DROP",
            "-m mac --mac-source 02:00:00:00:00:99 -j DROP",
            "-m limit --limit 1/sec -j DROP",
        ] {
            let tables = compiled("ACCEPT", &format!("-A FORWARD {rule}"));
            assert_eq!(tables.head.parties, 0, "{rule}");
        }
        let tables = compiled("ACCEPT", "-A FORWARD -d 10.9.0.0/16 -p tcp -j DROP");
        assert_eq!(tables.head.parties, 1, "what concerns nobody here is no matter");
    }

    #[test]
    fn another_address_of_an_endpoint_is_not_its_party() {
        let env = env(compiled("ACCEPT", "-A FORWARD -d 10.1.0.3/32 -j DROP"));
        assert_eq!(sent(&env, FROM_A, B).1, Reason::Filtered);
        // To B's MAC, for somebody else.
        assert_eq!(sent(&env, FROM_A, (B.0, [10, 1, 0, 200])).1, Reason::None);
    }
}
