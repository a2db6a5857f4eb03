//! An instance's maps by their pins, as the bytes they are: a test writes what the controller may not.

use std::collections::HashMap as Collected;
use std::hash::Hash;
use std::marker::PhantomData;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use bytemuck::Pod;
use netbridge::datapath::Pins;

/// Opens a pinned map.
pub(super) fn open<M: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<M> {
    let path = pins.root().join("maps").join(name);
    MapData::from_pin(&path)
        .and_then(Map::from_map_data)
        .and_then(M::try_from)
        .with_context(|| format!("open {}", path.display()))
}

/// A hash map of `K` to `V`, in `KEY` and `VALUE` bytes.
pub(super) struct Table<K, V, const KEY: usize, const VALUE: usize> {
    map: HashMap<MapData, [u8; KEY], [u8; VALUE]>,
    types: PhantomData<(K, V)>,
}

impl<K: Pod + Eq + Hash, V: Pod, const KEY: usize, const VALUE: usize> Table<K, V, KEY, VALUE> {
    pub(super) fn open(pins: &Pins, name: &str) -> Result<Self> {
        Ok(Self {
            map: open(pins, name)?,
            types: PhantomData,
        })
    }

    /// Makes the map hold these entries and no others.
    pub(super) fn replace(&mut self, entries: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let wanted: Collected<K, V> = entries.into_iter().collect();
        let present: Vec<[u8; KEY]> = self.map.keys().collect::<Result<_, _>>()?;
        for key in present {
            if !wanted.contains_key(&bytemuck::pod_read_unaligned(&key)) {
                self.map.remove(&key)?;
            }
        }
        for (key, value) in &wanted {
            self.put(key, value)?;
        }
        Ok(())
    }

    /// Every entry, in no order.
    pub(super) fn entries(&self) -> Result<Vec<(K, V)>> {
        let entry = |entry: Result<([u8; KEY], [u8; VALUE]), MapError>| -> Result<(K, V)> {
            let (key, value) = entry?;
            Ok((bytemuck::pod_read_unaligned(&key), bytemuck::pod_read_unaligned(&value)))
        };
        self.map.iter().map(entry).collect()
    }

    /// Writes one entry.
    pub(super) fn put(&mut self, key: &K, value: &V) -> Result<()> {
        Ok(self.map.insert(to_bytes(key), to_bytes(value), 0)?)
    }
}

/// Writes the elements of an array from index 0 on.
pub(super) fn fill<V: Pod, const VALUE: usize>(map: &mut Array<MapData, [u8; VALUE]>, values: &[V]) -> Result<()> {
    for (index, value) in (0..).zip(values) {
        map.set(index, to_bytes(value), 0)?;
    }
    Ok(())
}

fn to_bytes<T: Pod, const N: usize>(value: &T) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(bytemuck::bytes_of(value));
    bytes
}
