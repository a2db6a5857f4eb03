//! What the kernel's side of a comparison lies in: the lab's interfaces, addresses, routes and neighbours, made for real
//! inside a sandbox, so that the kernel's answers to the programs are those that the host environment is told.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use netbridge_common::host::lab::{GATEWAYS, HOST, Node, ROUTER, ifindex};

use super::kernel::Kernel;
use crate::processors::{keep_to, two};
use crate::sandbox::within;

/// Runs a test against a fresh instance with so many flow halves, in a sandbox of its own, on one CPU.
pub fn with_kernel<T: Send>(flow_entries: usize, test: impl FnOnce(&mut Kernel) -> Result<T> + Send) -> Result<T> {
    let [cpu, _] = two()?;
    with_kernel_on(cpu, flow_entries, test)
}

/// The same on a certain CPU, whose scratch holds the last decision.
pub fn with_kernel_on<T: Send>(
    cpu: usize,
    flow_entries: usize,
    test: impl FnOnce(&mut Kernel) -> Result<T> + Send,
) -> Result<T> {
    within(|sandbox| {
        keep_to(cpu)?;
        build()?;
        test(&mut Kernel::load(sandbox, flow_entries, cpu)?)
    })
}

fn build() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switch forwarding on in the sandbox")?;
    ip("link set lo up")?;
    let endpoints = [ifindex::A, ifindex::B, ifindex::TRUNK, ifindex::D, ifindex::E];
    for index in endpoints.into_iter().chain([ifindex::OTHER]) {
        veth(index, "")?;
    }
    for (index, gateway) in ifindex::BRIDGES.into_iter().zip(GATEWAYS) {
        let mac = text(gateway);
        ip(&format!("link add if{index} index {index} address {mac} type bridge"))?;
        addressed(index, gateway)?;
    }
    veth(ifindex::UPLINK, &format!("address {}", text(HOST)))?;
    addressed(ifindex::UPLINK, HOST)?;
    let uplink = ifindex::UPLINK;
    let router = address(ROUTER);
    ip(&format!(
        "neigh add {router} lladdr {} nud permanent dev if{uplink}",
        text(ROUTER)
    ))?;
    ip(&format!("route add default via {router} dev if{uplink}"))?;
    let (src, other) = (address(HOST), ifindex::OTHER);
    // The other interface has no address of its own, and the kernel would take any.
    ip(&format!("route add 198.51.100.0/24 dev if{other} src {src}"))?;
    ip("route add unreachable 192.88.99.0/24")
}

/// A pair whose near end has this index; an MTU beyond every frame leaves that question to the programs.
fn veth(index: u32, options: &str) -> Result<()> {
    let peer = index + 100;
    ip(&format!(
        "link add if{index} index {index} {options} mtu 9000 type veth peer name if{peer} index {peer} mtu 9000"
    ))?;
    ip(&format!("link set if{index} up"))?;
    ip(&format!("link set if{peer} up"))
}

fn addressed(index: u32, node: Node) -> Result<()> {
    ip(&format!("address add {}/24 dev if{index}", address(node)))?;
    ip(&format!("link set if{index} up"))
}

fn text((mac, _): Node) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn address((_, address): Node) -> std::net::Ipv4Addr {
    address.into()
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {error}");
    Ok(())
}
