//! iptables-nft with the operator's rules in sets of ipset, as a host's owner would write them who does not want a packet to
//! walk a list: a rule of iptables asks a set, and that holds all rules that ask for the same fields.
//!
//! Rules are grouped as they are for nftables ([`VerdictMaps`]), and what no set holds is asked beside it:
//! - A set knows a protocol only together with a port. A rule that names a protocol alone is in a set of addresses, of which
//!   there is one a protocol.
//! - A range of ports is one element a port. A range that is open at one end (`1024:`) would be tens of thousands each
//!   time, but there are few different ones: such rules are in sets of addresses too, one a range.
//! - A set has no verdicts: what drops and what accepts are two.
//!
//! So the decisions are those of the same rules in a list. Where the ranges make too many elements the contestant says so and
//! has no figure.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::rule::{Rule, Target};
use super::super::world::{Able, Published};
use super::bridged::Firewall;
use super::command;
use super::docker::{Docker, Tool, USER, target};
use super::sets::{Place, VerdictMaps, inserted, network};
use super::syntax::Matches;
use crate::wait::wait_until;

/// What it is set up with.
pub(super) const PROGRAMS: [&str; 4] = ["iptables-nft", "iptables-nft-restore", "iptables-nft-save", "ipset"];

/// Elements of all sets together: some hundreds of megabytes, and seconds to load.
const MOST_ELEMENTS: usize = 4 << 20;

/// How long the kernel may take to let go of sets that no rule asks any more.
const RELEASE: Duration = Duration::from_secs(10);

/// What the rules of a set have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    target: Target,
    /// What iptables asks beside the set, as its options.
    beside: String,
    /// The set's type, and which end of a packet each of its fields is; none if there is nothing left to ask a set for.
    set: Option<(&'static str, &'static str)>,
}

impl Kind {
    fn of(rule: &Rule) -> Self {
        let (src, dst) = (rule.src.prefix_len() > 0, rule.dst.prefix_len() > 0);
        let listed = rule.dports.filter(|ports| !is_open(*ports));
        let one = |length: u8| length == 0 || length == 32;
        let exact = one(rule.src.prefix_len())
            && one(rule.dst.prefix_len())
            && listed.is_none_or(|(first, last)| first == last);
        let set = match (src, dst, listed.is_some()) {
            (true, true, true) if exact => Some(("hash:ip,port,ip", "src,dst,dst")),
            (true, true, true) => Some(("hash:net,port,net", "src,dst,dst")),
            (true, false, true) if exact => Some(("hash:ip,port", "src,dst")),
            (true, false, true) => Some(("hash:net,port", "src,dst")),
            (false, true, true) if exact => Some(("hash:ip,port", "dst,dst")),
            (false, true, true) => Some(("hash:net,port", "dst,dst")),
            (false, false, true) => Some(("bitmap:port", "dst")),
            (true, true, false) => Some(("hash:net,net", "src,dst")),
            (true, false, false) if exact => Some(("hash:ip", "src")),
            (true, false, false) => Some(("hash:net", "src")),
            (false, true, false) if exact => Some(("hash:ip", "dst")),
            (false, true, false) => Some(("hash:net", "dst")),
            (false, false, false) => None,
        };
        let any = Rule {
            src: ipnet::Ipv4Net::default(),
            dst: ipnet::Ipv4Net::default(),
            ..rule.clone()
        };
        let beside = match (listed, src || dst) {
            (None, _) => Matches(&any).to_string(),
            (Some(_), true) => String::new(),
            (Some(_), false) => Matches(&Rule { dports: None, ..any }).to_string(),
        };
        Self {
            target: rule.target,
            beside,
            set,
        }
    }
}

/// True if a range reaches to either end of all ports, and is more than that port.
const fn is_open((first, last): (u16, u16)) -> bool {
    first < last && (first == 0 || last == u16::MAX)
}

