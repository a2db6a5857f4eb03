//! `-s` and `-d`: an IPv4 address and its mask.

use std::{fmt, net::Ipv4Addr};

use super::{fault::Refusal, number::not_octal};

/// A set of IPv4 addresses: those that agree with `addr` on every bit of `mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    addr: Ipv4Addr,
    mask: Ipv4Addr,
}

impl Prefix {
    /// The set around `addr`; bits of `addr` outside `mask` are cleared. The mask need not be
    /// contiguous.
    pub fn new(addr: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Self {
            addr: addr & mask,
            mask,
        }
    }

    /// The address; its bits outside the mask are zero.
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// The mask.
    pub fn mask(&self) -> Ipv4Addr {
        self.mask
    }

    /// True for 0.0.0.0/0, which holds every address.
    pub fn is_everything(&self) -> bool {
        self.mask.is_unspecified()
    }

    /// Reads `ADDR`, `ADDR/LENGTH` or `ADDR/MASK`.
    pub(in crate::filter) fn parse(word: &str) -> Result<Self, Refusal> {
        let has = |sign: u8| word.bytes().any(|byte| byte == sign);
        if has(b',') {
            return Err(Refusal::new(
                word,
                "a rule takes one address",
                "write one rule for each address",
            ));
        }
        if has(b':') {
            return Err(Refusal::new(
                word,
                "IPv6 is not filtered here",
                "give an IPv4 address or network",
            ));
        }
        not_octal(word)?;
        let (addr, mask) = word
            .split_once('/')
            .map_or((word, None), |(addr, mask)| (addr, Some(mask)));
        let Ok(addr) = addr.parse() else {
            return Err(Refusal::new(
                word,
                "not an IPv4 address or network (host names are not looked up)",
                "write it as 10.0.0.1, 10.0.0.0/8 or 10.0.0.0/255.0.0.0",
            ));
        };
        let mask = mask.map_or(Some(Ipv4Addr::BROADCAST), parse_mask);
        let Some(mask) = mask else {
            return Err(Refusal::new(
                word,
                "bad network mask",
                "give a prefix length from 0 to 32 or a mask such as 255.255.0.0",
            ));
        };
        Ok(Self::new(addr, mask))
    }
}

fn parse_mask(word: &str) -> Option<Ipv4Addr> {
    if let Ok(mask) = word.parse() {
        return Some(mask);
    }
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u32 = word.parse().ok().filter(|length| *length <= u32::BITS)?;
    let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
    Some(Ipv4Addr::from_bits(!host_bits))
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.mask.to_bits();
        let length = bits.leading_ones();
        if length + bits.trailing_zeros() >= u32::BITS {
            write!(f, "{}/{length}", self.addr)
        } else {
            write!(f, "{}/{}", self.addr, self.mask)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_masked_and_shown_as_iptables_does() {
        for (word, shown) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("10.1.2.3/255.255.0.0", "10.1.0.0/16"),
            ("10.1.2.3/255.0.255.0", "10.0.2.0/255.0.255.0"),
            ("1.2.3.4/0.0.0.255", "0.0.0.4/0.0.0.255"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("1.2.3.4/0.0.0.0", "0.0.0.0/0"),
            ("255.255.255.255/31", "255.255.255.254/31"),
        ] {
            assert_eq!(Prefix::parse(word).unwrap().to_string(), shown, "{word}");
        }
    }

    #[test]
    fn bad_addresses_say_why() {
        for (word, reason) in [
            ("10.0.0.1,10.0.0.2", "one address"),
            ("fd00::1/64", "IPv6"),
            ("example.org", "host names"),
            ("10.0.0", "not an IPv4 address"),
            ("10.0.0.256", "not an IPv4 address"),
            ("010.0.0.1", "for octal"),
            ("10.0.0.0/010", "for octal"),
            ("10.0.0.0/255.0.0.00", "for octal"),
            ("", "not an IPv4 address"),
            ("/8", "not an IPv4 address"),
            ("10.0.0.0/33", "bad network mask"),
            ("10.0.0.0/+8", "bad network mask"),
            ("10.0.0.0/-1", "bad network mask"),
            ("10.0.0.0/", "bad network mask"),
            ("10.0.0.0/8/8", "bad network mask"),
            ("10.0.0.0/255.0.0", "bad network mask"),
        ] {
            let fault = Prefix::parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains(reason) && fault.token == word, "{word}: {fault}");
        }
    }
}
