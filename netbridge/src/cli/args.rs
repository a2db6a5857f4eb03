//! The command line as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use netbridge_common::abi::Reason;

use super::ct::Ct;
use super::filter::{self, Filter};
use super::port::{ABOUT, EXAMPLES, Port};
use crate::datapath::{AttachMode, DEFAULT_BPFFS, DatapathError, check_cgroup};
use crate::model::{Attach, Fault, NetCreate};
use crate::ops::Options;
use crate::state;

/// A container host's bridge network whose packet path is eBPF.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 exists.
#[derive(Debug, Parser)]
#[command(name = "netbridge", version, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub(super) struct Global {
    /// Play in this network namespace: a name, a path or pid:N
    #[arg(short = 'n', long = "netns", global = true, value_name = "NETNS")]
    pub(super) host: Option<String>,
    /// Keep pins, state and lock under this name [default: one per host namespace]
    #[arg(long, global = true, value_name = "NAME")]
    instance: Option<String>,
    /// Answer in JSON
    #[arg(short, long, global = true)]
    pub(super) json: bool,
    /// Say what would be done, change nothing
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
    /// Where the BPF file system is mounted
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_BPFFS)]
    pub(super) bpffs: PathBuf,
    /// Lead the sockets of this cgroup's processes to published ports [default: `$NETBRIDGE_CGROUP`, or the root of cgroup v2]
    #[arg(long, global = true, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// How programs are attached
    #[arg(long, global = true, hide = true, value_enum, default_value_t = Mode::Auto)]
    attach_mode: Mode,
}

impl Global {
    /// The choices that operations take.
    pub(super) fn options(&self) -> Options {
        Options {
            instance: self.instance.clone(),
            bpffs: self.bpffs.clone(),
            attach_mode: match self.attach_mode {
                Mode::Auto => AttachMode::Auto,
                Mode::Tcx => AttachMode::Tcx,
                Mode::Clsact => AttachMode::Clsact,
            },
            cgroup: self.cgroup.clone().or(Options::default().cgroup),
            dry_run: self.dry_run,
        }
    }

    /// Refuses a cgroup that is named and cannot be used. A kernel without programs on sockets is no fault of it.
    pub(super) fn check_cgroup(&self) -> Result<(), Fault> {
        let Some(path) = &self.cgroup else { return Ok(()) };
        match check_cgroup(Some(path)) {
            Ok(_) | Err(DatapathError::NoSocketPrograms) => Ok(()),
            Err(error) => Err(Fault::usage(
                format!("--cgroup {}", path.display()),
                format!("{:#}", anyhow::Error::from(error)),
                "name a cgroup of version 2, or leave it out",
            )),
        }
    }
}