/// A rule as an element of its set.
fn element(rule: &Rule) -> String {
    let ports = rule.dports.filter(|ports| !is_open(*ports));
    let [src, dst] = [rule.src, rule.dst].map(|net| (net.prefix_len() > 0).then(|| network(net)));
    let proto = if rule.proto == 6 { "tcp" } else { "udp" };
    let ports = ports.map(|(first, last)| {
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        if src.is_some() || dst.is_some() {
            format!("{proto}:{range}")
        } else {
            range
        }
    });
    let fields = match src {
        Some(_) => [src, ports, dst],
        None => [dst, ports, None],
    };
    fields.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// How many elements of its set a rule is.
fn elements(rule: &Rule) -> usize {
    let ports = rule.dports.filter(|ports| !is_open(*ports));
    ports.map_or(1, |(first, last)| usize::from(last - first) + 1)
}

/// A rule of iptables, and the set that it asks.
#[derive(Debug)]
struct Question {
    /// The set's name; nobody's where there is none.
    name: String,
    /// The number of its map.
    map: usize,
    kind: Kind,
    /// Its rules, by number, when it was made.
    rules: Vec<usize>,
}

impl Question {
    /// What makes the set and fills it.
    fn create(&self, rules: &[Rule]) -> String {
        let Some((kind, _)) = self.kind.set else {
            return String::new();
        };
        let own = || self.rules.iter().filter_map(|index| rules.get(*index));
        let count: usize = own().map(elements).sum();
        let mut text = format!("create {} {kind} {}\n", self.name, room(kind, count));
        for rule in own() {
            let _ = writeln!(text, "add {} {}", self.name, element(rule));
        }
        text
    }

    /// The rule that asks it.
    fn line(&self) -> String {
        let Kind {
            target: verdict,
            beside,
            set,
        } = &self.kind;
        let asks = set.map_or_else(String::new, |(_, ends)| {
            format!(" -m set --match-set {} {ends}", self.name)
        });
        format!("-A {USER}{beside}{asks} -j {}\n", target(*verdict))
    }
}

/// Docker's rules on a host, and the operator's in sets.
pub(super) struct Ipset {
    docker: Docker,
    maps: VerdictMaps,
    questions: Vec<Question>,
    /// Types of sets that the kernel has.
    known: Vec<&'static str>,
    /// How often rules were loaded: sets of one time and the next are there at once, under different names.
    loaded: usize,
}

impl Ipset {
    /// No rules yet.
    pub(super) fn new() -> Self {
        Self {
            docker: Docker::new(Tool::Nft),
            maps: VerdictMaps::default(),
            questions: Vec::new(),
            known: Vec::new(),
            loaded: 0,
        }
    }

    /// The questions for rules, in the order in which they are asked.
    fn questions(&self, maps: &VerdictMaps, rules: &[Rule]) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        for map in maps.as_slice() {
            let first = questions.len();
            for index in [Target::Drop, Target::Accept]
                .into_iter()
                .flat_map(|target| map.with_target(target))
            {
                let Some(kind) = rules.get(index).map(Kind::of) else {
                    continue;
                };
                let mut own = questions.iter_mut().skip(first);
                if let Some(question) = own.find(|question| question.kind == kind) {
                    question.rules.push(index);
                    continue;
                }
                questions.push(Question {
                    name: format!("rules-{}-{}", self.loaded, questions.len()),
                    map: map.number(),
                    kind,
                    rules: vec![index],
                });
            }
        }
        questions
    }

    /// A type of sets that these need and the kernel does not have.
    fn lacked(&mut self, questions: &[Question]) -> Result<Option<&'static str>> {
        for (kind, _) in questions.iter().filter_map(|question| question.kind.set) {
            if self.known.contains(&kind) {
                continue;
            }
            let create = format!("create trial {kind} {}\n", room(kind, 1));
            match restore(&create) {
                Ok(()) => restore("destroy trial\n")?,
                Err(error) if error.to_string().contains("set type not supported") => return Ok(Some(kind)),
                Err(error) => return Err(error),
            }
            self.known.push(kind);
        }
        Ok(None)
    }

    /// The set at a place of the maps that holds a rule like this.
    fn set(&self, place: usize, rule: &Rule) -> Option<&str> {
        let map = self.maps.as_slice().get(place)?.number();
        let kind = Kind::of(rule);
        let mut questions = self.questions.iter();
        let question = questions.find(|question| question.map == map && question.kind == kind)?;
        question.kind.set.map(|_| question.name.as_str())
    }
}

/// The options of a set for so many elements, and some that come on top.
fn room(kind: &str, count: usize) -> String {
    if kind == "bitmap:port" {
        return "range 0-65535".to_owned();
    }
    // A bucket holds several.
    let buckets = (count / 4).next_power_of_two().max(64);
    format!("hashsize {buckets} maxelem {}", count + 1024)
}

/// Has ipset do what these lines say.
fn restore(text: &str) -> Result<()> {
    command::feed("ipset", &["restore"], text).map(drop)
}

/// Destroys the sets of these; nobody asks them any more, but the kernel may hold them for a while yet.
fn destroy(questions: &[Question]) -> Result<()> {
    let mut left: Vec<String> = questions
        .iter()
        .filter(|question| question.kind.set.is_some())
        .map(|question| format!("destroy {}\n", question.name))
        .collect();
    wait_until("the kernel to let go of sets", RELEASE, || {
        while let Some(line) = left.last() {
            if restore(line).is_err() {
                return Ok(false);
            }
            left.pop();
        }
        Ok(true)
    })
}

