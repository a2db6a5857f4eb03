//! What the host namespace must not need: netfilter rules and conntrack entries.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::netns::Netns;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::report::Report;
use crate::lab::Lab;

pub(super) fn check(report: &mut Report, lab: &Lab<'_>) {
    report.check("the host's nftables ruleset is empty", || {
        let tables = lab.node("host")?.run(nftables_tables)??;
        ensure!(tables == 0, "{tables} tables");
        Ok("0 tables".to_owned())
    });
    report.check("the host's iptables have no rules", || legacy(&lab.node("host")?));
    report.check("the host's conntrack table is empty", || conntrack(&lab.node("host")?));
}

/// Tables of the calling thread's namespace; the kernel is asked, not a tool that may be missing.
fn nftables_tables() -> Result<usize> {
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const NFT_MSG_NEWTABLE: u16 = 10 << 8;
    const NFT_MSG_GETTABLE: u16 = (10 << 8) | 1;
    const REQUEST_DUMP: u16 = 0x301;
    /// `nlmsghdr` and the `nfgenmsg` behind it.
    const LENGTH: u32 = 20;

    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let mut request = Vec::new();
    request.extend_from_slice(&LENGTH.to_ne_bytes());
    request.extend_from_slice(&NFT_MSG_GETTABLE.to_ne_bytes());
    request.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 12]);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let mut tables = 0;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while let Some(header) = rest.first_chunk::<20>() {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            match u16::from_ne_bytes([header[4], header[5]]) {
                NLMSG_DONE => return Ok(tables),
                NFT_MSG_NEWTABLE => tables += 1,
                NLMSG_ERROR => bail!(
                    "the kernel refuses to list nftables: {}",
                    std::io::Error::from_raw_os_error(-i32::from_ne_bytes([
                        header[16], header[17], header[18], header[19]
                    ]))
                ),
                other => bail!("an unexpected netlink message of type {other}"),
            }
            // Messages begin at multiples of four.
            rest = rest
                .get(usize::try_from(length)?.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

/// Tables of iptables-legacy come into being with the first rule.
fn legacy(host: &Netns) -> Result<String> {
    let tables = host.run(|| fs::read_to_string("/proc/thread-self/net/ip_tables_names"))?;
    match tables {
        Ok(names) if names.is_empty() => Ok("0 tables".to_owned()),
        Ok(names) => bail!("tables: {}", names.trim().replace('\n', ", ")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok("not in this kernel".to_owned()),
        Err(error) => Err(error).context("cannot list the tables of iptables"),
    }
}

fn conntrack(host: &Netns) -> Result<String> {
    let count = host.run(|| fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"))?;
    match count {
        Ok(count) => {
            ensure!(count.trim() == "0", "{} entries", count.trim());
            Ok("0 entries".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok("not in this kernel".to_owned()),
        Err(error) => Err(error).context("cannot count the entries of conntrack"),
    }
}
