//! What can be set for a whole instance: how long flows live, how many there may be.

use std::collections::BTreeMap;

use netbridge_common::abi::STATIONS;
use serde::{Deserialize, Serialize};

use super::{Fault, Faults};

/// Flows that the table holds unless something else is set.
const FLOWS: u32 = 131_072;

/// Part of the table that one endpoint may use, and of its quota that flows may use which are not established, as a divisor: a
/// flood of these leaves most of the quota to the others.
const SHARE: u32 = 4;

/// Most flows of one endpoint, unless something else is set: half of the 31,744 ports that masquerading has of one address and
/// protocol towards one destination where the host keeps the usual 32768–60999 for itself. One endpoint so leaves as many to
/// the others.
const HALF_OF_PORTS: u32 = 15_872;

/// Shortest lifetime that can be set, seconds: what a flow was last used for is written down once a second.
const SHORTEST: u32 = 2;

/// Most floods a second that can be set: what a CPU can send at all is far from it.
const FLOODS: u32 = 1_000_000;

/// Longest lifetime that can be set: 30 days, seconds.
const LONGEST: u32 = 30 * 24 * 3600;

/// A set of lifetimes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Those that RFC 4787, 5382, 5508 and 7857 ask for.
    #[default]
    Rfc,
    /// Those of Linux' conntrack, as far as it knows the same states.
    Netfilter,
}

/// A lifetime of idle flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timer {
    /// TCP: a SYN without an answer.
    TcpOpening,
    /// TCP: answered, the handshake is not finished.
    TcpAnswered,
    /// TCP: established.
    TcpEstablished,
    /// TCP: one side has closed.
    TcpHalfClosed,
    /// TCP: both sides have closed.
    TcpClosing,
    /// TCP: reset.
    TcpReset,
    /// UDP without an answer.
    UdpOpening,
    /// UDP with an answer.
    UdpEstablished,
    /// An ICMP query.
    Icmp,
    /// Protocols known by their addresses alone.
    Other,
}

impl Timer {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TcpOpening,
        Self::TcpAnswered,
        Self::TcpEstablished,
        Self::TcpHalfClosed,
        Self::TcpClosing,
        Self::TcpReset,
        Self::UdpOpening,
        Self::UdpEstablished,
        Self::Icmp,
        Self::Other,
    ];

    /// What users call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpOpening => "tcp-opening",
            Self::TcpAnswered => "tcp-answered",
            Self::TcpEstablished => "tcp-established",
            Self::TcpHalfClosed => "tcp-half-closed",
            Self::TcpClosing => "tcp-closing",
            Self::TcpReset => "tcp-reset",
            Self::UdpOpening => "udp-opening",
            Self::UdpEstablished => "udp-established",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }

    /// Its seconds in a profile.
    pub const fn seconds(self, profile: Profile) -> u32 {
        // RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2; Linux' sysctls net.netfilter.nf_conntrack_*_timeout_*.
        let (rfc, netfilter) = match self {
            Self::TcpOpening | Self::TcpClosing => (240, 120),
            Self::TcpAnswered => (240, 60),
            Self::TcpEstablished => (7440, 432_000),
            Self::TcpHalfClosed => (7440, 120),
            Self::TcpReset => (240, 10),
            Self::UdpOpening => (300, 30),
            Self::UdpEstablished => (300, 120),
            Self::Icmp => (60, 30),
            Self::Other => (600, 600),
        };
        match profile {
            Profile::Rfc => rfc,
            Profile::Netfilter => netfilter,
        }
    }
}

/// What is set for an instance; what is `None` follows from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Lifetimes that are not set one by one.
    pub profile: Profile,
    /// Lifetimes that are, seconds.
    pub timeouts: BTreeMap<Timer, u32>,
    /// Flows that the table holds.
    pub flows: Option<u32>,
    /// Flows that one endpoint may have.
    pub quota: Option<u32>,
    /// Of these, flows that are not established.
    pub half_open: Option<u32>,
    /// Seconds for which a port that stood for a container's is kept from others.
    pub quarantine: Option<u32>,
    /// MACs that may be learned behind one trunk; 0 for no limit.
    pub macs: Option<u32>,
    /// Broadcast, multicast and unknown unicast frames that one port may send in a second on each CPU; 0 for no limit.
    pub floods: Option<u32>,
    /// A SYN from outside to a port that masquerading may use, and nobody holds, gets no answer (RFC 5382 REQ-4). Not by itself:
    /// the host may have rules that lead it somewhere.
    pub silent: bool,
}

