//! A lab for the length of a test: brought up by the library, taken down when dropped, and shown when the test fails.

use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::{Map, MapData, MapError};
use netbridge::datapath::{AttachMode, Datapath, Pins};
use netbridge::lab::{self, Record, Topology};
use netbridge::netns::{Netns, NetnsSpec};
use netbridge::ops::Options;
use netbridge::state::{Endpoint, State, Uplink};
use netbridge::store::Store;
use netbridge_common::abi::{Reason, Traffic};

use crate::frame::Station;
use crate::sandbox::{Sandbox, within};
use crate::wait::wait_until;
use crate::wire::Wire;

/// A lab that is up. It lives in the sandbox of the thread that made it.
pub struct Lab<'a> {
    sandbox: &'a Sandbox,
    record: Option<Record>,
    options: Options,
}

impl<'a> Lab<'a> {
    /// Brings up a topology given as text, with the text of its filter if it names one.
    pub fn up(sandbox: &'a Sandbox, topology: &str, filter: Option<&str>) -> Result<Self> {
        Self::up_with(sandbox, topology, filter, AttachMode::Auto)
    }

    /// The same, with programs attached in a certain way.
    pub fn up_with(
        sandbox: &'a Sandbox,
        topology: &str,
        filter: Option<&str>,
        attach_mode: AttachMode,
    ) -> Result<Self> {
        let topology = Topology::parse("lab.toml", topology, "lab", false, |name| {
            filter
                .map(str::to_owned)
                .ok_or_else(|| std::io::Error::other(format!("no text of {name} is given")))
        })?;
        Self::bring_up(sandbox, &topology, attach_mode)
    }

    /// Brings up a topology file.
    pub fn up_file(sandbox: &'a Sandbox, path: &Path) -> Result<Self> {
        Self::bring_up(sandbox, &Topology::read(path, None)?, AttachMode::Auto)
    }

    fn bring_up(sandbox: &'a Sandbox, topology: &Topology, attach_mode: AttachMode) -> Result<Self> {
        let options = Options {
            bpffs: sandbox.bpffs().to_owned(),
            attach_mode,
            ..Options::default()
        };
        let up = block_on(lab::up(&options, topology))??;
        Ok(Self {
            sandbox,
            record: Some(up.record),
            options,
        })
    }

    /// The namespace of a node, of `host` or of `outside`.
    pub fn node(&self, name: &str) -> Result<Netns> {
        let record = self.record()?;
        Ok(Netns::open(&NetnsSpec::Name(format!("{}-{name}", record.name)))?)
    }

    /// A map of its instance.
    pub fn map<M: TryFrom<Map, Error = MapError>>(&self, name: &str) -> Result<M> {
        let path = self.pins()?.root().join("maps").join(name);
        MapData::from_pin(&path)
            .and_then(Map::from_map_data)
            .and_then(M::try_from)
            .with_context(|| format!("open {}", path.display()))
    }

    /// The instance in the host namespace.
    pub fn pins(&self) -> Result<Pins> {
        let instance = self
            .record()?
            .instance
            .as_deref()
            .context("the lab has no network, so no instance")?;
        Ok(Pins::new(self.sandbox.bpffs(), instance))
    }

    /// Its programs and maps.
    pub fn datapath(&self) -> Result<Datapath> {
        Ok(Datapath::open(&self.pins()?)?)
    }

    /// What its controller remembers.
    pub fn state(&self) -> Result<State> {
        Ok(Store::new(self.pins()?.instance()).load()?)
    }

    /// Where the state of its instance is.
    pub fn state_dir(&self) -> Result<PathBuf> {
        Ok(self.sandbox.state_dir().join(self.pins()?.instance()))
    }

