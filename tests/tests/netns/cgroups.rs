//! Cgroups that the programs on sockets run on: the root, a named one, a lab's, a sandbox's, and none at all.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::datapath::check_cgroup;
use netbridge::ops::CGROUP_VARIABLE;
use netbridge_tests::cgroup::Cgroup;
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{TcpServer, transfer};

use super::command::{NETBRIDGE, complains, says, tool};
use super::controller::pins;
use super::hand::{UPLINK, named, world};
use super::host_ports::{connects, published};

const RED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);

#[test]
fn without_a_cgroup_the_rest_works_and_the_caller_is_told() -> Result<()> {
    within(|_| {
        world()?;
        let netbridge = |line: &str| -> Result<String> {
            let mut command = Command::new(NETBRIDGE);
            let output = command
                .args(line.split(' '))
                .env(CGROUP_VARIABLE, "/run/no-such-cgroup")
                .output()?;
            let told = String::from_utf8(output.stderr)?;
            ensure!(output.status.success(), "{line}: {told}");
            Ok(told + &String::from_utf8(output.stdout)?)
        };
        netbridge("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        netbridge("-n H attach red --net web --ip 10.9.0.10")?;
        let told = netbridge("-n H port add red 8080:80")?;
        for part in [
            "reachable from outside and from containers, not from the host itself",
            "/run/no-such-cgroup",
            "use the container's address",
        ] {
            ensure!(told.contains(part), "{told}");
        }
        let told = netbridge("-n H doctor")?;
        ensure!(
            told.contains("sockets: cannot open the cgroup /run/no-such-cgroup"),
            "{told}"
        );
        let _server = TcpServer::start(&named("red")?, 80)?;
        transfer(&named("out")?, SocketAddrV4::new(UPLINK, 8080), 1000)?;
        transfer(&named("H")?, SocketAddrV4::new(RED, 80), 1000)?;
        ensure!(!connects(&named("H")?, Ipv4Addr::LOCALHOST, 8080));
        let refused = complains(2, "-n H --cgroup /run/no-such-cgroup net create other")?;
        ensure!(
            refused.contains("--cgroup /run/no-such-cgroup: cannot open"),
            "{refused}"
        );
        complains(2, "-n H --cgroup /proc port add red 9090:90")?;
        // The next change by somebody who knows of one mends it.
        says("-n H port add red 8081:80")?;
        transfer(&named("H")?, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080), 1000)?;
        Ok(())
    })
}

#[test]
fn another_cgroup_takes_over_when_it_is_named_and_not_else() -> Result<()> {
    within(|sandbox| {
        let _services = published("8080:80")?;
        let host = named("H")?;
        let reaches = || connects(&host, Ipv4Addr::LOCALHOST, 8080);
        ensure!(reaches());
        let own = std::env::var(CGROUP_VARIABLE)?;
        // A cgroup in which this thread is not.
        let another = format!("{own}/another");
        fs::create_dir(&another)?;
        // What is taken where none is named: were the machine's own taken, it would be this one.
        tool(&format!("mount --bind {own} {}", check_cgroup(None)?))?;
        let elsewhere = |line: &str| -> Result<()> {
            let status = Command::new(NETBRIDGE)
                .args(line.split(' '))
                .env_remove(CGROUP_VARIABLE)
                .status()?;
            ensure!(status.success(), "{line}");
            Ok(())
        };
        elsewhere(&format!("-n H --cgroup {another} port add red 8081:80"))?;
        ensure!(!reaches(), "the programs run in the first cgroup still");
        elsewhere("-n H port add red 8082:80")?;
        ensure!(!reaches(), "nobody named the first cgroup");
        says("-n H port add red 8083:80")?;
        ensure!(reaches());
        let links = fs::read_dir(pins(sandbox)?.root().join("links"))?.flatten();
        let ours = links.filter(|link| link.file_name().to_string_lossy().starts_with("cgroup-"));
        ensure!(ours.count() == 9);
        Ok(())
    })
}

#[test]
fn a_lab_has_a_cgroup_of_its_own() -> Result<()> {
    within(|_| {
        fs::write("/run/pair.toml", super::PAIR)?;
        // A cgroup plays the root, so that the lab's is made below it and the machine's own is out of reach.
        let root = Cgroup::apart()?;
        let mount = check_cgroup(None)?;
        tool(&format!("mount --bind {} {mount}", root.path().display()))?;
        let netbridge = |line: &str| {
            let mut command = Command::new(NETBRIDGE);
            command.args(line.split(' ')).env_remove(CGROUP_VARIABLE).output()
        };
        let up = netbridge("lab up /run/pair.toml")?;
        let told = String::from_utf8_lossy(&up.stderr);
        ensure!(up.status.success() && told.is_empty(), "{told}");
        let _server = TcpServer::start(&named("pair-web")?, 80)?;
        let knock = |node: &str| -> Result<bool> {
            let line = format!("lab exec {node} -- bash /run/knock");
            Ok(netbridge(&line)?.status.success())
        };
        fs::write("/run/knock", "exec 3<>/dev/tcp/127.0.0.1/8080\n")?;
        ensure!(knock("host")?, "the host does not reach the port");
        ensure!(!knock("app")?, "a node that is not the host reaches it");
        let elsewhere = connects(&named("pair-host")?, Ipv4Addr::LOCALHOST, 8080);
        ensure!(!elsewhere, "a process outside of the lab's cgroup reaches it");
        let inside = netbridge("lab exec host -- cat /proc/self/cgroup")?;
        let told = String::from_utf8_lossy(&inside.stdout);
        ensure!(told.contains("/netbridge-lab-pair-"), "{told}");
        let of_lab = || -> Result<Vec<_>> {
            let children = fs::read_dir(&mount)?.flatten().map(|child| child.path());
            Ok(children
                .filter(|child| child.to_string_lossy().contains("netbridge-lab-pair"))
                .collect())
        };
        let [own] = &of_lab()?[..] else {
            bail!("not one: {:?}", of_lab()?)
        };
        let down = netbridge("lab down")?;
        ensure!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
        ensure!(of_lab()?.is_empty(), "{:?}", of_lab()?);
        // One that is there already is another lab's, and stays.
        fs::create_dir(own)?;
        let refused = netbridge("lab up /run/pair.toml")?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            refused.status.code() == Some(4) && told.contains("exists already"),
            "{told}"
        );
        netbridge("lab down")?;
        ensure!(own.exists());
        fs::remove_dir(own)?;
        tool(&format!("umount {mount}"))?;
        Ok(())
    })
}

#[test]
fn a_sandbox_takes_its_cgroup_with_it() -> Result<()> {
    let mut path = None;
    within(|_| {
        let own = fs::read_to_string("/proc/thread-self/cgroup")?;
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .context("no cgroup")?;
        ensure!(own.contains("netbridge-sandbox-"), "{own}");
        let own = Path::new(&check_cgroup(None)?).join(own);
        ensure!(own.exists());
        // Left by a program that was killed, as a sandbox within.
        fs::create_dir(own.join("within"))?;
        path = Some(own);
        Ok(())
    })?;
    ensure!(path.is_some_and(|path| !path.exists()));
    Ok(())
}
