//! What is meant.

use super::super::ground::Station::{C1, C2, S1};
use super::super::talk::{End, Pair, Step, Talk};
use super::Known;
use super::same::{MANY_PORTS, PORTS, STATES, visit};
use crate::conformance::packet::{Ip, flag, kind, seal};

/// The table.
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
            (
                "3: ",
                "3: C2: tcp 10.9.1.2:5000 > 10.9.1.3:80 A seq 2131706433 length 20",
            ),
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
        name: "a table of hashlimit keeps to its rate in a new file",
        reason: "the kernel goes by what the first rule has said that named it: the rules in force would not say what holds",
        before: &["ACCEPT", PORTS],
        rules: &["ACCEPT", MANY_PORTS],
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 53).datagrams(1),
        differs: &[("counted: 1 [2:74]", "counted: 0 [2:74] 1 [2:74]")],
    },
    Known {
        name: "an information or address mask reply belongs to its request",
        reason: "they are deprecated (RFC 6918), and have no flows: each message is judged by itself",
        before: &[],
        rules: &STATES,
        sets: "",
        talk: || Pair::new(C1, 5000, C2, 0).queries(1, kind::MASK, kind::MASK_REPLY),
        differs: &[(
            "counted: 0 [1:40] 1 [1:40] 3 [2:80]",
            "counted: 0 [1:40] 2 [1:40] 3 [2:80]",
        )],
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
            pieces
                .map(|packet| Step {
                    packet,
                    ..whole.clone()
                })
                .collect()
        },
        differs: &[
            ("0: ", "0: C2: udp 10.9.1.2:5000 > 10.9.1.3:53 length 8 fragment at 0"),
            (
                "1: C2: fragment of protocol 17 10.9.1.2 > 10.9.1.3 length 8 at 8, C2: udp 10.9.1.2:5000 > 10.9.1.3:53 length 8 fragment at 0",
                "1: C2: fragment of protocol 17 10.9.1.2 > 10.9.1.3 length 8 at 8",
            ),
            ("counted: 0 [1:36] 1 [1:36]", "counted: 0 [2:56] 1 [2:56]"),
        ],
    },
];

/// The packets changed.
fn changed(mut talk: Talk, change: impl Fn(&mut Ip)) -> Talk {
    for step in &mut talk {
        change(&mut step.packet);
    }
    talk
}
