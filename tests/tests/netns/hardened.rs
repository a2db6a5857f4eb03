//! Settings of netbridge's own interfaces, however the host makes new ones; the host's own stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::icmp::ping;
use netbridge_tests::sandbox::within;

use super::command::{complains, json, says, tool};
use super::hand::{named, world};

const LIMIT: Duration = Duration::from_secs(3);

/// What a host could hand on to every new interface.
const DANGEROUS: [(&str, &str); 11] = [
    ("ipv4/conf/default/accept_redirects", "1"),
    ("ipv4/conf/default/secure_redirects", "1"),
    ("ipv4/conf/default/send_redirects", "1"),
    ("ipv4/conf/default/accept_source_route", "1"),
    ("ipv4/conf/default/proxy_arp", "1"),
    ("ipv4/conf/default/route_localnet", "1"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/default/accept_ra", "2"),
    ("ipv6/conf/default/accept_redirects", "1"),
    ("ipv6/conf/default/accept_source_route", "1"),
    ("ipv6/conf/all/accept_ra", "2"),
];

/// What an interface that containers send to has.
const HARDENED: [(&str, &str, &str); 12] = [
    ("ipv4", "accept_redirects", "0"),
    ("ipv4", "secure_redirects", "0"),
    ("ipv4", "send_redirects", "0"),
    ("ipv4", "accept_source_route", "0"),
    ("ipv4", "proxy_arp", "0"),
    ("ipv4", "route_localnet", "0"),
    ("ipv4", "arp_ignore", "1"),
    ("ipv4", "arp_announce", "2"),
    ("ipv6", "disable_ipv6", "1"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "accept_redirects", "0"),
    ("ipv6", "accept_source_route", "0"),
];

/// Every setting of an interface that can be read, by path.
fn settings(namespace: &str, interface: &str) -> Result<BTreeMap<String, String>> {
    named(namespace)?.run(|| {
        let mut settings = BTreeMap::new();
        for family in ["ipv4", "ipv6"] {
            for entry in fs::read_dir(format!("/proc/sys/net/{family}/conf/{interface}"))? {
                let path = entry?.path();
                if let Ok(value) = fs::read_to_string(&path) {
                    let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
                    settings.insert(format!("{family}/{name}"), value.trim().to_owned());
                }
            }
        }
        Ok(settings)
    })?
}

#[test]
fn what_containers_send_to_is_hardened_and_the_host_untouched() -> Result<()> {
    within(|_| {
        world()?;
        named("H")?.run(|| {
            DANGEROUS
                .iter()
                .try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/{name}"), value))
        })??;
        let own = ["all", "default", "lo", "up0"];
        let read = || -> Result<Vec<_>> { own.iter().map(|name| settings("H", name)).collect() };
        let before = read()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --name red --ip 10.9.0.10")?;
        says("-n H attach blue --net web --name blue --ip 10.9.0.20 --trunk")?;
        ensure!(read()? == before, "the host's own settings changed");
        let links = tool("ip -n H -o link")?;
        let made: Vec<&str> = links
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(|name| name.trim_end_matches(':').split('@').next().unwrap_or_default())
            .filter(|name| *name != "lo" && *name != "up0")
            .collect();
        ensure!(made.len() == 3, "a bridge and two ports in {made:?}");
        for name in made {
            let settings = settings("H", name)?;
            for (family, setting, expected) in HARDENED {
                let value = settings.get(&format!("{family}/{setting}"));
                ensure!(
                    value.is_some_and(|value| value == expected),
                    "{name}: {family} {setting} is {value:?}"
                );
            }
            let six = tool(&format!("ip -n H -6 -o address show dev {name}"))?;
            ensure!(six.is_empty(), "{name} has {six}");
        }
        for (namespace, name) in [("red", "eth0"), ("blue", "eth0")] {
            let inside = settings(namespace, name)?;
            ensure!(
                inside.get("ipv6/disable_ipv6").is_some_and(|value| value == "1"),
                "IPv6 is on in {namespace}"
            );
        }
        Ok(())
    })
}

#[test]
fn settings_that_cannot_be_written_are_named_and_nothing_is_left() -> Result<()> {
    within(|_| {
        world()?;
        // In this test's own mount namespace.
        for line in ["--bind /proc/sys /proc/sys", "-o remount,bind,ro /proc/sys"] {
            let mounted = Command::new("mount").args(line.split_whitespace()).status()?;
            ensure!(mounted.success(), "mount {line}");
        }
        let links = tool("ip -n H -o link")?;
        let complaint = complains(1, "-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        ensure!(complaint.contains("/proc/sys/net/ipv4/conf/"), "{complaint}");
        ensure!(complaint.contains("remount"), "{complaint}");
        ensure!(tool("ip -n H -o link")? == links, "something is left");
        let output = Command::new(super::command::NETBRIDGE)
            .args(["-j", "-n", "H", "doctor"])
            .output()?;
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        ensure!(
            checks.to_string().contains("interface-settings") && !output.status.success(),
            "{checks}"
        );
        tool("umount /proc/sys")?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        let networks = json("-n H net ls")?;
        ensure!(
            networks.as_array().is_some_and(|networks| networks.len() == 1),
            "{networks}"
        );
        Ok(())
    })
}

#[test]
fn a_switch_for_all_interfaces_is_told() -> Result<()> {
    within(|_| {
        world()?;
        let settings = || -> Result<serde_json::Value> {
            let checks = json("-n H doctor")?;
            let found = checks.as_array().into_iter().flatten();
            let mut found = found.filter(|check| check["name"] == "interface-settings");
            found.next().cloned().context("it is not looked at")
        };
        ensure!(settings()?["status"] == "ok", "{}", settings()?);
        named("H")?.run(|| fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1"))??;
        let told = settings()?;
        ensure!(
            told["status"] == "warn" && told.to_string().contains("route_localnet"),
            "{told}"
        );
        Ok(())
    })
}

#[test]
fn what_the_host_switches_for_all_interfaces_is_mended_by_the_next_command() -> Result<()> {
    within(|_| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --name red --ip 10.9.0.10")?;
        let port = json("-n H ep inspect red")?["host_if"]
            .as_str()
            .context("no host_if")?
            .to_owned();
        let read = || -> Result<Vec<_>> { ["nb-web", &port].iter().map(|name| settings("H", name)).collect() };
        let before = read()?;
        ensure!(before[0]["ipv4/forwarding"] == "1" && before[1]["ipv6/disable_ipv6"] == "1");
        named("H")?.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
            fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
            fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0")
        })??;
        ensure!(read()? != before, "the host's switches leave them alone");
        let own = settings("H", "up0")?;
        says("-n H port add red 8080:80")?;
        let after = read()?;
        ensure!(after[0]["ipv4/forwarding"] == "1", "the bridge does not route");
        ensure!(after.iter().all(|settings| settings["ipv6/disable_ipv6"] == "1"));
        ensure!(settings("H", "up0")? == own, "the uplink's settings changed");
        ping(&named("red")?, Ipv4Addr::new(192, 0, 2, 2), 56, LIMIT).map(drop)
    })
}