impl Settings {
    /// A lifetime, seconds.
    pub fn timeout(&self, timer: Timer) -> u32 {
        self.timeouts
            .get(&timer)
            .copied()
            .unwrap_or_else(|| timer.seconds(self.profile))
    }

    /// Flows that the table holds.
    pub fn flows(&self) -> u32 {
        self.flows.unwrap_or(FLOWS)
    }

    /// Flows that one endpoint may have: a quarter of the table, and half of the ports that masquerading usually has.
    pub fn quota(&self) -> u32 {
        let share = (self.flows() / SHARE).clamp(1, HALF_OF_PORTS);
        self.quota.unwrap_or(share)
    }

    /// Of these, flows that are not established: a quarter.
    pub fn half_open(&self) -> u32 {
        self.half_open.unwrap_or_else(|| (self.quota() / SHARE).max(1))
    }

    /// Seconds for which a port is kept from others (RFC 6888 REQ-8; Linux keeps none).
    pub fn quarantine(&self) -> u32 {
        self.quarantine.unwrap_or(match self.profile {
            Profile::Rfc => 120,
            Profile::Netfilter => 0,
        })
    }

    /// MACs that may be learned behind one trunk.
    pub fn macs(&self) -> u32 {
        self.macs.unwrap_or(256)
    }

    /// Broadcast, multicast and unknown unicast frames of one port in a second on each CPU.
    pub fn floods(&self) -> u32 {
        self.floods.unwrap_or(1000)
    }
}

/// Asks to set something; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tune {
    /// Begin with nothing set.
    pub reset: bool,
    /// The profile; lifetimes that were set one by one are forgotten.
    pub profile: Option<Profile>,
    /// Lifetimes, each `NAME=SECONDS`.
    pub timeouts: Vec<String>,
    /// Flows that the table holds.
    pub flows: Option<u32>,
    /// Flows that one endpoint may have.
    pub quota: Option<u32>,
    /// Of these, flows that are not established.
    pub half_open: Option<u32>,
    /// Seconds for which a port is kept from others.
    pub quarantine: Option<u32>,
    /// MACs that may be learned behind one trunk.
    pub macs: Option<u32>,
    /// Broadcast, multicast and unknown unicast frames of one port in a second on each CPU.
    pub floods: Option<u32>,
    /// Whether SYNs from outside that mean nobody get no answer.
    pub silent: Option<bool>,
}

impl Tune {
    /// True if nothing is to be set: whoever asks wants to see.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The settings afterwards, or all that is wrong with the request.
    pub fn applied_to(&self, old: &Settings) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let mut new = if self.reset { Settings::default() } else { old.clone() };
        if let Some(profile) = self.profile {
            new.profile = profile;
            new.timeouts.clear();
        }
        for text in &self.timeouts {
            if let Some((timer, seconds)) = faults.keep(parse_timeout(text)) {
                new.timeouts.insert(timer, seconds);
            }
        }
        new.flows = self.flows.or(new.flows);
        new.quota = self.quota.or(new.quota);
        new.half_open = self.half_open.or(new.half_open);
        new.quarantine = self.quarantine.or(new.quarantine);
        new.macs = self.macs.or(new.macs);
        new.floods = self.floods.or(new.floods);
        new.silent = self.silent.unwrap_or(new.silent);
        for (option, value, least, most) in [
            ("--flows", new.flows(), 512, 8_388_608),
            ("--quota", new.quota(), 1, new.flows()),
            ("--half-open", new.half_open(), 1, new.quota().max(1)),
            ("--quarantine", new.quarantine(), 0, LONGEST),
            ("--macs", new.macs(), 0, STATIONS),
            ("--floods", new.floods(), 0, FLOODS),
        ] {
            if !(least..=most).contains(&value) {
                let why = "is out of range";
                faults.push(Fault::usage(
                    format!("{option} {value}"),
                    why,
                    format!("give {least} to {most}"),
                ));
            }
        }
        faults.check()?;
        Ok(new)
    }
}

