//! Ranges of addresses, and the networks that they are made of.

use std::net::Ipv4Addr;

use super::super::{AddressRange, Part, Prefix, extension::range, fault::Refusal, number};

/// Reads `ADDRESS`, `ADDRESS/LENGTH` or `FIRST-LAST`.
pub(super) fn addresses(word: &str) -> Result<AddressRange, Refusal> {
    if word.contains('-') {
        return range(word);
    }
    if word.contains(':') {
        let advice = "give an IPv4 address or network";
        return Err(Refusal::new(word, "IPv6 is not filtered here", advice));
    }
    number::not_octal(word)?;
    let (address, length) = word.split_once('/').unwrap_or((word, "32"));
    let length = number::digits(length).filter(|length: &u32| *length <= u32::BITS);
    let (Ok(address), Some(length)) = (address.parse::<Ipv4Addr>(), length) else {
        let reason = "not a range of IPv4 addresses (host names are not looked up)";
        return Err(Refusal::new(
            word,
            reason,
            "write it as 10.0.0.1, 10.0.0.0/8 or 10.0.0.1-10.0.0.9",
        ));
    };
    let one = AddressRange {
        first: address,
        last: address,
    };
    Ok(widened(one, length))
}

/// The range with all addresses that agree with one of its own on the leading `length` bits.
pub(super) fn widened(range: AddressRange, length: u32) -> AddressRange {
    let host = Ipv4Addr::from_bits(host_bits(length));
    AddressRange {
        first: range.first & !host,
        last: range.last | host,
    }
}

/// The bits of an address behind its leading `length`.
fn host_bits(length: u32) -> u32 {
    u32::MAX.checked_shr(length).unwrap_or(0)
}

/// The network that a range is, or the range.
pub(super) fn network_or_range(range: AddressRange) -> Part {
    match networks(range).as_slice() {
        [network] => Part::Network(*network),
        _ => Part::Range(range),
    }
}

/// The fewest networks that make up the range.
pub(super) fn networks(range: AddressRange) -> Vec<Prefix> {
    let (mut first, last) = (u64::from(range.first.to_bits()), u64::from(range.last.to_bits()));
    let mut networks = Vec::new();
    while first <= last {
        let aligned = first.trailing_zeros().min(u32::BITS);
        let fitting = (last - first + 1).ilog2();
        let bits = aligned.min(fitting);
        let address = u32::try_from(first).unwrap_or(u32::MAX);
        let mask = !host_bits(u32::BITS - bits);
        networks.push(Prefix::new(Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(mask)));
        first += 1 << bits;
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_made_of_networks_exactly() {
        for (range, count) in [
            ("0.0.0.0-255.255.255.255", 1),
            ("0.0.0.1-255.255.255.254", 62),
            ("1.2.3.4-1.2.3.4", 1),
        ] {
            let networks = networks(addresses(range).unwrap());
            assert_eq!(networks.len(), count, "{range}");
            let size = |network: &Prefix| u64::from(!network.mask().to_bits()) + 1;
            let AddressRange { first, last } = addresses(range).unwrap();
            assert_eq!(
                networks.iter().map(size).sum::<u64>(),
                u64::from(last.to_bits()) - u64::from(first.to_bits()) + 1
            );
        }
    }
}