#[test]
fn any_setting_that_somebody_changed_is_mended_by_the_next_command() -> Result<()> {
    within(|_| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --name red --ip 10.9.0.10")?;
        let bridge = settings("H", "nb-web")?;
        let all = HARDENED.into_iter().chain([("ipv4", "forwarding", "1")]);
        for ((family, setting, value), port) in all.zip(8080..) {
            let other = if value == "0" { "1" } else { "0" };
            named("H")?.run(|| fs::write(format!("/proc/sys/net/{family}/conf/nb-web/{setting}"), other))??;
            ensure!(settings("H", "nb-web")? != bridge, "{setting} is as it was");
            says(&format!("-n H port add red {port}:80"))?;
            ensure!(settings("H", "nb-web")? == bridge, "{setting} was not mended");
        }
        Ok(())
    })
}

#[test]
fn a_network_may_be_too_narrow_for_ipv6() -> Result<()> {
    within(|_| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0 --mtu 1000")?;
        says("-n H attach red --net web --name red --ip 10.9.0.10")?;
        let (red, outside) = (named("red")?, Ipv4Addr::new(192, 0, 2, 2));
        ping(&red, outside, 56, LIMIT)?;
        ping(&red, Ipv4Addr::new(10, 9, 0, 1), 972, LIMIT)?;
        // Wide enough for it, the bridge is off limits to IPv6 from the next command on.
        named("H")?.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0"))??;
        tool("ip -n H link set nb-web mtu 1500")?;
        says("-n H port add red 8080:80")?;
        ensure!(settings("H", "nb-web")?["ipv6/disable_ipv6"] == "1");
        ping(&red, outside, 56, LIMIT).map(drop)
    })
}
