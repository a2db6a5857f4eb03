//! Which packets a rule can match, roughly: addresses, ports and protocols from a first to a last one.

use std::borrow::Cow;

use netbridge_common::abi::Region;

use super::{
    AddressRange, Extension, Match, Ports, Prefix, Protocol, Rule, lex,
    options::{Options, Place},
};

/// Values from a first to a last one.
type Span = [u32; 2];

/// Some of the rules of a file.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt {
    /// Those that may match packets of this region.
    pub region: Region,
    /// Of `FORWARD` no others than its first ones, so many.
    pub forward: u32,
}

/// A region that holds every packet that the rule matches.
pub fn region(rule: &Rule) -> Region {
    let prefix = |asks: &Option<Match<Prefix>>| asks.as_ref().filter(|asks| !asks.negated).map(|asks| span(asks.value));
    let narrow = |region: &mut Span, by: Option<Span>| {
        if let Some([first, last]) = by {
            *region = [region[0].max(first), region[1].min(last)];
        }
    };
    let mut found = Region::ALL;
    narrow(&mut found.src, prefix(&rule.source));
    narrow(&mut found.dst, prefix(&rule.destination));
    let protocol = rule.protocol.as_ref().filter(|asks| !asks.negated);
    narrow(&mut found.proto, protocol.map(|asks| [asks.value.number().into(); 2]));
    let ports = |asks: &Option<Match<Ports>>| {
        let asks = asks.as_ref().filter(|asks| !asks.negated)?;
        Some([asks.value.first.into(), asks.value.last.into()])
    };
    let addresses = |asks: &Option<Match<AddressRange>>| {
        let asks = asks.as_ref().filter(|asks| !asks.negated)?;
        Some([asks.value.first.to_bits(), asks.value.last.to_bits()])
    };
    for extension in &rule.matches {
        match extension {
            Extension::Tcp { sport, dport, .. } | Extension::Udp { sport, dport } => {
                narrow(&mut found.sport, ports(sport));
                narrow(&mut found.dport, ports(dport));
            }
            Extension::IpRange { source, destination } => {
                narrow(&mut found.src, addresses(source));
                narrow(&mut found.dst, addresses(destination));
            }
            _ => {}
        }
    }
    found
}

/// True if a rule matches every packet of its region.
pub fn is_whole(rule: &Rule) -> bool {
    fn plain<T>(asks: Option<&Match<T>>) -> bool {
        asks.is_none_or(|asks| !asks.negated)
    }
    let contiguous = |asks: &Option<Match<Prefix>>| {
        let mask = asks.as_ref().map_or(0, |asks| asks.value.mask().to_bits());
        plain(asks.as_ref()) && mask.leading_ones() == mask.count_ones()
    };
    contiguous(&rule.source)
        && contiguous(&rule.destination)
        && plain(rule.protocol.as_ref())
        && rule.in_interface.is_none()
        && rule.out_interface.is_none()
        && rule.matches.iter().all(|extension| match extension {
            Extension::Tcp {
                sport,
                dport,
                flags: None,
            }
            | Extension::Udp { sport, dport } => plain(sport.as_ref()) && plain(dport.as_ref()),
            Extension::IpRange { source, destination } => plain(source.as_ref()) && plain(destination.as_ref()),
            Extension::Comment(_) => true,
            _ => false,
        })
}

