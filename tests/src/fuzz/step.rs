//! What happens to both sides of a comparison: a packet, or a change of their world.

use anyhow::Result;
use netbridge_common::abi::{Hook, PortBlock, PortKey, port_scope};
use netbridge_common::host::filter::RuleV4;
use netbridge_common::host::lab::{A, B, ifindex, publish_range, slot};
use netbridge_common::host::{Frame, HostEnv, Ip};

use super::kernel::Kernel;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A packet in front of a program.
    Packet(Hook, Frame),
    /// The controller, or time.
    Change(Change),
}

/// A change of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// So many ticks pass.
    Time(u32),
    /// Another filter comes into force: its policy, one of [`netbridge_common::abi::verdict`], and its rules.
    Filter(u8, Vec<RuleV4>),
    /// ICMP errors that may be made in a tick.
    Answers(u32),
    /// Flows that an endpoint may have, and half-open ones.
    Quotas(u32, u32),
    /// MACs behind a trunk, and frames to everybody in a second.
    Limits(u32, u32),
    /// Whether segments in the middle of a connection open flows, for as long as nothing else is said.
    Pickup(bool),
    /// The flags of a network.
    Flags(u8, u32),
    /// What a network's uplink carries, bytes.
    Mtu(u8, u32),
    /// Ports are published.
    Publish(Ports),
    /// Ports are no longer published.
    Unpublish(Ports),
}

/// Published ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Protocol.
    pub proto: u8,
    /// The host's address, zero for any.
    pub addr: Ip,
    /// The first port and the last.
    pub ports: (u16, u16),
    /// Container B's, and not A's.
    pub to_b: bool,
    /// The port of the container for the first one.
    pub target: u16,
}

impl Change {
    /// Makes the change on both sides.
    pub(super) fn make(&self, kernel: &mut Kernel, env: &mut HostEnv) -> Result<()> {
        match self {
            Self::Time(ticks) => {
                kernel.age(*ticks)?;
                env.now = env.now.wrapping_add(*ticks);
                // The configuration has a time in it.
                return kernel.install_filter(env);
            }
            Self::Filter(policy, rules) => env.set_filter(*policy, rules),
            Self::Answers(limit) => env.config.answers_per_tick = *limit,
            Self::Quotas(all, half_open) => (env.config.quota, env.config.half_open_quota) = (*all, *half_open),
            Self::Limits(learned, floods) => {
                (env.config.learned_per_port, env.config.floods_per_second) = (*learned, *floods);
            }
            Self::Pickup(on) => {
                let until = env.now.wrapping_add(1_000_000_000);
                env.config.pickup_until = if *on { until | 1 } else { 0 };
            }
            Self::Flags(net, flags) => {
                env.networks[usize::from(*net)].head.flags = *flags;
                return kernel.install_networks(env);
            }
            Self::Mtu(net, mtu) => {
                env.networks[usize::from(*net)].head.mtu = *mtu;
                return kernel.install_networks(env);
            }
            Self::Publish(ports) => {
                let endpoint = if ports.to_b {
                    (B, ifindex::B, slot::B)
                } else {
                    (A, ifindex::A, slot::A)
                };
                let (first, last) = ports.ports;
                publish_range(env, (ports.proto, ports.addr, first..=last), endpoint, ports.target);
                return kernel.install_published(env);
            }
            Self::Unpublish(ports) => {
                for block in ports.blocks() {
                    env.published.remove(&block);
                }
                return kernel.install_published(env);
            }
        }
        kernel.install_filter(env)
    }
}

impl Ports {
    /// As [`publish_range`] makes them.
    fn blocks(&self) -> impl Iterator<Item = PortBlock<Ip>> {
        let (first, last) = self.ports;
        let here = PortKey {
            addr: self.addr,
            proto: self.proto,
            scope: port_scope::HERE,
            port: first.to_be_bytes(),
        };
        let keys = [Some(here), (self.addr != [0; 4]).then(|| here.somewhere())];
        keys.into_iter()
            .flatten()
            .flat_map(move |key| PortBlock::cover(key, last))
    }
}
