//! What happens, from a seed: packets for one program in the main, what the others need to play along, and changes of
//! the world between rounds.
//!
//! Of the program's own packets 72 % are nearly valid (a sound packet, none, one or two fields changed), 18 % hostile by
//! construction, and 10 % random bytes or sound packets cut off.

use netbridge_common::abi::{CtState, Hook, network_flags, proto, reject, verdict};
use netbridge_common::host::filter::{RuleV4, rule_flags};
use netbridge_common::host::lab::{A, B, HOST, SECOND, ifindex, rule};
use netbridge_common::host::{Frame, Ip};

use super::random::Random;
use super::step::{Change, Ports, Step};
use super::traffic::{LOOPBACK, Traffic};
use super::{hostile, mutate};

/// The programs.
pub const PROGRAMS: [Hook; 4] = netbridge::datapath::HOOKS;

/// What time steps are longer than round numbers, ticks: none of their sums comes near one soon. What ends after exactly as long
/// would have ended in the kernel, whose clock goes on, and not on the host.
const UNEVEN: u32 = 7_001;

/// The source of steps.
pub struct Generator {
    program: Hook,
    random: Random,
    traffic: Traffic,
    passed: usize,
}

impl Generator {
    /// What this seed gives for a program.
    pub fn new(program: Hook, seed: u64) -> Self {
        Self {
            program,
            random: Random::new(seed ^ u64::from(program as u8) << 56),
            traffic: Traffic::default(),
            passed: 0,
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Step {
        let random = &mut self.random;
        // A program that opens flows needs answers less than one that only follows them needs openers.
        let others = if self.program == Hook::FromContainer { 5 } else { 3 };
        let mut hook = self.program;
        let mut frame;
        if random.once_in(others) {
            hook = random.pick(&PROGRAMS);
            frame = self.traffic.packet(random, hook);
        } else {
            match random.below(100) {
                0..72 => {
                    frame = self.traffic.packet(random, hook);
                    for _ in 0..random.pick(&[0, 1, 1, 2]) {
                        mutate::mutate(random, &mut frame);
                    }
                }
                72..90 => frame = hostile::packet(random, &self.traffic, hook),
                _ => {
                    frame = self.traffic.packet(random, hook);
                    deform(random, &mut frame);
                }
            }
        }
        // The kernel refuses to test-run an IP frame without a whole header.
        let least = match frame.bytes.get(12..14) {
            Some([0x86, 0xdd]) => 54,
            Some([8, 0]) => 34,
            _ => 14,
        };
        if frame.bytes.len() < least {
            frame.bytes.resize(least, 0);
        }
        Step::Packet(hook, frame)
    }

    /// What a packet became: what goes on is worth an answer, and what the stack gets, now and then.
    pub fn became(&mut self, sent: &Frame, went_on: bool, bytes: Vec<u8>) {
        let to_stack = bytes == sent.bytes;
        self.passed += 1;
        let answerable = bytes.len() >= 34 && bytes.get(12..14) == Some(&[8, 0]);
        if answerable && (went_on || self.passed.is_multiple_of(16) || !to_stack) {
            let frame = Frame { bytes, ..sent.clone() };
            self.traffic.remember(&mut self.random, frame);
        }
    }

    /// What changes between two rounds: time passes, and now and then something else.
    pub fn changes(&mut self) -> Vec<Step> {
        let random = &mut self.random;
        let ticks = random.pick(&[
            0,
            SECOND / 2,
            2 * SECOND,
            2 * SECOND,
            70 * SECOND,
            400 * SECOND,
            8000 * SECOND,
        ]);
        let mut changes = vec![Change::Time(ticks + UNEVEN)];
        if random.once_in(2) {
            changes.push(filter(random));
        }
        changes.push(Change::Answers(random.pick(&[u32::MAX, u32::MAX, u32::MAX, 0])));
        match random.below(12) {
            0 => changes.push(Change::Quotas(
                random.pick(&[65_536, 200, 60, 5]),
                random.pick(&[16_384, 40, 20, 1]),
            )),
            1 => changes.push(Change::Limits(random.pick(&[0, 2, 6]), random.pick(&[0, 5, 20, 1000]))),
            2 => changes.push(Change::Pickup(random.once_in(2))),
            3 => changes.push(flags(random)),
            4 => changes.push(Change::Mtu(random.pick(&[1, 3]), random.pick(&[1500, 1280, 576, 9000]))),
            5 | 6 => changes.push(Change::Publish(ports(random))),
            7 => changes.push(Change::Unpublish(ports(random))),
            _ => {}
        }
        changes.into_iter().map(Step::Change).collect()
    }
}

/// Random bytes, or the packet cut off or with random bytes in it.
fn deform(random: &mut Random, frame: &mut Frame) {
    let bytes = &mut frame.bytes;
    match random.below(4) {
        0 => {
            let length = random.below(200);
            let smac = bytes.get(..12).map(<[u8]>::to_vec).unwrap_or_default();
            *bytes = random.bytes(length);
            if random.once_in(2) {
                // From somebody who may send, of a kind that is read.
                let kind = random.pick(&[[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]]);
                bytes.splice(0..0, smac.into_iter().chain(kind)).for_each(drop);
            }
            bytes.resize(bytes.len().max(14), 0);
        }
        1 => bytes.truncate(14 + random.below(bytes.len())),
        2 => {
            let from = random.below(bytes.len());
            let count = random.below(bytes.len() - from).min(16);
            for place in &mut bytes[from..from + count] {
                *place = random.byte();
            }
        }
        _ => {
            for _ in 0..3 {
                mutate::any_field(random, bytes);
            }
        }
    }
    if random.once_in(10) {
        frame.ifindex = LOOPBACK;
    }
}

fn filter(random: &mut Random) -> Change {
    let count = random.pick(&[0, 0, 1, 2, 7]);
    let policy = if count > 2 { verdict::DROP } else { verdict::ACCEPT };
    Change::Filter(policy, (0..count).map(|_| any_rule(random)).collect())
}

fn any_rule(random: &mut Random) -> RuleV4 {
    let mut rule = rule(random.pick(&[verdict::ACCEPT, verdict::ACCEPT, verdict::DROP, verdict::REJECT]));
    let head = &mut rule.head;
    head.with = random.pick(&[reject::UNREACHABLE + 3, reject::UNREACHABLE + 13, reject::TCP_RESET]);
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
    if random.once_in(4) {
        (rule.tail.dst, rule.tail.dst_mask) = (B.1, random.pick(&[[255; 4], [255, 255, 0, 0]]));
    }
    rule
}

fn flags(random: &mut Random) -> Change {
    let net = random.pick(&[1, 3]);
    let masquerade = if net == 1 {
        network_flags::MASQUERADE | random.pick(&[0, network_flags::TUNNELS])
    } else {
        0
    };
    let any = random.pick(&[
        0,
        network_flags::FIXED_SNAT,
        network_flags::INDEPENDENT_MAPPING,
        network_flags::INDEPENDENT_MAPPING | network_flags::INDEPENDENT_FILTERING,
        network_flags::ROUTED,
    ]);
    Change::Flags(net, masquerade | any)
}

fn ports(random: &mut Random) -> Ports {
    let any: [(u8, Ip, (u16, u16)); 5] = [
        (proto::TCP, [0; 4], (8080, 8080)),
        (proto::TCP, HOST.1, (22, 80)),
        (proto::UDP, HOST.1, (5353, 5353)),
        (proto::UDP, [0; 4], (1024, 5351)),
        (proto::TCP, [0; 4], (7000, 8999)),
    ];
    let (proto, addr, ports) = random.pick(&any);
    Ports {
        proto,
        addr,
        ports,
        to_b: random.once_in(2),
        target: random.pick(&[53, 80, 7000]),
    }
}
