//! Loads an instance and takes it away again.

use aya::maps::Map;
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use aya_log::Level;
use netbridge_common::abi::{Config, Hook};

use super::clock::Clock;
use super::map::MapPod;
use super::object::{OBJECT, TICKS, TOOLS, maps};
use super::verifier::SignalsWait;
use super::{DatapathError, HOOKS, Pins, SnatRange, attach, settings, sockets, verifier};
use crate::model::Settings;

/// What can be chosen when an instance is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What is set for the instance.
    pub settings: Settings,
    /// Halves of flows that can be tracked; `None` for two for each flow of the settings.
    pub flow_entries: Option<u32>,
    /// What the programs log; `None` for nothing, at no cost: the verifier removes the code.
    pub log_level: Option<Level>,
    /// Drop events that one CPU may send per tick, which is 64 jiffies.
    pub events_per_tick: u32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            flow_entries: None,
            log_level: None,
            events_per_tick: 16,
        }
    }
}

/// Loads and pins a complete instance, or leaves nothing.
pub(super) fn load(pins: &Pins, options: &LoadOptions) -> Result<(), DatapathError> {
    pins.verify()?;
    if pins.complete() {
        return Err(DatapathError::AlreadyLoaded { path: pins.root() });
    }
    let range = SnatRange::of_host()?;
    pins.remove()?;
    pins.create()
        .and_then(|()| load_and_pin(pins, options, &range))
        // An unload that was killed may have left filters; last, as it is the kernel's refusal of the object that tells
        // an unprivileged user what is missing.
        .and_then(|()| attach::remove_filters(pins))
        // The first error is the one to tell; `unload` can be called again for the second.
        .inspect_err(|_| drop(unload(pins)))
}

/// Detaches what runs on the interfaces of this network namespace and removes the pins.
pub(super) fn unload(pins: &Pins) -> Result<(), DatapathError> {
    pins.remove()?;
    attach::remove_filters(pins)
}

fn load_and_pin(pins: &Pins, options: &LoadOptions, range: &SnatRange) -> Result<(), DatapathError> {
    let _waiting = SignalsWait::begin();
    let log_level = options.log_level.map_or(0, |level| level as u8);
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &log_level, false);
    let entries = options.flow_entries.unwrap_or(2 * options.settings.flows());
    loader.map_max_entries(maps::FLOWS, entries);
    loader.map_max_entries(maps::BINDINGS, options.settings.flows());
    let mut object = loader
        .load(OBJECT)
        .map_err(|source| DatapathError::Object(Box::new(source)))?;

    for name in HOOKS.map(Hook::name).into_iter().chain(TOOLS) {
        let program = program(&mut object, name)?;
        verifier::load(name, || program.load())?;
        let path = pins.program(name);
        program
            .pin(&path)
            .map_err(|source| DatapathError::Pin { path, source })?;
    }
    sockets::load(&mut object, pins)?;
    let clock = Clock::calibrate(program(&mut object, TICKS)?)?;
    write_config(&mut object, &settings::initial(&clock, range, options)?)?;

    // Maps of the compiler's own have a dot in their names, which a pin must not have; the programs hold them.
    let pinned = object
        .maps()
        .filter(|(name, _)| !name.contains('.') && *name != maps::CONFIG);
    for (name, map) in pinned {
        pin_map(pins, name, map)?;
    }
    let config = object.map(maps::CONFIG).ok_or(missing_config())?;
    pin_map(pins, maps::CONFIG, config)
}

fn program<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, DatapathError> {
    let program = object
        .program_mut(name)
        .ok_or(DatapathError::Incomplete { kind: "program", name })?;
    program.try_into().map_err(DatapathError::program("load", name))
}

fn write_config(object: &mut Ebpf, config: &Config) -> Result<(), DatapathError> {
    let map = object.map_mut(maps::CONFIG).ok_or(missing_config())?;
    aya::maps::Array::try_from(map)
        .and_then(|mut array| array.set(0, MapPod(*config), 0))
        .map_err(|source| DatapathError::Map {
            map: maps::CONFIG,
            action: "write",
            key: String::new(),
            source: Box::new(source),
        })
}

fn pin_map(pins: &Pins, name: &str, map: &Map) -> Result<(), DatapathError> {
    let path = pins.map(name);
    map.pin(&path).map_err(|source| DatapathError::Pin { path, source })
}

fn missing_config() -> DatapathError {
    DatapathError::Incomplete {
        kind: "map",
        name: maps::CONFIG,
    }
}
