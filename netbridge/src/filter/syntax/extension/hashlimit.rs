//! `hashlimit`: a token bucket for every address or port.

use std::fmt;

use super::{
    super::{
        Extension, HashKey, HashLimit, HashTable, Match,
        fault::Refusal,
        given::{Build, Given, Opt, Spec},
        number,
    },
    limit::{self, Written, show_rate},
};

/// Parts of a second in which netfilter counts for `hashlimit`.
const SCALE: u64 = 1_000_000;
/// The greatest burst that netfilter takes.
const MAX_BURST: u32 = 1_000_000;
/// Longest name of a table, bytes.
const MAX_NAME: usize = 254;
/// Milliseconds between two searches of netfilter's for idle buckets.
const GC_INTERVAL: u32 = 1000;

const UPTO: &str = "--hashlimit-upto";
const ABOVE: &str = "--hashlimit-above";

pub(super) static HASHLIMIT: Spec = Spec {
    name: "hashlimit",
    protocols: &[],
    options: &[
        Opt::new(&[UPTO, "--hashlimit"]),
        Opt::new(&[ABOVE]),
        Opt::new(&["--hashlimit-burst"]).plain(),
        Opt::new(&["--hashlimit-mode"]).plain(),
        Opt::new(&["--hashlimit-name"]).plain(),
        Opt::new(&["--hashlimit-htable-size"]).plain(),
        Opt::new(&["--hashlimit-htable-max"]).plain(),
        Opt::new(&["--hashlimit-htable-gcinterval"]).plain(),
        Opt::new(&["--hashlimit-htable-expire"]).plain(),
        Opt::new(&["--hashlimit-srcmask"]).plain(),
        Opt::new(&["--hashlimit-dstmask"]).plain(),
    ],
    refused: &[
        (
            "--hashlimit-rate-match",
            "rates are not measured, only limited",
            "write `--hashlimit-upto` or `--hashlimit-above`",
        ),
        (
            "--hashlimit-rate-interval",
            "rates are not measured, only limited",
            "write `--hashlimit-upto` or `--hashlimit-above`",
        ),
    ],
    build: Build::Match(build),
};

fn build(given: &mut Given<'_>) -> Option<Extension> {
    if given.has(UPTO) && given.has(ABOVE) {
        given.refuse(ABOVE, "the rate is given twice", "keep one, or write two rules");
    }
    let name = if given.has("--hashlimit-name") {
        given.value("--hashlimit-name", name)
    } else {
        given.refuse(
            "-m hashlimit",
            "the buckets have no name",
            "add `--hashlimit-name NAME`",
        );
        None
    };
    let key = key(given);
    let burst = limit::burst(given, "--hashlimit-burst", MAX_BURST);
    let mut milliseconds = |option| given.value(option, |word| number::decimal(word, 0, u32::MAX));
    let mut table = HashTable {
        size: milliseconds("--hashlimit-htable-size").filter(|size| *size != 0),
        max: milliseconds("--hashlimit-htable-max").filter(|max| *max != 0),
        gc_interval: milliseconds("--hashlimit-htable-gcinterval").filter(|interval| *interval != GC_INTERVAL),
        expire: milliseconds("--hashlimit-htable-expire"),
    };
    let (option, upto) = if given.has(ABOVE) { (ABOVE, false) } else { (UPTO, true) };
    let Match { value, negated } = given.read(option, rate)?;
    let rate = value.rate(SCALE, burst?);
    // Netfilter takes its own choice from the unit as written, and shows it where the unit became another.
    let expire = table.expire.unwrap_or(value.seconds * 1000);
    table.expire = Some(expire).filter(|expire| *expire != rate.seconds * 1000);
    Some(Extension::HashLimit(HashLimit {
        name: name?,
        rate,
        above: upto == negated,
        key: key?,
        table,
    }))
}

fn rate(word: &str) -> Result<Written, Refusal> {
    let amount = word.split('/').next().unwrap_or(word);
    if amount.starts_with(|c: char| c.is_ascii_digit()) && amount.ends_with(['b', 'B']) {
        return Err(Refusal::new(
            word,
            "bytes are not limited, only packets",
            "give packets, such as 100/second",
        ));
    }
    Written::parse(word, SCALE)
}

