//! Ethernet addresses as people write them.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Fault;

/// An Ethernet address that a station can have: neither a group address nor all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address of an endpoint that was given none: `02:42:` and its IPv4 address, so that an
    /// endpoint attached again with the same address is known to its neighbours.
    pub fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered address made of `seed`.
    pub fn from_seed(seed: u64) -> Self {
        let [.., a, b, c, d, e] = seed.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }

    /// Reads `aa:bb:cc:dd:ee:ff`; `what` names it in a fault.
    pub fn parse(what: &str, text: &str) -> Result<Self, Fault> {
        let fault = |why: &str| {
            Fault::usage(
                format!("{what} {text}"),
                why,
                "give an address such as 02:42:0a:58:00:02",
            )
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| fault("is not six bytes in hexadecimal with colons between"))?;
        }
        if parts.next().is_some() {
            return Err(fault("is longer than six bytes"));
        }
        if bytes[0] & 1 != 0 {
            return Err(fault("is a group address, which no station has"));
        }
        if bytes == [0; 6] {
            return Err(fault("is all zero, which no station has"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse("mac", &text)
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses() {
        let mac = MacAddr::parse("--mac", "02:42:0a:58:00:02").unwrap();
        assert_eq!(mac, MacAddr::from_ipv4(Ipv4Addr::new(10, 88, 0, 2)));
        assert_eq!(mac.to_string(), "02:42:0a:58:00:02");
        for bad in [
            "",
            "02:42",
            "02:42:0a:58:00:02:03",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:42:0a:58:00:02",
            "zz:42:0a:58:00:02",
        ] {
            assert!(MacAddr::parse("--mac", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_seeded_address_is_local_and_no_group() {
        let MacAddr([first, ..]) = MacAddr::from_seed(u64::MAX);
        assert_eq!(first & 3, 2);
    }
}
