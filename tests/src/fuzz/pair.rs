//! The kernel and the core on the host side by side: the same steps, and every verdict, every byte, every table and
//! every counter must agree. The host's rewriting knows nothing of incremental checksums.

use std::collections::HashMap;
use std::fmt::{self, Debug, Display, Formatter};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};
use netbridge_common::abi::{Hook, Traffic};
use netbridge_common::datapath::verdict::Action;
use netbridge_common::host::lab::SECOND;
use netbridge_common::host::rewrite::apply;
use netbridge_common::host::{Frame, HostEnv};

use super::kernel::{Kernel, Outcome, SLOTS};
use super::step::Step;

/// How far the real clock may move while a case runs, ticks.
const DRIFT: u32 = SECOND / 10;

/// The two sides do not agree. Any other error says that they could not be compared.
#[derive(Debug)]
pub struct Divergence(String);

impl Display for Divergence {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Divergence {}

/// Fails with a [`Divergence`] that says this, if the condition does not hold.
macro_rules! agree {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(anyhow!(Divergence(format!($($said)*))));
        }
    };
}

/// Both sides, and what was counted in the kernel before they began.
pub struct Pair<'a> {
    kernel: &'a mut Kernel,
    env: HostEnv,
    drops: Vec<u64>,
    traffic: Vec<Traffic>,
}

impl<'a> Pair<'a> {
    /// Puts the kernel into the environment's state; the host's side has `fault` in addition.
    pub fn new(kernel: &'a mut Kernel, mut env: HostEnv, fault: fn(&mut HostEnv)) -> Result<Self> {
        kernel.install(&env)?;
        fault(&mut env);
        Ok(Self {
            drops: drops(kernel)?,
            traffic: traffic(kernel)?,
            kernel,
            env,
        })
    }

    /// Takes a step on both sides; a packet's outcome.
    pub fn take(&mut self, step: &Step) -> Result<Option<Outcome>> {
        match step {
            Step::Packet(hook, frame) => self.send(*hook, frame).map(Some),
            Step::Change(change) => change.make(self.kernel, &mut self.env).map(|()| None),
        }
    }

    /// The frames that have waited and come again now: the kernel has its interfaces receive them, where no program
    /// listens in a test.
    pub fn released(&self) -> Vec<Frame> {
        self.env.released.take()
    }

    fn send(&mut self, hook: Hook, frame: &Frame) -> Result<Outcome> {
        let actual = self.kernel.run(hook, frame)?;
        // Whatever state a panic leaves, nothing looks at this world again.
        let verdict = catch_unwind(AssertUnwindSafe(|| self.env.run(hook, frame))).map_err(|panic| {
            let said = panic.downcast::<String>().map(|text| *text);
            let said = said.or_else(|panic| panic.downcast::<&str>().map(|text| text.to_string()));
            Divergence(format!(
                "the host panics at {}: {}\n{}kernel {actual:x?}",
                hook.name(),
                said.unwrap_or_default(),
                dump(&frame.bytes)
            ))
        })?;
        let mut bytes = frame.bytes.clone();
        apply(&verdict, &mut bytes);
        let expected = Outcome::expected(&verdict, bytes);
        agree!(
            actual == expected,
            "a packet at {} of interface {} (ingress {}, GSO {}):\n{}kernel {actual:x?}\nhost {expected:x?}\n{verdict:x?}",
            hook.name(),
            frame.ifindex,
            frame.ingress,
            frame.gso_size,
            dump(&frame.bytes)
        );
        agree!(
            actual.action != Action::Drop as u8 || actual.bytes == frame.bytes,
            "a packet that was dropped at {} was changed:\n{}{}",
            hook.name(),
            dump(&frame.bytes),
            dump(&actual.bytes)
        );
        Ok(actual)
    }

