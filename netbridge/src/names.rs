//! Names and numbers derived from an instance and an object in it: recognisable, short enough for
//! an interface, and the same whenever the object is made again.

use crate::model::{MacAddr, Name};

/// Longest interface name, bytes.
const MAX_IFNAME: usize = 15;

/// Begins the alias of every interface that netbridge makes.
pub const ALIAS: &str = "netbridge:";

/// The bridge of a network.
pub fn bridge(instance: &str, network: &Name) -> String {
    let plain = format!("nb-{network}");
    if plain.len() <= MAX_IFNAME {
        plain
    } else {
        format!("nb-{:08x}", short(instance, "net", network))
    }
}

/// The bridge's MAC.
pub fn bridge_mac(instance: &str, network: &Name) -> MacAddr {
    MacAddr::from_seed(hash(&[instance, "net", network.as_str()]))
}

/// The MAC of an endpoint without an address to make one of.
pub fn endpoint_mac(instance: &str, endpoint: &Name) -> MacAddr {
    MacAddr::from_seed(hash(&[instance, "endpoint", endpoint.as_str()]))
}

/// The host side of an endpoint's veth.
pub fn host_interface(instance: &str, endpoint: &Name) -> String {
    format!("nbv{:08x}", short(instance, "endpoint", endpoint))
}

/// The alias of an interface made for `object`: says whose it is, and proves it before it is deleted.
pub fn alias(instance: &str, object: &Name) -> String {
    format!("{ALIAS}{instance}:{object}")
}

/// Whether `alias` is one that the instance gives.
pub fn is_alias(alias: &str, instance: &str) -> bool {
    let object = alias.strip_prefix(ALIAS).and_then(|rest| rest.strip_prefix(instance));
    object.is_some_and(|object| object.starts_with(':'))
}

/// The group of interfaces that an instance makes. Unlike the alias it is there from the first moment, and so
/// tells whose an interface is whose maker was killed before it could attach one.
pub fn group(instance: &str) -> u32 {
    let hash = hash(&[instance, "group"]);
    let [.., a, b, c, d] = (hash ^ (hash >> 32)).to_be_bytes();
    // 0 is the group of everybody's interfaces.
    u32::from_be_bytes([a, b, c, d]).max(1)
}

/// Whether `text` can be an interface's name.
pub fn is_ifname(text: &str) -> bool {
    // The kernel takes `%` and puts a number in its place.
    let forbidden = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    !text.is_empty() && text.len() <= MAX_IFNAME && text != "." && text != ".." && !text.contains(forbidden)
}

fn short(instance: &str, kind: &str, object: &Name) -> u32 {
    let hash = hash(&[instance, kind, object.as_str()]);
    let [.., a, b, c, d] = (hash ^ (hash >> 32)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// FNV-1a, with a byte that no part contains between the parts.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn interface_names_fit_and_differ() {
        assert_eq!(bridge("default", &name("web")), "nb-web");
        let long = bridge("default", &name("fifteen-letters"));
        assert!(
            is_ifname(&long) && long != bridge("other", &name("fifteen-letters")),
            "{long}"
        );
        let veth = host_interface("default", &name("web"));
        assert!(
            is_ifname(&veth) && veth != host_interface("default", &name("app")),
            "{veth}"
        );
        assert_ne!(host_interface("a", &name("bc")), host_interface("ab", &name("c")));
    }

    #[test]
    fn aliases_tell_instances_apart() {
        let alias = alias("lab", &name("web"));
        assert!(is_alias(&alias, "lab"));
        assert!(!is_alias(&alias, "la") && !is_alias(&alias, "lab-2") && !is_alias("uplink", "lab"));
    }

    #[test]
    fn interface_names_are_judged_as_the_kernel_does() {
        for good in ["eth0", "a+b", "eth0.100"] {
            assert!(is_ifname(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "1234567890123456", "a\n", "eth%d"] {
            assert!(!is_ifname(bad), "{bad}");
        }
    }
}