impl Firewall for Ipset {
    fn set_up(&self) -> Result<()> {
        self.docker.set_up()
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        let count: usize = rules.iter().map(elements).sum();
        if count > MOST_ELEMENTS {
            return Ok(Able::Cannot(format!(
                "a set holds a range of ports as an element a port, which makes {} million",
                count / 1_000_000
            )));
        }
        self.loaded += 1;
        let maps = VerdictMaps::group(rules);
        let questions = self.questions(&maps, rules);
        if let Some(kind) = self.lacked(&questions)? {
            return Ok(Able::Cannot(format!("the kernel has no sets of the type {kind}")));
        }
        restore(
            &questions
                .iter()
                .map(|question| question.create(rules))
                .collect::<String>(),
        )?;
        self.docker
            .replace_user(&questions.iter().map(Question::line).collect::<String>())?;
        let old = std::mem::replace(&mut self.questions, questions);
        self.maps = maps;
        destroy(&old)?;
        Ok(Able::Done)
    }

    fn insert_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        ensure!(index <= rules.len(), "there is no place {index}");
        let place = self.maps.insert(index, rule);
        let Some(Place::Old(place)) = place else {
            return self.load_rules(&inserted(rules, index, rule));
        };
        let Some(set) = self.set(place, rule) else {
            return self.load_rules(&inserted(rules, index, rule));
        };
        command::call("ipset", &["add", set, &element(rule)])?;
        Ok(Able::Done)
    }

    fn delete_rule(&mut self, rules: &[Rule], index: usize) -> Result<Able> {
        let rule = &rules[index];
        let place = self.maps.remove(index);
        if let Some(set) = place.and_then(|place| self.set(place, rule)) {
            command::call("ipset", &["del", set, &element(rule)])?;
            return Ok(Able::Done);
        }
        let (before, behind) = (&rules[..index], &rules[index + 1..]);
        self.load_rules(&[before, behind].concat())
    }

    fn publish(&mut self, ports: &[Published]) -> Result<()> {
        self.docker.publish(ports)
    }

    fn publish_range(&mut self, first: Published, count: u16) -> Result<()> {
        self.docker.publish_range(first, count)
    }

    fn unpublish(&mut self) -> Result<()> {
        self.docker.unpublish()
    }

    fn forwarded(&self) -> Result<u64> {
        self.docker.forwarded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(src: &str, dst: &str, proto: u8, dports: Option<(u16, u16)>) -> Rule {
        Rule {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            proto,
            dports,
            target: Target::Drop,
        }
    }

    /// The set's type, its element, and the rule of iptables.
    fn written(rule: &Rule) -> (&'static str, String, String) {
        let question = Question {
            name: "s".to_owned(),
            map: 0,
            kind: Kind::of(rule),
            rules: vec![0],
        };
        let kind = question.kind.set.map_or("", |(kind, _)| kind);
        let line = question.line();
        let line = line.strip_prefix("-A DOCKER-USER").unwrap().trim_end();
        (kind, element(rule), line.to_owned())
    }

    #[test]
    fn a_set_holds_what_it_can_and_iptables_asks_the_rest() {
        const ANY: &str = "0.0.0.0/0";
        let (net, one) = ("10.0.0.0/8", "10.77.0.3/32");
        for (rule, kind, element, line) in [
            (
                rule(net, one, 17, Some((53, 53))),
                "hash:net,port,net",
                "10.0.0.0/8,udp:53,10.77.0.3",
                " -m set --match-set s src,dst,dst -j DROP",
            ),
            (
                rule(ANY, net, 6, Some((1024, 2000))),
                "hash:net,port",
                "10.0.0.0/8,tcp:1024-2000",
                " -m set --match-set s dst,dst -j DROP",
            ),
            (
                rule(one, ANY, 6, Some((1024, u16::MAX))),
                "hash:ip",
                "10.77.0.3",
                " -p tcp -m tcp --dport 1024:65535 -m set --match-set s src -j DROP",
            ),
            (
                rule(net, one, 17, None),
                "hash:net,net",
                "10.0.0.0/8,10.77.0.3",
                " -p udp -m set --match-set s src,dst -j DROP",
            ),
            (
                rule(ANY, ANY, 6, Some((22, 22))),
                "bitmap:port",
                "22",
                " -p tcp -m set --match-set s dst -j DROP",
            ),
            (rule(ANY, ANY, 6, None), "", "", " -p tcp -j DROP"),
        ] {
            assert_eq!(written(&rule), (kind, element.to_owned(), line.to_owned()), "{rule:?}");
        }
    }
}
