//! The search through the filter's tables: a global function, which the verifier walks once, on its own, and not wherever it
//! is called (Linux 5.6, commit 51c39bb1d5d1).

#[cfg(target_arch = "bpf")]
use core::arch::asm;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated as helper;
use netbridge_common::abi::{
    BOX_PAGES, BucketKey, CHUNK_PAGES, CHUNKS, FilterHead, HEADS, LIMITS, Limit, PAGE_BOXES, PAGE_PATHS, PAGE_WORDS,
    PathKey, RuleBox, WORD_PAGES, word,
};
use netbridge_common::datapath::env::Inserted;
use netbridge_common::datapath::filter::decide;
use netbridge_common::datapath::search::Tables;

use crate::env::{EEXIST, repeat};
use crate::maps::{FILTER, FILTER_BOXES, FILTER_LIMITS, FILTER_WORDS, LIMIT_BUCKETS, PASSED, PATHS, SCRATCH};

/// Searches the filter of a generation for what becomes of the packet in work; what it comes to is in the scratch space too.
/// Returns nothing that counts: the verifier wants a number.
pub(crate) fn search(generation: u32) {
    let _done = filter_search(generation);
}

/// [`search`] by the name that keeps it global.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn filter_search(generation: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own element. The caller has lent its view of it to the call by which it comes here, and does not use
    // it until that returns.
    let work = unsafe { &mut (*scratch).work };
    decide(&Maps, generation, &work.subject, &mut work.search);
    1
}

/// The filter's maps.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn head(&self, bank: u32, number: u32) -> Option<&FilterHead> {
        FILTER.get(bank.wrapping_mul(HEADS).wrapping_add(number))
    }

    #[inline(always)]
    fn word(&self, bank: u32, index: u32) -> u64 {
        let page = FILTER_WORDS.get(bank.wrapping_mul(WORD_PAGES).wrapping_add(index / PAGE_WORDS));
        let word = page.and_then(|page| page.get((index % PAGE_WORDS) as usize));
        word.copied().unwrap_or(word::EMPTY)
    }

    #[inline(always)]
    fn found(&self, bank: u32, index: u32) -> Option<&RuleBox> {
        let page = FILTER_BOXES.get(bank.wrapping_mul(BOX_PAGES).wrapping_add(index / PAGE_BOXES));
        page.and_then(|page| page.get((index % PAGE_BOXES) as usize))
    }

    #[inline(always)]
    fn path(&self, number: u32) -> Option<PathKey> {
        // SAFETY: copied at once; the controller removes only those of rules that are not in force, so an element that is
        // reused meanwhile costs a number.
        unsafe { PATHS.get(number) }.copied()
    }

    #[inline(always)]
    fn path_insert(&self, number: u32, path: &PathKey) -> Inserted {
        match PATHS.insert(number, path, u64::from(BPF_NOEXIST)) {
            Ok(()) => Inserted::Yes,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn limit(&self, bank: u32, number: u32) -> Option<&Limit> {
        FILTER_LIMITS.get(bank.wrapping_mul(LIMITS).wrapping_add(number))
    }

    #[inline(always)]
    fn moment(&self) -> u64 {
        // SAFETY: no preconditions.
        unsafe { helper::bpf_jiffies64() << 16 }
    }

    #[inline(always)]
    fn bucket(&self, key: &BucketKey) -> Option<u64> {
        // SAFETY: eight aligned bytes, read at once.
        LIMIT_BUCKETS.get_ptr(key).map(|due| unsafe { due.read_volatile() })
    }

    #[inline(always)]
    fn bucket_insert(&self, key: &BucketKey, due: u64) -> Inserted {
        match LIMIT_BUCKETS.insert(key, due, u64::from(BPF_NOEXIST)) {
            Ok(()) => Inserted::Yes,
            Err(EEXIST) => Inserted::Exists,
            Err(_) => Inserted::Full,
        }
    }

    #[inline(always)]
    fn bucket_replace(&self, key: &BucketKey, was: u64, due: u64) -> bool {
        let Some(place) = LIMIT_BUCKETS.get_ptr_mut(key) else {
            return false;
        };
        // SAFETY: eight aligned bytes of a map's element.
        let found = unsafe { compare_exchange(place, was, due) };
        found == was
    }

    #[inline(always)]
    fn count(&self, bank: u32, path: u32, bytes: u32) {
        let (page, place) = (path / PAGE_PATHS, path % PAGE_PATHS);
        let chunk = bank.wrapping_mul(CHUNKS).wrapping_add(page / CHUNK_PAGES);
        let page = PASSED.get_value_ptr_mut(chunk, &(page % CHUNK_PAGES));
        // SAFETY: this CPU's own element, and programs of one CPU do not interrupt each other here.
        let page = page.map(|page| unsafe { &mut *page });
        if let Some(passed) = page.and_then(|page| page.get_mut(place as usize)) {
            passed.packets += 1;
            passed.bytes += u64::from(bytes);
        }
    }

    #[inline(always)]
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S) {
        repeat(times, step);
    }
}

/// Replaces a word of a map's element if it is what it was (Linux 5.12, commit 5ffa25502b5a); what it was.
///
/// # Safety
///
/// `place` is eight aligned bytes of a map's element.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn compare_exchange(place: *mut u64, was: u64, new: u64) -> u64 {
    let mut found = was;
    // SAFETY: what the caller promises. The instruction has what it compares with in `r0`, and leaves there what it found.
    unsafe {
        asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) place, in(reg) new, inlateout("r0") found);
    }
    found
}

/// The same for lints, which are run for the machine that builds, and know its registers alone.
///
/// # Safety
///
/// `place` is eight aligned bytes that nobody else writes.
#[cfg(not(target_arch = "bpf"))]
unsafe fn compare_exchange(place: *mut u64, was: u64, new: u64) -> u64 {
    // SAFETY: what the caller promises.
    let found = unsafe { place.read() };
    if found == was {
        // SAFETY: likewise.
        unsafe { place.write(new) };
    }
    found
}
