//! Versions of the filter, as [`super::Config::generation`] has them.
//!
//! The lowest bit is the bank in force, the other bits of the low byte count its patches that are: a byte is never met
//! half-written, and no packet meets a bank with patches that are not its own. What is above rises with every swap, and where a
//! patch is taken back; flows compare it for equality only. A packet that meets some of its bytes at a swap leaves a flow that
//! asks the filter once more, or is dropped.

use super::{BANKS, PATCHES};

/// The first one.
pub const FIRST: u32 = 1 << SERIAL;

/// The bits below what rises with every swap.
const SERIAL: u32 = 8;
const LOW: u32 = (1 << SERIAL) - 1;

const _: () = assert!(PATCHES * BANKS + BANKS - 1 <= LOW, "banks and patches fit a byte");

/// The bank in force.
#[must_use]
pub const fn bank(generation: u32) -> u32 {
    generation & (BANKS - 1)
}

/// How many of its patches are in force.
#[must_use]
pub const fn patches(generation: u32) -> u32 {
    (generation & LOW) >> BANKS.trailing_zeros()
}

/// What is above that byte, never 0.
#[must_use]
pub const fn serial(generation: u32) -> u32 {
    generation >> SERIAL
}

/// The next one: the other bank, without patches.
#[must_use]
pub const fn swapped(generation: u32) -> u32 {
    risen(generation) | (bank(generation) ^ 1)
}

/// The next one: the same bank, with a patch more. There must be one left.
#[must_use]
pub const fn patched(generation: u32) -> u32 {
    generation.wrapping_add(BANKS)
}

/// The next two: the same bank with so many patches only, and that under a serial of its own. Together they might be met as
/// that serial with the patch, which the next patch makes of it.
#[must_use]
pub const fn unpatched(generation: u32, patches: u32) -> [u32; 2] {
    let low = (patches.wrapping_mul(BANKS) & LOW) | bank(generation);
    [(generation & !LOW) | low, risen(generation) | low]
}

/// The next serial, of bank 0.
const fn risen(generation: u32) -> u32 {
    match (generation | LOW).wrapping_add(1) {
        0 => FIRST,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_leads_to_the_other_bank_and_a_patch_stays() {
        for first in [FIRST, FIRST | 1, !LOW, !LOW | 1] {
            let mut patch = first;
            for count in 1..=PATCHES {
                patch = patched(patch);
                assert_eq!(
                    (bank(patch), patches(patch), serial(patch)),
                    (bank(first), count, serial(first))
                );
            }
            let swap = swapped(patch);
            assert_eq!((bank(swap), patches(swap)), (1 - bank(first), 0));
            let [before, back] = unpatched(patch, PATCHES - 1);
            assert_eq!(patched(before), patch);
            assert_eq!((bank(back), patches(back)), (bank(first), PATCHES - 1));
            for next in [swap, back] {
                assert!(serial(next) != 0 && serial(next) != serial(first), "{first:x}");
            }
        }
    }
}
