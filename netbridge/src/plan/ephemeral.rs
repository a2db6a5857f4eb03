//! The choice of a port on the host where none is asked for.

use std::ops::RangeInclusive;

use crate::facts::HostFacts;
use crate::listener::Listener;
use crate::model::{Claims, Fault, PortSpec};

/// Ports that need no privilege.
const UNPRIVILEGED: RangeInclusive<u16> = 1024..=u16::MAX;

/// The specification with as many ports in a row as it asks for, the first that nobody holds; one that names its port is
/// what it is. Taken are, where possible, ports that neither masqueraded packets nor the host's own connections get.
pub(super) fn choose<T>(
    text: &str,
    spec: PortSpec,
    claims: &Claims<T>,
    listeners: &[Listener],
    host: &HostFacts,
) -> Result<PortSpec, Fault> {
    if !spec.is_open() {
        return Ok(spec);
    }
    // The last port that somebody holds of those that were looked at.
    let held = |ports: &PortSpec| {
        let published = claims.overlapping(ports).map(|(held, _)| held.last());
        let sockets = listeners.iter().filter(|listener| listener.holds(ports));
        published.into_iter().chain(sockets.map(|listener| listener.port)).max()
    };
    for range in preferred(host) {
        let mut first = Some(*range.start());
        while let Some(host) = first {
            let ports = PortSpec { host, ..spec };
            let fits = host
                .checked_add(spec.count - 1)
                .is_some_and(|last| range.contains(&last));
            if !fits {
                break;
            }
            match held(&ports) {
                None => return Ok(ports),
                Some(last) => first = last.checked_add(1),
            }
        }
    }
    let why = format!("{} free ports in a row are not to be found on the host", spec.count);
    Err(Fault::conflict(
        format!("port {text}"),
        why,
        "name ports, or remove some",
    ))
}

/// Where to look, best first: beside the ports that the host and masquerading use, among the latter, among the former.
fn preferred(host: &HostFacts) -> Vec<RangeInclusive<u16>> {
    let Some(used) = &host.ports else {
        return vec![UNPRIVILEGED];
    };
    let mut ranges = Vec::new();
    let mut next = Some(*UNPRIVILEGED.start());
    let (snat, local) = (used.snat.clone(), used.local.clone());
    let (lower, upper) = if snat.start() < local.start() {
        (snat.clone(), local.clone())
    } else {
        (local.clone(), snat.clone())
    };
    for range in [lower, upper] {
        if let (Some(first), Some(last)) = (next, range.start().checked_sub(1)) {
            ranges.push(first..=last);
        }
        next = range.end().checked_add(1).map(|after| after.max(*UNPRIVILEGED.start()));
    }
    ranges.extend(next.map(|first| first..=*UNPRIVILEGED.end()));
    ranges.extend([snat, local]);
    ranges.retain(|range| !range.is_empty());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::SnatRange;
    use crate::model::Transport;
    use crate::plan::fixtures;

    fn chosen(text: &str, claimed: &[&str], listeners: &[Listener], host: &HostFacts) -> Result<String, Fault> {
        let parse = |text: &str| PortSpec::parse(text).unwrap();
        let claims: Claims<()> = claimed.iter().map(|text| (parse(text), ())).collect();
        choose(text, parse(text), &claims, listeners, host).map(|spec| spec.host_side())
    }

    #[test]
    fn the_first_that_nobody_holds_is_taken() {
        let host = fixtures::host();
        let listener = |port| Listener {
            transport: Transport::Tcp,
            address: None,
            port,
            inode: 0,
            holder: None,
        };
        for (text, claimed, sockets, expected) in [
            ("80", &[][..], &[][..], "0.0.0.0:61000/tcp"),
            ("81:80", &[], &[], "0.0.0.0:81/tcp"),
            ("80", &["61000:1"], &[], "0.0.0.0:61001/tcp"),
            ("80", &["61000:1/udp"], &[], "0.0.0.0:61000/tcp"),
            (
                "80",
                &["61000-61009:1-10", "192.0.2.1:61010:1"],
                &[61011],
                "0.0.0.0:61012/tcp",
            ),
            ("127.0.0.1::80", &["192.0.2.1:61000:1"], &[], "127.0.0.1:61000/tcp"),
            ("1-10", &["61005:1"], &[61020], "0.0.0.0:61006-61015/tcp"),
            ("1-10/udp", &["61005:1"], &[61020], "0.0.0.0:61000-61009/udp"),
            // More than are left above: those of masquerading.
            ("1-10000", &[], &[], "0.0.0.0:1024-11023/tcp"),
            ("80", &["61000-65535:1-4536"], &[], "0.0.0.0:1024/tcp"),
        ] {
            let sockets: Vec<Listener> = sockets.iter().map(|port| listener(*port)).collect();
            assert_eq!(
                chosen(text, claimed, &sockets, &host).unwrap(),
                expected,
                "{text} {claimed:?}"
            );
        }
        let full = ["1024-65535:1024-65535"];
        assert!(chosen("80", &full, &[], &host).is_err());
        assert!(chosen("1-65535", &[], &[], &host).is_err());
    }

    #[test]
    fn every_unprivileged_port_is_looked_at_once() {
        for (snat, local) in [
            (1024..=32767, 32768..=60999),
            (61000..=65535, 1024..=60999),
            (20001..=65535, 1024..=20000),
            (1024..=9999, 10000..=65535),
            (2000..=3000, 5000..=6000),
        ] {
            let mut host = fixtures::host();
            host.ports = Some(SnatRange { snat, local });
            let mut ports: Vec<u16> = preferred(&host).into_iter().flatten().collect();
            ports.sort_unstable();
            assert!(ports.iter().copied().eq(UNPRIVILEGED), "{:?}", preferred(&host));
        }
    }
}
