//! IPv4 addresses and subnets as users write them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Fault, Faults};

/// Reads an IPv4 address; `what` names it in a fault.
pub fn parse_ipv4(what: &str, text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|error: std::net::AddrParseError| {
        Fault::usage(
            format!("{what} {text}"),
            error.to_string(),
            "give an IPv4 address such as 10.88.0.2",
        )
    })
}

/// Reads a subnet that endpoints can live in: a private or public unicast network, host bits zero,
/// with room for a gateway and an endpoint.
pub fn parse_subnet(what: &str, text: &str) -> Result<Ipv4Net, Fault> {
    let fault = |why: &str, remedy: String| Fault::usage(format!("{what} {text}"), why, remedy);
    let example = || "give one such as 10.88.0.0/24".to_owned();
    let net: Option<Ipv4Net> = text.parse().ok();
    let net = net.ok_or_else(|| fault("is not an IPv4 subnet", example()))?;
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

/// Reads who may come in: addresses and subnets, each once and none within another, in order.
pub fn parse_sources(what: &str, texts: &[String]) -> Result<Vec<Ipv4Net>, Faults> {
    let mut faults = Faults::default();
    let parse = |text: &String| {
        let fault = |why: &str, remedy: String| Fault::usage(format!("{what} {text:?}"), why, remedy);
        let net = text
            .parse()
            .or_else(|_subnet| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
        let net = net.map_err(|_malformed| {
            let remedy = "give addresses or subnets such as 192.0.2.7,10.0.0.0/8".to_owned();
            fault("is neither an IPv4 address nor a subnet", remedy)
        })?;
        if net.trunc() == net {
            Ok(net)
        } else {
            Err(fault("has host bits set", format!("write {}", net.trunc())))
        }
    };
    let nets: Vec<Ipv4Net> = texts.iter().filter_map(|text| faults.keep(parse(text))).collect();
    faults.check()?;
    let mut nets = Ipv4Net::aggregate(&nets);
    nets.sort();
    Ok(nets)
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
        let (net, gateway) = text
            .split_once('@')
            .map_or((text, None), |(net, gateway)| (net, Some(gateway)));
        let gateway = gateway.map(|text| text.parse().ok().ok_or_else(|| fault("has a malformed gateway")));
        let (address, prefix) = match net.split_once('/') {
            None => (net.parse().ok(), None),
            Some(_) => net
                .parse()
                .ok()
                .map_or((None, None), |net: Ipv4Net| (Some(net.addr()), Some(net.prefix_len()))),
        };
        let address = address.ok_or_else(|| fault("is not an IPv4 address, with or without a prefix"))?;
        Ok(Self {
            address,
            prefix,
            gateway: gateway.transpose()?,
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
