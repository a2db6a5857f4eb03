//! The files that others load, with the names and addresses of the stations here.

/// A file as it was saved, and its sets.
pub(super) struct Saved {
    /// Whose.
    pub(super) name: &'static str,
    rules: &'static str,
    sets: &'static str,
}

/// The files, from the fixtures of the filter's language. Calico's is refused, as it keeps its verdicts in marks.
pub(super) const SAVED: [Saved; 7] = [
    Saved {
        name: "docker-20",
        rules: include_str!("../../../netbridge/src/filter/fixtures/docker-20.rules"),
        sets: "",
    },
    Saved {
        name: "docker-28",
        rules: include_str!("../../../netbridge/src/filter/fixtures/docker-28.rules"),
        sets: include_str!("../../../netbridge/src/filter/fixtures/docker-28.ipset"),
    },
    Saved {
        name: "ufw",
        rules: include_str!("../../../netbridge/src/filter/fixtures/ufw.rules"),
        sets: "",
    },
    Saved {
        name: "firewalld",
        rules: include_str!("../../../netbridge/src/filter/fixtures/firewalld.rules"),
        sets: include_str!("../../../netbridge/src/filter/fixtures/firewalld.ipset"),
    },
    Saved {
        name: "kube-proxy",
        rules: include_str!("../../../netbridge/src/filter/fixtures/kube-proxy.rules"),
        sets: "",
    },
    Saved {
        name: "iptables-nft-save",
        rules: include_str!("../../../netbridge/src/filter/fixtures/iptables-nft-save.rules"),
        sets: "",
    },
    Saved {
        name: "iptables-legacy-save",
        rules: include_str!("../../../netbridge/src/filter/fixtures/iptables-legacy-save-counters.rules"),
        sets: "",
    },
];

/// Names and addresses of theirs, and what they are here.
const HERE: [(&str, &str); 28] = [
    ("br-5d1f0c9a7e42", "back"),
    ("br-9c02a1b73d55", "back"),
    ("br-2b44d1e80c1f", "up0"),
    ("docker0", "front"),
    ("eth0.100", "up0"),
    ("eth0", "up0"),
    ("-i web -o app", "-i front -o front"),
    ("-i web", "-i front"),
    ("! -i br0", "! -i back"),
    ("-i lo", "-i back"),
    // Docker, ufw.
    ("172.17.0.0/16", "10.9.1.0/24"),
    ("172.18.0.0/16", "10.9.2.0/24"),
    ("172.19.0.0/16", "10.9.0.0/16"),
    ("172.17.0.2", "10.9.1.2"),
    ("172.18.0.3", "10.9.2.2"),
    ("203.0.113.0/24", "192.0.2.3/32"),
    ("10.20.0.5", "10.9.1.2"),
    // firewalld.
    ("10.88.0.0/16", "10.9.2.0/24"),
    ("198.51.100.0/24", "192.0.2.3/32"),
    ("192.0.2.128/25", "192.0.2.2/32"),
    // Kubernetes.
    ("10.244.0.0/16", "10.9.1.0/24"),
    ("203.0.113.9", "10.9.1.2"),
    ("203.0.113.10", "10.9.1.3"),
    ("10.96.41.7", "10.9.1.3"),
    // Plain files.
    ("192.168.1.7", "10.9.1.3"),
    ("10.0.0.0/255.0.255.0", "10.0.1.0/255.0.255.0"),
    ("172.16.0.0/12", "192.0.2.2/32"),
    ("--dport 5672", "--dport 22"),
];

impl Saved {
    /// Its table `filter`.
    pub(super) fn rules(&self) -> String {
        let table = self
            .rules
            .lines()
            .skip_while(|line| *line != "*filter")
            .take_while(|line| *line != "COMMIT");
        here(&(table.fold(String::new(), |text, line| text + line + "\n") + "COMMIT\n"))
    }

    /// Its sets.
    pub(super) fn sets(&self) -> String {
        // What the set of IPv6 networks is for no rule here asks.
        let known = self.sets.lines().filter(|line| !line.contains("inet6"));
        here(&known.fold(String::new(), |text, line| text + line + "\n"))
    }
}

fn here(text: &str) -> String {
    HERE.iter()
        .fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}
