//! Published ports as users write them.

use std::fmt;
use std::net::Ipv4Addr;

use netbridge_common::abi::proto;
use serde::{Deserialize, Serialize};

use super::Fault;

/// The form of a port specification.
const FORM: &str = "write [[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp], ports from 1 to 65535; with HOST 0, empty or \
                    left out, a free one is chosen";

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
    /// The one with this IP protocol number.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            proto::TCP => Some(Self::Tcp),
            proto::UDP => Some(Self::Udp),
            _ => None,
        }
    }

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

/// Ports on the host and as many in the container, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The host's address; `None` for any.
    pub host_ip: Option<Ipv4Addr>,
    /// First port on the host; 0 where one is to be chosen.
    pub host: u16,
    /// First port in the container.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// The transport.
    pub transport: Transport,
}

impl PortSpec {
    /// Reads `[[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp]`, where `HOST` may be 0 or empty.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |why: String| Fault::usage(format!("port {text:?}"), why, FORM);
        let (ports, transport) = match text.split_once('/') {
            None => (text, Transport::Tcp),
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some((_, other)) => return Err(fault(format!("protocol {other:?} is neither tcp nor udp"))),
        };
        let (host_ip, host, container) = match *ports.split(':').collect::<Vec<_>>() {
            [container] => (None, "", container),
            [host, container] => (None, host, container),
            [ip, host, container] => {
                let ip: Ipv4Addr = ip.parse().map_err(|error| fault(format!("{ip:?}: {error}")))?;
                ((!ip.is_unspecified()).then_some(ip), host, container)
            }
            _ => return Err(fault("is not HOST:CONTAINER".to_owned())),
        };
        let (container, container_end) = range(container).map_err(fault)?;
        let length = container_end - container;
        let host = if host.is_empty() || host == "0" {
            0
        } else {
            let (host, host_end) = range(host).map_err(fault)?;
            if host_end - host != length {
                return Err(fault("the ranges differ in length".to_owned()));
            }
            host
        };
        Ok(Self {
            host_ip,
            host,
            container,
            count: length.saturating_add(1),
            transport,
        })
    }

    /// Whether the port on the host is still to be chosen.
    pub fn is_open(&self) -> bool {
        self.host == 0
    }

    /// The last port on the host.
    pub fn last(&self) -> u16 {
        end(self.host, self.count)
    }

    /// The port in the container behind a port on the host; `None` if that is not among them.
    pub fn behind(&self, host: u16) -> Option<u16> {
        let offset = host.checked_sub(self.host).filter(|offset| *offset < self.count)?;
        self.container.checked_add(offset)
    }

    /// Where the outside finds them: `HOSTIP:HOST[-END]/TRANSPORT`.
    pub fn host_side(&self) -> String {
        let ip = self.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!("{ip}:{}/{}", self.host_range(), self.transport)
    }

    /// The ports on the host: `HOST[-END]`.
    pub fn host_range(&self) -> String {
        written(self.host, self.count)
    }

    /// Where they are in the container: `CONTAINER[-END]`.
    pub fn container_side(&self) -> String {
        written(self.container, self.count)
    }
}

impl fmt::Display for PortSpec {
    /// The specification that reads as these ports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(f, "{ip}:")?;
        }
        let host = if self.is_open() {
            "0".to_owned()
        } else {
            self.host_range()
        };
        let container = self.container_side();
        write!(f, "{host}:{container}/{}", self.transport)
    }
}

/// The last of so many ports.
fn end(first: u16, count: u16) -> u16 {
    first.saturating_add(count.saturating_sub(1))
}

/// So many ports, as they are written.
fn written(first: u16, count: u16) -> String {
    match end(first, count) {
        last if last == first => first.to_string(),
        last => format!("{first}-{last}"),
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
            ("1-65535:1-65535", spec(None, 1, 1, 65535, Transport::Tcp)),
            ("8000-17999:8000-17999", spec(None, 8000, 8000, 10_000, Transport::Tcp)),
            ("65535:65535", spec(None, 65535, 65535, 1, Transport::Tcp)),
            (
                "127.0.0.1:8080:80",
                spec(Some(Ipv4Addr::LOCALHOST), 8080, 80, 1, Transport::Tcp),
            ),
            ("80", spec(None, 0, 80, 1, Transport::Tcp)),
            (":80", spec(None, 0, 80, 1, Transport::Tcp)),
            ("0:80", spec(None, 0, 80, 1, Transport::Tcp)),
            ("0.0.0.0:0:80", spec(None, 0, 80, 1, Transport::Tcp)),
            ("192.0.2.1::53/udp", spec(ip, 0, 53, 1, Transport::Udp)),
            ("3000-3009/udp", spec(None, 0, 3000, 10, Transport::Udp)),
        ] {
            assert_eq!(PortSpec::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_malformed_one_is_refused() {
        for text in [
            "",
            "0",
            ":",
            "::",
            "80:",
            "80:0",
            ":0",
            "00:80",
            "127.0.0.1:80",
            "65536:80",
            "80:65536",
            "80:80/sctp",
            "80:80/",
            "a:b",
            "+80:80",
            "10-5:10-5",
            "10-12:10-11",
            "10-12:10",
            "10:10-12",
            "10-:10-",
            "10-11-12:10-11-12",
            "0-9:1-10",
            "65530-65536:1-7",
            "300.0.0.1:80:80",
            "::1:80:80",
            "1:2:3:4",
            "80 :80",
        ] {
            assert!(PortSpec::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_run_in_step_to_the_last() {
        let spec = PortSpec::parse("65533-65535:1-3").unwrap();
        let behind = [65532, 65533, 65534, 65535].map(|host| spec.behind(host));
        assert_eq!(behind, [None, Some(1), Some(2), Some(3)]);
        assert_eq!((spec.last(), spec.behind(0)), (65535, None));
    }

    #[test]
    fn a_specification_is_written_as_it_is_read() {
        for (text, host_side) in [
            ("80:8080/tcp", "0.0.0.0:80/tcp"),
            ("192.0.2.1:53:5353/udp", "192.0.2.1:53/udp"),
            ("0:80/tcp", "0.0.0.0:0/tcp"),
            ("192.0.2.1:0:80-81/tcp", "192.0.2.1:0-1/tcp"),
            ("8000-17999:8001-18000/tcp", "0.0.0.0:8000-17999/tcp"),
        ] {
            let spec = PortSpec::parse(text).unwrap();
            assert_eq!(
                (spec.to_string(), spec.host_side()),
                (text.to_owned(), host_side.to_owned())
            );
        }
    }
}
