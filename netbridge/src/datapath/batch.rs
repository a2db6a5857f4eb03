//! A map's entries in a few system calls (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6, of a trie 5.13), which aya does not offer: two calls an
//! entry are most of what it costs to read ten thousand published ports, or the flows of a busy host.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::MapData;
use nix::errno::Errno;
use nix::libc::{SYS_bpf, syscall};

/// Entries that one call reads; where a hash bucket has more, twice as many.
const ROOM: usize = 4096;

/// `BPF_MAP_LOOKUP_BATCH`.
const LOOKUP_BATCH: i32 = 24;

/// What the command reads of `union bpf_attr`; pointers are numbers in it.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Every key of a hash map or a trie and its value, as bytes one behind the other, in no order. What is added or removed
/// meanwhile may be among them or not.
pub(super) fn entries(map: &MapData, key_size: usize, value_size: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut all_keys, mut all_values) = (Vec::new(), Vec::new());
    // Where the next call goes on: a bucket's number in a hash map, a key in a trie.
    let mut place = vec![0; key_size.max(4)];
    let mut first = true;
    let mut room = ROOM;
    loop {
        let (mut keys, mut values) = (vec![0_u8; room * key_size], vec![0_u8; room * value_size]);
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { place.as_mut_ptr() as u64 },
            out_batch: place.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).map_err(io::Error::other)?,
            map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            ..Attributes::default()
        };
        // SAFETY: the kernel reads and writes `attributes`, of the size it is told, writes up to `count` keys and values of
        // the sizes that the map has, for which there is room, and a place, which is a key or four bytes. The caller
        // gives the map's sizes.
        let answer = unsafe { syscall(SYS_bpf, LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>()) };
        let answer = Errno::result(answer);
        if answer == Err(Errno::ENOSPC) {
            room *= 2;
            continue;
        }
        if matches!(answer, Ok(_) | Err(Errno::ENOENT)) {
            let read = attributes.count as usize;
            all_keys.extend(keys.iter().take(read * key_size));
            all_values.extend(values.iter().take(read * value_size));
        }
        match answer {
            Ok(_) => first = false,
            // That was the last.
            Err(Errno::ENOENT) => return Ok((all_keys, all_values)),
            Err(errno) => return Err(errno.into()),
        }
    }
}
