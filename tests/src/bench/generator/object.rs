//! The benchmark's eBPF object, and its maps' values.

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapError};
use aya::{Ebpf, EbpfLoader};

use super::traffic::{Plan, Seen, Wanted};

/// The object, made by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETBRIDGE_BENCH_OBJECT"));

// SAFETY: integers and arrays of them, `repr(C)`, 60 bytes without padding; any bit pattern is one.
unsafe impl aya::Pod for Plan {}
// SAFETY: as above, 28 bytes.
unsafe impl aya::Pod for Wanted {}
// SAFETY: as above, 40 bytes.
unsafe impl aya::Pod for Seen {}

/// The object with maps of its own; no program is loaded yet.
pub(super) fn open() -> Result<Ebpf> {
    // The programs follow no pointers of the kernel's, so they need not be fitted to it: without this, its whole type
    // information would be read first.
    EbpfLoader::new()
        .btf(None)
        .load(OBJECT)
        .context("cannot load the benchmark's eBPF object")
}

/// Takes a map out of the object.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> Result<M> {
    let map = object
        .take_map(name)
        .with_context(|| format!("the benchmark's eBPF object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("the map {name} of the benchmark's eBPF object is of another kind"))
}

#[cfg(test)]
mod tests {
    use super::{Plan, Seen, Wanted};

    #[test]
    fn map_values_have_no_padding() {
        assert_eq!(size_of::<Plan>(), 4 * 4 + 2 + 42);
        assert_eq!(size_of::<Wanted>(), 12 + 12 + 4);
        assert_eq!(size_of::<Seen>(), 8 + 8 + 12 + 12);
    }
}
