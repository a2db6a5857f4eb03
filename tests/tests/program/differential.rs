//! The same packets through the kernel and through the core on the host: every verdict, every byte,
//! and the tables afterwards must agree. The host's rewriting knows nothing of incremental checksums.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge_common::abi::{CtState, Reason, RuleV4, SLOTS, Timeouts, network_flags, proto, rule_flags, verdict};
use netbridge_common::datapath::verdict::Action;
use netbridge_common::host::HostEnv;
use netbridge_common::host::lab::{A, B, HOST, SECOND, ifindex, lab, publish_range, restrict, rule, slot};
use netbridge_common::host::rewrite::apply;

use crate::kernel::{Kernel, Outcome};
use crate::traffic::{Random, Traffic};
use crate::world::with_kernel;

/// Packets compared.
const PACKETS: usize = 240_000;

/// Packets between two changes of the filter, the clock or both.
const ROUND: usize = 1_000;

/// Flow halves: few enough for the table to run full.
const FLOWS: usize = 512;

/// How far the real clock may move while the test runs, ticks.
const DRIFT: u32 = SECOND / 10;

const SEED: u64 = 0x6e65_7462_7269_6467;

#[test]
fn kernel_and_host_agree_on_every_packet() -> Result<()> {
    with_kernel(FLOWS, |kernel| {
        let start = Instant::now();
        for (number, vary) in WORLDS.into_iter().enumerate() {
            let mut env = world();
            vary(&mut env);
            let seen =
                compare(kernel, &mut env, PACKETS / WORLDS.len(), |_| ()).with_context(|| format!("world {number}"))?;
            println!("world {number}, {:.1?}: {seen:?}", start.elapsed());
            for action in [
                Action::Pass,
                Action::Drop,
                Action::Peer,
                Action::Redirect,
                Action::Neigh,
                Action::Answer,
            ] {
                ensure!(
                    seen.actions.contains_key(&(action as u8)),
                    "no packet came to {action:?} in world {number}"
                );
            }
        }
        let drops = kernel.datapath().tables().drops()?;
        for (reason, count) in &drops {
            println!("{count:>7} {}", reason.name());
        }
        // The host does not lose an address while this runs.
        let unusual = [Reason::NatExhausted, Reason::AddressGone];
        let mut reasons = drops.into_iter().filter(|(reason, _)| !unusual.contains(reason));
        if let Some((missing, _)) = reasons.find(|(_, count)| *count == 0) {
            bail!("no packet was dropped for {missing:?}");
        }
        Ok(())
    })
}

/// What the worlds that packets are compared in differ by.
const WORLDS: [fn(&mut HostEnv); 3] = [
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
];

/// Makes the host's side of the world differ.
type Fault = fn(&mut HostEnv);

/// Proof that the comparison can fail: the host is told something slightly wrong.
#[test]
fn a_planted_fault_is_caught() -> Result<()> {
    let faults: [(&str, Fault); 9] = [
        ("a gateway's address one bit off", |env| {
            env.networks[1].tail.gateway[3] ^= 4;
        }),
        ("another secret", |env| env.config.secret ^= 1),
        ("an MTU one byte off", |env| {
            for network in &mut env.networks {
                network.head.mtu = network.head.mtu.saturating_sub(1);
            }
        }),
        ("a next hop's MAC one bit off", |env| {
            env.hops.values_mut().for_each(|hop| hop.dmac[5] ^= 1);
        }),
        ("an address one bit off", |env| {
            if let Some(link) = env.links.get_mut(&ifindex::A) {
                link.tail.addrs[0][3] ^= 1;
            }
        }),
        ("a published port one off", |env| {
            for target in env.published.values_mut() {
                target.tail.shift[1] ^= 1;
            }
        }),
        ("a list of sources one bit longer", |env| {
            env.sources = env
                .sources
                .iter()
                .map(|&(list, (net, bits))| (list, (net, bits + 1)))
                .collect();
        }),
        ("room for one fragment more", |env| env.config.held_quota += 1),
        ("a flow table one smaller", |env| env.flow_capacity -= 1),
    ];
    with_kernel(FLOWS, |kernel| {
        for (name, fault) in faults {
            let caught = compare(kernel, &mut world(), PACKETS / 4, fault);
            ensure!(caught.is_err(), "not caught: {name}");
        }
        Ok(())
    })
}

/// What became of the packets.
#[derive(Debug, Default)]
struct Seen {
    actions: HashMap<u8, usize>,
    rewritten: usize,
    /// Most fragments that came again at once.
    again: usize,
}

