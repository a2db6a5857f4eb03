//! The eBPF programs and maps of one instance: loading, pinning, attaching, reading and writing.
//!
//! Nothing else in this crate talks bpf(2). Everything is pinned, so that an instance outlives the
//! process that made it, and everything is found again from its [`Pins`] alone.
//!
//! Callers hold the instance's lock while they change anything: two writers of one instance are
//! not told apart here. Interfaces are those of the calling thread's network namespace.

mod attach;
mod batch;
mod cgroup;
mod clock;
mod error;
mod events;
mod filter;
mod housekeeping;
mod loader;
mod log;
mod map;
mod memory;
mod object;
mod pins;
mod settings;
mod settled;
mod sockets;
mod tables;
mod verifier;

use std::fmt;
use std::path::Path;

use aya::programs::SchedClassifier;
use netbridge_common::abi::{BindingKey, BindingV4, Hook, VERSION};

pub use attach::{AttachMode, tcx_supported};
pub use clock::Clock;
pub use error::DatapathError;
pub use events::Events;
pub use loader::LoadOptions;
pub use log::LogReader;
pub use pins::{DEFAULT_BPFFS, MOUNT_ADVICE, Pins, is_bpffs};
pub use settings::{MIN_SNAT_PORTS, SnatRange};
pub use settled::Settled;
pub use sockets::{check_cgroup, socket_programs};
pub use tables::{Ipv4, Led, Tables};

use crate::model::Settings;

/// The hooks, in the order in which a packet that leaves a container and is answered meets them.
pub const HOOKS: [Hook; 4] = [Hook::FromContainer, Hook::ToUplink, Hook::FromUplink, Hook::ToContainer];

/// An instance's pinned maps and programs, opened.
pub struct Datapath {
    pins: Pins,
    tables: Tables,
    clock: Clock,
}

impl Datapath {
    /// Loads the programs that are built into this binary, pins them and their maps, and writes the configuration.
    ///
    /// What a load or unload that was killed left behind is removed first. On failure nothing is left.
    /// [`DatapathError::AlreadyLoaded`] if the instance is complete already.
    pub fn load(pins: &Pins, options: &LoadOptions) -> Result<Self, DatapathError> {
        loader::load(pins, options)?;
        Self::open(pins)
    }

    /// Opens what [`load`](Self::load) pinned.
    ///
    /// [`DatapathError::NotLoaded`] if there is nothing, or if pins are missing, [`DatapathError::Version`] if it was
    /// pinned by a version with other maps.
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        pins.verify()?;
        let not_loaded = || DatapathError::NotLoaded { path: pins.root() };
        if !pins.exists() {
            return Err(not_loaded());
        }
        let found = Tables::version(pins)?;
        if found != Some(VERSION) {
            return Err(DatapathError::Version {
                path: pins.root(),
                found,
            });
        }
        if !pins.complete() {
            return Err(not_loaded());
        }
        let tables = Tables::open(pins)?;
        let clock = Clock::calibrate(&object::pinned_program(pins, object::TICKS)?)?;
        Ok(Self {
            pins: pins.clone(),
            tables,
            clock,
        })
    }

    /// Ends the bindings of which `pred` names a side. Their ports outside are kept from everybody for a while.
    pub fn end_bindings(&self, pred: impl FnMut(&BindingKey<Ipv4>, &BindingV4) -> bool) -> Result<(), DatapathError> {
        self.tables.end_bindings(self.clock.now_ticks()?, pred)
    }

    /// Puts settings in force; the size of the flow table is that of the load.
    pub fn tune(&self, settings: &Settings) -> Result<(), DatapathError> {
        self.tables
            .change_config(|config| settings::tune(config, &self.clock, settings))
    }

    /// Makes what is in force agree with these settings and, if they are known, the ports that the host leaves for SNAT.
    pub fn configure(&self, settings: &Settings, range: Option<&SnatRange>) -> Result<(), DatapathError> {
        self.tables.change_config(|config| {
            settings::tune(config, &self.clock, settings);
            if let Some(range) = range {
                settings::take_ports(config, range);
            }
        })
    }

    /// Lets TCP segments in the middle of a connection open flows for so many seconds from now: the flow table was lost, or
    /// was not kept before.
    pub fn pick_up(&self, seconds: u32) -> Result<(), DatapathError> {
        let until = self
            .clock
            .now_ticks()?
            .wrapping_add(self.clock.seconds_to_ticks(seconds));
        // 0 stands for never.
        self.tables.change_config(|config| config.pickup_until = until.max(1))
    }

    /// What the instance's maps take of the kernel's memory, by name, bytes.
    pub fn memory(&self) -> Result<Vec<(String, u64)>, DatapathError> {
        memory::of_maps(&self.pins)
    }

    /// Removes the flows that have expired, and returns how many halves that were. The programs do so when the table is
    /// full. What is left is counted anew for the quotas.
    pub fn reap(&self) -> Result<usize, DatapathError> {
        let reaped = housekeeping::reap(&self.pins)?;
        self.tables.recount()?;
        Ok(reaped)
    }

    /// Detaches and removes everything of the instance; what is absent already is fine.
    ///
    /// The kernel lets go of a link some milliseconds after its pin is gone.
    pub fn unload(pins: &Pins) -> Result<(), DatapathError> {
        loader::unload(pins)
    }

    /// Runs the hook's program on an interface, from now on and when this process is gone.
    ///
    /// If the hook runs there already, its program is replaced without a gap. `ifname` and `ifindex` must name the
    /// same interface.
    pub fn attach(&self, hook: Hook, ifname: &str, ifindex: u32, mode: AttachMode) -> Result<(), DatapathError> {
        attach::attach(&self.pins, hook, ifname, ifindex, mode)
    }

    /// Takes every program of this instance off an interface, which may be gone; nothing attached is fine.
    pub fn detach(&self, ifindex: u32) -> Result<(), DatapathError> {
        attach::detach(&self.pins, ifindex)
    }

    /// Runs the programs on the sockets of the processes in a cgroup, `None` for the root of cgroup v2, from now on and when
    /// this process is gone. Where none is named and they run already, they stay.
    ///
    /// Without them the instance works, but the host itself does not reach its published ports, and may take them.
    pub fn attach_sockets(&self, cgroup: Option<&Path>) -> Result<(), DatapathError> {
        sockets::attach(&self.pins, cgroup)
    }

    /// The hook's program: its [`info`](SchedClassifier::info), and [`aya::TestRun`] to run it on a packet of one's own.
    pub fn program(&self, hook: Hook) -> Result<SchedClassifier, DatapathError> {
        object::pinned_program(&self.pins, hook.name())
    }

    /// Instructions the verifier walked to accept the hook's program; `None` before Linux 5.16.
    pub fn verified_instructions(&self, hook: Hook) -> Result<Option<u32>, DatapathError> {
        let info = self
            .program(hook)?
            .info()
            .map_err(DatapathError::program("query", hook.name()))?;
        Ok(info.verified_instruction_count())
    }

    /// The maps.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The datapath's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Drop events, from now on. One reader at a time: two would take each other's events.
    ///
    /// Call it inside a tokio runtime.
    pub fn events(&self) -> Result<Events, DatapathError> {
        Events::open(&self.pins)
    }

    /// Where it is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }
}

impl fmt::Debug for Datapath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Datapath")
            .field("root", &self.pins.root())
            .finish_non_exhaustive()
    }
}
