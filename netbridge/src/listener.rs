//! Sockets of the host that hold ports, asked of the kernel's socket monitoring (`sock_diag`): `/proc/net/tcp` says the
//! same, but walks every connection's hash bucket for it, which takes milliseconds.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, bail};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::model::{PortSpec, Transport};

/// What to do where the kernel does not list its sockets.
const REFUSED: &str = "the kernel refuses; `modprobe -a tcp_diag udp_diag`";

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
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("open a socket to list sockets")?;
    socket.bind_auto().context("bind the socket that lists sockets")?;
    let mut found = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        for family in [AF_INET, AF_INET6] {
            let sockets = list(&socket, transport, family);
            let sockets = sockets.with_context(|| format!("list the host's {transport} sockets"))?;
            found.extend(sockets.iter().filter_map(|socket| listener(transport, socket)));
        }
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

/// Lists the sockets of a family that may hold ports.
fn list(socket: &Socket, transport: Transport, family: u8) -> Result<Vec<InetResponseHeader>> {
    let request = InetRequest {
        family,
        protocol: transport.number(),
        extensions: ExtensionFlags::empty(),
        states: match transport {
            Transport::Tcp => StateFlags::LISTEN | StateFlags::from_bits_retain(BOUND_INACTIVE),
            // An unconnected UDP socket counts as closed, a connected one as established.
            Transport::Udp => StateFlags::CLOSE | StateFlags::ESTABLISHED,
        },
        socket_id: SocketId::new_v4(),
    };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let mut sockets = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if read(&bytes, &mut sockets)? {
            return Ok(sockets);
        }
    }
}

/// Adds the sockets of a datagram's messages; true if the list ends there.
fn read(datagram: &[u8], sockets: &mut Vec<InetResponseHeader>) -> Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).context("an answer cannot be read")?;
        rest = rest
            .get(message.header.length as usize..)
            .context("an answer is cut short")?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => sockets.push(socket.header),
            // A protocol that the kernel cannot list ends the list with an error, and not with an error message.
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(done.code.wrapping_neg())).context(REFUSED);
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()).context(REFUSED),
            other => bail!("an answer of an unknown kind: {other:?}"),
        }
    }
    Ok(false)
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
    use std::iter;
    use std::net::{TcpListener, UdpSocket};
    use std::num::NonZeroI32;

    use netlink_packet_sock_diag::inet::InetResponse;
    use rtnetlink::packet_core::{DoneMessage, ErrorMessage, NetlinkHeader};

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

    /// What the kernel answers for one listening socket: the socket's message, and the one that ends the list.
    fn answer() -> Vec<u8> {
        let mut id = SocketId::new_v4();
        (id.source_address, id.source_port) = (Ipv4Addr::LOCALHOST.into(), 80);
        let header = InetResponseHeader {
            family: AF_INET,
            state: 10,
            timer: None,
            socket_id: id,
            recv_queue: 0,
            send_queue: 128,
            uid: 0,
            inode: 4711,
        };
        let socket = SockDiagMessage::InetResponse(Box::new(InetResponse {
            header,
            nlas: iter::empty().collect(),
        }));
        let done = NetlinkPayload::Done(DoneMessage::default());
        let mut bytes = Vec::new();
        for payload in [NetlinkPayload::InnerMessage(socket), done] {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len(), 0);
            message.serialize(&mut bytes[start..]);
        }
        bytes
    }

    #[test]
    fn answers_that_are_cut_short_or_damaged_are_errors_or_lists_and_no_panics() {
        let answer = answer();
        let mut sockets = Vec::new();
        assert!(read(&answer, &mut sockets).unwrap());
        assert_eq!(sockets.len(), 1);
        assert!(!read(&[], &mut sockets).unwrap(), "the list goes on");
        let socket = u32::from_ne_bytes(answer[..4].try_into().unwrap()) as usize;
        for end in (1..answer.len()).filter(|&end| end != socket) {
            assert!(read(&answer[..end], &mut Vec::new()).is_err(), "{end} bytes");
        }
        assert!(!read(&answer[..socket], &mut Vec::new()).unwrap());
        for place in 0..answer.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = answer.clone();
                damaged[place] = value;
                let mut sockets = Vec::new();
                let _outcome = read(&damaged, &mut sockets);
                assert!(sockets.len() <= 1);
            }
        }
    }

    #[test]
    fn what_the_kernel_refuses_says_what_to_do() {
        for payload in [
            NetlinkPayload::Done({
                let mut done = DoneMessage::default();
                done.code = -95;
                done
            }),
            NetlinkPayload::Error({
                let mut error = ErrorMessage::default();
                error.code = NonZeroI32::new(-1);
                error
            }),
        ] {
            let mut message = NetlinkMessage::<SockDiagMessage>::new(NetlinkHeader::default(), payload);
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            let error = format!("{:#}", read(&bytes, &mut Vec::new()).unwrap_err());
            assert!(error.contains("modprobe -a tcp_diag"), "{error}");
        }
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
