//! The worlds that packets are compared in: the lab, varied.

use netbridge_common::abi::{network_flags, proto};
use netbridge_common::host::HostEnv;
use netbridge_common::host::lab::{A, B, HOST, SECOND, ifindex, lab, publish_range, restrict, slot};

/// Flow halves: few enough for the table to run full.
pub const FLOWS: usize = 512;

/// What the worlds differ by.
const VARIANTS: [fn(&mut HostEnv); 4] = [
    |_| (),
    |env| {
        env.networks[1].head.flags |= network_flags::INDEPENDENT_MAPPING;
        env.config.quota = 6;
        env.config.half_open_quota = 5;
    },
    |env| {
        env.networks[1].head.flags |= network_flags::INDEPENDENT_MAPPING | network_flags::INDEPENDENT_FILTERING;
        env.networks[3].head.flags |= network_flags::ROUTED;
        env.config.silent = 1;
        env.config.pickup_until = env.now + 2000 * SECOND;
    },
    // So few ports outside that they run out.
    |env| {
        env.config.snat_ports = 24;
        env.networks[1].head.flags |= network_flags::FIXED_SNAT;
    },
];

/// How many worlds there are.
pub const COUNT: usize = VARIANTS.len();

/// World `number`, its table with room for `flows` halves.
///
/// It has a second trunk, between which stations move; no events, which nobody would read; and answers without end,
/// because the ticks of the two sides are not the same.
pub fn world(number: usize, flows: usize) -> HostEnv {
    let mut env = lab();
    env.flow_capacity = flows;
    env.config.events_per_tick = 0;
    // No flow is to expire at the very tick of a packet: the kernel's clock moves on between two of them.
    let timeouts = &mut env.config.timeouts;
    for timeout in [
        &mut timeouts.tcp_opening,
        &mut timeouts.tcp_answered,
        &mut timeouts.tcp_established,
        &mut timeouts.tcp_half_closed,
        &mut timeouts.tcp_closing,
        &mut timeouts.tcp_reset,
        &mut timeouts.udp_opening,
        &mut timeouts.udp_established,
        &mut timeouts.icmp,
        &mut timeouts.other,
    ] {
        *timeout += SECOND / 4;
    }
    env.config.fragment_timeout += SECOND / 4;
    env.config.held_quota = 12;
    env.config.quarantine += SECOND / 2;
    env.config.answers_per_tick = u32::MAX;
    (env.config.learned_per_port, env.config.floods_per_second) = (6, 20);
    if let Some(mut trunk) = env.links.get(&ifindex::TRUNK).copied() {
        trunk.head.slot = 7;
        env.links.insert(ifindex::OTHER, trunk);
    }
    // Ranges that begin and end at ports of the traffic, cut into blocks of many sizes, and one within another.
    let (a, b) = ((A, ifindex::A, slot::A), (B, ifindex::B, slot::B));
    publish_range(&mut env, (proto::UDP, [0; 4], 1024..=5351), b, 50_000);
    publish_range(&mut env, (proto::TCP, [0; 4], 7000..=8999), b, 1);
    // One of the four remotes is on no list.
    restrict(&mut env, &[([203, 0, 113, 8], 30)]);
    publish_range(&mut env, (proto::TCP, HOST.1, 40_000..=65_534), a, 53);
    let local = env.hops[&(HOST.1, 32)];
    env.hops.insert(([127, 0, 0, 0], 8), local);
    VARIANTS[number % COUNT](&mut env);
    env
}
