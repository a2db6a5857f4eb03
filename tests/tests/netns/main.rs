//! Labs in namespaces of their own, real sockets, and the real command line; they need root.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test holds nothing but tests"
)]

mod around;
mod bench_control;
mod bench_docker;
mod bench_forwarding;
mod bench_generator;
mod bench_run;
mod bench_sockets;
mod bench_undone;
mod bench_worlds;
mod bulk;
mod cgroups;
mod command;
mod conformance;
mod controller;
mod cve;
mod dry_run;
mod errors;
mod examples;
mod filter_alike;
mod filter_commands;
mod filter_endpoints;
mod filter_limits;
mod filter_patch;
mod filter_questions;
mod filter_swap;
mod flows;
mod fragments;
mod guards;
mod hairpin;
mod hand;
mod hardened;
mod host_ports;
mod host_sockets;
mod icmp;
mod killed;
mod lifecycle;
mod load;
mod namespaces;
mod nat;
mod netlink;
mod policy;
mod port_safety;
mod proof;
mod races;
mod ranges;
mod refused;
mod settings;
mod snat;
mod sources;
mod trunk;
mod unfinished;

use std::time::Duration;

/// Longest time in which what must come does come.
const LIMIT: Duration = Duration::from_secs(3);

/// How long nothing comes where nothing must.
const SILENCE: Duration = Duration::from_millis(200);

/// Two containers on one network, and the outside; what most tests start from.
const PAIR: &str = r#"
[outside]
host = "198.51.100.1/24"
address = "198.51.100.2/24"
routes = ["10.77.0.0/16"]

[[networks]]
name = "front"
subnet = "10.77.1.0/24"

[[nodes]]
name = "web"
attach = [{ net = "front", ips = ["10.77.1.10"] }]
publish = ["8080:80", "5353:53/udp"]

[[nodes]]
name = "app"
attach = [{ net = "front", ips = ["10.77.1.20"] }]
"#;

/// [`PAIR`], `db` in a network beside it, and `lone` in one without a way out.
fn networks() -> String {
    format!(
        "{PAIR}\n[[networks]]\nname = \"back\"\nsubnet = \"10.77.2.0/24\"\n\
         [[nodes]]\nname = \"db\"\nattach = [{{ net = \"back\", ips = [\"10.77.2.10\"] }}]\n\
         [[networks]]\nname = \"inner\"\nsubnet = \"10.77.3.0/24\"\ninternal = true\n\
         [[nodes]]\nname = \"lone\"\nattach = [{{ net = \"inner\", ips = [\"10.77.3.10/24@10.77.3.1\"] }}]\n"
    )
}

/// Addresses of [`PAIR`] and of [`networks`].
mod pair {
    use std::net::Ipv4Addr;

    pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    pub(crate) const WEB: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 10);
    pub(crate) const APP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 20);
    pub(crate) const DB: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 10);
}
