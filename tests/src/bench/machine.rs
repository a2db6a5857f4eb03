//! What a run was made on: without it a figure says nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::cpu::Idle;

/// Settings that a result may depend on, as the machine has them; the contestants' namespaces set their own.
const SYSCTLS: [&str; 16] = [
    "kernel.bpf_stats_enabled",
    "kernel.unprivileged_bpf_disabled",
    "net.bridge.bridge-nf-call-iptables",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.default_qdisc",
    "net.core.netdev_budget",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_max",
];

/// Flaws of processors whose mitigations slow indirect calls, returns or system calls down.
const FLAWS: [&str; 3] = ["retbleed", "spec_rstack_overflow", "spectre_v2"];

/// From here on other work shows in figures: busy processors before the run. The load average would tell of the build too
/// that has just ended.
const MUCH_WORK: f64 = 0.25;
/// The same of time stolen by the hypervisor, per cent.
const MUCH_STEAL: f64 = 1.0;

/// The programs that take part, and how each tells its version.
const TOOLS: [(&str, &str); 6] = [
    ("ip", "-V"),
    ("iptables-nft", "--version"),
    ("iptables-legacy", "--version"),
    ("nft", "--version"),
    ("iperf3", "--version"),
    ("sockperf", "--version"),
];

/// What a run was made on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Release and build of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// Main memory, bytes.
    pub memory_bytes: u64,
    /// Whose virtual machine it is, or `none found`.
    pub virtualisation: String,
    /// Settings by name.
    pub sysctls: BTreeMap<String, String>,
    /// What the kernel does about flaws of the processor, by flaw.
    pub mitigations: BTreeMap<String, String>,
    /// What chooses the first processor's frequency; none where this kernel does not.
    pub governor: Option<String>,
    /// Versions by program; `not installed` where there is none.
    pub versions: BTreeMap<String, String>,
    /// Busy processors in the second before the first case.
    pub busy_before: f64,
    /// Load averages over 1, 5 and 15 minutes before the first case.
    pub load_before: String,
    /// The same after the last case.
    pub load_after: String,
    /// The share of the run that the hypervisor gave to others, per cent of all processors' time.
    pub steal_percent: f64,
}

impl Machine {
    /// Other work that shows in the figures: `1.4 of 2 processors were busy before the run`.
    pub fn other_work(&self) -> Vec<String> {
        let mut work = Vec::new();
        if self.busy_before > MUCH_WORK {
            let (busy, all) = (self.busy_before, self.cpus);
            work.push(format!("{busy:.1} of {all} processors were busy before the run"));
        }
        if self.steal_percent > MUCH_STEAL {
            let steal = self.steal_percent;
            work.push(format!("{steal:.1} % of the processors' time stolen by the hypervisor"));
        }
        work
    }

    /// Settings, versions and mitigations by name, as a report lists them.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        let maps = [&self.versions, &self.sysctls, &self.mitigations].into_iter().flatten();
        let governor = self
            .governor
            .iter()
            .map(|governor| ("frequency governor", governor.as_str()));
        maps.map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(governor)
    }
}

/// Accompanies a run.
pub struct Watch {
    machine: Machine,
    ticks: Ticks,
}

/// Processor time since boot, as `/proc/stat` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Watch {
    /// Looks at the machine before the first case. To be called outside of any sandbox, where the settings are the
    /// machine's own.
    pub fn begin() -> Result<Self> {
        let uname = nix::sys::utsname::uname().context("cannot ask the kernel for its name")?;
        let release = [uname.release(), uname.version(), uname.machine()].map(|part| part.to_string_lossy());
        let processors = read("/proc/cpuinfo")?;
        let machine = Machine {
            kernel: release.join(" "),
            cpu: field(&processors, "model name").unwrap_or("not told").to_owned(),
            cpus: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_bytes: memory(&read("/proc/meminfo")?).context("/proc/meminfo tells no MemTotal")?,
            virtualisation: virtualisation(&processors),
            sysctls: sysctls(),
            mitigations: mitigations(),
            governor: line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            versions: versions(),
            busy_before: Idle::watch()?.share(),
            load_before: load()?,
            load_after: String::new(),
            steal_percent: 0.0,
        };
        let ticks = Ticks::now()?;
        Ok(Self { machine, ticks })
    }

    /// What was seen before the first case.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Looks again after the last case.
    pub fn end(&self) -> Result<Machine> {
        Ok(Machine {
            load_after: load()?,
            // The contestants have loaded modules since, with settings of their own.
            sysctls: sysctls(),
            steal_percent: Ticks::now()?.steal_since(self.ticks),
            ..self.machine.clone()
        })
    }
}

/// Where a program is that is called by its name alone.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

impl Ticks {
    fn now() -> Result<Self> {
        Self::parse(&read("/proc/stat")?).context("/proc/stat has no line of all processors")
    }

