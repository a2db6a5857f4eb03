//! Files by hand: one for every match and target of the language, which counts what it is about in every way, and the files
//! that others load, with the names and addresses of the stations here.

/// A file's name, its sets and its rules, without table and policy.
pub(super) struct Page {
    /// What it is about.
    pub(super) name: &'static str,
    /// Its sets.
    pub(super) sets: &'static str,
    /// Chains beside `FORWARD`.
    pub(super) chains: &'static [&'static str],
    /// Policy of `FORWARD`.
    pub(super) policy: &'static str,
    /// Rules.
    pub(super) rules: &'static [&'static str],
}

/// A page whose rules only count.
const fn counting(name: &'static str, rules: &'static [&'static str]) -> Page {
    Page {
        name,
        sets: "",
        chains: &[],
        policy: "ACCEPT",
        rules,
    }
}

/// All of them.
pub(super) const PAGES: &[Page] = &[
    counting(
        "-s and -d",
        &[
            "FORWARD -s 10.9.1.2",
            "FORWARD ! -s 10.9.1.2",
            "FORWARD -d 10.9.1.0/24",
            "FORWARD ! -d 10.9.1.0/24",
            "FORWARD -s 10.9.0.0/16 ! -d 10.9.0.0/16",
            "FORWARD -s 0.0.0.0/0 -d 192.0.2.0/255.255.255.254",
            "FORWARD -s 10.0.1.2/255.0.255.255",
            "FORWARD -s 10.9.1.2,192.0.2.2 -d 10.9.1.3,192.0.2.3",
        ],
    ),
    counting(
        "-i and -o",
        &[
            "FORWARD -i front",
            "FORWARD ! -i front",
            "FORWARD -o up0",
            "FORWARD ! -o up0",
            "FORWARD -i front -o front",
            "FORWARD -i fr+ ! -o fr+",
            "FORWARD -i up0 -o back",
            "FORWARD -i u+",
            "FORWARD -i +",
        ],
    ),
    counting(
        "-p",
        &[
            "FORWARD -p tcp",
            "FORWARD ! -p tcp",
            "FORWARD -p udp",
            "FORWARD -p icmp",
            "FORWARD ! -p icmp",
            "FORWARD -p gre",
            "FORWARD -p 50",
            "FORWARD -p all",
        ],
    ),
    counting(
        "tcp",
        &[
            "FORWARD -p tcp -m tcp --sport 5000:5100",
            "FORWARD -p tcp -m tcp ! --sport 443",
            "FORWARD -p tcp -m tcp --dport 443",
            "FORWARD -p tcp -m tcp --dport 0:65535",
            "FORWARD -p tcp -m tcp --dport :1023",
            "FORWARD -p tcp -m tcp --sport 1024: ! --dport 80",
            "FORWARD -p tcp -m tcp --syn",
            "FORWARD -p tcp -m tcp ! --syn",
            "FORWARD -p tcp -m tcp --tcp-flags ALL ACK",
            "FORWARD -p tcp -m tcp --tcp-flags ALL PSH,ACK",
            "FORWARD -p tcp -m tcp --tcp-flags FIN,RST NONE",
            "FORWARD -p tcp -m tcp ! --tcp-flags SYN,ACK SYN,ACK",
            "FORWARD -p tcp -m tcp --dport 443 --tcp-flags RST RST",
        ],
    ),
    counting(
        "udp",
        &[
            "FORWARD -p udp -m udp --sport 53",
            "FORWARD -p udp -m udp ! --sport 53",
            "FORWARD -p udp -m udp --dport 53",
            "FORWARD -p udp -m udp --dport 22:443",
            "FORWARD -p udp -m udp --sport 5000: --dport 53",
        ],
    ),
    counting(
        "icmp",
        &[
            "FORWARD -p icmp -m icmp --icmp-type any",
            "FORWARD -p icmp -m icmp --icmp-type echo-request",
            "FORWARD -p icmp -m icmp ! --icmp-type 8",
            "FORWARD -p icmp -m icmp --icmp-type 0",
            "FORWARD -p icmp -m icmp --icmp-type 3",
            "FORWARD -p icmp -m icmp --icmp-type 3/1",
            "FORWARD -p icmp -m icmp --icmp-type port-unreachable",
            "FORWARD -p icmp -m icmp --icmp-type communication-prohibited",
            "FORWARD -p icmp -m icmp --icmp-type ttl-zero-during-transit",
            "FORWARD -p icmp -m icmp --icmp-type parameter-problem",
            "FORWARD -p icmp -m icmp --icmp-type timestamp-request",
            "FORWARD -p icmp -m icmp --icmp-type 14/0",
        ],
    ),
    counting(
        "multiport",
        &[
            "FORWARD -p tcp -m multiport --dports 80,443",
            "FORWARD -p tcp -m multiport ! --dports 80,443",
            "FORWARD -p tcp -m multiport --sports 80:443",
            "FORWARD -p udp -m multiport --ports 53",
            "FORWARD -p udp -m multiport ! --ports 53,22:80",
            "FORWARD -p tcp -m multiport --ports 1,2,3,4,5,6,7,8,9,10,11,22,53,5000:5050",
        ],
    ),
    counting(
        "conntrack",
        &[
            "FORWARD -m conntrack --ctstate NEW",
            "FORWARD -m conntrack ! --ctstate NEW",
            "FORWARD -m conntrack --ctstate ESTABLISHED",
            "FORWARD -m conntrack --ctstate RELATED",
            "FORWARD -m conntrack --ctstate INVALID",
            "FORWARD -m conntrack ! --ctstate INVALID",
            "FORWARD -m conntrack --ctstate UNTRACKED",
            "FORWARD -m conntrack --ctstate DNAT",
            "FORWARD -m conntrack ! --ctstate DNAT",
            "FORWARD -m conntrack --ctstate SNAT",
            "FORWARD -m conntrack ! --ctstate ESTABLISHED,SNAT",
            "FORWARD -m conntrack --ctstate NEW,DNAT",
            "FORWARD -m conntrack --ctdir ORIGINAL",
            "FORWARD -m conntrack --ctdir REPLY",
            "FORWARD -m conntrack --ctstate RELATED --ctdir REPLY",
        ],
    ),
    counting(
        "state",
        &[
            "FORWARD -m state --state NEW",
            "FORWARD -m state --state RELATED,ESTABLISHED",
            "FORWARD -m state ! --state RELATED,ESTABLISHED",
            "FORWARD -m state --state INVALID,UNTRACKED",
        ],
    ),
    counting(
        "mac",
        &[
            "FORWARD -m mac --mac-source 02:00:0A:09:01:02",
            "FORWARD -m mac ! --mac-source 02:00:0A:09:01:02",
            "FORWARD -i up0 -m mac --mac-source 02:00:C0:00:02:03",
        ],
    ),
    counting(
        "iprange",
        &[
            "FORWARD -m iprange --src-range 10.9.1.2-10.9.1.3",
            "FORWARD -m iprange ! --src-range 10.9.1.3-192.0.2.2",
            "FORWARD -m iprange --dst-range 192.0.2.3-192.0.2.255",
            "FORWARD -m iprange --src-range 10.9.1.0-10.9.1.255 ! --dst-range 10.9.1.0-10.9.1.255",
        ],
    ),
    counting(
        "addrtype",
        &[
            "FORWARD -m addrtype --src-type UNICAST",
            "FORWARD -m addrtype --dst-type UNICAST",
            "FORWARD -m addrtype --dst-type LOCAL",
            "FORWARD -m addrtype ! --dst-type LOCAL",
            "FORWARD -m addrtype --dst-type BROADCAST",
            "FORWARD -m addrtype --dst-type MULTICAST",
            "FORWARD -m addrtype --src-type UNICAST ! --dst-type BROADCAST,MULTICAST",
        ],
    ),
    Page {
        name: "set",
        sets: super::sets::SETS,
        chains: &[],
        policy: "ACCEPT",
        rules: &[
            "FORWARD -m set --match-set hosts src",
            "FORWARD -m set ! --match-set hosts dst",
            "FORWARD -m set --match-set networks src",
            "FORWARD -m set ! --match-set networks dst",
            "FORWARD -m set --match-set services dst,dst",
            "FORWARD -m set --match-set services src,src",
            "FORWARD -m set --match-set services dst,src",
            "FORWARD -m set ! --match-set services dst,dst",
            "FORWARD -m set --match-set exposed dst,dst",
            "FORWARD -m set ! --match-set exposed src,src",
            "FORWARD -m set --match-set ways src,src,dst",
            "FORWARD -m set --match-set ways src,dst,dst",
            "FORWARD -m set --match-set ports dst",
            "FORWARD -m set ! --match-set ports src",
            "FORWARD -m set --match-set lan src",
            "FORWARD -m set ! --match-set lan dst",
            "FORWARD -m set --match-set all dst,dst",
            "FORWARD -m set --match-set hosts src -m set ! --match-set hosts dst",
        ],
    },
    counting(
        "mark",
        &[
            "FORWARD -m mark --mark 0x0",
            "FORWARD -m mark ! --mark 0x0",
            "FORWARD -m mark --mark 0x1",
            "FORWARD -m mark --mark 0x0/0x4000",
            "FORWARD -m mark ! --mark 0x4000/0x4000",
        ],
    ),
    counting(
        "comment",
        &[
            "FORWARD -m comment --comment plain",
            "FORWARD -p udp -m comment --comment \"two words, and \\\"quotes\\\"\"",
        ],
    ),
    counting(
        "limit",
        &[
            "FORWARD -m limit --limit 1/hour --limit-burst 3",
            "FORWARD -p udp -m limit --limit 1/hour --limit-burst 5",
            "FORWARD -p icmp -m limit --limit 1/day --limit-burst 1",
            "FORWARD -p tcp -m limit --limit 10000/sec --limit-burst 10000",
        ],
    ),
    counting(
        "hashlimit",
        &[
            "FORWARD -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-name by-source",
            "FORWARD -p tcp -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 2 --hashlimit-mode srcip,dstport --hashlimit-name above",
            "FORWARD -m hashlimit --hashlimit-upto 2/hour --hashlimit-burst 2 --hashlimit-mode dstip --hashlimit-dstmask 24 --hashlimit-name by-network",
            "FORWARD -p tcp -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 4 --hashlimit-name all",
        ],
    ),
    Page {
        name: "jump, goto, return",
        sets: "",
        chains: &["one", "two", "three"],
        policy: "DROP",
        rules: &[
            "FORWARD -p tcp -j one",
            "FORWARD -p udp -g two",
            "FORWARD -p icmp -j three",
            "FORWARD -p tcp -j ACCEPT",
            "FORWARD -p gre -j RETURN",
            "FORWARD -j ACCEPT",
            "one -m conntrack --ctstate ESTABLISHED -j RETURN",
            "one -m tcp -p tcp --dport 80 -g two",
            "one -m tcp -p tcp --dport 443 -j two",
            "one -p tcp -m tcp --dport 22",
            "two -s 10.9.1.2 -j three",
            "two -s 192.0.2.0/24 -j RETURN",
            "two -d 192.0.2.0/24 -j ACCEPT",
            "three -d 10.9.1.3 -j ACCEPT",
            "three -m conntrack --ctstate INVALID -j RETURN",
            "three -d 192.0.2.3 -j RETURN",
            "three -p icmp -j ACCEPT",
        ],
    },
    Page {
        name: "REJECT",
        sets: "",
        chains: &[],
        policy: "ACCEPT",
        rules: &[
            "FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "FORWARD -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset",
            "FORWARD -p tcp -m tcp --dport 80 -o up0 -j REJECT --reject-with tcp-reset",
            "FORWARD -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-admin-prohibited",
            "FORWARD -i up0 -p tcp -m tcp --dport 443 -j REJECT --reject-with tcp-reset",
            "FORWARD -p tcp -m tcp --dport 53 -j REJECT --reject-with icmp-net-unreachable",
            "FORWARD -p udp -m udp --dport 53 -s 10.9.1.2 -j REJECT",
            "FORWARD -p udp -m udp --dport 53 -i up0 -j REJECT --reject-with icmp-host-unreachable",
            "FORWARD -p udp -m udp --dport 80 -j REJECT --reject-with icmp-proto-unreachable",
            "FORWARD -p icmp -m icmp --icmp-type 8 -s 10.9.1.3 -j REJECT --reject-with icmp-host-prohibited",
            "FORWARD -p icmp -m icmp --icmp-type 3 -j REJECT --reject-with icmp-net-prohibited",
            "FORWARD -p gre -j REJECT --reject-with icmp-proto-unreachable",
            "FORWARD -m conntrack --ctstate INVALID -j REJECT",
        ],
    },
    Page {
        name: "LOG and NFLOG",
        sets: "",
        chains: &[],
        policy: "DROP",
        rules: &[
            "FORWARD -p tcp -j LOG --log-prefix \"tcp: \" --log-level 4 --log-tcp-options",
            "FORWARD -p udp -j NFLOG --nflog-group 3 --nflog-prefix udp",
            "FORWARD -m conntrack --ctstate INVALID -j LOG",
            "FORWARD -p tcp -j ACCEPT",
            "FORWARD -j LOG --log-prefix \"dropped \"",
        ],
    },
];

impl Page {
    /// Its text.
    pub(super) fn rules(&self) -> String {
        let chains = self
            .chains
            .iter()
            .fold(String::new(), |text, chain| text + &format!(":{chain} - [0:0]\n"));
        let rules = self
            .rules
            .iter()
            .fold(String::new(), |text, rule| text + &format!("-A {rule}\n"));
        format!("*filter\n:FORWARD {} [0:0]\n{chains}{rules}COMMIT\n", self.policy)
    }
}
