//! Lists of sources that published ports are open to.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::transfer;
use netbridge_tests::udp::ask;

use super::LIMIT;
use super::command::{complains, json, says};
use super::controller::datapath;
use super::hand::{OUTSIDE, UPLINK, named};
use super::host_ports::{connects, published};

#[test]
fn only_listed_sources_come_in_and_the_host_always() -> Result<()> {
    within(|sandbox| {
        let _services = published("8080:80 5353:53/udp --from 198.51.100.0/24,192.0.2.2")?;
        let (host, out) = (named("H")?, named("out")?);
        says("-n H port add red 8081:80 --from 203.0.113.0/24")?;
        says("-n H port add red 8082:80")?;
        let seen = transfer(&out, SocketAddrV4::new(UPLINK, 8080), 1000)?.seen_as;
        ensure!(*seen.ip() == OUTSIDE, "the server sees {seen}");
        ask(&out, SocketAddrV4::new(UPLINK, 5353), b"x", LIMIT)?;
        ensure!(!connects(&out, UPLINK, 8081), "its list has another subnet");
        ensure!(connects(&out, UPLINK, 8082), "anybody may");
        for port in [8080, 8081, 8082] {
            ensure!(connects(&host, Ipv4Addr::LOCALHOST, port), "{port} from the host");
        }
        let drops = json("-n H stats")?["drops"].to_string();
        ensure!(drops.contains("source-not-allowed"), "{drops}");
        let listed = says("-n H port ls")?;
        ensure!(listed.contains("192.0.2.2/32,198.51.100.0/24"), "{listed}");
        let ports = json("-n H port ls")?;
        ensure!(ports[1]["from"] == serde_json::json!(["203.0.113.0/24"]), "{ports}");
        // One list for both ports, which stays while one of them does.
        let lists = || -> Result<usize> { Ok(datapath(sandbox)?.tables().sources()?.len()) };
        ensure!(lists()? == 3);
        says("-n H port rm red 8080:80")?;
        ensure!(lists()? == 3);
        ask(&out, SocketAddrV4::new(UPLINK, 5353), b"x", LIMIT)?;
        says("-n H port rm red 5353:53/udp")?;
        ensure!(lists()? == 1);
        let said = complains(2, "-n H port add red 8083:80 --from 10.0.0.1/8,nobody")?;
        ensure!(said.contains("write 10.0.0.0/8") && said.contains("nobody"), "{said}");
        says("-n H detach red")?;
        ensure!(lists()? == 0);
        Ok(())
    })
}

#[test]
fn a_list_that_does_not_fit_leaves_nothing() -> Result<()> {
    within(|sandbox| {
        let _services = published("8080:80 --from 192.0.2.2")?;
        // Every other address, so that none can be told with another as one subnet.
        let sources: Vec<String> = (0..17_000_u32)
            .map(|number| Ipv4Addr::from_bits(0x0a00_0000 + 2 * number).to_string())
            .collect();
        let options = sources.chunks(4000).map(|chunk| format!("--from {}", chunk.join(",")));
        let options: Vec<String> = options.collect();
        let line = |options: &[String]| format!("-n H port add red 8081:80 {}", options.join(" "));
        let said = complains(1, &line(&options))?;
        ensure!(said.contains("map SOURCES is full: it holds 16384 entries"), "{said}");
        let datapath = datapath(sandbox)?;
        let tables = datapath.tables();
        ensure!(tables.sources()?.len() == 1 && tables.published()?.len() == 1);
        ensure!(json("-n H port ls")?.as_array().is_some_and(|ports| ports.len() == 1));
        says(&line(&options[..4]))?;
        ensure!(tables.sources()?.len() == 16_001);
        ensure!(!connects(&named("out")?, UPLINK, 8081) && connects(&named("out")?, UPLINK, 8080));
        Ok(())
    })
}
