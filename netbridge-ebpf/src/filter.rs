//! The search through the filter's tables: a global function, which the verifier walks once, on its own, and not wherever it
//! is called (Linux 5.6, commit 51c39bb1d5d1).

use aya_ebpf::bindings::BPF_NOEXIST;
use netbridge_common::abi::{self, BOX_PAGES, FilterHead, PAGE_BOXES, PAGE_WORDS, PathKey, RuleBox, WORD_PAGES, word};
use netbridge_common::datapath::env::Inserted;
use netbridge_common::datapath::filter::decide;
use netbridge_common::datapath::search::Tables;

use crate::env::{EEXIST, repeat};
use crate::maps::{FILTER, FILTER_BOXES, FILTER_WORDS, PASSED, PATHS, SCRATCH};

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
    fn head(&self, bank: u32) -> Option<&FilterHead> {
        FILTER.get(bank)
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
    fn count(&self, bank: u32, path: u32, bytes: u32) {
        if let Some(passed) = PASSED.get_ptr_mut(bank.wrapping_mul(abi::PATHS).wrapping_add(path)) {
            // SAFETY: this CPU's own element, and programs of one CPU do not interrupt each other here.
            unsafe {
                (*passed).packets += 1;
                (*passed).bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S) {
        repeat(times, step);
    }
}
