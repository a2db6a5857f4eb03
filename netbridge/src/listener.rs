//! Sockets of the host that hold ports.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use netlink_packet_sock_diag::inet::{InetResponseHeader, StateFlags};

use crate::model::{PortSpec, Transport};
use crate::sock_diag::Monitor;

/// In a mask of states: TCP sockets that are bound, and neither listen nor connect (`TCP_BOUND_INACTIVE`, Linux 6.8). Earlier
/// kernels do not list them.
const BOUND_INACTIVE: u32 = 1 << 13;

/// A port that a socket of the host holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP, listening or bound and not connected; or UDP, bound.
    pub transport: Transport,
    /// The address; `None` for any.
    pub address: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
    /// The socket's inode.
    pub inode: u32,
    /// Whose it is, as far as anyone asked: a program's name and process id.
    pub holder: Option<String>,
}

impl Listener {
    /// Whether it would compete for one of these ports.
    pub fn holds(&self, ports: &PortSpec) -> bool {
        let same_address = self.address.is_none() || ports.host_ip.is_none() || self.address == ports.host_ip;
        self.transport == ports.transport && ports.behind(self.port).is_some() && same_address
    }
}

/// The ports that sockets of the calling thread's namespace hold.
pub fn listeners() -> Result<Vec<Listener>> {
    let monitor = Monitor::open()?;
    let mut found = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let states = match transport {
            Transport::Tcp => StateFlags::LISTEN | StateFlags::from_bits_retain(BOUND_INACTIVE),
            // An unconnected UDP socket counts as closed, a connected one as established.
            Transport::Udp => StateFlags::CLOSE | StateFlags::ESTABLISHED,
        };
        let sockets = monitor.list(transport, &states)?;
        found.extend(sockets.iter().filter_map(|socket| listener(transport, socket)));
    }
    Ok(found)
}

/// The same; those in the way of `ports` with the names of their holders.
pub fn rivals(ports: &[PortSpec]) -> Result<Vec<Listener>> {
    let mut listeners = listeners()?;
    let in_the_way = |listener: &&mut Listener| ports.iter().any(|ports| listener.holds(ports));
    let mut rivals: Vec<&mut Listener> = listeners.iter_mut().filter(in_the_way).collect();
    name_holders(&mut rivals);
    Ok(listeners)
}

/// The port that a socket holds; `None` if that is no IPv4 port.
fn listener(transport: Transport, socket: &InetResponseHeader) -> Option<Listener> {
    let address = match socket.socket_id.source_address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) if address.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address.to_ipv4_mapped()?,
    };
    Some(Listener {
        transport,
        address: (!address.is_unspecified()).then_some(address),
        port: socket.socket_id.source_port,
        inode: socket.inode,
        holder: None,
    })
}

/// Names the holders of sockets, where they can be found. It takes a look at every open file of every process that may be
/// looked at.
fn name_holders(sockets: &mut [&mut Listener]) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        if sockets.iter().all(|socket| socket.holder.is_some()) {
            return;
        }
        // A process may end while it is looked at.
        for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            for socket in sockets.iter_mut() {
                if target.as_os_str() == format!("socket:[{}]", socket.inode).as_str() {
                    let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                    let pid = process.file_name();
                    socket.holder = Some(format!("{} (pid {})", name.trim_end(), pid.display()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use netlink_packet_sock_diag::constants::AF_INET6;
    use netlink_packet_sock_diag::inet::SocketId;

    use super::*;

    #[test]
    fn sockets_of_either_family_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:9").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let found = listeners().unwrap();
        let held = |transport, address, port| {
            let is = |held: &&Listener| (held.transport, held.address, held.port) == (transport, address, port);
            found.iter().find(is).cloned().unwrap()
        };
        let mut mine = held(Transport::Tcp, Some(Ipv4Addr::LOCALHOST), port);
        held(Transport::Udp, None, udp.local_addr().unwrap().port());
        let address = Some(Ipv4Addr::LOCALHOST);
        held(Transport::Udp, address, connected.local_addr().unwrap().port());
        name_holders(&mut [&mut mine]);
        let pid = format!("(pid {})", std::process::id());
        assert!(
            mine.holder.as_ref().is_some_and(|holder| holder.ends_with(&pid)),
            "{mine:?}"
        );
        let connection = client.local_addr().unwrap().port();
        assert!(found.iter().all(|listener| listener.port != connection), "a connection");
    }

    #[test]
    fn addresses_of_ipv6_count_where_they_take_ipv4() {
        let held = |address: &str| {
            let mut id = SocketId::new_v6();
            (id.source_address, id.source_port) = (address.parse().unwrap(), 80);
            let socket = InetResponseHeader {
                family: AF_INET6,
                state: 10,
                timer: None,
                socket_id: id,
                recv_queue: 0,
                send_queue: 0,
                uid: 0,
                inode: 0,
            };
            listener(Transport::Tcp, &socket).map(|listener| listener.address)
        };
        assert_eq!(held("::"), Some(None));
        assert_eq!(held("::ffff:192.0.2.1"), Some(Some(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(held("fe80::1"), None);
    }

    #[test]
    fn any_address_competes_with_each() {
        let listener = Listener {
            transport: Transport::Tcp,
            address: None,
            port: 80,
            inode: 0,
            holder: None,
        };
        for (ports, expected) in [
            ("127.0.0.1:80:1", true),
            ("80:1/udp", false),
            ("81:1", false),
            ("70-80:1-11", true),
            ("70-79:1-10", false),
        ] {
            assert_eq!(listener.holds(&PortSpec::parse(ports).unwrap()), expected, "{ports}");
        }
    }
}
