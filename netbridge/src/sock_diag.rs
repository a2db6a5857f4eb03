//! The kernel's socket monitoring (`sock_diag`): lists the sockets of a network namespace, and ends them. `/proc/net/tcp`
//! walks every connection's hash bucket, which takes milliseconds, even where only listeners are looked for.

use std::io;
use std::net::{IpAddr, SocketAddrV4};

use anyhow::{Context as _, Result, bail};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use nix::libc;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::model::Transport;

/// What to do where the kernel does not list its sockets.
const REFUSED: &str = "the kernel refuses; `modprobe -a tcp_diag udp_diag`";

/// The sockets of the network namespace that the calling thread was in when it opened this.
pub struct Monitor(Socket);

impl Monitor {
    /// Opens the kernel's socket monitoring.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("open a socket to list sockets")?;
        socket.bind_auto().context("bind the socket that lists sockets")?;
        Ok(Self(socket))
    }

    /// The sockets of IPv4 and IPv6 that are in one of these states.
    pub fn list(&self, transport: Transport, states: &StateFlags) -> Result<Vec<InetResponseHeader>> {
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let message = SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol: transport.number(),
                extensions: ExtensionFlags::empty(),
                states: states.clone(),
                socket_id: SocketId::new_v4(),
            });
            self.list_family(message, &mut sockets)
                .with_context(|| format!("list the host's {transport} sockets"))?;
        }
        Ok(sockets)
    }

    fn list_family(&self, request: SockDiagMessage, sockets: &mut Vec<InetResponseHeader>) -> Result<()> {
        self.send(request.into(), NLM_F_REQUEST | NLM_F_DUMP)?;
        loop {
            let (bytes, _) = self.0.recv_from_full()?;
            if read(&bytes, sockets)? {
                return Ok(());
            }
        }
    }

    /// Ends a socket that was listed: whoever reads from it or writes to it is told `ECONNABORTED`, and a TCP peer gets a
    /// reset. Needs `CAP_NET_ADMIN`. False if it is not there any more, or another one is in its place.
    pub fn end(&self, transport: Transport, socket: &InetResponseHeader) -> Result<bool> {
        self.end_one(transport, socket.family, socket.socket_id.clone())
    }

    /// Whether the kernel can end sockets: tried with one that cannot be, as no cookie is 0. Privileges are not looked at.
    pub fn check_end(&self) -> Result<()> {
        self.end_one(Transport::Tcp, AF_INET, SocketId::new_v4()).map(drop)
    }

    fn end_one(&self, transport: Transport, family: u8, socket_id: SocketId) -> Result<bool> {
        let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: transport.number(),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id,
        }));
        self.send(message.into(), NLM_F_REQUEST | NLM_F_ACK)?;
        let (bytes, _) = self.0.recv_from_full()?;
        ended(&bytes)
    }

    fn send<M: NetlinkSerializable>(&self, payload: NetlinkPayload<M>, flags: u16) -> Result<()> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.header.flags = flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }
}

/// The far end of a socket that is connected over IPv4, its own family being IPv4 or IPv6.
pub fn remote(socket: &InetResponseHeader) -> Option<SocketAddrV4> {
    let address = match socket.socket_id.destination_address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped()?,
    };
    (!address.is_unspecified()).then(|| SocketAddrV4::new(address, socket.socket_id.destination_port))
}

/// The socket's cookie as `bpf_get_socket_cookie` gives it: two words here, the low one first.
pub fn cookie(socket: &InetResponseHeader) -> u64 {
    let (words, _) = socket.socket_id.cookie.as_chunks();
    let words = words.iter().rev().map(|word| u64::from(u32::from_ne_bytes(*word)));
    words.fold(0, |cookie, word| cookie << 32 | word)
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

/// Whether a socket was ended, by the answer to that.
fn ended(answer: &[u8]) -> Result<bool> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer).context("an answer cannot be read")?;
    let NetlinkPayload::Error(error) = message.payload else {
        bail!("an answer of an unknown kind: {:?}", message.payload);
    };
    if error.code.is_none() {
        return Ok(true);
    }
    let error = error.to_io();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(false),
        Some(libc::EOPNOTSUPP) => Err(error).context("the kernel was built without CONFIG_INET_DIAG_DESTROY"),
        _ => Err(error).context("the kernel refuses to end a socket"),
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::net::Ipv4Addr;
    use std::num::NonZeroI32;

    use netlink_packet_sock_diag::inet::InetResponse;
    use rtnetlink::packet_core::{DoneMessage, ErrorMessage};

    use super::*;

    /// A socket as the kernel lists it.
    fn socket() -> InetResponseHeader {
        let mut id = SocketId::new_v4();
        (id.source_address, id.source_port) = (Ipv4Addr::LOCALHOST.into(), 80);
        InetResponseHeader {
            family: AF_INET,
            state: 10,
            timer: None,
            socket_id: id,
            recv_queue: 0,
            send_queue: 128,
            uid: 0,
            inode: 4711,
        }
    }

    fn bytes(payload: NetlinkPayload<SockDiagMessage>) -> Vec<u8> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// An answer that is an error; 0 for none.
    fn error(code: i32) -> Vec<u8> {
        let mut error = ErrorMessage::default();
        error.code = NonZeroI32::new(code);
        bytes(NetlinkPayload::Error(error))
    }

    /// What the kernel answers for one listening socket: the socket's message, and the one that ends the list.
    fn answer() -> Vec<u8> {
        let socket = SockDiagMessage::InetResponse(Box::new(InetResponse {
            header: socket(),
            nlas: iter::empty().collect(),
        }));
        let done = NetlinkPayload::Done(DoneMessage::default());
        [bytes(socket.into()), bytes(done)].concat()
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
                let _outcome = ended(&damaged);
            }
        }
    }

    #[test]
    fn what_the_kernel_refuses_says_what_to_do() {
        let mut done = DoneMessage::default();
        done.code = -libc::EOPNOTSUPP;
        for answer in [bytes(NetlinkPayload::Done(done)), error(-libc::EPERM)] {
            let error = format!("{:#}", read(&answer, &mut Vec::new()).unwrap_err());
            assert!(error.contains("modprobe -a tcp_diag"), "{error}");
        }
    }

    #[test]
    fn a_socket_is_ended_or_gone_or_that_is_refused() {
        assert!(ended(&error(0)).unwrap());
        assert!(!ended(&error(-libc::ENOENT)).unwrap());
        for (code, said) in [
            (-libc::EOPNOTSUPP, "CONFIG_INET_DIAG_DESTROY"),
            (-libc::EPERM, "not permitted"),
        ] {
            let error = format!("{:#}", ended(&error(code)).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        assert!(ended(&answer()).is_err() && ended(&[]).is_err());
    }

    #[test]
    fn the_far_end_is_that_of_ipv4() {
        let mut socket = socket();
        assert_eq!(remote(&socket), None);
        let id = &mut socket.socket_id;
        (id.destination_address, id.destination_port) = ("::ffff:10.88.0.2".parse().unwrap(), 80);
        assert_eq!(remote(&socket), Some("10.88.0.2:80".parse().unwrap()));
        socket.socket_id.destination_address = "fe80::1".parse().unwrap();
        assert_eq!(remote(&socket), None);
    }

    #[test]
    fn the_low_word_of_a_cookie_comes_first() {
        let mut socket = socket();
        socket.socket_id.cookie[..4].copy_from_slice(&7_u32.to_ne_bytes());
        socket.socket_id.cookie[4..].copy_from_slice(&1_u32.to_ne_bytes());
        assert_eq!(cookie(&socket), 0x1_0000_0007);
    }
}