/// Sends packets both ways; the host's side of the world has `fault`.
fn compare(kernel: &mut Kernel, env: &mut HostEnv, packets: usize, fault: impl Fn(&mut HostEnv)) -> Result<Seen> {
    kernel.install(env)?;
    let drops_before = drops(kernel)?;
    let traffic_before = traffic(kernel)?;
    fault(env);
    let mut source = Traffic::new(SEED);
    let mut random = Random::new(SEED ^ 1);
    let mut seen = Seen::default();
    let mut again = VecDeque::new();
    for number in 0..packets {
        if number % ROUND == ROUND - 1 {
            pass_time(kernel, env, &mut random)?;
            tables_agree(kernel, env)?;
        }
        let (hook, mut frame) = again.pop_front().unwrap_or_else(|| source.next());
        let actual = kernel.run(hook, &frame)?;
        let verdict = env.run(hook, &frame);
        let mut bytes = frame.bytes.clone();
        apply(&verdict, &mut bytes);
        let expected = Outcome::expected(&verdict, bytes);
        if actual != expected {
            bail!(
                "packet {number} at {} of interface {} (ingress {}):\n{}kernel {actual:x?}\nhost {expected:x?}\n{verdict:x?}\nflows {:x?}",
                hook.name(),
                frame.ifindex,
                frame.ingress,
                dump(&frame.bytes),
                env.flows.borrow(),
            );
        }
        // The kernel has its interfaces receive what has waited; here no program listens to them.
        again.extend(env.released.take().into_iter().map(|frame| (hook, frame)));
        seen.again = seen.again.max(again.len());
        *seen.actions.entry(actual.action).or_default() += 1;
        if actual.bytes != frame.bytes {
            seen.rewritten += 1;
        }
        // What goes on is worth an answer; what the stack gets, now and then.
        if actual.action > Action::Drop as u8 || actual.bytes != frame.bytes || (actual.code < 0 && number % 16 == 0) {
            frame.bytes = actual.bytes;
            source.remember(frame);
        }
    }
    tables_agree(kernel, env)?;
    for (index, (before, after)) in drops_before.into_iter().zip(drops(kernel)?).enumerate() {
        let expected = env.drops.borrow()[index + 1];
        ensure!(
            after - before == expected,
            "drops for reason {}: {}, expected {expected}",
            index + 1,
            after - before
        );
    }
    for (slot, (before, after)) in traffic_before.into_iter().zip(traffic(kernel)?).enumerate() {
        let expected = env
            .traffic
            .borrow()
            .get(&u32::try_from(slot)?)
            .copied()
            .unwrap_or_default();
        let counted = [
            after.tx_packets - before.tx_packets,
            after.tx_bytes - before.tx_bytes,
            after.rx_packets - before.rx_packets,
            after.rx_bytes - before.rx_bytes,
            after.drops - before.drops,
        ];
        let expected = [
            expected.tx_packets,
            expected.tx_bytes,
            expected.rx_packets,
            expected.rx_bytes,
            expected.drops,
        ];
        ensure!(
            counted == expected,
            "traffic of slot {slot}: {counted:?}, expected {expected:?}"
        );
    }
    Ok(seen)
}

