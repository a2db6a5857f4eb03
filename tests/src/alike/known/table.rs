//! The table itself, and below it what is no purpose: what netbridge gets wrong as long as nobody has put it right.

use super::super::ground::Station::{self, C1, C2, S1};
use super::super::talk::{End, Pair, Step, Talk};
use super::Known;
use crate::conformance::packet::{Ip, flag, kind, seal};

/// What is meant.
pub const KNOWN: &[Known] = &[
    Known {
        name: "a file without a rule that accepts everything counts nothing",
        reason: "nothing is asked, and neighbours' packets need no flow",
        before: &[],
        rules: &["ACCEPT"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[("counted: 0 [2:74]", "counted: ")],
    },
    Known {
        name: "a dropped answer is no answer",
        reason: "who was never answered has no established connection; the kernel tracks before its filter has spoken",
        before: &[],
        rules: &[
            "DROP",
            "-m conntrack --ctstate NEW -j ACCEPT",
            "-m conntrack --ctdir REPLY -j DROP",
        ],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(2),
        differs: &[
            ("2: ", "2: C2: udp 10.9.1.2:5000 > 10.9.1.3:53 length 16"),
            ("counted: 0 [1:36] 1 [2:76] 2 [1:36]", "counted: 0 [2:72] 1 [2:76]"),
        ],
    },
    Known {
        name: "a segment in the middle of a connection that is not known leaves by no rule",
        reason: "it is translated for nobody: it is dropped before the filter is asked",
        before: &[],
        rules: &["ACCEPT", "-p tcp -j REJECT --reject-with tcp-reset"],
        sets: "",
        talk: || Pair::new(C1, 5000, S1, 80).segment(flag::ACK),
        differs: &[
            ("0: C1: tcp 192.0.2.2:80 > 10.9.1.2:5000 R seq 5000000 length 20", "0: "),
            ("counted: 0 [1:40]", "counted: "),
        ],
    },
    Known {
        name: "an answer that nobody asked for leaves by no rule",
        reason: "it is translated for nobody: it is dropped before the filter is asked",
        before: &[],
        rules: &["ACCEPT", "-j REJECT"],
        sets: "",
        talk: || Pair::new(C1, 5000, S1, 0).stray_reply(),
        differs: &[
            (
                "0: C1: icmp 3/3 10.9.1.1 > 10.9.1.2 about protocol 1 10.9.1.2 > 192.0.2.2",
                "0: ",
            ),
            ("counted: 0 [1:40]", "counted: "),
        ],
    },
    Known {
        name: "an error about nothing leaves by no rule",
        reason: "it is translated for nobody, and netfilter lets it out with the container's own address",
        before: &[],
        rules: &["ACCEPT", "-m conntrack --ctstate INVALID -j ACCEPT"],
        sets: "",
        talk: || Pair::new(C1, 5000, S1, 0).stray_error((kind::UNREACHABLE, 3)),
        differs: &[
            (
                "0: S1: icmp 3/3 10.9.1.2 > 192.0.2.2 about udp 192.0.2.2:0 > 10.9.1.2:5000",
                "0: ",
            ),
            ("counted: 0 [1:56]", "counted: "),
        ],
    },
    Known {
        name: "a protocol that is not masqueraded leaves by no rule",
        reason: "its answers would find nobody: it is dropped before the filter is asked",
        before: &[],
        rules: &["ACCEPT", "-p 253 -j DROP"],
        sets: "",
        talk: || Pair::new(C1, 5000, S1, 0).other(253, 1),
        differs: &[("counted: 0 [1:44]", "counted: ")],
    },
    Known {
        name: "flags that no TCP sends are dropped before the filter is asked",
        reason: "the segment is malformed, and what is malformed goes nowhere",
        before: &[],
        rules: &["ACCEPT", "-m conntrack --ctstate INVALID -j ACCEPT"],
        sets: "",
        talk: || {
            let pair = Pair::new(C1, 5000, C2, 80);
            [pair.segment(flag::SYN | flag::FIN), pair.segment(0)].concat()
        },
        differs: &[
            ("0: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80 FS seq 1000000 length 20", "0: "),
            ("1: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80  seq 1000000 length 20", "1: "),
            ("counted: 0 [2:80]", "counted: "),
        ],
    },
    Known {
        name: "SCTP is known by its addresses alone",
        reason: "its chunks are not read: what the kernel finds invalid in them is part of a conversation",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).other(132, 1),
        differs: &[("counted: 2 [2:88] 3 [2:88]", "counted: 0 [1:44] 1 [1:44] 3 [2:88]")],
    },
    Known {
        name: "protocols that are not known are not tracked",
        reason: "there is no telling what answers what: each packet is new",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).other(253, 1),
        differs: &[("counted: 0 [1:44] 1 [1:44] 3 [2:88]", "counted: 0 [2:88] 3 [2:88]")],
    },
    Known {
        name: "source quench is dropped",
        reason: "RFC 6633, section 3",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, S1, 53).refused(S1, (kind::SOURCE_QUENCH, 0)),
        differs: &[
            (
                "1: C1: icmp 4/0 192.0.2.2 > 10.9.1.2 about udp 10.9.1.2:5000 > 192.0.2.2:53",
                "1: ",
            ),
            ("counted: 0 [1:36] 3 [2:92]", "counted: 0 [1:36] 3 [1:36]"),
        ],
    },
    Known {
        name: "the filter is asked before the TTL",
        reason: "what may not be forwarded is not answered either (RFC 1812, section 5.3.9)",
        before: &[],
        rules: &["ACCEPT", "-p udp -j DROP"],
        sets: "",
        talk: || {
            let mut talk = Pair::new(C1, 5000, S1, 53).datagrams(1);
            talk.truncate(1);
            changed(talk, |packet| packet.ttl = 1)
        },
        differs: &[
            (
                "0: C1: icmp 11/0 10.9.1.1 > 10.9.1.2 about udp 10.9.1.2:5000 > 192.0.2.2:53",
                "0: ",
            ),
            ("counted: ", "counted: 0 [1:36]"),
        ],
    },
    Known {
        name: "a wrong checksum is the receiver's to see",
        reason: "RFC 1624, section 2",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || changed(Pair::new(C1, 5000, C2, 53).datagrams(1), |packet| packet.body[6] ^= 1),
        differs: &[("counted: 2 [2:74] 3 [2:74]", "counted: 0 [1:36] 1 [1:38] 3 [2:74]")],
    },
    Known {
        name: "sequence numbers are not tracked",
        reason: "that would cost a write for every packet; the ends check them themselves",
        before: &[],
        rules: &["ACCEPT", "-m conntrack --ctstate INVALID -j DROP"],
        sets: "",
        talk: || {
            let mut talk = Pair::new(C1, 5000, C2, 80).connection(0, End::Open);
            let far = changed(talk[2..].to_vec(), |packet| {
                packet.body[4] = 0x7f;
                seal(packet, 16);
            });
            talk.extend(far);
            talk
        },
        differs: &[
            ("3: ", "3: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80 A seq 2131706433 length 20"),
            ("counted: 0 [1:40] 1 [3:120]", "counted: 1 [4:160]"),
        ],
    },
    Known {
        name: "who closes before the container has said a word closes nothing",
        reason: "anybody outside may forge the segment: a new connection in its place then still is the old one",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::published(S1, 5000, 8080, C1, 80).connection(0, End::Reopened),
        differs: &[(
            "counted: 0 [2:80] 1 [8:320] 3 [10:400]",
            "counted: 0 [1:40] 1 [9:360] 3 [10:400]",
        )],
    },
    Known {
        name: "an error comes from the gateway, also where the address was translated",
        reason: "a router tells of an error in its own name (RFC 1812, section 4.3.2.4)",
        before: &[],
        rules: &["ACCEPT", "-j REJECT --reject-with icmp-host-prohibited"],
        sets: "",
        talk: || visit(C1),
        differs: &[(
            "0: C1: icmp 3/10 192.0.2.1 > 10.9.1.2 about tcp 10.9.1.2:5000 > 192.0.2.1:8443",
            "0: C1: icmp 3/10 10.9.1.1 > 10.9.1.2 about tcp 10.9.1.2:5000 > 192.0.2.1:8443",
        )],
    },
    Known {
        name: "a reset comes from the address that was asked for",
        reason: "its receiver knows no other; the kernel forgets the translation where it answers from a bridge",
        before: &[],
        rules: &["ACCEPT", "-p tcp -j REJECT --reject-with tcp-reset"],
        sets: "",
        talk: || visit(C1),
        differs: &[(
            "0: C1: tcp 10.9.1.3:443 > 10.9.1.2:5000 RA seq 0 length 20",
            "0: C1: tcp 192.0.2.1:8443 > 10.9.1.2:5000 RA seq 0 length 20",
        )],
    },
    Known {
        name: "a limit of few packets a day has all of its burst",
        reason: "the kernel's credit is 32 bits wide, and three days' do not fit",
        before: &[],
        rules: &["ACCEPT", "-m limit --limit 1/day --limit-burst 3"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(2),
        differs: &[("counted: 0 [1:36] 1 [4:148]", "counted: 0 [3:110] 1 [4:148]")],
    },
    Known {
        name: "each fragment is asked about",
        reason: "nothing is put together on the way: later fragments are judged with the ports of the first",
        before: &[],
        rules: &["ACCEPT", "-p udp -m udp --dport 53"],
        sets: "",
        talk: || {
            let whole = &Pair::new(C1, 5000, C2, 53).datagrams(1)[0];
            let pieces = whole.packet.fragments(8).into_iter();
            pieces.map(|packet| Step { packet, ..whole.clone() }).collect()
        },
        differs: &[
            (
                "0: ",
                "0: C2: udp 10.9.1.2:5000 > 10.9.1.3:53 length 8 fragment at 0",
            ),
            (
                "1: C2: fragment of protocol 17 10.9.1.2 > 10.9.1.3 length 8 at 8, C2: udp 10.9.1.2:5000 > 10.9.1.3:53 length 8 fragment at 0",
                "1: C2: fragment of protocol 17 10.9.1.2 > 10.9.1.3 length 8 at 8",
            ),
            ("counted: 0 [1:36] 1 [1:36]", "counted: 0 [2:56] 1 [2:56]"),
        ],
    },
];

