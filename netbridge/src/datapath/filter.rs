//! The filter's banks: written page by page, switched in one write, and what they have counted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytemuck::Zeroable;
use netbridge_common::abi::generation::{bank, patched, patches, swapped, unpatched};
use netbridge_common::abi::{
    BOX_PAGES, BoxPage, CHUNK_PAGES, CHUNKS, FilterHead, HEADS, LIMITS, Limit, PAGE_BOXES, PAGE_PATHS, PAGE_WORDS,
    PATCHES, PLACES, Passed, PassedPage, PathKey, Region, WORD_PAGES, WordPage,
};

use super::map::{Array, Chunks, Hash};
use super::object::maps;
use super::settled::Pairs;
use super::tables::Tables;
use super::{DatapathError, Pins};
use crate::filter::tables::{self as compiled, Room};

/// The maps of the filter.
pub(super) struct FilterMaps {
    heads: Array<FilterHead>,
    pub(super) words: Array<WordPage>,
    boxes: Array<BoxPage>,
    limits: Array<Limit>,
    paths: Hash<u32, PathKey>,
    passed: Chunks<PassedPage>,
}

impl FilterMaps {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            heads: Array::open(pins, maps::FILTER)?,
            words: Array::open(pins, maps::FILTER_WORDS)?,
            boxes: Array::open(pins, maps::FILTER_BOXES)?,
            limits: Array::open(pins, maps::FILTER_LIMITS)?,
            paths: Hash::open(pins, maps::PATHS)?,
            passed: Chunks::open(pins, maps::PASSED, CHUNK_PAGES)?,
        })
    }

    /// Writes tables into the room of a bank that they are made for.
    fn write(&self, bank: u32, tables: &compiled::Tables) -> Result<(), DatapathError> {
        let room = tables.room;
        let first = bank * WORD_PAGES + room.words / PAGE_WORDS;
        for (index, words) in (first..).zip(tables.words.chunks(PAGE_WORDS as usize)) {
            let mut page = WordPage::zeroed();
            page.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
            self.words.set(index, &page)?;
        }
        let first = bank * BOX_PAGES + room.boxes / PAGE_BOXES;
        for (index, boxes) in (first..).zip(tables.boxes.chunks(PAGE_BOXES as usize)) {
            let mut page = BoxPage::zeroed();
            page.iter_mut().zip(boxes).for_each(|(place, found)| *place = *found);
            self.boxes.set(index, &page)?;
        }
        for (index, limit) in (bank * LIMITS + room.limits..).zip(&tables.limits) {
            self.limits.set(index, limit)?;
        }
        Ok(())
    }

    /// Zeroes what a bank that is not in force has counted, forgets the paths through it, and makes room for those of new
    /// tables.
    fn clear(&self, bank: u32, in_force: u32, tables: &compiled::Tables) -> Result<(), DatapathError> {
        let mut pages: BTreeSet<u32> = (0..self.places(bank)?.div_ceil(PAGE_PATHS)).collect();
        let in_force = self.head(in_force)?.generation;
        let mut stale = Vec::new();
        for (number, key) in self.paths.entries()? {
            if key.generation != in_force {
                pages.insert(number / PAGE_PATHS);
                stale.push(number);
            }
        }
        let mut chunks = BTreeMap::<u32, Vec<u32>>::new();
        for page in pages {
            chunks.entry(page / CHUNK_PAGES).or_default().push(page % CHUNK_PAGES);
        }
        for (chunk, pages) in chunks {
            if let Some(chunk) = self.passed.get(bank * CHUNKS + chunk)? {
                pages.into_iter().try_for_each(|page| chunk.zero(page))?;
            }
        }
        // What says which pages are to be zeroed goes when they are: a process may be killed before.
        stale
            .iter()
            .try_for_each(|number| self.paths.remove(number).map(drop))?;
        self.make_room(bank, tables)
    }

    /// Makes room for what tables count.
    fn make_room(&self, bank: u32, tables: &compiled::Tables) -> Result<(), DatapathError> {
        let places = 0..tables.head.places.div_ceil(CHUNK_PAGES * PAGE_PATHS);
        let joined = if tables.joins {
            PLACES / PAGE_PATHS / CHUNK_PAGES..CHUNKS
        } else {
            0..0
        };
        for chunk in places.chain(joined).map(|chunk| bank * CHUNKS + chunk) {
            if self.passed.get(chunk)?.is_none() {
                self.passed.make(chunk)?;
            }
        }
        Ok(())
    }

    /// Where the places of a bank end, those of patches that are not in force too.
    fn places(&self, bank: u32) -> Result<u32, DatapathError> {
        let own = self.head(bank)?;
        let mut places = own.places;
        for number in 1..=PATCHES {
            let patch = self.heads.get(bank * HEADS + number)?;
            if patch.generation == own.generation {
                places = places.max(patch.places);
            }
        }
        Ok(places)
    }

    /// The head of a bank.
    fn head(&self, bank: u32) -> Result<FilterHead, DatapathError> {
        self.heads.get(bank * HEADS)
    }

    /// What went the paths of some pages of a bank, by path, summed over the CPUs.
    fn passed(&self, bank: u32, pages: &BTreeSet<u32>) -> Result<Vec<(u32, Passed)>, DatapathError> {
        let mut all = Vec::new();
        let mut open = None;
        for page in pages {
            let number = page / CHUNK_PAGES;
            if open.as_ref().is_none_or(|(known, _)| *known != number) {
                open = Some((number, self.passed.get(bank * CHUNKS + number)?));
            }
            let Some((_, Some(chunk))) = &open else { continue };
            let passed = chunk.fold(page % CHUNK_PAGES, PassedPage::zeroed(), |sum, cpu| added(sum, &cpu))?;
            let passed = (page * PAGE_PATHS..).zip(passed);
            all.extend(passed.filter(|(_, passed)| passed.packets > 0));
        }
        Ok(all)
    }
}

