//! The configuration that a load writes: lifetimes, SNAT ports, a secret.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::RangeInclusive;

use bytemuck::Zeroable;
use netbridge_common::abi::{Config, Timeouts, VERSION, generation};

use super::{Clock, DatapathError, LoadOptions};
use crate::model::{Settings, Timer};
use crate::netns::Netns;

/// Fewest ports that SNAT is started with.
pub const MIN_SNAT_PORTS: u16 = 1024;

/// The ports that the calling thread's namespace gives to its own sockets.
const LOCAL_PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// ICMP errors that one CPU makes at most: what Linux allows itself in all (`icmp_msgs_per_sec`).
const ANSWERS_PER_SECOND: u32 = 1000;

/// Fragments of one sender that may wait: an eighth of those that all may have.
const HELD_QUOTA: u32 = 64;

const RANDOM: &str = "/dev/urandom";

/// Ports for SNAT, and those of the host they keep clear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnatRange {
    /// For SNAT.
    pub snat: RangeInclusive<u16>,
    /// The host's own ephemeral ports.
    pub local: RangeInclusive<u16>,
}

impl SnatRange {
    /// The range that the host of the calling thread's network namespace leaves free.
    ///
    /// [`DatapathError::NoSnatPorts`] if it is shorter than [`MIN_SNAT_PORTS`].
    pub fn of_host() -> Result<Self, DatapathError> {
        let read = DatapathError::file("read", LOCAL_PORT_RANGE);
        let text = fs::read_to_string(LOCAL_PORT_RANGE)
            .and_then(|text| parse_range(&text))
            .map_err(read);
        Self::beside(text?)
    }

    /// The longest run of unprivileged ports outside `local`.
    fn beside(local: RangeInclusive<u16>) -> Result<Self, DatapathError> {
        let (min, max) = local.clone().into_inner();
        let below = (1024, min.saturating_sub(1));
        let above = (max.saturating_add(1), u16::MAX);
        let ports = |(first, last): (u16, u16)| last.checked_sub(first).map_or(0, |length| u32::from(length) + 1);
        // Above the last port there is none, and saturation would count it again.
        let above = if max == u16::MAX { (1, 0) } else { above };
        let (first, last) = if ports(below) >= ports(above) { below } else { above };
        if ports((first, last)) < MIN_SNAT_PORTS.into() {
            return Err(DatapathError::NoSnatPorts {
                min,
                max,
                needed: MIN_SNAT_PORTS,
            });
        }
        Ok(Self {
            snat: first..=last,
            local,
        })
    }
}

/// The configuration of a new instance on this host.
pub(super) fn initial(clock: &Clock, range: &SnatRange, options: &LoadOptions) -> Result<Config, DatapathError> {
    let second = |seconds| clock.seconds_to_ticks(seconds);
    let mut config = Config {
        // A bank that is zero accepts and tracks nothing.
        generation: generation::FIRST,
        refresh: second(1),
        fdb_ageing: second(300),
        secret: secret().map_err(DatapathError::file("read", RANDOM))?,
        events_per_tick: options.events_per_tick,
        answers_per_tick: ANSWERS_PER_SECOND.div_ceil(second(1).max(1)),
        fragment_timeout: second(30),
        held_quota: HELD_QUOTA,
        version: VERSION,
        host: Netns::current().and_then(|netns| netns.cookie())?,
        ..Config::zeroed()
    };
    tune(&mut config, clock, &options.settings);
    take_ports(&mut config, range);
    Ok(config)
}

/// Puts the ports of SNAT and of the host into a configuration.
pub(super) fn take_ports(config: &mut Config, range: &SnatRange) {
    let (first, last) = range.snat.clone().into_inner();
    (config.snat_min, config.snat_ports) = (first, last - first + 1);
    (config.local_min, config.local_max) = range.local.clone().into_inner();
}

/// Puts settings into a configuration.
pub(super) fn tune(config: &mut Config, clock: &Clock, settings: &Settings) {
    let timeout = |timer| clock.seconds_to_ticks(settings.timeout(timer));
    config.timeouts = Timeouts {
        tcp_opening: timeout(Timer::TcpOpening),
        tcp_answered: timeout(Timer::TcpAnswered),
        tcp_established: timeout(Timer::TcpEstablished),
        tcp_half_closed: timeout(Timer::TcpHalfClosed),
        tcp_closing: timeout(Timer::TcpClosing),
        tcp_reset: timeout(Timer::TcpReset),
        udp_opening: timeout(Timer::UdpOpening),
        udp_established: timeout(Timer::UdpEstablished),
        icmp: timeout(Timer::Icmp),
        other: timeout(Timer::Other),
    };
    config.quarantine = match settings.quarantine() {
        0 => 0,
        seconds => clock.seconds_to_ticks(seconds),
    };
    config.silent = u32::from(settings.silent);
    config.quota = settings.quota();
    config.half_open_quota = settings.half_open();
    config.learned_per_port = settings.macs();
    config.floods_per_second = settings.floods();
}

fn secret() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// `FIRST LAST`, as the sysctl prints it.
fn parse_range(text: &str) -> io::Result<RangeInclusive<u16>> {
    let ports: Vec<u16> = text.split_whitespace().map_while(|port| port.parse().ok()).collect();
    match ports[..] {
        [first, last] => Ok(first..=last),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`{}` is not two ports", text.trim()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{DatapathError, SnatRange, parse_range};

    #[test]
    fn takes_the_longer_side() {
        let snat = |local| SnatRange::beside(local).ok().map(|range| range.snat);
        assert_eq!(snat(32768..=60999), Some(1024..=32767));
        assert_eq!(snat(1024..=20000), Some(20001..=65535));
        assert_eq!(snat(10000..=65535), Some(1024..=9999));
        assert_eq!(snat(100..=200), Some(201..=65535));
    }

    #[test]
    fn refuses_a_host_that_leaves_no_room() {
        for local in [1024..=65535, 2047..=65535, 1..=64512] {
            assert!(matches!(
                SnatRange::beside(local),
                Err(DatapathError::NoSnatPorts { .. })
            ));
        }
        assert!(SnatRange::beside(2048..=65535).is_ok());
    }

    #[test]
    fn reads_what_the_kernel_prints() {
        assert_eq!(parse_range("32768\t60999\n").ok(), Some(32768..=60999));
        for bad in ["", "1", "1 2 3", "a b", "1 70000"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