/// [`AttachMode`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Auto,
    Tcx,
    Clsact,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Networks
    #[command(subcommand)]
    Net(Net),
    /// Connect a namespace to a network
    Attach(AttachArgs),
    /// Disconnect endpoints, and end all connections with them
    Detach {
        /// The endpoints
        #[arg(required = true, value_name = "EP")]
        endpoints: Vec<String>,
    },
    /// Endpoints
    #[command(subcommand, visible_alias = "endpoint")]
    Ep(Ep),
    /// Published ports
    #[command(subcommand, long_about = ABOUT, after_long_help = EXAMPLES)]
    Port(Port),
    /// The FORWARD filter, in the language of iptables
    #[command(subcommand, long_about = filter::ABOUT, after_long_help = filter::EXAMPLES)]
    Filter(Filter),
    /// Tracked flows
    #[command(subcommand)]
    Ct(Ct),
    /// The MAC table
    #[command(subcommand)]
    Fdb(Fdb),
    /// Traffic of endpoints and uplinks, and drops by reason
    #[command(after_long_help = reasons())]
    Stats,
    /// Show drops, and what rules of the filter report, as they happen
    #[command(after_long_help = reasons())]
    Monitor {
        /// End after so many
        #[arg(short, long, value_name = "N")]
        count: Option<u64>,
    },
    /// Labs: topologies in namespaces of their own
    #[command(subcommand)]
    Lab(Lab),
    /// Check what the kernel and the host offer
    Doctor,
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum Net {
    /// Create a network
    Create(NetCreateArgs),
    /// List networks
    Ls,
    /// Show all that is known of a network, as JSON
    Inspect {
        /// The network
        name: String,
    },
    /// Remove networks
    Rm {
        /// The networks
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Detach their endpoints first
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub(super) struct NetCreateArgs {
    /// The network's name
    name: String,
    /// Its subnet [default: a free /24 of 10.88.0.0/16]
    #[arg(long, value_name = "CIDR")]
    subnet: Option<String>,
    /// The gateway's address [default: the subnet's first]
    #[arg(long, value_name = "IP")]
    gateway: Option<String>,
    /// The interface to the outside [default: none]
    #[arg(long, value_name = "IF")]
    uplink: Option<String>,
    /// MTU, bytes [default: the uplink's, or 1500]
    #[arg(long, value_name = "N")]
    mtu: Option<u32>,
    /// No way out, and no default route for its endpoints
    #[arg(long)]
    internal: bool,
    /// Leave the source address of packets to the outside as it is
    #[arg(long)]
    no_masquerade: bool,
    /// The address that packets to the outside take, one of the uplink's [default: the one that the host would use]
    #[arg(long, value_name = "IP")]
    snat: Option<String>,
    /// What a container's port outside depends on: nothing else (RFC 4787, endpoint-independent mapping), or the remote
    /// endpoint too, as with Linux' masquerade
    #[arg(long, value_enum, default_value_t = state::Dependence::mapping().into())]
    mapping: Dependence,
    /// Who may send to it: those the container has sent to (RFC 4787, address- and port-dependent filtering), or anybody
    /// (endpoint-independent filtering, "full cone")
    #[arg(long, value_enum, default_value_t = state::Dependence::filtering().into())]
    filtering: Dependence,
    /// Let the containers' own addresses be reached from outside; implies --no-masquerade
    #[arg(long)]
    routed: bool,
    /// Masquerade GRE, ESP, IP and IPv6 in IP, and SCTP too, by their addresses alone: one container at a time talks to one
    /// remote, and takes what that remote sends to tunnels of the host's own
    #[arg(long)]
    tunnels: bool,
}

/// [`state::Dependence`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dependence {
    /// Not on the remote endpoint
    Independent,
    /// On the remote address and port
    Dependent,
}

impl From<Dependence> for state::Dependence {
    fn from(dependence: Dependence) -> Self {
        match dependence {
            Dependence::Independent => Self::Independent,
            Dependence::Dependent => Self::Dependent,
        }
    }
}

impl From<state::Dependence> for Dependence {
    fn from(dependence: state::Dependence) -> Self {
        match dependence {
            state::Dependence::Independent => Self::Independent,
            state::Dependence::Dependent => Self::Dependent,
        }
    }
}

impl From<NetCreateArgs> for NetCreate {
    fn from(args: NetCreateArgs) -> Self {
        Self {
            name: args.name,
            subnet: args.subnet,
            gateway: args.gateway,
            uplink: args.uplink,
            mtu: args.mtu,
            internal: args.internal,
            masquerade: !args.no_masquerade,
            snat: args.snat,
            mapping: args.mapping.into(),
            filtering: args.filtering.into(),
            routed: args.routed,
            tunnels: args.tunnels,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct AttachArgs {
    /// The namespace: a name, a path or pid:N
    netns: String,
    /// The network
    #[arg(long, value_name = "NAME")]
    net: String,
    /// The endpoint's name [default: the namespace's]
    #[arg(long, value_name = "EP")]
    name: Option<String>,
    /// An address: IP, IP/PREFIX or IP/PREFIX@GATEWAY; repeatable [default: a free one]
    #[arg(long = "ip", value_name = "IP")]
    ips: Vec<String>,
    /// The MAC [default: 02:42 and the address]
    #[arg(long)]
    mac: Option<String>,
    /// The interface's name in the namespace [default: the first free of eth0, eth1, …]
    #[arg(long, value_name = "NAME")]
    ifname: Option<String>,
    /// Behind it is a bridge of its own: learn MACs there
    #[arg(long)]
    trunk: bool,
    /// Add no default route
    #[arg(long)]
    no_default_route: bool,
}

impl From<AttachArgs> for Attach {
    fn from(args: AttachArgs) -> Self {
        Self {
            netns: args.netns,
            net: args.net,
            name: args.name,
            ips: args.ips,
            mac: args.mac,
            ifname: args.ifname,
            trunk: args.trunk,
            default_route: !args.no_default_route,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Ep {
    /// List endpoints
    Ls,
    /// Show all that is known of an endpoint, as JSON
    Inspect {
        /// The endpoint
        name: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct OneEndpoint {
    /// Only those of this endpoint
    #[arg(long = "ep", value_name = "EP")]
    pub(super) endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Fdb {
    /// List MACs and where they are
    Ls,
}

/// The form of a topology, for those who have the binary alone.
const TOPOLOGY: &str = r#"The form of a topology; what is in brackets may be left out:

filter = "lab.rules"                  # [iptables-save syntax; the path is relative to this file]

[outside]                             # [a node `outside`, behind an uplink of the host]
host = "198.51.100.1/24"
address = "198.51.100.2/24"
routes = ["10.88.0.0/16"]             # [what it sends to the host]

[[networks]]
name = "front"
subnet = "10.88.1.0/24"
gateway = "10.88.1.1"                 # [the subnet's first address]
internal = false                      # [true: no way out]
masquerade = true                     # [false: no source translation]
mapping = "independent"               # [or "dependent": what a port outside depends on]
filtering = "dependent"               # [or "independent": who may send to it]
routed = false                        # [true: reached from outside by their own addresses]
tunnels = false                       # [true: GRE, ESP, IP and IPv6 in IP, SCTP are masqueraded too]

[[nodes]]
name = "web"
attach = [{ net = "front", ips = ["10.88.1.10"] }]
publish = ["8080:80", "5353:53/udp"]  # [ports of its first connection]

[[nodes]]
name = "peer"

[[links]]                             # [a veth pair straight between two nodes]
a = { node = "web", ifname = "to-peer", address = "10.1.1.1/32" }
b = { node = "peer", ifname = "to-web", address = "10.1.1.2/32" }"#;

#[derive(Debug, Subcommand)]
pub(super) enum Lab {
    /// Bring up a topology
    #[command(after_long_help = TOPOLOGY)]
    Up {
        /// The topology, TOML
        file: PathBuf,
        /// The lab's name [default: what the file says, or the file's name]
        #[arg(long)]
        name: Option<String>,
    },
    /// Run a command in a node
    Exec {
        /// The lab [default: the only one]
        #[arg(long)]
        name: Option<String>,
        /// The node; `host` and `outside` are nodes too
        node: String,
        /// The command
        #[arg(required = true, last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Take a lab down
    Down {
        /// The lab [default: the only one]
        #[arg(long)]
        name: Option<String>,
    },
}

/// What a drop's reason says, for every reason.
fn reasons() -> String {
    let told = Reason::ALL.iter().filter(|reason| **reason != Reason::None);
    let told = told.map(|reason| {
        format!(
            "{}\n   {}",
            reason.name(),
            reason.meaning().trim_end().replace('\n', "\n   ")
        )
    });
    let mut paragraphs = vec!["DROP REASONS".to_owned()];
    paragraphs.extend(told);
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::lab::Topology;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_apart() {
        let mut cli = Cli::command();
        cli.build();
        let create = cli
            .find_subcommand("net")
            .and_then(|net| net.find_subcommand("create"))
            .unwrap();
        let apart = |id: &str| {
            let option = create.get_arguments().find(|option| option.get_id() == id).unwrap();
            option.get_help_heading().is_some()
        };
        assert!(apart("host") && apart("json") && !apart("subnet") && !apart("mtu"));
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "netbridge -n H -j net ls",
            "netbridge net ls -n H -j",
            "netbridge net -j ls -n H",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.host.as_deref() == Some("H"), "{line}");
        }
    }

    #[test]
    fn the_host_is_not_the_namespace_to_attach() {
        let cli = Cli::try_parse_from("netbridge -n H attach web --net front".split(' ')).unwrap();
        let Command::Attach(args) = cli.command else {
            panic!("not attach")
        };
        assert_eq!((cli.global.host.as_deref(), args.netns.as_str()), (Some("H"), "web"));
    }

    #[test]
    fn the_form_of_a_topology_is_one() {
        let (_, text) = TOPOLOGY.split_once("\n\n").unwrap();
        let rules = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
        Topology::parse("help", text, "help", false, |_| Ok(rules.to_owned())).unwrap();
    }

    #[test]
    fn malformed_lines_are_usage_errors() {
        for line in [
            "netbridge bridge",
            "netbridge net rm",
            "netbridge attach web",
            "netbridge port add web",
            "netbridge port rm web",
            "netbridge port rm web 80:80 --all",
            "netbridge net create web --mtu x",
            "netbridge lab exec web",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