impl Tables {
    /// Puts a filter in force, all of it at once, and makes every flow ask it again.
    ///
    /// The tables are written to the bank that is not in force; the generation, which chooses the bank, comes last. Killed
    /// before that, the old filter stays.
    ///
    /// A packet that is being judged while two swaps happen may meet rules of two filters; no later one does.
    ///
    /// Answers the generation before. What its rules have matched is final from now on, but for packets that are being
    /// judged at this moment, and can be read until the next swap.
    pub fn swap_filter(&self, tables: &compiled::Tables) -> Result<u32, DatapathError> {
        let mut config = self.config()?;
        let before = config.generation;
        config.generation = swapped(before);
        let (maps, bank) = (self.filter_maps(), bank(config.generation));
        maps.clear(bank, self::bank(before), tables)?;
        maps.write(bank, tables)?;
        let head = FilterHead {
            generation: config.generation,
            base: tables.head.digest,
            ..tables.head
        };
        maps.heads.set(bank * HEADS, &head)?;
        self.put_config(&config)?;
        Ok(before)
    }

    /// Puts tables in force for the packets of a region, in place of what was in force for them, and makes every flow ask the
    /// filter again. They are made for what is free of the bank in force.
    ///
    /// They are written behind all that packets are looking at; the generation, which says that there is a patch more, comes
    /// last here too. Killed before that, the filter is the old one, and its head says that it is not the one of the state.
    /// Refused if the bank has as many patches as it can.
    pub fn patch_filter(&self, region: Region, tables: &compiled::Tables, pairs: &Pairs) -> Result<(), DatapathError> {
        let mut config = self.config()?;
        if patches(config.generation) == PATCHES {
            return Err(DatapathError::Full {
                map: maps::FILTER,
                entries: HEADS,
            });
        }
        let (maps, bank) = (self.filter_maps(), bank(config.generation));
        config.generation = patched(config.generation);
        let mut head = maps.head(bank)?;
        maps.write(bank, tables)?;
        maps.make_room(bank, tables)?;
        let patch = FilterHead {
            generation: head.generation,
            region,
            ..tables.head
        };
        head.digest = tables.head.digest;
        maps.heads.set(bank * HEADS + patches(config.generation), &patch)?;
        maps.heads.set(bank * HEADS, &head)?;
        maps.unsettle(bank, pairs)?;
        self.put_config(&config)
    }

    /// Puts in force again what was before a patch, and makes every flow ask the filter again. Pairs that lost their answers
    /// stay without, and the patch's places stay its own: what has counted for them counts for nothing else.
    ///
    /// Killed half-way, its head says that it is nobody's: all is compiled then.
    pub fn unpatch_filter(&self, before: &compiled::Bank) -> Result<(), DatapathError> {
        let mut config = self.config()?;
        let (maps, bank) = (self.filter_maps(), bank(config.generation));
        let mut head = maps.head(bank)?;
        if patches(config.generation) > before.patches {
            head.digest = 0;
            maps.heads.set(bank * HEADS, &head)?;
            for generation in unpatched(config.generation, before.patches) {
                config.generation = generation;
                self.put_config(&config)?;
            }
        }
        head.digest = before.digest;
        maps.heads.set(bank * HEADS, &head)
    }

