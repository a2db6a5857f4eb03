//! `-p`: an IP protocol by name or number.

use std::fmt;

use netbridge_common::abi::proto;

use super::{fault::Refusal, number::not_octal};

/// The names that `iptables-save` writes for numbers: those of `/etc/protocols`.
const NAMES: [(u8, &str); 54] = [
    (proto::ICMP, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipencap"),
    (5, "st"),
    (proto::TCP, "tcp"),
    (8, "egp"),
    (9, "igp"),
    (12, "pup"),
    (proto::UDP, "udp"),
    (20, "hmp"),
    (22, "xns-idp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (37, "ddp"),
    (38, "idpr-cmtp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (45, "idrp"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (57, "skip"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (73, "rspf"),
    (81, "vmtp"),
    (88, "eigrp"),
    (89, "ospf"),
    (93, "ax.25"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (124, "isis"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility-header"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
];

/// An IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(u8);

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(proto::TCP);
    /// UDP.
    pub const UDP: Self = Self(proto::UDP);
    /// ICMP.
    pub const ICMP: Self = Self(proto::ICMP);

    /// The protocol with this number; `None` for 0, which in a rule means any.
    pub fn new(number: u8) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Its number, never 0.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Reads a name or a number; `None` for `all` and 0.
    pub(in crate::filter) fn parse(word: &str) -> Result<Option<Self>, Refusal> {
        not_octal(word)?;
        if word.eq_ignore_ascii_case("all") {
            return Ok(None);
        }
        if let Some((number, _)) = NAMES.iter().find(|(_, name)| word.eq_ignore_ascii_case(name)) {
            return Ok(Some(Self(*number)));
        }
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse() {
            Ok(number) if digits => Ok(Self::new(number)),
            _ => Err(Refusal::new(
                word,
                "unknown protocol",
                "give tcp, udp, icmp, all or a protocol number from 0 to 255",
            )),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (word, number) in [("tcp", 6), ("UDP", 17), ("1", 1), ("gre", 47), ("255", 255)] {
            assert_eq!(
                Protocol::parse(word).unwrap().map(Protocol::number),
                Some(number),
                "{word}"
            );
        }
        for word in ["all", "ALL", "0"] {
            assert_eq!(Protocol::parse(word).unwrap(), None, "{word}");
        }
        for word in ["256", "tpc", "", "-1", "+6", "tcp,udp", "!"] {
            let fault = Protocol::parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains("unknown protocol"), "{word}: {fault}");
        }
        assert!(Protocol::parse("06").is_err());
    }

    #[test]
    fn every_number_is_read_back() {
        for number in 1..=u8::MAX {
            let protocol = Protocol::new(number);
            assert_eq!(Protocol::parse(&protocol.unwrap().to_string()).unwrap(), protocol);
        }
    }
}
