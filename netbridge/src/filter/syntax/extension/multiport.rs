//! `multiport`: up to fifteen ports.

use std::fmt;

use super::super::{
    Extension, Match, Ports, Protocol, Which,
    fault::Refusal,
    given::{Build, Given, Opt, Spec},
};

/// Ports in one match, a range counting as two.
const SLOTS: usize = 15;

pub(super) static MULTIPORT: Spec = Spec {
    name: "multiport",
    protocols: &[Protocol::TCP, Protocol::UDP],
    options: &[
        Opt::new(&["--sports", "--source-ports"]),
        Opt::new(&["--dports", "--destination-ports"]),
        Opt::new(&["--ports"]),
    ],
    refused: &[],
    build: Build::Match(build),
};

/// Each direction with the option that asks for it.
const WHICH: [(Which, &str); 3] = [
    (Which::Source, "--sports"),
    (Which::Destination, "--dports"),
    (Which::Either, "--ports"),
];

fn build(given: &mut Given<'_>) -> Option<Extension> {
    let mut asked = WHICH.into_iter().filter(|(_, name)| given.has(name));
    let (which, name) = asked.next()?;
    if let Some((_, second)) = asked.next() {
        let advice = format!("put `-m multiport` before `{second}` as well");
        given.refuse(second, "one multiport compares one kind of port", advice);
    }
    let ports = given.read(name, parse)?;
    Some(Extension::Multiport { which, ports })
}

fn parse(list: &str) -> Result<Vec<Ports>, Refusal> {
    let ports: Vec<Ports> = list
        .split(',')
        .map(|word| {
            if word.starts_with(':') || word.ends_with(':') {
                let advice = "give both ends, such as 1024:65535";
                return Err(Refusal::new(word, "a range in a list has two ends", advice));
            }
            Ports::parse(word)
        })
        .collect::<Result<_, _>>()?;
    let slots: usize = ports.iter().copied().map(slots).sum();
    if slots > SLOTS {
        let reason = format!("a multiport holds {SLOTS} ports, a range counting as two, and these are {slots}");
        let advice = "write two rules, or keep the ports in a set of type bitmap:port";
        return Err(Refusal::new(list, reason, advice));
    }
    Ok(ports)
}

fn slots(ports: Ports) -> usize {
    if ports.first == ports.last { 1 } else { 2 }
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, which: Which, ports: &Match<Vec<Ports>>) -> fmt::Result {
    let not = if ports.negated { "! " } else { "" };
    let option = match which {
        Which::Source => "--sports",
        Which::Destination => "--dports",
        Which::Either => "--ports",
    };
    write!(f, "-m multiport {not}{option} ")?;
    for (index, ports) in ports.value.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{ports}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_slots_and_no_more() {
        let list = |count: u16| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&list(15)).unwrap().len(), 15);
        assert_eq!(parse(&format!("{},90:99", list(13))).unwrap().len(), 14);
        for list in [list(16), format!("{},90:99", list(14))] {
            let fault = parse(&list).unwrap_err().at(1);
            assert!(fault.reason.ends_with("these are 16"), "{fault}");
        }
    }

    #[test]
    fn bad_lists_say_why() {
        for (list, reason) in [
            ("", "not a port number"),
            ("80,", "not a port number"),
            ("80,http", "not a port number"),
            ("90:80", "reversed"),
            ("80,1024:", "two ends"),
            (":5", "two ends"),
        ] {
            let fault = parse(list).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{list}: {fault}");
        }
    }
}
