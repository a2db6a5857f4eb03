//! The kernel's settings of netbridge's own interfaces, in the calling thread's network namespace. Those of the host's
//! interfaces, of `all` and of `default` are the host's, and are never touched.
//!
//! Many interfaces' settings are read from the kernel's list of interfaces, in one request. A path below `/proc/sys/net` is
//! looked up among those of the same name of all network namespaces (`proc_sys_compare`): a file takes 8 µs where there is
//! one namespace, 60 where 1,500 have had theirs read.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use netlink_packet_route::link::{Inet6DevConf, InetDevConf};
use thiserror::Error;

use crate::netlink::LinkInfo;

/// Where the settings are; what is behind it depends on the namespace of the thread that opens it.
const ROOT: &str = "/proc/sys/net";

/// What to do where the settings cannot be written.
pub const ADVICE: &str = "run as root where /proc/sys is writable: `mount -o remount,rw /proc/sys`, or a container with \
     `--privileged` or `--security-opt systempaths=unconfined`";

/// What a setting must be; `C` is how the kernel's list of interfaces tells it.
struct Setting<C> {
    /// Its file.
    name: &'static str,
    /// Its value.
    value: i32,
    /// What it is.
    of: fn(&C) -> i32,
}

impl<C> Setting<C> {
    const fn new(name: &'static str, value: i32, of: fn(&C) -> i32) -> Self {
        Self { name, value, of }
    }

    fn holds(&self, conf: &C) -> bool {
        (self.of)(conf) == self.value
    }
}

/// Lets the kernel route what containers send to a bridge, whatever the host does with its own interfaces: that is the slow
/// path, and without it the kernel tells the programs no next hop (`bpf_fib_lookup`). Only what a program passes gets there.
const FORWARDING: Setting<InetDevConf> = Setting::new("forwarding", 1, |conf| conf.forwarding);

/// IPv4 settings of an interface that containers send to.
///
/// The host learns no route from a redirect and sends none: the programs know the ways. It answers ARP for the gateway
/// alone and asks in its name. `route_localnet` would open 127/8 to containers (CVE-2020-8558). `rp_filter` stays as the
/// host has it: the source guard is stricter.
const IPV4: [Setting<InetDevConf>; 8] = [
    Setting::new("accept_redirects", 0, |conf| conf.accept_redirects),
    Setting::new("secure_redirects", 0, |conf| conf.secure_redirects),
    Setting::new("send_redirects", 0, |conf| conf.send_redirects),
    Setting::new("accept_source_route", 0, |conf| conf.accept_source_route),
    Setting::new("proxy_arp", 0, |conf| conf.proxy_arp),
    Setting::new("route_localnet", 0, |conf| conf.route_localnet),
    Setting::new("arp_ignore", 1, |conf| conf.arp_ignore),
    Setting::new("arp_announce", 2, |conf| conf.arp_announce),
];

/// IPv6 settings of such an interface: a Router Advertisement of a container must not configure the host
/// (CVE-2020-10749), and IPv6 is off until netbridge guards it (CVE-2024-32473).
const IPV6: [Setting<Inet6DevConf>; 4] = [
    DISABLE_IPV6,
    Setting::new("accept_ra", 0, |conf| conf.accept_ra),
    Setting::new("accept_redirects", 0, |conf| conf.accept_redirects),
    Setting::new("accept_source_route", 0, |conf| conf.accept_source_route),
];

/// Switches IPv6 off.
const DISABLE_IPV6: Setting<Inet6DevConf> = Setting::new("disable_ipv6", 1, |conf| conf.disable_ipv6);

/// A setting that cannot be written.
#[derive(Debug, Error)]
#[error("cannot set {} to {value}; {ADVICE}", path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: i32,
    source: io::Error,
}

/// Lets the kernel route what containers send to a bridge.
pub fn route(bridge: &str) -> Result<(), SysctlError> {
    write("ipv4", bridge, &FORWARDING)
}

/// Sets what an interface of the host that containers send to must have; before it is up.
pub fn harden(ifname: &str) -> Result<(), SysctlError> {
    IPV4.iter().try_for_each(|setting| write("ipv4", ifname, setting))?;
    IPV6.iter().try_for_each(|setting| write_ipv6(ifname, setting))
}

/// Sets again what the host may have changed since: a switch for all interfaces (`ip_forward`, `ipv6.conf.all.disable_ipv6`)
/// overwrites what each has, and one whose MTU rises to 1280 gets the settings of `default`. An interface that is gone
/// meanwhile needs none.
pub fn restore(link: &LinkInfo, routes: bool) -> Result<(), SysctlError> {
    if holds(link, routes) {
        return Ok(());
    }
    let forwarding = if routes { route(&link.name) } else { Ok(()) };
    match forwarding.and_then(|()| harden(&link.name)) {
        Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(()),
        set => set,
    }
}

/// Whether an interface had all its settings when the kernel listed it.
fn holds(link: &LinkInfo, routes: bool) -> bool {
    let ipv4 =
        |conf: &InetDevConf| IPV4.iter().all(|setting| setting.holds(conf)) && (!routes || FORWARDING.holds(conf));
    let ipv6 = |conf: &Inet6DevConf| IPV6.iter().all(|setting| setting.holds(conf));
    link.ipv4.as_ref().is_some_and(ipv4) && link.ipv6.as_ref().is_none_or(ipv6)
}

/// Switches IPv6 off on an interface inside a container, which would wait for answers that never come; before it is up.
pub fn disable_ipv6(ifname: &str) -> Result<(), SysctlError> {
    write_ipv6(ifname, &DISABLE_IPV6)
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
    let on = |name: &&str| fs::read_to_string(path("ipv4", "all", name)).is_ok_and(|text| text.trim() == "1");
    ["route_localnet", "proxy_arp"].into_iter().filter(on).collect()
}

/// A kernel without IPv6 has no such setting, and needs none; nor does an interface whose MTU is below the 1280 bytes that
/// IPv6 asks for (RFC 8200, section 5).
fn write_ipv6(ifname: &str, setting: &Setting<Inet6DevConf>) -> Result<(), SysctlError> {
    if path("ipv6", ifname, "").exists() {
        write("ipv6", ifname, setting)
    } else {
        Ok(())
    }
}

fn write<C>(family: &str, ifname: &str, setting: &Setting<C>) -> Result<(), SysctlError> {
    let (path, value) = (path(family, ifname, setting.name), setting.value);
    // A write may take the lock of all interfaces, and be refused where `/proc/sys` is read-only.
    let text = value.to_string();
    if fs::read_to_string(&path).is_ok_and(|there| there.trim() == text) {
        return Ok(());
    }
    fs::write(&path, text).map_err(|source| SysctlError { path, value, source })
}

fn path(family: &str, ifname: &str, name: &str) -> PathBuf {
    [ROOT, family, "conf", ifname, name].iter().collect()
}