    /// An endpoint by its name.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint> {
        self.state()?
            .endpoint(name)
            .cloned()
            .with_context(|| format!("no endpoint {name}"))
    }

    /// An endpoint as one end of a frame.
    pub fn station(&self, endpoint: &str) -> Result<Station> {
        let endpoint = self.endpoint(endpoint)?;
        let ip = endpoint
            .address()
            .with_context(|| format!("endpoint {} has no address", endpoint.name))?;
        Ok(Station {
            mac: endpoint.mac.0,
            ip,
        })
    }

    /// A packet socket on an endpoint's interface inside `node`.
    pub fn wire(&self, node: &str, endpoint: &str) -> Result<Wire> {
        Wire::open(&self.node(node)?, &self.endpoint(endpoint)?.ifname)
    }

    /// The uplink.
    pub fn uplink(&self) -> Result<Uplink> {
        self.state()?
            .uplinks
            .into_iter()
            .next()
            .context("the lab has no uplink")
    }

    /// What an endpoint sent and received, as the datapath counts it.
    pub fn traffic(&self, endpoint: &str) -> Result<Traffic> {
        Ok(self.datapath()?.tables().traffic(self.endpoint(endpoint)?.slot)?)
    }

    /// Packets dropped for a reason so far.
    pub fn drops(&self, reason: Reason) -> Result<u64> {
        let drops = self.datapath()?.tables().drops()?;
        Ok(drops
            .into_iter()
            .find(|(counted, _)| *counted == reason)
            .map_or(0, |(_, packets)| packets))
    }

    /// Waits until so many packets more than `before` were dropped for a reason; an error if these are not all.
    pub fn dropped(&self, reason: Reason, before: u64, packets: u64) -> Result<()> {
        let counted = wait_until("drops", Duration::from_secs(3), || {
            Ok(self.drops(reason)? >= before + packets)
        });
        let dropped = self.drops(reason)? - before;
        ensure!(
            dropped == packets,
            "{dropped} of {packets} packets were dropped as {}",
            reason.name()
        );
        counted
    }

    /// Runs a test on it and takes it down; the test's failure comes with the datapath's state.
    fn judge(self, test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let judged = test(&self);
        if judged.is_err() {
            self.show();
        }
        judged.and(self.down())
    }

    /// Prints the datapath's state.
    fn show(&self) {
        match self.report() {
            Ok(report) => eprintln!("{report}"),
            Err(error) => eprintln!("the datapath's state cannot be shown: {error:#}"),
        }
    }

    /// Takes the lab down, and tells what could not be removed.
    pub fn down(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        let Some(record) = self.record.take() else {
            return Ok(());
        };
        block_on(lab::down(&self.options, Some(record.name.as_str())))??;
        Ok(())
    }

    fn record(&self) -> Result<&Record> {
        self.record.as_ref().context("the lab is down")
    }

    /// The datapath's state as text: what one wants to see when a test fails.
    pub fn report(&self) -> Result<String> {
        if self.record()?.instance.is_none() {
            return Ok(String::new());
        }
        let (state, datapath) = (self.state()?, self.datapath()?);
        let tables = datapath.tables();
        let mut text = String::from("--- the datapath's state ---\n");
        for endpoint in &state.endpoints {
            writeln!(
                text,
                "{:<12} {:?} {:?}",
                endpoint.name,
                endpoint.addresses,
                tables.traffic(endpoint.slot)?
            )?;
        }
        for uplink in &state.uplinks {
            writeln!(text, "{:<12} {:?}", uplink.name, tables.traffic(uplink.slot)?)?;
        }
        for (reason, packets) in tables.drops()?.into_iter().filter(|(_, packets)| *packets > 0) {
            writeln!(text, "drop {:<20} {packets}", reason.name())?;
        }
        for (key, flow) in tables.flows()? {
            writeln!(text, "{key:?} -> {flow:?}")?;
        }
        for (key, station) in tables.stations()? {
            writeln!(text, "{key:?} -> {station:?}")?;
        }
        Ok(text)
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show();
        }
        if let Err(error) = self.tear_down() {
            eprintln!("{error:#}");
        }
    }
}

/// A topology as text, with the text of the filter it names, if it does.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// TOML.
    pub topology: &'a str,
    /// `iptables-save` syntax.
    pub filter: Option<&'a str>,
    /// How programs are attached.
    pub attach_mode: AttachMode,
}

impl<'a> Text<'a> {
    /// A topology without a filter.
    pub fn plain(topology: &'a str) -> Self {
        Self {
            topology,
            filter: None,
            attach_mode: AttachMode::Auto,
        }
    }
}

/// Runs `test` on a lab in a sandbox of its own; shows the datapath's state if it fails, and fails too if
/// the lab does not come down.
pub fn with_lab(text: Text<'_>, test: impl FnOnce(&Lab<'_>) -> Result<()> + Send) -> Result<()> {
    within(|sandbox| Lab::up_with(sandbox, text.topology, text.filter, text.attach_mode)?.judge(test))
}

/// The same with a topology file.
pub fn with_lab_file(path: &Path, test: impl FnOnce(&Lab<'_>) -> Result<()> + Send) -> Result<()> {
    within(|sandbox| Lab::up_file(sandbox, path)?.judge(test))
}

/// Waits for an operation on a runtime of its own.
pub fn block_on<F: Future>(operation: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start a runtime: {error}"))?;
    Ok(runtime.block_on(operation))
}
