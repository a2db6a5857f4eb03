//! The four kinds of map that userspace reads and writes, typed by `abi` and with errors that name map and key.
//!
//! aya wants `&mut` to write although the kernel serialises writers itself; a mutex gives it that.

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{self, HashMap, IterableMap as _, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use bytemuck::{Pod, Zeroable};
use nix::libc::{E2BIG, ENOENT, ENOSPC};

use super::{DatapathError, Pins, batch};

/// A type whose bytes may be copied to and from a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct MapPod<T>(pub(super) T);

// SAFETY: bytemuck's Pod promises what aya's asks for, any bit pattern valid and no padding, and MapPod is transparent.
unsafe impl<T: Pod> aya::Pod for MapPod<T> {}

/// Opens a map by its pin.
pub(super) fn pinned<M>(pins: &Pins, name: &'static str) -> Result<M, DatapathError>
where
    M: TryFrom<Map, Error = MapError>,
{
    MapData::from_pin(pins.map(name))
        .and_then(Map::from_map_data)
        .and_then(M::try_from)
        .map_err(|source| failed("open", name, String::new(), source))
}

fn failed(action: &'static str, map: &'static str, key: String, source: MapError) -> DatapathError {
    DatapathError::Map {
        map,
        action,
        key,
        source: Box::new(source),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a file descriptor, which cannot be half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Turns "no such key" into `None`.
fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) if errno(&error) == Some(ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Size of a pinned map.
fn size(pins: &Pins, name: &'static str) -> Result<u32, DatapathError> {
    MapData::from_pin(pins.map(name))
        .and_then(|map| map.info())
        .map(|info| info.max_entries())
        .map_err(|source| failed("open", name, String::new(), source))
}

/// A hash map.
pub(super) struct Hash<K, V> {
    name: &'static str,
    entries: u32,
    map: Mutex<HashMap<MapData, MapPod<K>, MapPod<V>>>,
}

impl<K: Pod + Debug, V: Pod> Hash<K, V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            entries: size(pins, name)?,
            map: Mutex::new(pinned(pins, name)?),
        })
    }

    /// Inserts or replaces.
    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        lock(&self.map)
            .insert(MapPod(*key), MapPod(*value), 0)
            .map_err(|source| match errno(&source) {
                Some(E2BIG) => DatapathError::Full {
                    map: self.name,
                    entries: self.entries,
                },
                _ => failed("write", self.name, format!("{key:?}"), source),
            })
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        found(lock(&self.map).get(&MapPod(*key), 0).map(|MapPod(value)| value))
            .map_err(|source| failed("read", self.name, format!("{key:?}"), source))
    }

    /// Removes the key; false if there is none.
    pub(super) fn remove(&self, key: &K) -> Result<bool, DatapathError> {
        found(lock(&self.map).remove(&MapPod(*key)))
            .map(|removed| removed.is_some())
            .map_err(|source| failed("remove from", self.name, format!("{key:?}"), source))
    }

    /// Every entry once, in no order.
    pub(super) fn entries(&self) -> Result<Vec<(K, V)>, DatapathError> {
        read(lock(&self.map).map(), self.name)
    }
}

/// Reads all of a map whose keys and values are `K` and `V`, as aya has checked when it opened the map.
fn read<K: Pod, V: Pod>(map: &MapData, name: &'static str) -> Result<Vec<(K, V)>, DatapathError> {
    let (keys, values) = batch::entries(map, size_of::<K>(), size_of::<V>())
        .map_err(|error| failed("walk", name, String::new(), error.into()))?;
    let keys = keys.chunks_exact(size_of::<K>()).map(bytemuck::pod_read_unaligned);
    let values = values.chunks_exact(size_of::<V>()).map(bytemuck::pod_read_unaligned);
    Ok(keys.zip(values).collect())
}

/// An array; the kernel zeroes its elements when it makes it.
pub(super) struct Array<V: Pod> {
    name: &'static str,
    map: Mutex<maps::Array<MapData, MapPod<V>>>,
}

impl<V: Pod> Array<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            map: Mutex::new(pinned(pins, name)?),
        })
    }

    pub(super) fn set(&self, index: u32, value: &V) -> Result<(), DatapathError> {
        lock(&self.map)
            .set(index, MapPod(*value), 0)
            .map_err(|source| failed("write", self.name, index.to_string(), source))
    }

    pub(super) fn get(&self, index: u32) -> Result<V, DatapathError> {
        lock(&self.map)
            .get(&index, 0)
            .map(|MapPod(value)| value)
            .map_err(|source| failed("read", self.name, index.to_string(), source))
    }

    /// Every element with its index.
    pub(super) fn entries(&self) -> Result<Vec<(u32, V)>, DatapathError> {
        read(lock(&self.map).map(), self.name)
    }
}