/// The lab with a second trunk, between which stations move; no events, which nobody would read, and answers without
/// end, because the ticks of the two sides are not the same.
fn world() -> HostEnv {
    let mut env = lab();
    env.flow_capacity = FLOWS;
    env.config.events_per_tick = 0;
    // No flow is to expire at the very tick of a packet: the kernel's clock moves on between two of them.
    let Timeouts {
        tcp_opening,
        tcp_answered,
        tcp_established,
        tcp_half_closed,
        tcp_closing,
        tcp_reset,
        udp_opening,
        udp_established,
        icmp,
        other,
    } = &mut env.config.timeouts;
    for timeout in [
        tcp_opening,
        tcp_answered,
        tcp_established,
        tcp_half_closed,
        tcp_closing,
        tcp_reset,
        udp_opening,
        udp_established,
        icmp,
        other,
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
    env
}

/// Some time goes by on both sides, a new filter comes into force, or answers end or begin.
fn pass_time(kernel: &mut Kernel, env: &mut HostEnv, random: &mut Random) -> Result<()> {
    let ticks = random.pick(&[
        0,
        SECOND / 2,
        2 * SECOND,
        2 * SECOND,
        70 * SECOND,
        400 * SECOND,
        8000 * SECOND,
    ]);
    kernel.age(ticks)?;
    env.now = env.now.wrapping_add(ticks);
    if random.once_in(2) {
        let count = random.pick(&[0, 0, 1, 2, 7]);
        let rules: Vec<RuleV4> = (0..count).map(|_| any_rule(random)).collect();
        let policy = if count > 2 { verdict::DROP } else { verdict::ACCEPT };
        env.set_filter(policy, &rules);
    }
    env.config.answers_per_tick = random.pick(&[u32::MAX, u32::MAX, u32::MAX, 0]);
    // The configuration has a time in it.
    kernel.install_filter(env)
}

fn any_rule(random: &mut Random) -> RuleV4 {
    let mut rule = rule(random.pick(&[verdict::ACCEPT, verdict::ACCEPT, verdict::DROP]));
    let head = &mut rule.head;
    head.proto = random.pick(&[0, 0, 1, 6, 17]);
    head.in_net = random.pick(&[0, 0, 1, 3]);
    head.out_ifindex = random.pick(&[0, 0, ifindex::B, ifindex::UPLINK]);
    head.states = random.pick(&[
        CtState::ANY,
        CtState::NEW,
        CtState::ESTABLISHED | CtState::RELATED,
        CtState::INVALID,
    ]);
    head.flags = random.byte()
        & random.byte()
        & (rule_flags::NOT_IN | rule_flags::NOT_OUT | rule_flags::NOT_SRC | rule_flags::NOT_DST);
    if head.proto > 1 && random.once_in(2) {
        head.flags |= rule_flags::PORTS;
        (head.dport_min, head.dport_max) = (53, random.pick(&[53, 80, 8080]));
    }
    if random.once_in(2) {
        (rule.tail.src, rule.tail.src_mask) = (A.1, random.pick(&[[255; 4], [255, 255, 255, 0], [255, 0, 0, 0]]));
    }
    rule
}

fn tables_agree(kernel: &Kernel, env: &HostEnv) -> Result<()> {
    let mut flows = kernel.flows()?;
    for (key, flow) in &mut flows {
        if let Some(expected) = env.flows.borrow().get(key) {
            settle(&mut flow.head.seen, expected.head.seen);
            settle(&mut flow.head.resolved, expected.head.resolved);
        }
    }
    same("flows", &flows, &env.flows.borrow())?;
    let mut bindings = kernel.bindings()?;
    for (key, side) in &mut bindings {
        if let Some(expected) = env.bindings.borrow().get(key) {
            settle(&mut side.head.until, expected.head.until);
        }
    }
    same("bindings", &bindings, &env.bindings.borrow())?;
    for slot in 0..16 {
        let (load, expected) = (kernel.load_of(slot)?, env.loads.borrow().get(&slot).copied());
        ensure!(
            load == expected.unwrap_or_default(),
            "load of slot {slot}: {load:?}, expected {expected:?}"
        );
    }
    let mut fragments = kernel.fragments()?;
    for (key, first) in &mut fragments {
        if let Some(expected) = env.fragments.borrow().get(key) {
            settle(&mut first.seen, expected.seen);
        }
    }
    same("fragments", &fragments, &env.fragments.borrow())?;
    let mut held = kernel.held()?;
    for (key, (head, _)) in &mut held {
        if let Some((expected, _)) = env.held.borrow().get(key) {
            settle(&mut head.seen, expected.seen);
        }
    }
    same("frames that wait", &held, &env.held.borrow())?;
    for slot in 0..16 {
        let (waiting, expected) = (kernel.held_by(slot)?, env.held_by.borrow().get(&slot).copied());
        ensure!(
            waiting == i64::from(expected.unwrap_or_default()),
            "{waiting} frames of slot {slot} wait, expected {expected:?}"
        );
    }
    let mut stations = kernel.stations()?;
    for (key, station) in &mut stations {
        if let Some(expected) = env.fdb.borrow().get(key) {
            settle(&mut station.seen, expected.seen);
        }
    }
    same("stations", &stations, &env.fdb.borrow())?;
    let counts = env.learned.borrow();
    let counts = counts.iter().map(|(slot, learned)| (*slot, learned.count));
    same(
        "MACs learned",
        &kernel.learned()?,
        &counts.filter(|(_, count)| *count != 0).collect(),
    )
}

/// Takes a time for the expected one if the real clock's progress explains the difference.
fn settle(actual: &mut u32, expected: u32) {
    if actual.wrapping_sub(expected) <= DRIFT {
        *actual = expected;
    }
}

fn same<K: Eq + Hash + Debug, V: PartialEq + Debug>(
    what: &str,
    kernel: &HashMap<K, V>,
    host: &HashMap<K, V>,
) -> Result<()> {
    for (key, value) in kernel {
        ensure!(
            host.get(key) == Some(value),
            "{what}: {key:x?}: {value:x?} in the kernel, {:x?} on the host",
            host.get(key)
        );
    }
    if let Some(key) = host.keys().find(|key| !kernel.contains_key(key)) {
        bail!("{what}: {key:x?} is not in the kernel");
    }
    Ok(())
}

fn drops(kernel: &Kernel) -> Result<Vec<u64>> {
    Reason::ALL
        .iter()
        .skip(1)
        .map(|reason| kernel.dropped(*reason))
        .collect()
}

fn traffic(kernel: &Kernel) -> Result<Vec<netbridge_common::abi::Traffic>> {
    (0..SLOTS.min(16)).map(|slot| kernel.traffic(slot)).collect()
}

/// Sixteen bytes a line.
fn dump(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.chunks(16).map(|line| format!("  {line:02x?}\n")).collect();
    lines.concat()
}
