//! The FORWARD filter: an ordered list, the first match decides, else the policy.

use crate::abi::{Addr, BANKS, Family, MAX_RULES, Policy, Reason, Record, RuleAddrs, RuleHead, rule_flags, verdict};

use super::conntrack::Cx;
use super::env::{AddrOf, Env};

/// What the filter sees of a packet: the container's side of every translation, as netfilter's
/// FORWARD hook does (after DNAT, before SNAT).
#[derive(Clone, Copy, Debug)]
pub struct Subject<A> {
    /// Interface it came in by, 0 if unknown.
    pub in_ifindex: u32,
    /// Network it came from, 0 for the outside.
    pub in_net: u32,
    /// Interface it will leave by, 0 if there is not exactly one.
    pub out_ifindex: u32,
    /// Network it goes to, 0 for the outside.
    pub out_net: u32,
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// IP protocol.
    pub proto: u8,
    /// One of [`crate::abi::CtState`].
    pub state: u8,
    /// 1 if the ports mean something, else 0.
    pub ports: u8,
}

impl<A: Addr> Subject<A> {
    /// A packet as it stands, from where it arrived.
    pub fn of<E: Env>(cx: &Cx<'_, E>, state: u8) -> Self
    where
        E::F: Family<Addr = A>,
    {
        let packet = &*cx.packet;
        let ports = packet.has_ports();
        Self {
            in_ifindex: cx.arrival.ifindex,
            in_net: u32::from(cx.arrival.zone),
            out_ifindex: 0,
            out_net: 0,
            src: packet.key.src,
            dst: packet.key.dst,
            sport: if ports { u16::from_be_bytes(packet.key.sport) } else { 0 },
            dport: if ports { u16::from_be_bytes(packet.key.dport) } else { 0 },
            proto: packet.key.proto,
            state,
            ports: u8::from(ports),
        }
    }

    /// Where it goes.
    #[must_use]
    pub const fn to(mut self, ifindex: u32, net: u16) -> Self {
        self.out_ifindex = ifindex;
        self.out_net = net as u32;
        self
    }
}

/// The head of the bank in force. A bank that cannot be read is one that drops everything: the
/// filter fails closed.
#[inline(always)]
pub fn policy<E: Env>(cx: &Cx<'_, E>) -> Policy {
    let closed = Policy {
        rules: 0,
        policy: verdict::DROP,
        active: 1,
        pad: 0,
    };
    cx.env
        .policy(cx.arrival.generation & (BANKS - 1))
        .copied()
        .unwrap_or(closed)
}

/// [`Reason::None`] to let pass.
pub fn evaluate<E: Env>(cx: &Cx<'_, E>, subject: &Subject<AddrOf<E>>) -> Reason {
    let policy = policy(cx);
    let mut decision = policy.policy;
    if policy.active != 0 {
        let base = (cx.arrival.generation & (BANKS - 1)) * MAX_RULES;
        cx.env.repeat(policy.rules.min(MAX_RULES), |position| {
            let Some(rule) = cx.env.rule(base + position) else {
                return false;
            };
            let matches = matches(rule.head(), rule.tail(), subject);
            if matches {
                decision = rule.head().verdict;
            }
            !matches
        });
    }
    if decision == verdict::ACCEPT {
        Reason::None
    } else {
        Reason::Filtered
    }
}

/// True if the rule matches.
#[inline(always)]
fn matches<A: Addr>(rule: &RuleHead, addrs: &RuleAddrs<A>, subject: &Subject<A>) -> bool {
    let unless = |bit: u8, matches: bool| matches != (rule.flags & bit != 0);
    let named = |wanted: u32, is: u32| wanted == 0 || wanted == is;

    let input = named(rule.in_ifindex, subject.in_ifindex) && named(rule.in_net, subject.in_net);
    let output = named(rule.out_ifindex, subject.out_ifindex) && named(rule.out_net, subject.out_net);
    let (src, src_mask, dst, dst_mask) = (addrs.src, addrs.src_mask, addrs.dst, addrs.dst_mask);

    (rule.proto == 0 || rule.proto == subject.proto)
        && rule.states & subject.state != 0
        && unless(rule_flags::NOT_SRC, subject.src.differs(src, src_mask) == 0)
        && unless(rule_flags::NOT_DST, subject.dst.differs(dst, dst_mask) == 0)
        && unless(rule_flags::NOT_IN, input)
        && unless(rule_flags::NOT_OUT, output)
        && (rule.flags & rule_flags::PORTS == 0
            || (subject.ports != 0
                && (rule.sport_min..=rule.sport_max).contains(&subject.sport)
                && (rule.dport_min..=rule.dport_max).contains(&subject.dport)))
}
