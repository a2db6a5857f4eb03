//! The control plane: what it costs to connect a container, to publish ports and to change the filter.
//!
//! A round does one thing and takes it back, and times both. netbridge is its command, a process per call; netfilter's
//! contestants are its tools, processes too, called as often as Docker's daemon calls them. Bridges are told by
//! rtnetlink without a process, as a daemon does it: where endpoints are attached, that is to netbridge's disadvantage.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netbridge::netlink::in_namespace;

use super::case::Case;
use super::classbench::{self, Probe};
use super::contestant::Contestant;
use super::rule::Rule;
use super::series::{Metric, Sample};
use super::world::{Able, Published, World};
use crate::wait::wait_until;

/// The first port, on the host and in the container: as many as are asked for lie below the ephemeral ones.
const FIRST: Published = Published {
    proto: 6,
    host: 10_000,
    container: 10_000,
};

/// Ports that Docker's way publishes one by one in bearable time.
const DOCKERS_PORTS: u16 = 100;

/// Ports that tell how long Docker's way takes for one, where there are too many to wait for.
const TRIAL: u16 = 10;

/// Endpoints that are there before the container of a case: A, B, and this many more before the 500th.
const OTHERS: u16 = 497;

/// How long the kernel may take to remove the namespaces of all of them.
const REMOVAL: Duration = Duration::from_mins(1);

/// Why a contestant that has no BPF maps has no figure for their memory.
const NO_MAPS: &str = "its memory is the kernel's and is not counted";

/// Seed of the rules.
const SEED: u64 = 0x0063_6f6e_7472_6f6c;

/// The packet that the rules' last one matches.
const PROBE: Probe = Probe {
    src: Ipv4Addr::new(10, 77, 0, 2),
    dst: Ipv4Addr::new(10, 77, 0, 3),
    proto: 17,
    dport: 9000,
};

/// Everything that is measured without packets.
pub fn cases(quick: bool) -> Vec<Box<dyn Case>> {
    cases_of(quick, OTHERS)
}

/// The same with so many endpoints before the one that is called the 500th, A and B not counted.
pub fn cases_of(quick: bool, others: u16) -> Vec<Box<dyn Case>> {
    let mut cases: Vec<Box<dyn Case>> = vec![Box::new(Attach::new("first", 0))];
    if !quick {
        cases.push(Box::new(Attach::new("500th", others)));
    }
    let single: &[u16] = if quick { &[1, 10_000] } else { &[1, 100, 1000, 10_000] };
    cases.extend([1, 100, 1000, 10_000].map(|ports| Publish { ports, range: true }.boxed()));
    cases.extend(single.iter().map(|&ports| Publish { ports, range: false }.boxed()));
    cases.push(Box::new(Serving));
    for size in [100, 10_000] {
        cases.push(Box::new(Load(classbench::rules(size, SEED, PROBE))));
        cases.push(Box::new(Insert::new(size)));
    }
    cases
}

/// How long an operation took, in milliseconds. That it cannot be done should have been found by the preparation.
fn timed(operation: impl FnOnce() -> Result<Able>) -> Result<f64> {
    let start = Instant::now();
    match operation()? {
        Able::Done => Ok(start.elapsed().as_secs_f64() * 1e3),
        Able::Cannot(reason) => bail!("could be done before, and now cannot: {reason}"),
    }
}

/// A round's figures: of an operation and of taking it back, with what the maps held in between.
#[expect(clippy::cast_precision_loss, reason = "a map's bytes are far below 2^52")]
fn round(
    world: &mut dyn World,
    operation: impl FnOnce(&mut dyn World) -> Result<Able>,
    undo: impl FnOnce(&mut dyn World) -> Result<Able>,
) -> Result<Sample> {
    let took = timed(|| operation(world))?;
    let bytes = world.map_bytes()?;
    let undone = timed(|| undo(world))?;
    let mut sample = Sample::from([(Metric::Millis, took), (Metric::UndoMillis, undone)]);
    sample.put(Metric::MapBytes, bytes.map(|bytes| bytes as f64).ok_or(NO_MAPS));
    Ok(sample)
}

/// Connects a container; to take it back is to disconnect it.
struct Attach {
    name: &'static str,
    others: u16,
    /// How many interfaces the hosts had, and how many containers there are.
    staged: RefCell<HashMap<Contestant, Stage>>,
}

#[derive(Default)]
struct Stage {
    links: usize,
    containers: u16,
}

impl Attach {
    fn new(name: &'static str, others: u16) -> Self {
        Self {
            name,
            others,
            staged: RefCell::default(),
        }
    }
}

/// Interfaces of a contestant's host.
fn links(world: &dyn World) -> Result<usize> {
    let host = world.layout().host.as_ref().context("there is no host")?;
    in_namespace(&host.netns, async |netlink| Ok(netlink.links().await?.len()))
}