/// An array with one value per CPU.
pub(super) struct PerCpu<V: Pod> {
    name: &'static str,
    map: Mutex<PerCpuArray<MapData, MapPod<V>>>,
}

impl<V: Pod> PerCpu<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            map: Mutex::new(pinned(pins, name)?),
        })
    }

    /// The values of all CPUs, folded.
    pub(super) fn fold<T>(&self, index: u32, start: T, add: impl Fn(T, V) -> T) -> Result<T, DatapathError> {
        let values = lock(&self.map)
            .get(&index, 0)
            .map_err(|source| failed("read", self.name, index.to_string(), source))?;
        Ok(values.iter().fold(start, |sum, MapPod(value)| add(sum, *value)))
    }

    /// Zeroes the element on every CPU.
    pub(super) fn zero(&self, index: u32) -> Result<(), DatapathError> {
        nr_cpus()
            .map_err(|(_, error)| error)
            .and_then(|cpus| PerCpuValues::try_from(vec![MapPod(V::zeroed()); cpus]))
            .map_err(MapError::from)
            .and_then(|zeroes| lock(&self.map).set(index, zeroes, 0))
            .map_err(|source| failed("zero", self.name, index.to_string(), source))
    }
}

/// Arrays with one value per CPU, of one size each, in an array; those that were never written are not there.
pub(super) struct Chunks<V: Pod> {
    name: &'static str,
    /// Elements of each.
    size: u32,
    outer: Mutex<Outer<V>>,
}

type Outer<V> = maps::ArrayOfMaps<MapData, Chunk<V>>;
type Chunk<V> = PerCpuArray<MapData, MapPod<V>>;

impl<V: Pod> Chunks<V> {
    pub(super) fn open(pins: &Pins, name: &'static str, size: u32) -> Result<Self, DatapathError> {
        let outer = MapData::from_pin(pins.map(name))
            .and_then(Map::from_map_data)
            .and_then(Outer::try_from)
            .map_err(|source| failed("open", name, String::new(), source))?;
        Ok(Self {
            name,
            size,
            outer: Mutex::new(outer),
        })
    }

    /// One of them, if it is there.
    pub(super) fn get(&self, index: u32) -> Result<Option<PerCpu<V>>, DatapathError> {
        let chunk = found(lock(&self.outer).get(&index, 0).map(Some)).map(Option::flatten);
        let chunk = chunk.map_err(|source| failed("read", self.name, index.to_string(), source))?;
        Ok(chunk.map(|map| PerCpu {
            name: self.name,
            map: Mutex::new(map),
        }))
    }

    /// Makes one that is not there, all zero. It takes the kernel some milliseconds until no program uses what was there before.
    pub(super) fn make(&self, index: u32) -> Result<(), DatapathError> {
        Chunk::<V>::create(self.size, 0)
            .and_then(|chunk| lock(&self.outer).set(index, &chunk, 0))
            .map_err(|source| failed("write", self.name, index.to_string(), source))
    }
}

/// The first bits of a key, as the kernel has them; those beyond are to be zero.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, packed)]
pub(super) struct Prefix<K> {
    /// How many.
    pub(super) bits: u32,
    /// The key.
    pub(super) key: K,
}

impl<K: Pod> Prefix<K> {
    fn key(&self) -> Key<MapPod<K>> {
        Key::new(self.bits, MapPod(self.key))
    }
}

/// A trie of prefixes; the datapath asks for the longest that a key begins with.
pub(super) struct Trie<K: Pod, V: Pod> {
    name: &'static str,
    entries: u32,
    map: Mutex<LpmTrie<MapData, MapPod<K>, MapPod<V>>>,
}

impl<K: Pod + Debug, V: Pod> Trie<K, V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            entries: size(pins, name)?,
            map: Mutex::new(pinned(pins, name)?),
        })
    }

    /// Inserts or replaces.
    pub(super) fn put(&self, prefix: Prefix<K>, value: &V) -> Result<(), DatapathError> {
        lock(&self.map)
            .insert(&prefix.key(), MapPod(*value), 0)
            .map_err(|source| match errno(&source) {
                Some(ENOSPC) => DatapathError::Full {
                    map: self.name,
                    entries: self.entries,
                },
                _ => failed("write", self.name, format!("{prefix:?}"), source),
            })
    }

    /// Every prefix, in no order.
    pub(super) fn entries(&self) -> Result<Vec<(Prefix<K>, V)>, DatapathError> {
        read(lock(&self.map).map(), self.name)
    }

    /// Removes exactly this prefix; false if it is not there.
    pub(super) fn remove(&self, prefix: Prefix<K>) -> Result<bool, DatapathError> {
        found(lock(&self.map).remove(&prefix.key()))
            .map(|removed| removed.is_some())
            .map_err(|source| failed("remove from", self.name, format!("{prefix:?}"), source))
    }
}
