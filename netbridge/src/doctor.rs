//! What netbridge needs of a kernel and a host, checked without changing anything: `netbridge doctor`.
//!
//! Network settings are those of the calling thread's network namespace, the one that plays the host.

use std::fs;
use std::path::Path;

use aya::util::KernelVersion;
use serde::Serialize;

use crate::datapath::{MOUNT_ADVICE, SnatRange, check_cgroup, is_bpffs, tcx_supported};
use crate::listener::listeners;
use crate::sock_diag::Monitor;
use crate::sysctl;

/// Bits of the effective capabilities, from `linux/capability.h`.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_BPF", 39)];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// netbridge works, but slower or with less.
    Warn,
    /// netbridge does not work.
    Fail,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How bad it is.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it; none if it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Warn,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Fail,
            detail: detail.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// Looks at everything, `bpffs` being where the BPF file system should be and `cgroup` whose sockets are led to published
/// ports, `None` for the root.
pub fn checks(bpffs: &Path, cgroup: Option<&Path>) -> Vec<Check> {
    vec![
        kernel(),
        privileges(),
        bpf_file_system(bpffs),
        hooks(),
        sockets(cgroup),
        socket_monitoring(),
        jit(),
        btf(),
        interface_settings(),
        bridge_netfilter(),
        snat_ports(),
    ]
}

/// Whether the host still has what the networks rely on; `warnings` say what it lost.
pub fn networks(warnings: Vec<String>) -> Vec<Check> {
    let name = "networks";
    if warnings.is_empty() {
        return vec![Check::ok(name, "the host has what they rely on")];
    }
    let warn = |detail| Check {
        name,
        status: Status::Warn,
        detail,
        remedy: None,
    };
    warnings.into_iter().map(warn).collect()
}

fn kernel() -> Check {
    let name = "kernel";
    let remedy = "use Linux 6.1 or later; 6.6 for tcx";
    match KernelVersion::current() {
        Ok(version) if version < KernelVersion::new(6, 1, 0) => Check::fail(name, release(), remedy),
        Ok(_) => Check::ok(name, release()),
        Err(error) => Check::warn(name, format!("version unknown: {error}"), remedy),
    }
}

fn release() -> String {
    read("/proc/sys/kernel/osrelease").map_or_else(|| "Linux".into(), |release| format!("Linux {release}"))
}

fn privileges() -> Check {
    let name = "privileges";
    let remedy = "run as root: `sudo netbridge …`";
    match effective_capabilities() {
        None => Check::warn(name, "the capabilities of this process are unknown", remedy),
        Some(effective) => match missing(effective)[..] {
            [] => Check::ok(name, CAPABILITIES.map(|(capability, _)| capability).join(", ")),
            ref missing => Check::fail(name, format!("without {}", missing.join(", ")), remedy),
        },
    }
}

fn effective_capabilities() -> Option<u64> {
    effective_in(&read("/proc/thread-self/status")?)
}

fn effective_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<&'static str> {
    let lacks = |bit: u32| effective & 1 << bit == 0;
    CAPABILITIES
        .iter()
        .filter(|(_, bit)| lacks(*bit))
        .map(|(capability, _)| *capability)
        .collect()
}

fn bpf_file_system(bpffs: &Path) -> Check {
    let name = "bpffs";
    let path = bpffs.display();
    if is_bpffs(bpffs) {
        return Check::ok(name, path.to_string());
    }
    Check::fail(name, format!("{path} is not a BPF file system"), MOUNT_ADVICE)
}

fn hooks() -> Check {
    let name = "hooks";
    if tcx_supported() {
        return Check::ok(name, "tcx");
    }
    Check::warn(
        name,
        "no tcx, or no right to ask: clsact filters are used",
        "use Linux 6.6 or later, with CONFIG_NET_XGRESS, and run as root",
    )
}

fn sockets(cgroup: Option<&Path>) -> Check {
    let name = "sockets";
    match check_cgroup(cgroup) {
        Ok(path) => Check::ok(name, format!("cgroup {path}")),
        Err(error) => Check::warn(
            name,
            format!(
                "{error}: published ports are reachable from outside and from containers, not from the host itself, and its \
                 programs can take them"
            ),
            "from the host, use the container's address",
        ),
    }
}