    /// The line `cpu user nice system idle iowait irq softirq steal …`; what follows is part of user and nice already.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Option<Vec<u64>> = line.split_whitespace().take(8).map(|time| time.parse().ok()).collect();
        let times = times?;
        Some(Self {
            all: times.iter().sum(),
            stolen: *times.get(7)?,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a share is shown with two digits")]
    fn steal_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64 * 100.0
    }
}

fn versions() -> BTreeMap<String, String> {
    let mut versions: BTreeMap<String, String> = TOOLS
        .into_iter()
        .map(|(tool, option)| (tool.to_owned(), version(tool, option)))
        .collect();
    let own = env!("CARGO_PKG_VERSION");
    // The commit of the sources, as the build script found it; `+changes` if they differed from it.
    let commit = option_env!("NETBRIDGE_COMMIT").map_or_else(String::new, |commit| format!(", commit {commit}"));
    versions.insert("netbridge".to_owned(), format!("{own}{commit}"));
    versions
}

fn version(tool: &str, option: &str) -> String {
    let Some(program) = find(tool) else {
        return "not installed".to_owned();
    };
    match Command::new(&program).arg(option).output() {
        Ok(output) => {
            let said = if output.stdout.is_empty() {
                output.stderr
            } else {
                output.stdout
            };
            let said = String::from_utf8_lossy(&said);
            said.lines().next().unwrap_or("tells no version").trim().to_owned()
        }
        Err(error) => format!("cannot be run: {error}"),
    }
}

/// What firmware and processor tell about a hypervisor.
fn virtualisation(processors: &str) -> String {
    let dmi = |name: &str| read(&format!("/sys/class/dmi/id/{name}")).ok();
    let mut told: Vec<String> = [
        dmi("sys_vendor"),
        dmi("product_name"),
        read("/sys/hypervisor/type").ok(),
    ]
    .into_iter()
    .flatten()
    .map(|text| text.trim().to_owned())
    .filter(|text| !text.is_empty())
    .collect();
    let virtual_cpu = field(processors, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    told.push(
        if virtual_cpu {
            "virtual machine"
        } else {
            "no hypervisor seen"
        }
        .to_owned(),
    );
    told.join(", ")
}

/// The value of the first line `NAME : VALUE`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn memory(meminfo: &str) -> Option<u64> {
    let kibibytes: u64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Settings by name; of those that this kernel has.
fn sysctls() -> BTreeMap<String, String> {
    let settings = SYSCTLS.into_iter();
    settings
        .filter_map(|name| Some((name.to_owned(), sysctl(name)?)))
        .collect()
}

/// Mitigations by flaw; of those that this kernel knows.
fn mitigations() -> BTreeMap<String, String> {
    let told = |flaw: &str| line_of(&format!("/sys/devices/system/cpu/vulnerabilities/{flaw}"));
    FLAWS
        .into_iter()
        .filter_map(|flaw| Some((flaw.to_owned(), told(flaw)?)))
        .collect()
}

/// The text of a file of one line; none if there is no such file.
fn line_of(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A setting, none if this kernel has none of that name.
fn sysctl(name: &str) -> Option<String> {
    let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn load() -> Result<String> {
    let text = read("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_share_of_all_processors_time() {
        let before = Ticks::parse("cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, Ticks { all: 1000, stolen: 35 });
        let after = Ticks::parse("cpu  200 0 100 1550 20 0 30 100 9 0\n").unwrap();
        assert!((after.steal_since(before) - 6.5).abs() < 1e-9);
        assert_eq!(Ticks::parse("intr 0\n"), None);
    }

    #[test]
    fn other_work_is_told_from_some_on() {
        let mut machine = Machine {
            cpus: 2,
            busy_before: 0.2,
            load_before: "3.00 3.00 3.00".to_owned(),
            steal_percent: 0.9,
            ..Machine::default()
        };
        assert_eq!(machine.other_work(), Vec::<String>::new());
        machine.busy_before = 1.4;
        machine.steal_percent = 2.0;
        let told = machine.other_work().join("; ");
        assert!(told.contains("1.4 of 2 processors") && told.contains("2.0 %"), "{told}");
    }

    #[test]
    fn facts_are_read_from_the_kernels_texts() {
        assert_eq!(
            memory("MemTotal:        8039160 kB\nMemFree: 1 kB\n"),
            Some(8_232_099_840)
        );
        let processors = "processor\t: 0\nmodel name\t: Model 7\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(processors, "model name"), Some("Model 7"));
        assert!(virtualisation(processors).ends_with("virtual machine"));
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Watch::begin().unwrap().end().unwrap();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && !machine.kernel.is_empty());
        assert!(machine.versions.contains_key("netbridge") && machine.load_after.contains('.'));
    }
}
