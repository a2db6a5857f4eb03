//! `limit`: a token bucket for all packets of a rule, and the rates that it and `hashlimit` share.

use std::fmt;

use super::super::{
    Extension, Rate,
    fault::Refusal,
    given::{Build, Given, Opt, Spec},
    number,
};

/// What the burst is where it is not given.
pub(super) const BURST: u32 = 5;
/// Parts of a second in which netfilter counts for `limit`.
const SCALE: u64 = 10_000;

pub(super) static LIMIT: Spec = Spec {
    name: "limit",
    protocols: &[],
    options: &[Opt::new(&["--limit"]).plain(), Opt::new(&["--limit-burst"]).plain()],
    refused: &[],
    build: Build::Match(build),
};

fn build(given: &mut Given<'_>) -> Option<Extension> {
    let written = if given.has("--limit") {
        given.value("--limit", |word| Written::parse(word, SCALE))?
    } else {
        Written {
            packets: 3,
            seconds: 3600,
        }
    };
    let burst = burst(given, "--limit-burst", 10_000)?;
    Some(Extension::Limit(written.rate(SCALE, burst)))
}

/// The burst, at most what netfilter takes; `None` if it is refused.
pub(super) fn burst(given: &mut Given<'_>, name: &str, most: u32) -> Option<u32> {
    if given.has(name) {
        given.value(name, |word| number::decimal(word, 1, most))
    } else {
        Some(BURST)
    }
}

/// The units, with the seconds in them.
const UNITS: [(u32, &str, &str); 4] = [
    (86_400, "day", "day"),
    (3_600, "hour", "hour"),
    (60, "minute", "min"),
    (1, "second", "sec"),
];

/// A rate as written.
pub(super) struct Written {
    packets: u32,
    /// The seconds of its unit.
    pub(super) seconds: u32,
}

impl Written {
    /// Reads `N/UNIT`, the unit cut short anywhere, or `N` for a second; `scale` is the greatest rate a second.
    pub(super) fn parse(word: &str, scale: u64) -> Result<Self, Refusal> {
        number::not_octal(word)?;
        let bad = || {
            Refusal::new(
                word,
                "not a rate of packets",
                "give one such as 10/second, 5/minute, 100/hour or 3/day",
            )
        };
        let (packets, unit) = word.split_once('/').unwrap_or((word, "second"));
        let begins = |name: &str| {
            name.get(..unit.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(unit))
        };
        let unit = UNITS.iter().rev().find(|(_, name, _)| !unit.is_empty() && begins(name));
        let (seconds, _, _) = *unit.ok_or_else(bad)?;
        let packets: u32 = number::digits(packets).filter(|packets| *packets > 0).ok_or_else(bad)?;
        if u64::from(packets) > scale * u64::from(seconds) {
            let advice = format!("give at most {scale}/second, or leave the match out");
            return Err(Refusal::new(word, "netfilter cannot count so fast", advice));
        }
        Ok(Self { packets, seconds })
    }

    /// The rate that netfilter makes of it, and shows: it keeps the time between two packets, in whole parts of a
    /// second, and takes the shortest unit that this divides well.
    pub(super) fn rate(&self, scale: u64, burst: u32) -> Rate {
        let period = (scale * u64::from(self.seconds) / u64::from(self.packets)).max(1);
        let fits = |(seconds, _, _): &&(u32, &str, &str)| {
            let unit = scale * u64::from(*seconds);
            period <= unit && unit / period >= unit % period
        };
        let seconds = UNITS
            .iter()
            .skip(1)
            .take_while(fits)
            .last()
            .map_or(86_400, |(seconds, _, _)| *seconds);
        let packets = scale * u64::from(seconds) / period;
        Rate {
            packets: u32::try_from(packets).unwrap_or(u32::MAX),
            seconds,
            burst,
            bucket: 0,
        }
    }
}

/// Writes `N/UNIT`.
pub(super) fn show_rate(f: &mut fmt::Formatter<'_>, rate: &Rate) -> fmt::Result {
    let unit = UNITS.iter().find(|(seconds, _, _)| *seconds == rate.seconds);
    write!(f, "{}/{}", rate.packets, unit.map_or("sec", |(_, _, short)| short))
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, rate: &Rate) -> fmt::Result {
    write!(f, "-m limit --limit ")?;
    show_rate(f, rate)?;
    if rate.burst == BURST {
        Ok(())
    } else {
        write!(f, " --limit-burst {}", rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(word: &str, scale: u64) -> String {
        Extension::Limit(Written::parse(word, scale).unwrap().rate(scale, BURST)).to_string()
    }

    #[test]
    fn rates_are_what_netfilter_makes_of_them() {
        for (word, scale, rate) in [
            ("5", SCALE, "5/sec"),
            ("5/s", SCALE, "5/sec"),
            ("5/SECOND", SCALE, "5/sec"),
            ("60/min", SCALE, "1/sec"),
            ("90/m", SCALE, "90/min"),
            ("7/day", SCALE, "7/day"),
            ("3/hour", SCALE, "3/hour"),
            ("100/minute", SCALE, "100/min"),
            ("3000/sec", SCALE, "3333/sec"),
            ("10000/sec", SCALE, "10000/sec"),
            ("900000/s", 1_000_000, "1000000/sec"),
        ] {
            assert_eq!(shown(word, scale), format!("-m limit --limit {rate}"), "{word}");
        }
    }

    #[test]
    fn a_rate_that_was_shown_stays_what_it_is() {
        for scale in [SCALE, 1_000_000] {
            for (seconds, _, _) in UNITS {
                for packets in (1..3000).chain((3000..10_000).step_by(7)) {
                    let once = Written { packets, seconds }.rate(scale, 5);
                    let again = Written {
                        packets: once.packets,
                        seconds: once.seconds,
                    };
                    assert_eq!(again.rate(scale, 5), once, "{packets}/{seconds}");
                }
            }
        }
    }

    #[test]
    fn bad_rates_say_why() {
        for (word, reason) in [
            ("0/s", "not a rate"),
            ("5/", "not a rate"),
            ("5/secs", "not a rate"),
            ("5/week", "not a rate"),
            ("/s", "not a rate"),
            ("-5/s", "not a rate"),
            ("10001/s", "so fast"),
            ("010/s", "for octal"),
        ] {
            let fault = Written::parse(word, SCALE).err().unwrap().at(1);
            assert!(fault.reason.contains(reason), "{word}: {fault}");
        }
    }
}
