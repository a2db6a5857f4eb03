//! The kernel's settings of netbridge's own interfaces, in the calling thread's network namespace. Those of the host's
//! interfaces, of `all` and of `default` are the host's, and are never touched.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the settings are; what is behind it depends on the namespace of the thread that opens it.
const ROOT: &str = "/proc/sys/net";

/// What to do where the settings cannot be written.
pub const ADVICE: &str = "run as root where /proc/sys is writable: `mount -o remount,rw /proc/sys`, or a container with \
     `--privileged` or `--security-opt systempaths=unconfined`";

/// IPv4 settings of an interface that containers send to.
///
/// The host learns no route from a redirect and sends none: the programs know the ways. It answers ARP for the gateway
/// alone and asks in its name. `route_localnet` would open 127/8 to containers (CVE-2020-8558). `rp_filter` stays as the
/// host has it: the source guard is stricter.
const IPV4: [(&str, &str); 8] = [
    ("accept_redirects", "0"),
    ("secure_redirects", "0"),
    ("send_redirects", "0"),
    ("accept_source_route", "0"),
    ("proxy_arp", "0"),
    ("route_localnet", "0"),
    ("arp_ignore", "1"),
    ("arp_announce", "2"),
];

/// IPv6 settings of such an interface: a Router Advertisement of a container must not configure the host
/// (CVE-2020-10749), and IPv6 is off until netbridge guards it (CVE-2024-32473).
const IPV6: [(&str, &str); 4] = [
    ("disable_ipv6", "1"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
    ("accept_source_route", "0"),
];

/// A setting that cannot be written.
#[derive(Debug, Error)]
#[error("cannot set {} to {value}; {ADVICE}", path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    source: io::Error,
}

/// Lets the kernel route what containers send to a bridge, whatever the host does with its own interfaces: that is the slow
/// path, and without it the kernel tells the programs no next hop (`bpf_fib_lookup`). Only what a program passes gets there.
pub fn route(bridge: &str) -> Result<(), SysctlError> {
    write("ipv4", bridge, "forwarding", "1")
}

/// Sets what an interface of the host that containers send to must have; before it is up.
pub fn harden(ifname: &str) -> Result<(), SysctlError> {
    for (name, value) in IPV4 {
        write("ipv4", ifname, name, value)?;
    }
    IPV6.into_iter()
        .try_for_each(|(name, value)| write_ipv6(ifname, name, value))
}

/// Sets again what the host may have changed since: a switch for all interfaces (`ip_forward`, `ipv6.conf.all.disable_ipv6`)
/// overwrites what each has, and one whose MTU rises to 1280 gets the settings of `default`. An interface that is gone
/// meanwhile needs none.
pub fn restore(ifname: &str, routes: bool) -> Result<(), SysctlError> {
    let forwarding = if routes { route(ifname) } else { Ok(()) };
    match forwarding.and_then(|()| harden(ifname)) {
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(()),
        set => set,
    }
}

/// Switches IPv6 off on an interface inside a container, which would wait for answers that never come; before it is up.
pub fn disable_ipv6(ifname: &str) -> Result<(), SysctlError> {
    write_ipv6(ifname, "disable_ipv6", "1")
}

/// Whether settings of interfaces can be written; nothing is.
pub fn check() -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path("ipv4", "lo", "accept_redirects"))
        .map(drop)
}

/// Settings that the host has switched on for all interfaces, whatever netbridge's say: the kernel takes either
/// (`IN_DEV_ORCONF`).
pub fn overridden() -> Vec<&'static str> {
    let on = |name: &&str| holds(&path("ipv4", "all", name), "1");
    ["route_localnet", "proxy_arp"].into_iter().filter(on).collect()
}

/// A kernel without IPv6 has no such setting, and needs none; nor does an interface whose MTU is below the 1280 bytes that
/// IPv6 asks for (RFC 8200, section 5).
fn write_ipv6(ifname: &str, name: &str, value: &'static str) -> Result<(), SysctlError> {
    if path("ipv6", ifname, "").exists() {
        write("ipv6", ifname, name, value)
    } else {
        Ok(())
    }
}

fn write(family: &str, ifname: &str, name: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = path(family, ifname, name);
    // A write may take the lock of all interfaces, and be refused where `/proc/sys` is read-only.
    if holds(&path, value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| SysctlError { path, value, source })
}

fn holds(path: &Path, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

fn path(family: &str, ifname: &str, name: &str) -> PathBuf {
    [ROOT, family, "conf", ifname, name].iter().collect()
}
