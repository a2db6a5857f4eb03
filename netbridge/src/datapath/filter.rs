//! The filter's banks: written page by page, switched in one write.

use bytemuck::Zeroable;
use netbridge_common::abi::{
    BANKS, BOX_PAGES, BoxPage, FilterHead, PAGE_BOXES, PAGE_WORDS, Passed, WORD_PAGES, WordPage,
};

use super::map::{Array, PerCpu};
use super::object::maps;
use super::tables::Tables;
use super::{DatapathError, Pins};
use crate::filter::tables as compiled;

/// The maps of the filter.
pub(super) struct FilterMaps {
    heads: Array<FilterHead>,
    words: Array<WordPage>,
    boxes: Array<BoxPage>,
    passed: PerCpu<Passed>,
}

impl FilterMaps {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            heads: Array::open(pins, maps::FILTER)?,
            words: Array::open(pins, maps::FILTER_WORDS)?,
            boxes: Array::open(pins, maps::FILTER_BOXES)?,
            passed: PerCpu::open(pins, maps::PASSED)?,
        })
    }

    /// Writes a bank.
    fn write(&self, bank: u32, tables: &compiled::Tables) -> Result<(), DatapathError> {
        for (index, words) in (bank * WORD_PAGES..).zip(tables.words.chunks(PAGE_WORDS as usize)) {
            let mut page = WordPage::zeroed();
            page.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
            self.words.set(index, &page)?;
        }
        for (index, boxes) in (bank * BOX_PAGES..).zip(tables.boxes.chunks(PAGE_BOXES as usize)) {
            let mut page = BoxPage::zeroed();
            page.iter_mut().zip(boxes).for_each(|(place, found)| *place = *found);
            self.boxes.set(index, &page)?;
        }
        self.heads.set(bank, &tables.head)
    }
}

impl Tables {
    /// Puts a filter in force, all of it at once, and makes every flow ask it again.
    ///
    /// The tables are written to the bank that is not in force; the generation, whose low bit
    /// chooses the bank, comes last. Killed before that, the old filter stays.
    ///
    /// A packet that is being judged while two swaps happen may meet rules of two filters; no later one does.
    pub fn swap_filter(&self, tables: &compiled::Tables) -> Result<(), DatapathError> {
        let mut config = self.config()?;
        config.generation = next_generation(config.generation);
        self.filter_maps().write(config.generation % BANKS, tables)?;
        self.put_config(&config)
    }

    /// The head of the filter in force.
    pub fn filter(&self) -> Result<FilterHead, DatapathError> {
        let bank = self.config()?.generation % BANKS;
        self.filter_maps().heads.get(bank)
    }

    /// What went a path of the filter in force, summed over the CPUs.
    pub fn passed(&self, path: u32) -> Result<Passed, DatapathError> {
        let bank = self.config()?.generation % BANKS;
        self.filter_maps().passed.fold(
            bank * netbridge_common::abi::PATHS + path,
            Passed::default(),
            |sum, cpu| Passed {
                packets: sum.packets + cpu.packets,
                bytes: sum.bytes + cpu.bytes,
            },
        )
    }
}

/// The generation after this one: in the other bank, and never 0.
fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => BANKS,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use netbridge_common::abi::BANKS;

    use super::next_generation;

    #[test]
    fn generations_alternate_the_bank_and_are_never_zero() {
        for generation in [1, 2, 3, u32::MAX - 1, u32::MAX] {
            let next = next_generation(generation);
            assert_ne!(next, 0);
            assert_ne!(next, generation);
            assert_ne!(next % BANKS, generation % BANKS);
        }
    }
}
