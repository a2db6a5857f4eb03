//! The long texts that a state names, each in a file beside it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::write_whole;
use crate::filter::Text;
use crate::state::State;

/// What their files end with.
const EXTENSION: &str = "text";

/// Reads the texts that a state names.
pub(super) fn read(dir: &Path, state: &mut State) -> Result<(), (PathBuf, io::Error)> {
    for text in named_mut(state) {
        let path = path(dir, text.name());
        let read = fs::read_to_string(&path).map_err(|error| (path, error))?;
        *text = text.with(read);
    }
    Ok(())
}

/// Writes those that are not there yet, so that a state may name them.
pub(super) fn write(dir: &Path, state: &State) -> io::Result<()> {
    let mut wrote = false;
    for text in named(state) {
        let path = path(dir, text.name());
        // One that was damaged is repaired by loading it again.
        let is_there = || fs::read(&path).is_ok_and(|known| known == text.as_bytes());
        if !text.is_kept() && !is_there() {
            write_whole(&path, text.as_bytes())?;
            wrote = true;
        }
    }
    if wrote { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Removes those that a state does not name.
pub(super) fn sweep(dir: &Path, state: &State) -> io::Result<()> {
    let named: BTreeSet<&str> = named(state).map(Text::name).collect();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((stem, behind)) = name.split_once('.') else {
            continue;
        };
        // What a call left that was killed while it wrote one goes too.
        if behind.starts_with(EXTENSION) && !(behind == EXTENSION && named.contains(stem)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{EXTENSION}"))
}

fn named(state: &State) -> impl Iterator<Item = &Text> {
    let filter = state.filter.iter();
    filter.flat_map(|filter| std::iter::once(&filter.text).chain(filter.sets.as_ref().map(|sets| &sets.text)))
}

fn named_mut(state: &mut State) -> impl Iterator<Item = &mut Text> {
    let filter = state.filter.iter_mut();
    filter.flat_map(|filter| std::iter::once(&mut filter.text).chain(filter.sets.as_mut().map(|sets| &mut sets.text)))
}

/// Takes the names in a state for what formats up to 4 had in their place: the texts themselves.
pub(super) fn inline(state: &mut State) {
    for text in named_mut(state) {
        *text = Text::from(text.name().to_owned());
    }
}
