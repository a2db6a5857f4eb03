//! IPv4 addresses and subnets as users write them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Fault;

/// Reads an IPv4 address; `what` names it in a fault.
pub fn parse_ipv4(what: &str, text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_: std::net::AddrParseError| {
        Fault::usage(
            format!("{what} {text}"),
            "is not an IPv4 address",
            "give one such as 10.88.0.2",
        )
    })
}

/// Reads a subnet that endpoints can live in: a private or public unicast network, host bits zero,
/// with room for a gateway and an endpoint.
pub fn parse_subnet(what: &str, text: &str) -> Result<Ipv4Net, Fault> {
    let fault = |why: &str, remedy: String| Fault::usage(format!("{what} {text}"), why, remedy);
    let example = || "give one such as 10.88.0.0/24".to_owned();
    let net: Ipv4Net = text
        .parse()
        .map_err(|_: ipnet::AddrParseError| fault("is not an IPv4 subnet", example()))?;
    if net.trunc() != net {
        return Err(fault("has host bits set", format!("write {}", net.trunc())));
    }
    if net.prefix_len() > 30 {
        return Err(fault(
            "has no room for a gateway and an endpoint",
            "give a prefix of at most /30".to_owned(),
        ));
    }
    if net.prefix_len() < 8 {
        return Err(fault(
            "is larger than a network can be",
            "give a prefix of at least /8".to_owned(),
        ));
    }
    let first = net.network();
    if first.octets()[0] == 0 || first.is_loopback() || first.is_link_local() || first.octets()[0] >= 224 {
        return Err(fault("is not a range that hosts can have", example()));
    }
    Ok(net)
}

/// An address for an endpoint: `IP` or `IP/PREFIX[@GATEWAY]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSpec {
    /// The address.
    pub address: Ipv4Addr,
    /// Its prefix length; `None` takes the subnet's.
    pub prefix: Option<u8>,
    /// The way out; `None` takes the network's gateway.
    pub gateway: Option<Ipv4Addr>,
}

impl AddressSpec {
    /// Reads one; `what` names it in a fault.
    pub fn parse(what: &str, text: &str) -> Result<Self, Fault> {
        let fault = |why: &str| {
            let remedy = "write IP, IP/PREFIX or IP/PREFIX@GATEWAY, such as 10.88.0.9/24@10.88.0.1";
            Fault::usage(format!("{what} {text}"), why, remedy)
        };
        let (net, gateway) = match text.split_once('@') {
            None => (text, None),
            Some((net, gateway)) => (
                net,
                Some(
                    gateway
                        .parse()
                        .map_err(|_: std::net::AddrParseError| fault("has a malformed gateway"))?,
                ),
            ),
        };
        let (address, prefix) = if net.contains('/') {
            let net: Ipv4Net = net
                .parse()
                .map_err(|_: ipnet::AddrParseError| fault("is not an IPv4 address and prefix"))?;
            (net.addr(), Some(net.prefix_len()))
        } else {
            (
                net.parse()
                    .map_err(|_: std::net::AddrParseError| fault("is not an IPv4 address"))?,
                None,
            )
        };
        Ok(Self {
            address,
            prefix,
            gateway,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        assert!(parse_subnet("--subnet", "10.1.0.0/24").is_ok());
        for bad in [
            "10.1.0.0",
            "10.1.0.1/24",
            "10.1.0.0/33",
            "10.1.0.0/31",
            "0.0.0.0/0",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "fd00::/64",
            "",
        ] {
            assert!(parse_subnet("--subnet", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn address_specs() {
        let spec = AddressSpec::parse("--ip", "10.1.0.9/24@10.1.0.1").unwrap();
        assert_eq!(
            (spec.prefix, spec.gateway),
            (Some(24), Some(Ipv4Addr::new(10, 1, 0, 1)))
        );
        let plain = AddressSpec::parse("--ip", "10.1.0.9").unwrap();
        assert_eq!((plain.prefix, plain.gateway), (None, None));
        for bad in [
            "",
            "10.1.0",
            "10.1.0.9/33",
            "10.1.0.9/24@",
            "10.1.0.9@x",
            "10.1.0.9/",
            "::1",
        ] {
            assert!(AddressSpec::parse("--ip", bad).is_err(), "{bad}");
        }
    }
}