fn name(word: &str) -> Result<String, Refusal> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '"');
    if word.is_empty() || word.len() > MAX_NAME || word.contains(forbidden) {
        let reason = format!("a name has 1 to {MAX_NAME} bytes, and no blank, quote or `/`");
        return Err(Refusal::new(word, reason, "choose another"));
    }
    Ok(word.to_owned())
}

/// The modes, in the order in which they are shown.
const MODES: [&str; 4] = ["srcip", "srcport", "dstip", "dstport"];

fn key(given: &mut Given<'_>) -> Option<HashKey> {
    let modes = if given.has("--hashlimit-mode") {
        given.value("--hashlimit-mode", modes)?
    } else {
        [false; 4]
    };
    let [srcip, sport, dstip, dport] = modes;
    let mut bits = |asked: bool, mode: &str, option: &str| {
        if !asked && given.has(option) {
            let advice = format!("add {mode} to `--hashlimit-mode`, or remove it");
            given.refuse(option, "the address does not tell buckets apart", advice);
        }
        let mask = given.value(option, |word| number::decimal(word, 1, 32));
        let bits = mask.or((!given.has(option)).then_some(32))?;
        Some(if asked { u8::try_from(bits).unwrap_or(32) } else { 0 })
    };
    let source = bits(srcip, "srcip", "--hashlimit-srcmask");
    let destination = bits(dstip, "dstip", "--hashlimit-dstmask");
    Some(HashKey {
        source: source?,
        destination: destination?,
        sport,
        dport,
    })
}

fn modes(list: &str) -> Result<[bool; 4], Refusal> {
    let mut modes = [false; 4];
    for word in list.split(',') {
        let Some((_, mode)) = MODES.iter().zip(&mut modes).find(|(name, _)| **name == word) else {
            let advice = "give a comma-separated list of srcip, srcport, dstip and dstport";
            return Err(Refusal::new(word, "not a mode of hashlimit", advice));
        };
        *mode = true;
    }
    Ok(modes)
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, limit: &HashLimit) -> fmt::Result {
    let HashLimit {
        name,
        rate,
        above,
        key,
        table,
    } = limit;
    write!(f, "-m hashlimit {} ", if *above { ABOVE } else { UPTO })?;
    show_rate(f, rate)?;
    write!(f, " --hashlimit-burst {}", rate.burst)?;
    let modes = [key.source != 0, key.sport, key.destination != 0, key.dport];
    let mut before = " --hashlimit-mode ";
    for (mode, _) in MODES.iter().zip(modes).filter(|(_, asked)| *asked) {
        write!(f, "{before}{mode}")?;
        before = ",";
    }
    write!(f, " --hashlimit-name {name}")?;
    let mask = |bits: u8| (bits != 0 && bits != 32).then_some(u32::from(bits));
    for (option, value) in [
        ("htable-size", table.size),
        ("htable-max", table.max),
        ("htable-gcinterval", table.gc_interval),
        ("htable-expire", table.expire),
        ("srcmask", mask(key.source)),
        ("dstmask", mask(key.destination)),
    ] {
        if let Some(value) = value {
            write!(f, " --hashlimit-{option} {value}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_modes() {
        assert_eq!(modes("dstport,srcip"), Ok([true, false, false, true]));
        for list in ["", "srcip,", "src", "SRCIP"] {
            assert!(modes(list).is_err(), "{list}");
        }
    }

    #[test]
    fn bytes_are_told_from_packets() {
        for (word, reason) in [("5kb/s", "bytes"), ("1mb", "bytes"), ("b/s", "not a rate"), ("5", "")] {
            match rate(word) {
                Ok(_) => assert!(reason.is_empty(), "{word}"),
                Err(refusal) => assert!(refusal.at(1).reason.contains(reason), "{word}"),
            }
        }
    }

    #[test]
    fn names_are_shown_bare() {
        assert!(name("a-b.c").is_ok());
        for word in ["", "a b", "a/b", "a\"b", &"x".repeat(255)] {
            assert!(name(word).is_err(), "{word}");
        }
    }
}
