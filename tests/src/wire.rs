//! Raw frames on an interface: sending forged ones, and judging all that arrive.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use netbridge::netns::Netns;
use netbridge_common::abi::Traffic;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::frame;

/// Room for what arrives while the capturing thread is not scheduled, bytes.
const BACKLOG: usize = 512 * 1024 * 1024;

/// A packet socket on one interface.
pub struct Wire {
    socket: Socket,
    mac: [u8; 6],
}

impl Wire {
    /// Opens `interface` of `namespace`.
    pub fn open(namespace: &Netns, interface: &str) -> Result<Self> {
        namespace
            .run(|| {
                let index = if_nametoindex(interface)?;
                let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
                let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
                setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG)?;
                socket.bind(&link_address(index, protocol)?)?;
                Ok(Self {
                    socket,
                    mac: mac_of(interface)?,
                })
            })?
            .map_err(|error: anyhow::Error| error.context(format!("cannot open a packet socket on {interface}")))
    }

    /// The interface's own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = (&self.socket).write(frame).context("cannot send a raw frame")?;
        ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        Ok(())
    }

    /// Sends a frame whose checksum the kernel is to complete: the sum of all from byte `start` on, `offset` bytes behind
    /// that (`PACKET_VNET_HDR`).
    pub fn send_unfinished(&self, frame: &[u8], start: u16, offset: u16) -> Result<()> {
        self.set_option(libc::PACKET_VNET_HDR, true)?;
        // A `virtio_net_hdr`: VIRTIO_NET_HDR_F_NEEDS_CSUM, and nothing about segments.
        let mut header = vec![1, 0, 0, 0, 0, 0];
        header.extend_from_slice(&start.to_ne_bytes());
        header.extend_from_slice(&offset.to_ne_bytes());
        let sent = self.send(&[&header, frame].concat());
        self.set_option(libc::PACKET_VNET_HDR, false)?;
        sent
    }

    /// Lets the socket see nothing that its own namespace sends: what a station sends in another's name is no arrival.
    pub fn ignore_outgoing(&self) -> Result<()> {
        self.set_option(libc::PACKET_IGNORE_OUTGOING, true)
    }

    fn set_option(&self, option: libc::c_int, on: bool) -> Result<()> {
        let on = libc::c_int::from(on);
        let length = libc::socklen_t::try_from(size_of_val(&on))?;
        // SAFETY: these options take an `int`, which `on` is and which lives until the call returns.
        let result = unsafe {
            libc::setsockopt(
                std::os::fd::AsRawFd::as_raw_fd(&self.socket),
                libc::SOL_PACKET,
                option,
                (&raw const on).cast(),
                length,
            )
        };
        nix::errno::Errno::result(result).with_context(|| format!("cannot set option {option} of a packet socket"))?;
        Ok(())
    }

    /// All frames that have arrived and were not read, this socket's own among them unless they are ignored.
    pub fn waiting(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut buffer = [0; 16_384];
        loop {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&self.socket);
            match nix::sys::socket::recv(fd, &mut buffer, nix::sys::socket::MsgFlags::MSG_DONTWAIT) {
                Ok(length) => frames.push(buffer[..length].to_vec()),
                Err(nix::errno::Errno::EAGAIN) => return Ok(frames),
                Err(error) => return Err(error).context("cannot receive raw frames"),
            }
        }
    }

    /// Waits for a frame of somebody else's that `wanted` accepts.
    pub fn receive(&self, limit: Duration, mut wanted: impl FnMut(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let start = std::time::Instant::now();
        self.socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut buffer = vec![0; 65_536];
        while start.elapsed() < limit {
            match (&self.socket).read(&mut buffer) {
                Ok(length) if buffer.get(6..12) != Some(&self.mac) && wanted(&buffer[..length]) => {
                    return Ok(Some(buffer[..length].to_vec()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot receive raw frames"),
            }
        }
        Ok(None)
    }
}

/// What a capture saw of frames that others sent.
#[derive(Debug, Default, Clone)]
pub struct Captured {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The longest frame.
    pub longest: usize,
    /// What was wrong with the first few bad ones.
    pub bad: Vec<String>,
}

/// Judges every frame that arrives on an interface, on a thread of its own, until it is finished.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Captured>>,
    namespace: Netns,
    interface: String,
    before: u64,
}

impl Capture {
    /// Starts with the next frame. The interface must be quiet at this moment: the capture is later
    /// compared with the kernel's own count.
    pub fn start(namespace: Netns, interface: &str) -> Result<Self> {
        let wire = Wire::open(&namespace, interface)?;
        let before = counters(&namespace, interface)?.rx_packets;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || watch(&wire, &stopped));
        Ok(Self {
            stop,
            thread,
            namespace,
            interface: interface.to_owned(),
            before,
        })
    }

    /// Reads what is left and ends. Fails if the capture missed a frame that the interface counted until now.
    pub fn finish(self) -> Result<Captured> {
        let counted = counters(&self.namespace, &self.interface)?.rx_packets - self.before;
        self.stop.store(true, Ordering::Relaxed);
        let captured = self
            .thread
            .join()
            .map_err(|_panic| anyhow!("the capturing thread panicked"))??;
        ensure!(
            captured.frames >= counted,
            "the capture on {} saw {} frames of {counted}: its verdict would not hold",
            self.interface,
            captured.frames
        );
        Ok(captured)
    }
}

fn watch(wire: &Wire, stopped: &AtomicBool) -> Result<Captured> {
    wire.socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut captured = Captured::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match (&wire.socket).read(&mut buffer) {
            Ok(_) if buffer.get(6..12) == Some(&wire.mac) => {}
            Ok(length) => {
                captured.frames += 1;
                captured.bytes += length as u64;
                captured.longest = captured.longest.max(length);
                if let Err(error) = frame::verify(&buffer[..length])
                    && captured.bad.len() < 8
                {
                    captured.bad.push(format!("{error:#}"));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stopped.load(Ordering::Relaxed) {
                    return Ok(captured);
                }
            }
            Err(error) => return Err(error).context("cannot capture"),
        }
    }
}

/// Makes the kernel finish checksums, and with them segments, before a frame leaves `interface`: between
/// virtual interfaces they are otherwise left to a hardware that does not exist, and a capture would
/// see them unfinished.
pub fn finish_checksums(namespace: &Netns, interface: &str) -> Result<()> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    const ETHTOOL_STXCSUM: u32 = 0x17;

    namespace.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        let mut value = EthtoolValue {
            command: ETHTOOL_STXCSUM,
            data: 0,
        };
        let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
        ensure!(interface.len() < name.len(), "{interface} is no interface name");
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::try_from(from)?;
        }
        let mut request = libc::ifreq {
            ifr_name: name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut value).cast(),
            },
        };
        // SAFETY: SIOCETHTOOL reads the name and the command behind `ifru_data`; both live until the call returns,
        // and ETHTOOL_STXCSUM accesses an `ethtool_value`, which `EthtoolValue` is.
        let result = unsafe {
            libc::ioctl(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                libc::SIOCETHTOOL,
                &raw mut request,
            )
        };
        nix::errno::Errno::result(result)
            .with_context(|| format!("cannot turn transmit checksum offload of {interface} off"))?;
        Ok(())
    })?
}

/// What the kernel counts on `interface`; drops are not asked for.
pub fn counters(namespace: &Netns, interface: &str) -> Result<Traffic> {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let (_, counters) = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == interface)
        .with_context(|| format!("the kernel lists no interface {interface}"))?;
    let counters: Vec<u64> = counters
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    ensure!(
        counters.len() >= 16,
        "the kernel's counters of {interface} have another form"
    );
    Ok(Traffic {
        rx_bytes: counters[0],
        rx_packets: counters[1],
        tx_bytes: counters[8],
        tx_packets: counters[9],
        drops: 0,
    })
}

fn link_address(index: u32, protocol: u16) -> Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is plain data, any bit pattern is one, and it fits a `sockaddr_storage`.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = u16::try_from(libc::AF_PACKET)?;
    link.sll_protocol = protocol;
    link.sll_ifindex = i32::try_from(index)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: `storage` holds a `sockaddr_ll` of that length, its family set.
    Ok(unsafe { SockAddr::new(storage, length) })
}

fn mac_of(interface: &str) -> Result<[u8; 6]> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr()?.addr())
        .with_context(|| format!("{interface} has no Ethernet address"))
}
