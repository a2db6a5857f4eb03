//! What is easily done otherwise, and must not be: corners of netfilter's that generated files seldom meet.

use super::super::ground::Station::{self, C1, C2};
use super::super::talk::{Pair, Talk};
use super::Known;
use crate::conformance::packet::{flag, kind};

/// The corners: nothing differs.
pub const SAME: &[Known] = &[
    Known {
        name: "the SPI of ESP is its ports for hashlimit",
        reason: "`hashlimit` reads four bytes where `ports_offset` of the kernel says, and takes them for two ports",
        before: &[],
        rules: &["ACCEPT", PORTS],
        sets: "",
        talk: || {
            let pair = Pair::new(C1, 5000, C2, 0);
            [pair.other(47, 1), pair.other(50, 1)].concat()
        },
        differs: &[],
    },
    Known {
        name: "so are the ports of DCCP, SCTP and UDP-Lite, and the SPI of AH behind the first four bytes",
        reason: "they are where `ports_offset` says",
        before: &[],
        rules: &["ACCEPT", PORTS],
        sets: "",
        talk: || {
            let pair = Pair::new(C1, 5000, C2, 0);
            let headers = |protocol: u8| {
                let [first, second] = [[1, 1, protocol, 1], [1, 1, protocol, 2]];
                let pairs = [[first, first], [first, second], [second, second]];
                pairs.map(|header| pair.carrying(protocol, &header.concat()))
            };
            [33, 50, 51, 132, 136, 47].into_iter().flat_map(headers).collect()
        },
        differs: &[],
    },
    Known {
        name: "an ICMP message that is no query and no error is invalid",
        reason: "of what has no flow queries alone are new",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).message(kind::SOLICITATION),
        differs: &[],
    },
    Known {
        name: "a limit begins anew with a new file",
        reason: "its bucket is made with the rule, whatever stood in its place before",
        before: &["ACCEPT", "-m limit --limit 1/day --limit-burst 1"],
        rules: &["ACCEPT", "-m limit --limit 1000/sec --limit-burst 1000"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[],
    },
    Known {
        name: "a limit begins anew with the same file",
        reason: "a file replaces all rules, also by equal ones",
        before: &["ACCEPT", DAILY],
        rules: &["ACCEPT", DAILY],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[],
    },
    Known {
        name: "a table of hashlimit goes on with a new file, in whatever rule",
        reason: "it is known by its name, and made before the rules in force go",
        before: &["ACCEPT", PORTS],
        rules: &["ACCEPT", DAILY, PORTS],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[],
    },
    Known {
        name: "an element of a protocol without ports is in a set of ports",
        reason: "such a packet is looked up with port 0",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set services dst,dst -j DROP"],
        sets: "create services hash:ip,port\nadd services 10.9.1.3,gre:0\n",
        talk: || {
            let mut talk = Pair::new(C1, 5000, C2, 0).other(47, 1);
            talk.truncate(1);
            talk
        },
        differs: &[],
    },
    Known {
        name: "a match before a limit is asked before it, and one behind it is not",
        reason: "a limit takes a token from whatever comes to it",
        before: &[],
        rules: &[
            "ACCEPT",
            "-m limit --limit 1/hour --limit-burst 2 -m conntrack --ctstate ESTABLISHED",
            "-m conntrack --ctstate ESTABLISHED -m limit --limit 1/hour --limit-burst 2",
        ],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(3),
        differs: &[],
    },
    Known {
        name: "an ICMP message has port 0 for hashlimit",
        reason: "its type and code are no ports: all kinds of message share a bucket",
        before: &[],
        rules: &["ACCEPT", PORTS],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).echoes(1),
        differs: &[],
    },
    Known {
        name: "`nomatch` holds in a list's member",
        reason: "a list asks each of its members by that one's own kind",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set all src,dst -j DROP"],
        sets: "create networks hash:net\nadd networks 10.9.1.0/24\nadd networks 10.9.1.2/32 nomatch\n\
               create services hash:ip,port\nadd services 10.9.1.9,tcp:80\n\
               create all list:set\nadd all services\nadd all networks\n",
        talk: || Pair::new(C1, 5000, C2, 80).segment(flag::SYN),
        differs: &[],
    },
    Known {
        name: "`nomatch` holds in a set of networks and ports",
        reason: "it excepts a network for one port",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set exposed src,dst -j DROP"],
        sets: "create exposed hash:net,port\nadd exposed 10.9.1.0/24,tcp:80\nadd exposed 10.9.1.2,tcp:80 nomatch\n",
        talk: || Pair::new(C1, 5000, C2, 80).segment(flag::SYN),
        differs: &[],
    },
    Known {
        name: "what goes to everybody leaves by its network",
        reason: "it has no interface that it goes to, but a bridge",
        before: &[],
        rules: &["ACCEPT", "-o front", "! -o front", "-i front -o front"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).broadcast(),
        differs: &[],
    },
];

/// Counts the first packet to each port.
pub(super) const PORTS: &str =
    "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode dstport --hashlimit-name ports";

/// The same table, and all packets but for a flood.
pub(super) const MANY_PORTS: &str =
    "-m hashlimit --hashlimit-upto 1000/sec --hashlimit-burst 1000 --hashlimit-mode dstport --hashlimit-name ports";

/// Counts one packet a day.
const DAILY: &str = "-m limit --limit 1/day --limit-burst 1";

/// Counts packets by their state.
pub(super) const STATES: [&str; 4] = [
    "ACCEPT",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate INVALID",
];

/// The first segment of a connection to a published port.
pub(super) fn visit(client: Station) -> Talk {
    Pair::published(client, 5000, 8443, C2, 443).segment(flag::SYN)
}