impl Case for Attach {
    fn id(&self) -> String {
        format!("control/attach/{}", self.name)
    }

    fn title(&self) -> String {
        let others = self.others + 2;
        format!("attach a container beside {others} others (bridges: rtnetlink calls without a process)")
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        if let Some(reason) = world.contestant().same_without_rules() {
            return Ok(Able::Cannot(reason.to_owned()));
        }
        if world.layout().host.is_none() {
            return Ok(Able::Cannot("has no host that connects containers".to_owned()));
        }
        let stage = Stage {
            links: links(world)?,
            containers: 0,
        };
        self.staged.borrow_mut().insert(world.contestant(), stage);
        // The last one is the case's own.
        for index in 0..=self.others {
            if let cannot @ Able::Cannot(_) = world.new_container(index)? {
                return Ok(cannot);
            }
            if let Some(stage) = self.staged.borrow_mut().get_mut(&world.contestant()) {
                stage.containers = index + 1;
            }
            if index < self.others
                && let cannot @ Able::Cannot(_) = world.attach(index)?
            {
                return Ok(cannot);
            }
        }
        Ok(Able::Done)
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        round(
            world,
            |world| world.attach(self.others),
            |world| world.detach(self.others),
        )
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        let Some(stage) = self.staged.borrow_mut().remove(&world.contestant()) else {
            return Ok(());
        };
        for index in 0..stage.containers {
            world.remove_container(index)?;
        }
        // The kernel removes what is in a namespace some time after the namespace.
        wait_until("the interfaces of removed containers to go", REMOVAL, || {
            Ok(links(world)? <= stage.links)
        })
    }

    fn rounds(&self) -> usize {
        if self.others == 0 { usize::MAX } else { 5 }
    }

    fn seconds(&self) -> f64 {
        // To prepare the many takes some fifteen seconds for each contestant, which is spread over the rounds.
        if self.others == 0 { 0.1 } else { 1.7 }
    }
}

/// Publishes ports of B at the same ports of the host; to take them back is to publish none.
struct Publish {
    ports: u16,
    /// As a range; else in a list, each by itself.
    range: bool,
}

impl Publish {
    fn boxed(self) -> Box<dyn Case> {
        Box::new(self)
    }

    /// Docker's daemon calls its tool six times for a port, and each call costs more than the one before.
    fn is_too_slow(&self, contestant: Contestant) -> bool {
        let docker = matches!(contestant, Contestant::IptablesNft | Contestant::IptablesLegacy);
        docker && !self.range && self.ports > DOCKERS_PORTS
    }

    /// Why a contestant does not publish so many, by what some take it.
    fn excuse(world: &mut dyn World) -> Result<String> {
        let trial = Self {
            ports: TRIAL,
            range: false,
        };
        let each = timed(|| trial.publish(world))? / f64::from(TRIAL);
        world.unpublish()?;
        Ok(format!(
            "six calls of iptables for each port, each slower than the last: {each:.0} ms a port for the first {TRIAL}; \
             see {DOCKERS_PORTS} ports"
        ))
    }

    fn publish(&self, world: &mut dyn World) -> Result<Able> {
        if self.range {
            return world.publish_range(FIRST, self.ports);
        }
        let ports: Vec<Published> = (0..self.ports)
            .map(|offset| Published {
                host: FIRST.host + offset,
                container: FIRST.container + offset,
                ..FIRST
            })
            .collect();
        world.publish(&ports)
    }
}

impl Case for Publish {
    fn id(&self) -> String {
        let kind = if self.range { "range" } else { "single" };
        format!("control/publish-{kind}/ports-{}", self.ports)
    }

    fn title(&self) -> String {
        let ports = match self.ports {
            1 => "1 port".to_owned(),
            ports => format!("{ports} ports"),
        };
        let how = if self.range {
            "as a range"
        } else {
            "one by one, in one request"
        };
        format!("publish {ports} {how}")
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        if let Some(reason) = world.contestant().same_without_rules() {
            return Ok(Able::Cannot(reason.to_owned()));
        }
        if self.is_too_slow(world.contestant()) {
            return Self::excuse(world).map(Able::Cannot);
        }
        match world.publish_range(FIRST, 1)? {
            Able::Done => world.unpublish(),
            cannot @ Able::Cannot(_) => Ok(cannot),
        }
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        round(world, |world| self.publish(world), |world| world.unpublish())
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        world.unpublish().map(drop)
    }

    fn rounds(&self) -> usize {
        if self.range || self.ports != DOCKERS_PORTS {
            usize::MAX
        } else {
            3
        }
    }