/// True if a rule with these options may match packets of a region, whatever else it asks for.
pub(super) fn meets(region: &Region, options: &Options, words: &[Cow<'_, str>]) -> bool {
    let places = [(options.source, region.src), (options.destination, region.dst)];
    if places
        .iter()
        .any(|(place, span)| place.is_some_and(|place| !any_within(place, words, *span)))
    {
        return false;
    }
    let other = |asks: &Match<Protocol>| !asks.negated && !overlap([asks.value.number().into(); 2], region.proto);
    if options.protocol.as_ref().is_some_and(other) {
        return false;
    }
    options.raws.iter().all(|raw| {
        let spec = options.loaded.get(raw.owner).map(|loaded| loaded.spec);
        let option = spec.filter(|spec| matches!(spec.name, "tcp" | "udp") && !raw.negated);
        let span = match option.and_then(|spec| spec.options.get(raw.option)?.names.first()) {
            Some(&"--sport") => region.sport,
            Some(&"--dport") => region.dport,
            _ => return true,
        };
        let ports = words.get(raw.at).map(|word| Ports::parse(word));
        !matches!(ports, Some(Ok(ports)) if !overlap([ports.first.into(), ports.last.into()], span))
    })
}

/// True if a line without faults is one rule, which is not asked for as it `is_behind` those that are or matches no packet of a
/// region, leads nowhere and has no limit. It is told by how such a line begins and ends in the canonical text; others must be
/// read.
pub(super) fn is_elsewhere(region: &Region, is_behind: bool, options: &str) -> bool {
    let (mut rest, mut elsewhere) = (options, is_behind);
    for (option, within) in [("-s", region.src), ("-d", region.dst)] {
        if is_behind {
            break;
        }
        let (word, behind) = lex::first_word(rest);
        if word != option {
            continue;
        }
        let (word, behind) = lex::first_word(behind);
        let Ok(prefix) = Prefix::parse(word) else { return false };
        elsewhere |= !overlap(span(prefix), within);
        rest = behind;
    }
    let leads_nowhere = || {
        let before = rest.strip_suffix("DROP").or_else(|| rest.strip_suffix("ACCEPT"));
        before.is_some_and(|before| before == "-j " || before.ends_with(" -j "))
    };
    // A comma may make several rules of a line, and a backslash hide what a word is.
    let tells = |byte: u8| matches!(byte, b',' | b'\\');
    elsewhere && leads_nowhere() && !rest.bytes().any(tells) && !rest.contains("limit")
}

/// True if one of a list of addresses is in a span, or it cannot be told.
fn any_within(place: Place, words: &[Cow<'_, str>], within: Span) -> bool {
    let list = words.get(place.at).map_or("", |word| word);
    place.negated
        || list
            .split(',')
            .any(|word| Prefix::parse(word).map_or(true, |prefix| overlap(span(prefix), within)))
}

/// From the lowest to the highest address that begins like those of a prefix, up to where its mask has a gap.
fn span(prefix: Prefix) -> Span {
    let others = u32::MAX
        .checked_shr(prefix.mask().to_bits().leading_ones())
        .unwrap_or(0);
    let addr = prefix.addr().to_bits();
    [addr & !others, addr | others]
}

fn overlap(one: Span, other: Span) -> bool {
    one[0] <= other[1] && other[0] <= one[1]
}

/// A region that holds two others.
#[must_use]
pub fn both(one: &Region, other: &Region) -> Region {
    let hull = |one: Span, other: Span| [one[0].min(other[0]), one[1].max(other[1])];
    Region {
        src: hull(one.src, other.src),
        dst: hull(one.dst, other.dst),
        sport: hull(one.sport, other.sport),
        dport: hull(one.dport, other.dport),
        proto: hull(one.proto, other.proto),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::syntax::{RuleId, file, rule};

    fn of(options: &str) -> Region {
        region(&rule(options).unwrap().rules[0])
    }

    #[test]
    fn a_region_holds_what_a_rule_may_match() {
        let [from, to] = [0x0a00_0000, 0x0a00_00ff];
        for (options, expected) in [
            ("-j DROP", Region::ALL),
            ("! -s 10.0.0.0/24 ! -p tcp", Region::ALL),
            ("-m mark --mark 1 -i eth0 -m set --match-set s src", Region::ALL),
            (
                "-s 10.0.0.7/24",
                Region {
                    src: [from, to],
                    ..Region::ALL
                },
            ),
            (
                "-d 10.0.0.7/255.255.255.15",
                Region {
                    dst: [from, to],
                    ..Region::ALL
                },
            ),
            (
                "-m iprange --src-range 10.0.0.0-10.0.0.255",
                Region {
                    src: [from, to],
                    ..Region::ALL
                },
            ),
            (
                "-s 10.0.0.0/8 -m iprange --src-range 9.0.0.0-10.0.0.255 ! --dst-range 1.1.1.1-1.1.1.2",
                Region {
                    src: [from, to],
                    ..Region::ALL
                },
            ),
            ("-p 0", Region::ALL),
            (
                "-p udp -m udp --sport 7: ! --dport 9",
                Region {
                    proto: [17, 17],
                    sport: [7, 65535],
                    ..Region::ALL
                },
            ),
            (
                "-p tcp --syn --dport 80:81 -m multiport --sports 1,2",
                Region {
                    proto: [6, 6],
                    dport: [80, 81],
                    ..Region::ALL
                },
            ),
        ] {
            assert_eq!(of(options), expected, "{options}");
        }
        assert_eq!(
            both(&of("-s 10.0.0.0/25"), &of("-s 10.0.0.128/25")),
            of("-s 10.0.0.0/24")
        );
    }

    #[test]
    fn a_rule_is_whole_if_its_region_is_all_it_asks_for() {
        for (options, whole) in [
            (
                "-s 10.0.0.0/8 -d 10.0.0.1 -p tcp --dport 1:9 -m comment --comment x",
                true,
            ),
            ("-m iprange --dst-range 10.0.0.1-10.0.0.9", true),
            ("", true),
            ("! -s 10.0.0.0/8", false),
            ("-s 10.0.0.0/255.0.255.0", false),
            ("-i eth0", false),
            ("-p tcp --syn", false),
            ("-p udp ! --dport 9", false),
            ("-m conntrack --ctstate NEW", false),
            ("-m limit --limit 1/s", false),
        ] {
            assert_eq!(is_whole(&rule(options).unwrap().rules[0]), whole, "{options}");
        }
    }

    /// Lines, and whether one of their rules may match a packet from 10.0.0.1 to TCP port 80.
    const LINES: [(&str, bool); 19] = [
        ("-s 10.0.0.1/32 -j DROP", true),
        ("-s 10.0.0.2/32 -j DROP", false),
        ("-s 10.0.0.3,10.0.0.1 -j DROP", true),
        ("-s 10.0.0.3,10.0.0.2 -d 1.1.1.1,1.1.1.2 -j DROP", false),
        ("! -s 10.0.0.1 -j DROP", true),
        ("-d 10.0.0.9 -s 10.0.0.0/8 -j ACCEPT", true),
        ("-d 10.0.0.9/32 -j ACCEPT", true),
        ("-s 10.0.0.2/32 -m limit --limit 1/s -j ACCEPT", false),
        ("-s 10.0.0.2/32 -m \"l\\imit\" \"--l\\imit\" 1/s -j ACCEPT", false),
        ("-p udp -j ACCEPT", false),
        ("! -p udp -j ACCEPT", true),
        ("-p tcp --dport 81:90 -j ACCEPT", false),
        ("-p tcp ! --dport 81:90 -j ACCEPT", true),
        ("-p tcp --sport 81:90 --dport :80 -j ACCEPT", true),
        ("-p tcp -m multiport --dports 81 -j ACCEPT", true),
        ("-s 10.0.0.2/32 -j mine", false),
        ("-s 10.0.0.2/32 -m comment --comment \"x -j ACCEPT\"", false),
        ("-s 10.0.0.2/32 -m comment --comment \"x\" -g mine", false),
        ("-m limit --limit 1/s -j LOG", true),
    ];

    #[test]
    fn an_excerpt_has_the_rules_that_may_match_where_they_stand() {
        let lines = LINES.map(|(line, _)| format!("-A FORWARD {line}\n")).concat();
        let text =
            format!("*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n:spare - [0:0]\n{lines}-A mine -p tcp\nCOMMIT\n");
        let all = file::parse("f", &text, None).unwrap().ruleset;
        let region = of("-s 10.0.0.1 -p tcp --dport 80");
        for forward in [u32::MAX, 4] {
            let some = file::excerpt("f", &text, None, &Excerpt { region, forward }).unwrap();
            let mut expected = Vec::new();
            let mut limits = 0;
            for (place, own) in (0..).zip(&all.chains[0].rules) {
                let line = LINES[own.line - 5];
                limits += u32::try_from(own.rates().count()).unwrap();
                if line.1 && place < forward {
                    let mut own = own.clone();
                    own.stood = Some(RuleId { chain: 0, rule: place });
                    own.rates_mut().for_each(|rate| rate.bucket = limits);
                    expected.push(own);
                }
            }
            assert_eq!(some.chains[0].rules, expected);
            let count = u32::try_from(all.chains[0].rules.len()).unwrap();
            assert_eq!(some.chains[0].stood, Some(RuleId { chain: 0, rule: count }));
            assert_eq!(
                (some.chains.len(), &*some.chains[1].name),
                (2, "mine"),
                "however little leads there"
            );
            assert_eq!(some.chains[1].stood, Some(RuleId { chain: 1, rule: 1 }));
        }
    }
}
