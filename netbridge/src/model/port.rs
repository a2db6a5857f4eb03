//! Published ports as users write them.

use std::fmt;
use std::net::Ipv4Addr;

use netbridge_common::abi::proto;
use serde::{Deserialize, Serialize};

use super::Fault;

/// The form of a port specification.
const FORM: &str = "write [HOSTIP:]HOST[-END]:CONTAINER[-END][/tcp|udp], ports from 1 to 65535";

/// Ports that one call publishes at most.
pub const MAX_PORTS: usize = 1024;

/// A transport whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => proto::TCP,
            Self::Udp => proto::UDP,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port specification: equal ranges on the host and in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The host's address; `None` for any address of the uplink.
    pub host_ip: Option<Ipv4Addr>,
    /// First port on the host.
    pub host: u16,
    /// First port in the container.
    pub container: u16,
    /// Ports in the range, from 1 to [`MAX_PORTS`].
    pub count: u16,
    /// The transport.
    pub transport: Transport,
}

impl PortSpec {
    /// Reads `[HOSTIP:]HOST[-END]:CONTAINER[-END][/tcp|udp]`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |why: String| Fault::usage(format!("port {text:?}"), why, FORM);
        let (ports, transport) = match text.split_once('/') {
            None => (text, Transport::Tcp),
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some((_, other)) => return Err(fault(format!("protocol {other:?} is neither tcp nor udp"))),
        };
        let (host_ip, host, container) = match *ports.split(':').collect::<Vec<_>>() {
            [host, container] => (None, host, container),
            [ip, host, container] => {
                let ip: Ipv4Addr = ip.parse().map_err(|error| fault(format!("{ip:?}: {error}")))?;
                ((!ip.is_unspecified()).then_some(ip), host, container)
            }
            _ => return Err(fault("is not HOST:CONTAINER".to_owned())),
        };
        let (host, host_end) = range(host).map_err(fault)?;
        let (container, container_end) = range(container).map_err(fault)?;
        if host_end - host != container_end - container {
            return Err(fault("the ranges differ in length".to_owned()));
        }
        let count = usize::from(host_end - host) + 1;
        if count > MAX_PORTS {
            return Err(Fault::usage(
                format!("port {text:?}"),
                format!("is {count} ports, and one call publishes at most {MAX_PORTS}"),
                "publish the range in several calls",
            ));
        }
        Ok(Self {
            host_ip,
            host,
            container,
            count: host_end - host + 1,
            transport,
        })
    }

    /// Every pair of a port on the host and its port in the container.
    pub fn pairs(self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.count).map(move |offset| (self.host + offset, self.container + offset))
    }
}

/// First and last port of `N` or `N-M`.
fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("range {text} ends before it begins"));
    }
    Ok((first, last))
}

fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| format!("{text:?} is not a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let spec = |host_ip, host, container, count, transport| PortSpec {
            host_ip,
            host,
            container,
            count,
            transport,
        };
        let ip = Some(Ipv4Addr::new(192, 0, 2, 1));
        for (text, expected) in [
            ("80:8080", spec(None, 80, 8080, 1, Transport::Tcp)),
            ("80:8080/tcp", spec(None, 80, 8080, 1, Transport::Tcp)),
            ("53:53/udp", spec(None, 53, 53, 1, Transport::Udp)),
            ("0.0.0.0:80:80", spec(None, 80, 80, 1, Transport::Tcp)),
            (
                "192.0.2.1:1000-1009:2000-2009/udp",
                spec(ip, 1000, 2000, 10, Transport::Udp),
            ),
            ("1-1024:1-1024", spec(None, 1, 1, 1024, Transport::Tcp)),
            ("65535:65535", spec(None, 65535, 65535, 1, Transport::Tcp)),
        ] {
            assert_eq!(PortSpec::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_malformed_one_is_refused() {
        for text in [
            "",
            "80",
            ":",
            "80:",
            ":80",
            "0:80",
            "80:0",
            "65536:80",
            "80:65536",
            "80:80/sctp",
            "80:80/",
            "a:b",
            "+80:80",
            "10-5:10-5",
            "10-12:10-11",
            "1-1025:1-1025",
            "1-65535:1-65535",
            "300.0.0.1:80:80",
            "::1:80:80",
            "1:2:3:4",
            "80 :80",
        ] {
            assert!(PortSpec::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_run_in_step_to_the_last_port() {
        let spec = PortSpec::parse("65534-65535:1-2").unwrap();
        assert_eq!(spec.pairs().collect::<Vec<_>>(), [(65534, 1), (65535, 2)]);
    }
}