    fn seconds(&self) -> f64 {
        if self.range || self.ports != DOCKERS_PORTS {
            0.05
        } else {
            1.2
        }
    }
}

/// Memory of the processes that serve published ports.
struct Serving;

impl Case for Serving {
    fn id(&self) -> String {
        "control/serving-processes".to_owned()
    }

    fn title(&self) -> String {
        "processes that serve 10000 published ports".to_owned()
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        if let Some(reason) = world.contestant().same_without_rules() {
            return Ok(Able::Cannot(reason.to_owned()));
        }
        if matches!(world.contestant(), Contestant::IptablesNft | Contestant::IptablesLegacy) {
            let reason = "Docker's daemon, and its proxies, a process a port, do not run here";
            return Ok(Able::Cannot(reason.to_owned()));
        }
        world.publish_range(FIRST, 10_000)
    }

    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        let host = world.layout().host.as_ref().context("there is no host")?;
        let resident = resident(host.netns.inode())? as f64;
        let mut sample = Sample::from([(Metric::ResidentBytes, resident)]);
        sample.put(
            Metric::MapBytes,
            world.map_bytes()?.map(|bytes| bytes as f64).ok_or(NO_MAPS),
        );
        Ok(sample)
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        world.unpublish().map(drop)
    }

    fn rounds(&self) -> usize {
        1
    }

    fn seconds(&self) -> f64 {
        0.1
    }
}

/// Resident memory of all processes in a network namespace, bytes; 0 if there are none.
fn resident(netns: u64) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let process = entry?.path();
        // What is no process, or has ended, has no namespace.
        let Ok(namespace) = fs::metadata(process.join("ns/net")) else {
            continue;
        };
        if namespace.ino() != netns {
            continue;
        }
        // What has ended, or never had memory of its own (threads of the kernel), has no such line.
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        if let Some(kibibytes) = kibibytes {
            bytes += kibibytes.parse::<u64>()? * 1024;
        }
    }
    Ok(bytes)
}

/// Loads a filter; to take it back is to load none.
struct Load(Vec<Rule>);

impl Case for Load {
    fn id(&self) -> String {
        format!("control/filter-load/rules-{}", self.0.len())
    }

    fn title(&self) -> String {
        format!("load a filter of {} rules", self.0.len())
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        match world.load_rules(&self.0)? {
            Able::Done => world.load_rules(&[]),
            cannot @ Able::Cannot(_) => Ok(cannot),
        }
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        round(world, |world| world.load_rules(&self.0), |world| world.load_rules(&[]))
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        world.load_rules(&[]).map(drop)
    }

    fn seconds(&self) -> f64 {
        if self.0.len() > 1000 { 0.08 } else { 0.02 }
    }
}

/// Adds one rule to a filter, in the middle; to take it back is to delete it.
struct Insert {
    rules: Vec<Rule>,
    new: Rule,
}

impl Insert {
    /// The new rule overlaps none of those that name the same fields, as they do not each other.
    fn new(count: usize) -> Self {
        let mut rules = classbench::rules(count + 1, SEED, PROBE);
        let new = rules.remove(0);
        Self { rules, new }
    }

    /// Its number.
    fn index(&self) -> usize {
        self.rules.len() / 2
    }
}

impl Case for Insert {
    fn id(&self) -> String {
        format!("control/filter-insert/rules-{}", self.rules.len())
    }

    fn title(&self) -> String {
        format!("insert one rule in the middle of {}", self.rules.len())
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        world.load_rules(&self.rules)
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        let index = self.index();
        let mut longer = self.rules.clone();
        longer.insert(index, self.new.clone());
        round(
            world,
            |world| world.insert_rule(&self.rules, index, &self.new),
            |world| world.delete_rule(&longer, index),
        )
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        world.load_rules(&[]).map(drop)
    }

    fn seconds(&self) -> f64 {
        if self.rules.len() > 1000 { 0.06 } else { 0.02 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn cases_have_names_of_their_own() {
        for quick in [false, true] {
            let ids: Vec<String> = cases(quick).iter().map(|case| case.id()).collect();
            let apart: BTreeSet<&String> = ids.iter().collect();
            assert_eq!(apart.len(), ids.len(), "{ids:?}");
            assert!(ids.contains(&"control/publish-range/ports-10000".to_owned()));
        }
    }

    #[test]
    fn the_rule_that_is_inserted_is_none_of_the_others() {
        let insert = Insert::new(64);
        assert_eq!((insert.rules.len(), insert.index()), (64, 32));
        assert!(!insert.rules.contains(&insert.new));
    }

    #[test]
    fn a_namespace_without_processes_takes_no_memory() {
        assert_eq!(resident(0).unwrap(), 0);
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert!(resident(own).unwrap() > 0);
    }
}