    /// Compares the tables.
    pub fn tables_agree(&self) -> Result<()> {
        let (kernel, env) = (&*self.kernel, &self.env);
        let mut flows = kernel.flows()?;
        for (key, flow) in &mut flows {
            if let Some(expected) = env.flows.borrow().get(key) {
                settle(&mut flow.head.seen, expected.head.seen);
                settle(&mut flow.head.resolved, expected.head.resolved);
            }
        }
        same("flows", &flows, &env.flows.borrow())?;
        let mut bindings = kernel.bindings()?;
        for (key, side) in &mut bindings {
            if let Some(expected) = env.bindings.borrow().get(key) {
                settle(&mut side.head.until, expected.head.until);
            }
        }
        same("bindings", &bindings, &env.bindings.borrow())?;
        for slot in 0..SLOTS {
            let load = kernel.load_of(slot)?;
            let expected = env.loads.borrow().get(&slot).copied().unwrap_or_default();
            agree!(
                load == expected,
                "load of slot {slot}: {load:?} in the kernel, {expected:?} on the host"
            );
        }
        let samples = env.samples.borrow().clone();
        same("samples", &kernel.samples()?, &samples)?;
        let mut fragments = kernel.fragments()?;
        for (key, first) in &mut fragments {
            if let Some(expected) = env.fragments.borrow().get(key) {
                settle(&mut first.seen, expected.seen);
            }
        }
        same("fragments", &fragments, &env.fragments.borrow())?;
        let mut held = kernel.held()?;
        for (key, (head, _)) in &mut held {
            if let Some((expected, _)) = env.held.borrow().get(key) {
                settle(&mut head.seen, expected.seen);
            }
        }
        same("frames that wait", &held, &env.held.borrow())?;
        for slot in 0..SLOTS {
            let (waiting, expected) = (kernel.held_by(slot)?, env.held_by.borrow().get(&slot).copied());
            agree!(
                waiting == i64::from(expected.unwrap_or_default()),
                "{waiting} frames of slot {slot} wait in the kernel, {expected:?} on the host"
            );
        }
        let mut stations = kernel.stations()?;
        for (key, station) in &mut stations {
            if let Some(expected) = env.fdb.borrow().get(key) {
                settle(&mut station.seen, expected.seen);
            }
        }
        same("stations", &stations, &env.fdb.borrow())?;
        let counts = env.learned.borrow();
        let counts = counts.iter().map(|(slot, learned)| (*slot, learned.count));
        let counts = counts.filter(|(_, count)| *count != 0).collect();
        same("MACs learned", &kernel.learned()?, &counts)
    }

    /// Compares what was counted since the beginning: drops by reason, traffic by slot.
    pub fn counters_agree(&self) -> Result<()> {
        let drops = drops(self.kernel)?;
        for (index, (before, after)) in self.drops.iter().zip(drops).enumerate() {
            let expected = self.env.drops.borrow()[index + 1];
            agree!(
                after - before == expected,
                "drops for reason {}: {} in the kernel, {expected} on the host",
                index + 1,
                after - before
            );
        }
        for ((slot, before), after) in (0..).zip(&self.traffic).zip(traffic(self.kernel)?) {
            let expected = self.env.traffic.borrow().get(&slot).copied().unwrap_or_default();
            let counted = Traffic {
                tx_packets: after.tx_packets - before.tx_packets,
                tx_bytes: after.tx_bytes - before.tx_bytes,
                rx_packets: after.rx_packets - before.rx_packets,
                rx_bytes: after.rx_bytes - before.rx_bytes,
                drops: after.drops - before.drops,
            };
            agree!(
                counted == expected,
                "traffic of slot {slot}: {counted:?} in the kernel, {expected:?} on the host"
            );
        }
        Ok(())
    }
}

/// Takes a time for the expected one if the real clock's progress explains the difference.
fn settle(actual: &mut u32, expected: u32) {
    if actual.wrapping_sub(expected) <= DRIFT {
        *actual = expected;
    }
}

fn same<K: Eq + Hash + Debug, V: PartialEq + Debug>(
    what: &str,
    kernel: &HashMap<K, V>,
    host: &HashMap<K, V>,
) -> Result<()> {
    for (key, value) in kernel {
        agree!(
            host.get(key) == Some(value),
            "{what}: {key:x?}: {value:x?} in the kernel, {:x?} on the host",
            host.get(key)
        );
    }
    let missing = host.keys().find(|key| !kernel.contains_key(key));
    agree!(missing.is_none(), "{what}: {missing:x?} is not in the kernel");
    Ok(())
}

/// Drops by reason, from the first one on.
fn drops(kernel: &Kernel) -> Result<Vec<u64>> {
    Ok(kernel.drops()?.into_iter().map(|(_, count)| count).collect())
}

fn traffic(kernel: &Kernel) -> Result<Vec<Traffic>> {
    (0..SLOTS).map(|slot| kernel.traffic(slot)).collect()
}

/// Sixteen bytes a line.
fn dump(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.chunks(16).map(|line| format!("  {line:02x?}\n")).collect();
    lines.concat()
}
