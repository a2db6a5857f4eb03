//! The arguments of `netbridge port`, and its manual: what the help says at length and the manual pages are made of.

use clap::Subcommand;

use crate::model::Ports;

/// What published ports are.
pub(super) const ABOUT: &str = "\
Published ports lead from an address and a port of the host to an endpoint's first address and a
port there. They are matched on protocol, address and port together, and only at addresses that the
host has; clients outside keep their address. Ports come and go while everything runs, several at
once or none of them, and a range is one object however long it is.

The outside reaches a published port by the uplink's addresses, if the network has an uplink and the
port is published at all addresses or at that one; of an uplink with more addresses than eight, by
the first eight. A port published at an address of 127.0.0.0/8 is for the host alone. A container's
own address is not reachable from the outside, unless its network was made with --routed: then all
of its ports are, published or not, as far as the filter lets them.

Containers reach it by any address of the host, the gateways' too: its neighbours, the container
itself, and those of other networks of the instance, if its own network has an uplink. The server
then sees the address that was asked for.

What --from says holds for the outside and for containers, by the address that they come from;
never for the host.

The host itself reaches it by all of its addresses and 127.0.0.0/8, or by the one that it is
published at. Its sockets are led to the container when they connect or send, which costs their
packets nothing: the server sees the gateway's address, and the program the one that it asked for.
Sockets of IPv6 are led where they name an address of IPv4 (::ffff:127.0.0.1). A socket that is
bound to an address of 127.0.0.0/8 is not led: the kernel lets nothing out from there.

A published port is the host's no more: a program that binds it, or binds all addresses, is told
that it is in use (EADDRINUSE); so is one that binds [::], whether or not it means IPv6 alone. A
port that a program holds already is refused, with the program's name: one that listens, that has
bound a TCP port and does not listen yet (seen since Linux 6.8), or whose UDP socket has it,
connected or not. A program that takes the port while it is being published keeps it.

Both work by programs on the sockets of a cgroup's processes, in the network namespace of the host
only: the root of cgroup v2, or what --cgroup names. Where there is none, `port add` says so: ports
are then reachable from outside and from containers, not from the host itself, which uses the
container's address, and nothing keeps its programs from binding them.";

/// What it looks like.
pub(super) const EXAMPLES: &str = "\
EXAMPLES

netbridge port add web 8080:80
  TCP port 8080 of every address of the host leads to port 80 of web.

netbridge port add web 127.0.0.1:8080:80
  The same, for the host alone.

netbridge port add dns 53:53 53:53/udp --from 10.0.0.0/8,192.0.2.7
  DNS for two sources, and for the host.

netbridge port add game 27000-27999:27000-27999/udp
  A thousand ports, as one.

netbridge -j port add web 80
  A free port, told in JSON.

netbridge port rm web --all
  No port of web is published any more.";

/// The form of a specification.
const SPEC: &str = "[[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp]";

/// What `port add` promises.
const ADD: &str = "\
Publish ports of an endpoint, all that are named or none.

A specification is [[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp]; without a protocol it means tcp.

HOSTIP is an address of the host; without it, or with 0.0.0.0, the ports are published at all of
them. An address that the host does not have is refused.

HOST is the port on the host. If it is 0, empty or left out, a free one is chosen, or as many in a
row as the range in the container has: where possible one that is neither in
net.ipv4.ip_local_port_range nor used for masquerading. The answer tells which, and `netbridge port
ls` too.

Two ranges are of one length, and lead each port to its own.

Ports in net.ipv4.ip_local_port_range are published with a warning: the kernel gives them to
connections of the host, and answers to its datagrams would go to the container.
net.ipv4.ip_local_reserved_ports keeps them free.";

/// What `port rm` promises.
const REMOVE: &str = "\
Stop publishing ports of an endpoint.

A range goes as a whole. Connections that came through the ports end at once, and the host's
programs may bind them. Sockets of the host that were led to the container are ended too: what its
programs read and write fails with ECONNABORTED, on a UDP socket once, which is then connected with
nobody; the last 32,768 that were led anywhere are known. Those that a program connected to the
container's own address go on, until the endpoint is detached: then every socket of the host ends
that is connected with one of its addresses. A kernel without CONFIG_INET_DIAG_DESTROY ends none;
the answer says so: restart such programs, because a socket that outlives the endpoint reaches
whoever has its address next. Datagrams that other sockets of the host send to the port from now on
are its own again.";

#[derive(Debug, Subcommand)]
pub(super) enum Port {
    /// Publish ports of an endpoint
    #[command(long_about = ADD, after_long_help = EXAMPLES)]
    Add {
        /// The endpoint
        #[arg(value_name = "EP")]
        endpoint: String,
        #[arg(required = true, value_name = "SPEC", help = SPEC)]
        specs: Vec<String>,
        /// Only these sources may connect [default: anybody]
        ///
        /// Addresses or subnets, separated by commas or in several options. Others are dropped and counted as
        /// source-not-allowed. The host itself may always connect.
        #[arg(long, value_name = "CIDR", value_delimiter = ',')]
        from: Vec<String>,
    },
    /// Stop publishing ports of an endpoint
    #[command(long_about = REMOVE)]
    Rm {
        /// The endpoint
        #[arg(value_name = "EP")]
        endpoint: String,
        /// As given to `port add`, with the port on the host
        #[arg(required_unless_present = "all", value_name = "SPEC")]
        specs: Vec<String>,
        /// All of its ports
        #[arg(long, conflicts_with = "specs")]
        all: bool,
    },
    /// List published ports
    Ls {
        /// Only this endpoint's
        #[arg(value_name = "EP")]
        endpoint: Option<String>,
    },
}

/// A request about ports of `endpoint`.
pub(super) fn ports(endpoint: String, specs: Vec<String>, from: Vec<String>) -> Ports {
    Ports { endpoint, specs, from }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::Cli;
    use super::EXAMPLES;

    #[test]
    fn the_examples_are_commands() {
        let commands = EXAMPLES.lines().filter(|line| line.starts_with("netbridge "));
        let mut count = 0;
        for line in commands {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert_eq!(count, 6);
    }
}
