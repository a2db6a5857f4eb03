//! What the maps take of the kernel's memory.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use aya::maps::MapData;

use super::{DatapathError, Pins};

/// Of every map that is pinned, by name, bytes: as the kernel says of its descriptor (`memlock`, Linux 4.10).
pub(super) fn of_maps(pins: &Pins) -> Result<Vec<(String, u64)>, DatapathError> {
    let directory = pins.map("");
    let read = || fs::read_dir(&directory)?.collect::<io::Result<Vec<_>>>();
    let maps = read().map_err(DatapathError::file("read", &directory))?;
    let of = |map: fs::DirEntry| Ok((map.file_name().to_string_lossy().into_owned(), of_map(&map.path())?));
    maps.into_iter().map(of).collect()
}

fn of_map(pin: &Path) -> Result<u64, DatapathError> {
    let map = MapData::from_pin(pin).map_err(|error| DatapathError::file("open", pin)(io::Error::other(error)))?;
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let read = fs::read_to_string(&path).and_then(|text| memlock(&text));
    read.map_err(DatapathError::file("read", path))
}

fn memlock(info: &str) -> io::Result<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = value.and_then(|value| value.trim().parse().ok());
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no `memlock` that is a number"))
}

#[cfg(test)]
mod tests {
    use super::memlock;

    #[test]
    fn reads_what_the_kernel_prints() {
        assert_eq!(
            memlock("pos:\t0\nmap_type:\t1\nmemlock:\t4096\nfrozen:\t0\n").ok(),
            Some(4096)
        );
        assert!(memlock("map_type:\t1\n").is_err());
        assert!(memlock("memlock:\tmany\n").is_err());
    }
}