fn parse_timeout(text: &str) -> Result<(Timer, u32), Fault> {
    let names = Timer::ALL.map(Timer::name).join(", ");
    let fault = |why: String| {
        Fault::usage(
            format!("--timeout {text}"),
            why,
            format!("write NAME=SECONDS, {SHORTEST} to {LONGEST}; the names are {names}"),
        )
    };
    let (name, seconds) = text
        .split_once('=')
        .ok_or_else(|| fault("is not NAME=SECONDS".to_owned()))?;
    let timer = Timer::ALL.into_iter().find(|timer| timer.name() == name);
    let timer = timer.ok_or_else(|| fault(format!("{name:?} is no timer")))?;
    let seconds: u32 = seconds
        .parse()
        .map_err(|error| fault(format!("{seconds:?}: {error}")))?;
    if (SHORTEST..=LONGEST).contains(&seconds) {
        Ok((timer, seconds))
    } else {
        Err(fault(format!("{seconds} is out of range")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_follows_from_the_rest() {
        let settings = Settings::default();
        assert_eq!(
            (settings.flows(), settings.quota(), settings.half_open()),
            (131_072, 15_872, 3968)
        );
        assert_eq!(settings.timeout(Timer::TcpEstablished), 7440);
        let tune = Tune {
            profile: Some(Profile::Netfilter),
            flows: Some(4096),
            timeouts: vec!["udp-opening=7".to_owned()],
            ..Tune::default()
        };
        let tuned = tune.applied_to(&settings).unwrap();
        assert_eq!((tuned.flows(), tuned.quota(), tuned.half_open()), (4096, 1024, 256));
        assert_eq!((tuned.timeout(Timer::UdpOpening), tuned.timeout(Timer::Icmp)), (7, 30));
        assert_eq!(tuned.quarantine(), 0);
        let text = serde_json::to_string(&tuned).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), tuned);
    }

    #[test]
    fn a_profile_forgets_single_lifetimes_and_a_reset_everything() {
        let set = |timeouts: &[&str]| Tune {
            timeouts: timeouts.iter().map(|text| (*text).to_owned()).collect(),
            ..Tune::default()
        };
        let settings = set(&["icmp=9", "other=5"]).applied_to(&Settings::default()).unwrap();
        assert_eq!(settings.timeout(Timer::Icmp), 9);
        let profile = Tune {
            profile: Some(Profile::Rfc),
            ..Tune::default()
        };
        assert_eq!(profile.applied_to(&settings).unwrap(), Settings::default());
        let reset = Tune {
            reset: true,
            quota: Some(5),
            half_open: Some(2),
            ..Tune::default()
        };
        let settings = reset.applied_to(&settings).unwrap();
        assert_eq!((settings.timeouts.len(), settings.quota()), (0, 5));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let bad = Tune {
            timeouts: ["icmp", "ping=3", "icmp=x", "icmp=1", "icmp=99999999"]
                .map(str::to_owned)
                .to_vec(),
            flows: Some(1),
            quota: Some(7),
            half_open: Some(9),
            macs: Some(u32::MAX),
            floods: Some(u32::MAX),
            ..Tune::default()
        };
        let faults = bad.applied_to(&Settings::default()).unwrap_err();
        let text = faults.to_string();
        for part in [
            "is not NAME=SECONDS",
            "ping",
            "\"x\"",
            "1 is out",
            "99999999",
            "--flows 1",
            "--half-open 9",
            "--macs 4294967295: is out of range; give 0 to 16384",
            "--floods 4294967295",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let nothing = Tune {
            quota: Some(0),
            ..Tune::default()
        };
        let faults = nothing.applied_to(&Settings::default()).unwrap_err().to_string();
        assert_eq!(faults, "--quota 0: is out of range; give 1 to 131072");
    }
}
