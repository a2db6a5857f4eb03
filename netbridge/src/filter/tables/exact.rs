//! Values that are known one by one: interfaces and MACs.

use std::collections::BTreeMap;

use netbridge_common::abi::{MAX_NETWORKS, Mac, PROBES, word};

use super::classes::Classes;
use super::error::TooComplex;
use super::words::Words;
use super::world::{KnownInterface, World};

/// Places of a table for each of its values, at most, as a power of two: more help little where values collide.
const MOST_ROOM: u32 = 5;

/// What stands where there is no value, in tables that are asked for 0.
const NOTHING: u64 = u64::MAX;

/// Writes the classes of interfaces: those that differ from their network's one by one.
pub(super) fn interfaces(words: &mut Words, world: &World, classes: &Classes) -> Result<(u64, u32), TooComplex> {
    if classes.count <= 1 {
        return Ok((word::new(word::CLASS, 0), 0));
    }
    let networks = words.reserve(MAX_NETWORKS as usize);
    let each = || {
        (0_u32..)
            .zip(&world.interfaces)
            .map(|(place, interface)| (interface, classes.class(place)))
    };
    let mut others = vec![0_u64; MAX_NETWORKS as usize];
    for (interface, class) in each().filter(|(interface, _)| interface.ifindex == 0) {
        if let Some(place) = others.get_mut(usize::from(interface.network)) {
            *place = class.into();
        }
    }
    words.put(networks, &others);
    let differs =
        |interface: &KnownInterface, class: u32| others.get(usize::from(interface.network)) != Some(&class.into());
    let known = each().filter(|(interface, class)| interface.ifindex != 0 && differs(interface, *class));
    let entries = known
        .map(|(interface, class)| (interface.ifindex.into(), class))
        .collect::<Vec<_>>();
    // An interface that is not known has index 0, and so would be found where there is nothing.
    let table = exact(words, &entries, NOTHING).ok_or(TooComplex::Colliding { what: "interfaces" })?;
    Ok((table, networks))
}

/// Writes the classes of MACs.
pub(super) fn macs(words: &mut Words, macs: &BTreeMap<Mac, u32>, classes: &Classes) -> Result<u64, TooComplex> {
    if classes.count <= 1 {
        return Ok(word::new(word::CLASS, classes.class(0)));
    }
    let value = |[a, b, c, d, e, f]: Mac| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let entries = macs
        .iter()
        .map(|(mac, number)| (value(*mac), classes.class(*number)))
        .collect::<Vec<_>>();
    let others = classes.class(0);
    exact(words, &entries, others.into()).ok_or(TooComplex::Colliding { what: "MACs" })
}

/// Writes a table of exact values, in which each is found at one of [`PROBES`] places; none if they collide too often.
fn exact(words: &mut Words, entries: &[(u64, u32)], nothing: u64) -> Option<u64> {
    let least = (entries.len() * 2).next_power_of_two().trailing_zeros().max(3);
    let tables = (least..least + MOST_ROOM).find_map(|bits| {
        let root = word::exact(bits, 0);
        Some((filled(root, bits, entries, nothing)?, root))
    });
    let (table, root) = tables?;
    let at = words.reserve(table.len());
    words.put(at, &table);
    Some(root | u64::from(at))
}

/// A table of two to the power of `bits` places; none if a value has no place.
fn filled(root: u64, bits: u32, entries: &[(u64, u32)], nothing: u64) -> Option<Vec<u64>> {
    let mut table = vec![None; 1 << bits];
    for (value, class) in entries {
        let (first, mask) = word::place(root, *value);
        let mut places = (0..PROBES).map(|probe| (first.wrapping_add(probe) & mask) as usize);
        let place = places.find(|place| table.get(*place) == Some(&None))?;
        *table.get_mut(place)? = Some(value << 16 | u64::from(*class));
    }
    Some(table.into_iter().map(|entry| entry.unwrap_or(nothing)).collect())
}

#[cfg(test)]
mod tests {
    use netbridge_common::datapath::search;
    use netbridge_common::host::HostEnv;
    use netbridge_common::host::filter::Bank;

    use super::*;

    fn host(words: Vec<u64>) -> HostEnv {
        let mut env = HostEnv::default();
        env.swap_filter(Bank {
            words,
            ..Bank::default()
        });
        env
    }

    #[test]
    fn every_value_is_found_and_no_other() {
        for count in [0, 1, 2, 7, 100, 4096] {
            let entries: Vec<(u64, u32)> = (0..count).map(|n| (u64::from(n) * 3 + 1, n % 5000 + 1)).collect();
            let mut words = Words::new(0, 0);
            words.reserve(3);
            let root = exact(&mut words, &entries, NOTHING).unwrap();
            let env = host(words.all);
            for (value, class) in &entries {
                assert_eq!(search::exact(&env, 1, root, *value, 9999), *class);
                assert_eq!(search::exact(&env, 1, root, value + 1, 9999), 9999);
            }
            assert_eq!(search::exact(&env, 1, root, 0, 9999), 9999);
        }
    }

    /// Values that all begin at the same place, however large a table.
    fn colliding(count: usize) -> Vec<(u64, u32)> {
        let begins = |value: &u64| word::place(word::exact(12, 0), *value).0 == 0;
        let values = (1_u64..).map(|n| n << 8 | 2).filter(begins).take(count);
        values.map(|value| (value, 1)).collect()
    }

    #[test]
    fn values_that_collide_are_refused_and_take_no_memory() {
        let entries = colliding(PROBES as usize);
        assert!(exact(&mut Words::new(0, 0), &entries, 0).is_some());
        let entries = colliding(PROBES as usize + 1);
        let mut words = Words::new(0, 0);
        assert_eq!(exact(&mut words, &entries, 0), None);
        assert!(words.all.is_empty());
    }

    #[test]
    fn an_unknown_interface_is_one_of_its_network() {
        let known = |ifindex, network, name: &str| KnownInterface {
            ifindex,
            network,
            names: vec![name.to_owned()],
        };
        let world = World {
            interfaces: vec![known(0, 0, ""), known(2, 0, "eth0"), known(0, 1, ""), known(5, 1, "a")],
            ..World::default()
        };
        let mut axis = super::super::axis::Axis::default();
        // The second network, and of it one interface.
        axis.wanted(&[(2, 3)]);
        axis.wanted(&[(3, 3)]);
        let classes = Classes::of_sets(axis.sets());
        let mut words = Words::new(0, 0);
        let (interface, networks) = interfaces(&mut words, &world, &classes).unwrap();
        let env = host(words.all);
        let head = netbridge_common::abi::FilterHead {
            interface,
            networks,
            ..bytemuck::Zeroable::zeroed()
        };
        let class = |ifindex, network| search::interface(&env, &head, 1, ifindex, network);
        assert_eq!((class(0, 0), class(2, 0), class(77, 0)), (0, 0, 0));
        assert_eq!((class(0, 1), class(77, 1), class(5, 1)), (1, 1, 2));
    }
}