/// What is not meant, and not put right yet. A line that is must go from here.
pub const WRONG: &[Known] = &[
    Known {
        name: "an ICMP message that is no query and no error is invalid",
        reason: "the kernel's connection tracking takes nothing but queries for something new",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).message(kind::SOLICITATION),
        differs: &[("counted: 2 [1:28] 3 [1:28]", "counted: 0 [1:28] 3 [1:28]")],
    },
    Known {
        name: "an element of a protocol without ports is in a set of ports",
        reason: "it is looked up with port 0, which such a packet does not have here",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set services dst,dst -j DROP"],
        sets: "create services hash:ip,port\nadd services 10.9.1.3,gre:0\n",
        talk: || {
            let mut talk = Pair::new(C1, 5000, C2, 0).other(47, 1);
            talk.truncate(1);
            talk
        },
        differs: &[
            ("0: ", "0: C2: protocol 47 10.9.1.2 > 10.9.1.3 length 24"),
            ("counted: 0 [1:44]", "counted: 1 [1:44]"),
        ],
    },
    Known {
        name: "a match before a limit is asked before it, and one behind it is not",
        reason: "x",
        before: &[],
        rules: &["ACCEPT", "-m limit --limit 1/hour --limit-burst 2 -m conntrack --ctstate ESTABLISHED", "-m conntrack --ctstate ESTABLISHED -m limit --limit 1/hour --limit-burst 2"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(3),
        differs: &[],
    },
    Known {
        name: "a limit begins anew with a new file",
        reason: "its bucket is known by the rule's place alone: another file's rule there, of whatever rate, finds it as it was",
        before: &["ACCEPT", "-m limit --limit 1/day --limit-burst 1"],
        rules: &["ACCEPT", "-m limit --limit 1000/sec --limit-burst 1000"],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[("counted: 0 [2:74] 1 [2:74]", "counted: 1 [2:74]")],
    },
    Known {
        name: "an ICMP message has port 0 for hashlimit",
        reason: "its type and code are taken for the port, so that each kind of message has a bucket of its own",
        before: &[],
        rules: &["ACCEPT", PORTS],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).echoes(1),
        differs: &[("counted: 0 [1:40] 1 [2:80]", "counted: 0 [2:80] 1 [2:80]")],
    },
    Known {
        name: "the SPI of ESP is its ports for hashlimit",
        reason: "it is taken for a protocol without ports",
        before: &[],
        rules: &["ACCEPT", PORTS],
        sets: "",
        talk: || {
            let pair = Pair::new(C1, 5000, C2, 0);
            [pair.other(47, 1), pair.other(50, 1)].concat()
        },
        differs: &[("counted: 0 [2:88] 1 [4:176]", "counted: 0 [1:44] 1 [4:176]")],
    },
    Known {
        name: "`nomatch` holds in a list's member",
        reason: "elements with nomatch are forgotten where a set has more than one dimension, or a list has members of other kinds",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set all src,dst -j DROP"],
        sets: "create networks hash:net\nadd networks 10.9.1.0/24\nadd networks 10.9.1.2/32 nomatch\n\
               create services hash:ip,port\nadd services 10.9.1.9,tcp:80\n\
               create all list:set\nadd all services\nadd all networks\n",
        talk: || Pair::new(C1, 5000, C2, 80).segment(flag::SYN),
        differs: &[
            ("0: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80 S seq 1000000 length 20", "0: "),
            ("counted: 1 [1:40]", "counted: 0 [1:40]"),
        ],
    },
    Known {
        name: "`nomatch` holds in a set of networks and ports",
        reason: "the same",
        before: &[],
        rules: &["ACCEPT", "-m set --match-set exposed src,dst -j DROP"],
        sets: "create exposed hash:net,port\nadd exposed 10.9.1.0/24,tcp:80\nadd exposed 10.9.1.2,tcp:80 nomatch\n",
        talk: || Pair::new(C1, 5000, C2, 80).segment(flag::SYN),
        differs: &[
            ("0: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80 S seq 1000000 length 20", "0: "),
            ("counted: 1 [1:40]", "counted: 0 [1:40]"),
        ],
    },
];

/// Counts the first packet to each port.
const PORTS: &str =
    "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode dstport --hashlimit-name ports";

/// Counts packets by their state.
const STATES: [&str; 4] = [
    "ACCEPT",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate INVALID",
];

/// The first segment of a connection to a published port.
fn visit(client: Station) -> Talk {
    Pair::published(client, 5000, 8443, C2, 443).segment(flag::SYN)
}

/// The packets changed.
fn changed(mut talk: Talk, change: impl Fn(&mut Ip)) -> Talk {
    talk.iter_mut().for_each(|step| change(&mut step.packet));
    talk
}