    /// The number of the bank in force.
    pub(super) fn bank_in_force(&self) -> Result<u32, DatapathError> {
        Ok(bank(self.config()?.generation))
    }

    /// What is known of the bank in force; none if no rules are in it.
    pub fn bank(&self) -> Result<Option<compiled::Bank>, DatapathError> {
        let generation = self.config()?.generation;
        let (maps, bank, patches) = (self.filter_maps(), bank(generation), patches(generation));
        let head = maps.head(bank)?;
        let (last, places) = (maps.heads.get(bank * HEADS + patches)?, maps.places(bank)?);
        Ok((head.active != 0).then(|| compiled::Bank {
            digest: head.digest,
            patches,
            room: Room {
                places,
                ..Room::behind(&last)
            },
        }))
    }

    /// The head of the filter in force.
    pub fn filter(&self) -> Result<FilterHead, DatapathError> {
        self.filter_maps().head(self.bank_in_force()?)
    }

    /// What each rule of the filter in force has matched, summed over the CPUs. A rule that is not listed has matched nothing.
    pub fn matched(&self) -> Result<HashMap<compiled::RuleId, Passed>, DatapathError> {
        self.matched_in(self.config()?.generation)
    }

    /// The same for the filter of a generation: the one in force, or the one before.
    pub fn matched_in(&self, generation: u32) -> Result<HashMap<compiled::RuleId, Passed>, DatapathError> {
        let counts = self.legend(generation)?;
        let maps = self.filter_maps();
        let bank = bank(generation);
        let since = maps.head(bank)?.generation;
        let joined: HashMap<u32, PathKey> = maps.paths.entries()?.into_iter().collect();
        let places = u32::try_from(counts.len()).unwrap_or(u32::MAX).div_ceil(PAGE_PATHS);
        let pages = (0..places)
            .chain(joined.keys().map(|number| number / PAGE_PATHS))
            .collect();
        let mut matched: HashMap<compiled::RuleId, Passed> = HashMap::new();
        for (path, passed) in maps.passed(bank, &pages)? {
            for place in places_of(path, since, &joined) {
                for rule in counts.get(place as usize).into_iter().flatten() {
                    let rule = matched.entry(*rule).or_default();
                    rule.packets += passed.packets;
                    rule.bytes += passed.bytes;
                }
            }
        }
        Ok(matched)
    }

    /// The last place of a path; none if nothing is known of it any more.
    pub fn last_place(&self, path: u32) -> Result<Option<u32>, DatapathError> {
        if path < PLACES {
            return Ok(Some(path));
        }
        let key = self.filter_maps().paths.get(&path)?;
        Ok(key.map(|key| key.place))
    }

    /// For which rules each place of the filter of a generation counts.
    pub fn legend(&self, generation: u32) -> Result<Vec<Vec<compiled::RuleId>>, DatapathError> {
        let (maps, bank) = (self.filter_maps(), bank(generation));
        let mut pages: HashMap<u32, WordPage> = HashMap::new();
        let mut word = |at: u32| -> Result<u64, DatapathError> {
            let number = (at / PAGE_WORDS).min(WORD_PAGES - 1);
            let page = match pages.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(maps.words.get(bank * WORD_PAGES + number)?),
            };
            Ok(page.get((at % PAGE_WORDS) as usize).copied().unwrap_or_default())
        };
        let mut legend = Vec::new();
        for number in 0..=patches(generation) {
            let head = maps.heads.get(bank * HEADS + number)?;
            // Places in between are those of a patch that was taken back.
            legend.resize(head.first_place as usize, Vec::new());
            legend.extend(compiled::legend::read(&head, &mut word)?);
        }
        Ok(legend)
    }
}

/// The places of a path, from the last to the first.
fn places_of(path: u32, generation: u32, joined: &HashMap<u32, PathKey>) -> Vec<u32> {
    let mut places = Vec::new();
    let mut path = path;
    while path >= PLACES {
        let Some(key) = joined.get(&path).filter(|key| key.generation == generation) else {
            return Vec::new();
        };
        places.push(key.place);
        path = key.path;
    }
    places.push(path);
    places
}

fn added(mut sum: PassedPage, cpu: &PassedPage) -> PassedPage {
    for (sum, cpu) in sum.iter_mut().zip(cpu) {
        sum.packets += cpu.packets;
        sum.bytes += cpu.bytes;
    }
    sum
}
