//! The kernel's connection tracking, of the calling thread's namespace.

use std::io;

use anyhow::{Context as _, Result, ensure};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// Entries now; 0 where nothing is tracked.
pub(crate) const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Forgets every connection, as `conntrack -F` does.
pub(crate) fn flush() -> Result<()> {
    /// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`; without a tuple, all entries.
    const DELETE: u16 = (1 << 8) | 2;
    /// `NLM_F_REQUEST | NLM_F_ACK`.
    const ACKNOWLEDGED: u16 = 0x5;
    /// `nlmsghdr` and the `nfgenmsg` behind it.
    const LENGTH: u32 = 20;

    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let mut request = Vec::new();
    request.extend_from_slice(&LENGTH.to_ne_bytes());
    request.extend_from_slice(&DELETE.to_ne_bytes());
    request.extend_from_slice(&ACKNOWLEDGED.to_ne_bytes());
    request.extend_from_slice(&[0; 12]);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let error = answer.get(16..20).context("the kernel's answer is too short")?;
    let error = i32::from_ne_bytes([error[0], error[1], error[2], error[3]]);
    ensure!(
        error == 0,
        "cannot flush the conntrack table: {}",
        io::Error::from_raw_os_error(-error)
    );
    Ok(())
}
