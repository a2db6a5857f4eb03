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

/// Room for what one call reads, keys and values as bytes one behind the other. `count` is how many have room before the
/// call, and how many there are after it.
struct Page {
    keys: Vec<u8>,
    values: Vec<u8>,
    count: usize,
}

/// Keys, and their values.
type Entries = (Vec<u8>, Vec<u8>);

/// Every key of a hash map or a trie and its value, as bytes one behind the other, in no order. What is added or removed
/// meanwhile may be among them or not.
pub(super) fn entries(map: &MapData, key_size: usize, value_size: usize) -> io::Result<Entries> {
    // Where the next call goes on: a bucket's number in a hash map, a key in a trie.
    let mut place = vec![0_u8; key_size.max(4)];
    collect(ROOM, key_size, value_size, |page, first| {
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { place.as_mut_ptr() as u64 },
            out_batch: place.as_mut_ptr() as u64,
            keys: page.keys.as_mut_ptr() as u64,
            values: page.values.as_mut_ptr() as u64,
            count: u32::try_from(page.count).unwrap_or(u32::MAX),
            map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            ..Attributes::default()
        };
        // SAFETY: the kernel reads and writes `attributes`, of the size it is told, writes up to `count` keys and values of
        // the sizes that the map has, for which there is room, and a place, which is a key or four bytes. The caller
        // gives the map's sizes.
        let answer = unsafe { syscall(SYS_bpf, LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>()) };
        page.count = attributes.count as usize;
        Errno::result(answer).map(drop)
    })
}

/// Puts pages together until one is the last. `read` fills a page, which has room for `count` entries, and says how many
/// there are; it is told whether the page is the first. A page that has no room for what comes next, a bucket, is
/// repeated with twice the room.
fn collect(
    mut room: usize,
    key_size: usize,
    value_size: usize,
    mut read: impl FnMut(&mut Page, bool) -> nix::Result<()>,
) -> io::Result<Entries> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut first = true;
    loop {
        let mut page = Page {
            keys: vec![0; room * key_size],
            values: vec![0; room * value_size],
            count: room,
        };
        let answer = read(&mut page, first);
        if answer == Err(Errno::ENOSPC) {
            room *= 2;
            continue;
        }
        if matches!(answer, Ok(()) | Err(Errno::ENOENT)) {
            keys.extend(page.keys.iter().take(page.count * key_size));
            values.extend(page.values.iter().take(page.count * value_size));
        }
        match answer {
            Ok(()) => first = false,
            // That was the last.
            Err(Errno::ENOENT) => return Ok((keys, values)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads buckets of these sizes as the kernel does: as many whole ones as fit. An entry's key is its number, its value
    /// the same twice.
    fn read_buckets(buckets: &[u8], room: usize) -> (io::Result<Entries>, Vec<usize>) {
        let (mut next, mut rooms) = (0, Vec::new());
        let read = collect(room, 1, 2, |page, first| {
            assert_eq!(first, next == 0);
            rooms.push(page.count);
            let room = page.count;
            page.count = 0;
            while let Some(&size) = buckets.get(next) {
                if page.count + usize::from(size) > room {
                    return if page.count == 0 { Err(Errno::ENOSPC) } else { Ok(()) };
                }
                let before: u8 = buckets.iter().take(next).sum();
                for key in before..before + size {
                    page.keys[page.count] = key;
                    page.values[2 * page.count..][..2].fill(key);
                    page.count += 1;
                }
                next += 1;
            }
            Err(Errno::ENOENT)
        });
        (read, rooms)
    }

    #[test]
    fn pages_are_put_together_in_their_order() {
        for room in [4, 5, 6, 100] {
            let (read, rooms) = read_buckets(&[2, 0, 3, 1, 4, 2], room);
            let (keys, values) = read.unwrap();
            assert_eq!(keys, (0..12).collect::<Vec<u8>>(), "{room}");
            assert_eq!(values, (0..12).flat_map(|key| [key; 2]).collect::<Vec<u8>>(), "{room}");
            assert!(rooms.iter().all(|&own| own == room), "{rooms:?}");
        }
        assert_eq!(read_buckets(&[], 4).0.unwrap(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_bucket_that_does_not_fit_gets_more_room() {
        let (read, rooms) = read_buckets(&[1, 7, 1], 2);
        assert_eq!(read.unwrap().0, (0..9).collect::<Vec<u8>>());
        assert_eq!(rooms, [2, 2, 4, 8]);
        let (read, _) = read_buckets(&[7], 2);
        assert_eq!(read.unwrap().0.len(), 7, "the very first");
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let mut calls = 0;
        let read = collect(4, 1, 1, |_, _| {
            calls += 1;
            if calls == 1 { Ok(()) } else { Err(Errno::EPERM) }
        });
        assert_eq!(read.unwrap_err().raw_os_error(), Some(Errno::EPERM as i32));
    }
}