fn socket_monitoring() -> Check {
    let name = "sock_diag";
    if let Err(error) = listeners() {
        return Check::warn(
            name,
            format!("{}: ports cannot be published", error.root_cause()),
            "`modprobe -a tcp_diag udp_diag`, or use a kernel with CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG",
        );
    }
    match Monitor::open().and_then(|monitor| monitor.check_end()) {
        Ok(()) => Check::ok(name, "the host's sockets can be listed and ended"),
        Err(error) => Check::warn(
            name,
            format!(
                "{error:#}: connections of the host's own programs to a container outlive the ports that led there"
            ),
            "use a kernel with CONFIG_INET_DIAG_DESTROY",
        ),
    }
}

fn jit() -> Check {
    let name = "jit";
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Check::warn(
            name,
            "off: programs are interpreted",
            "`sysctl -w net.core.bpf_jit_enable=1`",
        ),
        Some(_) => Check::ok(name, "on"),
        None => Check::ok(name, "not visible from this network namespace"),
    }
}

fn btf() -> Check {
    let name = "btf";
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        return Check::ok(name, path);
    }
    Check::warn(
        name,
        format!("no {path}: maps and programs cannot be dumped with types"),
        "use a kernel with CONFIG_DEBUG_INFO_BTF",
    )
}

fn interface_settings() -> Check {
    let name = "interface-settings";
    match sysctl::check() {
        Ok(()) => match sysctl::overridden()[..] {
            [] => Check::ok(name, "/proc/sys/net is writable"),
            ref on => Check::warn(
                name,
                format!("{} on for all interfaces, netbridge's too", on.join(" and ")),
                "`sysctl -w net.ipv4.conf.all.route_localnet=0 net.ipv4.conf.all.proxy_arp=0`, if nothing else on this \
                 host needs them",
            ),
        },
        Err(error) => Check::fail(
            name,
            format!("/proc/sys/net cannot be written: {error}"),
            sysctl::ADVICE,
        ),
    }
}

fn bridge_netfilter() -> Check {
    let name = "bridge-nf-call-iptables";
    if read("/proc/sys/net/bridge/bridge-nf-call-iptables").as_deref() != Some("1") {
        return Check::ok(name, "off");
    }
    Check::warn(
        name,
        "on: what the fast path leaves to the kernel bridge passes iptables and costs conntrack entries",
        "`sysctl -w net.bridge.bridge-nf-call-iptables=0`, if nothing else on this host needs it",
    )
}

fn snat_ports() -> Check {
    let name = "snat-ports";
    match SnatRange::of_host() {
        Ok(range) => {
            let (first, last) = range.snat.into_inner();
            Check::ok(name, format!("{first}-{last}"))
        }
        Err(error) => Check::fail(
            name,
            error.to_string(),
            "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'`, or another range that leaves ports free",
        ),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Check, Status, effective_in, missing};

    #[test]
    fn reads_capabilities_as_the_kernel_prints_them() {
        let status = "Name:\tnetbridge\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective_in(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective_in("Name:\tnetbridge\n"), None);
    }

    #[test]
    fn names_every_missing_capability() {
        assert_eq!(missing(u64::MAX), Vec::<&str>::new());
        assert_eq!(missing(1 << 21), ["CAP_NET_ADMIN", "CAP_BPF"]);
    }

    #[test]
    fn the_worst_status_is_the_greatest() {
        assert!(Status::Fail > Status::Warn && Status::Warn > Status::Ok);
    }

    #[test]
    fn json_has_a_remedy_only_where_there_is_one() -> serde_json::Result<()> {
        let ok = serde_json::to_value(Check::ok("jit", "on"))?;
        assert_eq!(ok, serde_json::json!({ "name": "jit", "status": "ok", "detail": "on" }));
        let fail = serde_json::to_value(Check::fail("jit", "off", "turn it on"))?;
        assert_eq!(fail["remedy"], "turn it on");
        Ok(())
    }
}
