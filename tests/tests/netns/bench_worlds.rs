//! Every contestant of the benchmark: that it carries what it should, the way it should, and leaves nothing behind.
//!
//! Long, because the seven are asked the same questions with the same means, which are of no use to another test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use netbridge::netns::Netns;
use netbridge_tests::bench::classbench::{self, Probe};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::{absent, build};
use netbridge_tests::bench::rule::{Rule, Target};
use netbridge_tests::bench::world::{Able, Layout, Published, World};
use netbridge_tests::census::{Census, links};
use netbridge_tests::icmp::ping;
use netbridge_tests::sandbox::{Sandbox, within};
use netbridge_tests::tcp::{TcpServer, transfer};
use netbridge_tests::udp::{UdpServer, ask};
use netbridge_tests::wait::wait_until;

use super::command::{says, tool};
use super::{LIMIT, SILENCE};

const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const UDP: Published = Published {
    proto: 17,
    host: 8080,
    container: 9000,
};

/// Judges one contestant in a sandbox of its own, and that nothing of it stays.
fn judge(contestant: Contestant, test: impl FnOnce(&mut dyn World) -> Result<()> + Send) -> Result<()> {
    within(|sandbox| {
        ensure!(
            absent(contestant).is_none(),
            "{contestant}: {}",
            absent(contestant).unwrap_or_default()
        );
        let before = Census::take(sandbox)?;
        let mut world = build(contestant, sandbox)?;
        ensure!(world.contestant() == contestant);
        test(world.as_mut()).with_context(|| contestant.to_string())?;
        drop(world);
        let after = Census::take(sandbox)?;
        ensure!(before == after, "{contestant} left behind: {after:#?}");
        Ok(())
    })
}

/// Those between whose ends a host stands.
const HOSTED: [Contestant; 6] = [
    Contestant::Bridge,
    Contestant::IptablesNft,
    Contestant::IptablesLegacy,
    Contestant::Ipset,
    Contestant::Nftables,
    Contestant::Netbridge,
];

/// Those that do all that Docker's network does.
const COMPLETE: [Contestant; 5] = [
    Contestant::IptablesNft,
    Contestant::IptablesLegacy,
    Contestant::Ipset,
    Contestant::Nftables,
    Contestant::Netbridge,
];

fn done(able: &Able) -> Result<()> {
    ensure!(*able == Able::Done, "{able:?}");
    Ok(())
}

/// UDP and, where there is time, all of TCP: who the server says the client is.
fn talk(from: &Netns, to: SocketAddrV4) -> Result<Ipv4Addr> {
    let over_udp = *ask(from, to, b"hello", LIMIT)?.seen_as.ip();
    let over_tcp = *transfer(from, to, 1 << 20)?.seen_as.ip();
    ensure!(
        over_udp == over_tcp,
        "seen as {over_udp} over UDP and as {over_tcp} over TCP"
    );
    Ok(over_udp)
}

fn is_silent(from: &Netns, to: SocketAddrV4) -> Result<()> {
    match ask(from, to, b"hello", SILENCE) {
        Ok(answer) => bail!("{to} answers {}", answer.seen_as),
        Err(_) => Ok(()),
    }
}

fn moved(before: &[(String, u64)], after: &[(String, u64)]) -> BTreeMap<String, u64> {
    let before: BTreeMap<_, _> = before.iter().cloned().collect();
    let grown = after.iter().map(|(name, value)| {
        let grown = value.saturating_sub(before.get(name).copied().unwrap_or_default());
        (name.clone(), grown)
    });
    grown.filter(|(_, grown)| *grown > 0).collect()
}

/// The counters of a contestant's own way and of the others', as they were.
pub(super) struct Way {
    own: Vec<(String, u64)>,
    foreign: Vec<(String, u64)>,
}

impl Way {
    /// As they are.
    pub(super) fn of(world: &dyn World) -> Result<Self> {
        let foreign = world.foreign_counters()?;
        // Nothing was there when the world was made; netbridge's bridge carried what made it ready.
        let used = foreign.iter().find(|(_, count)| *count > 0);
        if world.contestant() != Contestant::Netbridge {
            ensure!(used.is_none(), "there is something of another contestant: {used:?}");
        }
        ensure!(!foreign.is_empty(), "nothing would tell of another way");
        Ok(Self {
            own: world.path_counters()?,
            foreign,
        })
    }

    /// At least so many packets took the contestant's own way since then, and none another.
    pub(super) fn was_taken(&self, world: &dyn World, packets: u64) -> Result<()> {
        let own = moved(&self.own, &world.path_counters()?);
        let foreign = moved(&self.foreign, &world.foreign_counters()?);
        ensure!(
            own.values().sum::<u64>() >= packets,
            "counters of its own path moved by {own:?}, and {packets} packets were sent"
        );
        ensure!(foreign.is_empty(), "counters of another path moved: {foreign:?}");
        Ok(())
    }
}

/// What `act` moves: the contestant's own counters, and not the others'.
fn own_path(world: &mut dyn World, act: impl FnOnce(&Layout) -> Result<()>) -> Result<()> {
    let way = Way::of(world)?;
    act(world.layout())?;
    way.was_taken(world, 1)
}

fn serve(netns: &Netns) -> Result<(UdpServer, TcpServer)> {
    Ok((UdpServer::start(netns, 9000)?, TcpServer::start(netns, 9000)?))
}

#[test]
fn what_is_another_contestants_is_seen() -> Result<()> {
    let network = "-n bridge-host net create strange --subnet 10.99.0.0/24 --uplink eth0";
    for (contestant, act) in [
        (Contestant::IptablesNft, "iptables-legacy -A FORWARD -j ACCEPT"),
        (Contestant::IptablesLegacy, "iptables-nft -A FORWARD -j ACCEPT"),
        (Contestant::Nftables, "nft add table ip strange"),
        (Contestant::Bridge, network),
    ] {
        judge(contestant, |world| {
            let way = Way::of(world)?;
            let host = world.layout().host.as_ref().context("no host")?;
            let run: fn(&str) -> Result<String> = if act == network { says } else { tool };
            host.netns.run(|| run(act))??;
            ensure!(
                Way::of(world).is_err() && way.was_taken(world, 0).is_err(),
                "`{act}` is not seen"
            );
            if act == network {
                says("-n bridge-host net rm strange")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn containers_talk_the_contestants_own_way() -> Result<()> {
    for contestant in Contestant::ALL {
        judge(contestant, |world| {
            let _servers = serve(&world.layout().b.netns)?;
            own_path(world, |layout| {
                let (a, b) = (&layout.a, &layout.b);
                ensure!(talk(&a.netns, SocketAddrV4::new(b.ip, 9000))? == a.ip || contestant == Contestant::Loopback);
                ping(&a.netns, b.ip, 56, LIMIT)?;
                Ok(())
            })
        })?;
    }
    Ok(())
}

#[test]
fn the_outside_sees_the_hosts_address() -> Result<()> {
    for contestant in Contestant::ALL {
        judge(contestant, |world| {
            let able = world.translates();
            ensure!((able == Able::Done) == COMPLETE.contains(&contestant), "{able:?}");
            if able != Able::Done {
                return Ok(());
            }
            let _servers = serve(&world.layout().outside.netns)?;
            own_path(world, |layout| {
                let seen = talk(&layout.a.netns, SocketAddrV4::new(layout.outside.ip, 9000))?;
                ensure!(seen == HOST, "the outside sees {seen}");
                Ok(())
            })
        })?;
    }
    Ok(())
}

#[test]
fn published_ports_lead_to_the_container_until_they_are_taken_back() -> Result<()> {
    for contestant in COMPLETE {
        judge(contestant, |world| {
            let tcp = Published { proto: 6, ..UDP };
            let outside = reopened(&world.layout().outside.netns)?;
            let _servers = serve(&world.layout().b.netns)?;
            let _further = UdpServer::start(&world.layout().b.netns, 9009)?;
            let at = |port| SocketAddrV4::new(HOST, port);
            is_silent(&outside, at(8080))?;
            done(&world.publish(&[UDP, tcp])?)?;
            own_path(world, |layout| {
                let seen = talk(&outside, at(8080))?;
                ensure!(seen == layout.outside.ip, "the container sees {seen}");
                Ok(())
            })?;
            done(&world.unpublish()?)?;
            world.forget_flows()?;
            is_silent(&outside, at(8080))?;
            // Shifted, and straight.
            done(&world.publish_range(UDP, 10)?)?;
            let straight = Published { host: 9000, ..UDP };
            done(&world.publish_range(straight, 10)?)?;
            for port in [8080, 8089, 9000, 9009] {
                ask(&outside, at(port), b"hello", LIMIT).with_context(|| port.to_string())?;
            }
            done(&world.unpublish()?)?;
            world.forget_flows()?;
            for port in [8080, 8089, 9000, 9009] {
                is_silent(&outside, at(port))?;
            }
            done(&world.unpublish()?)
        })?;
    }
    for contestant in [Contestant::Loopback, Contestant::RawPair, Contestant::Bridge] {
        judge(contestant, |world| {
            ensure!(matches!(world.publish(&[UDP])?, Able::Cannot(_)));
            ensure!(matches!(world.publish_range(UDP, 10)?, Able::Cannot(_)));
            Ok(())
        })?;
    }
    Ok(())
}

/// The same namespace, opened once more.
fn reopened(netns: &Netns) -> Result<Netns> {
    Ok(netns.run(Netns::current)??)
}

fn rule(src: &str, proto: u8, dports: Option<(u16, u16)>, target: Target) -> Result<Rule> {
    Ok(Rule {
        src: src.parse()?,
        dst: "0.0.0.0/0".parse()?,
        proto,
        dports,
        target,
    })
}

/// Puts another rule in the place of one, which it returns.
fn replace(world: &mut dyn World, rules: &mut Vec<Rule>, index: usize, rule: Rule) -> Result<Rule> {
    done(&world.delete_rule(rules, index)?)?;
    let old = rules.remove(index);
    done(&world.insert_rule(rules, index, &rule)?)?;
    rules.insert(index, rule);
    Ok(old)
}

#[test]
fn the_operators_rules_drop_what_they_name() -> Result<()> {
    for contestant in COMPLETE {
        judge(contestant, |world| {
            let (a, b) = (reopened(&world.layout().a.netns)?, world.layout().b.ip);
            let _servers = [
                UdpServer::start(&world.layout().b.netns, 9000)?,
                UdpServer::start(&world.layout().b.netns, 9100)?,
            ];
            let (plain, other) = (SocketAddrV4::new(b, 9000), SocketAddrV4::new(b, 9100));
            let mut rules = vec![
                rule("192.0.2.0/24", 0, None, Target::Drop)?,
                rule("192.0.2.128/25", 0, None, Target::Drop)?,
                rule("10.77.0.2/32", 17, Some((9050, 9150)), Target::Drop)?,
                rule("203.0.113.0/24", 6, Some((80, 80)), Target::Drop)?,
                rule("10.77.0.0/16", 17, Some((9000, 9000)), Target::Accept)?,
            ];
            done(&world.load_rules(&rules)?)?;
            ask(&a, plain, b"hello", LIMIT)?;
            is_silent(&a, other)?;
            // To another place of the same shape, and back.
            let moved = rule("10.77.0.2/32", 17, Some((9000, 9000)), Target::Drop)?;
            let old = replace(world, &mut rules, 2, moved)?;
            ask(&a, other, b"hello", LIMIT)?;
            is_silent(&a, plain)?;
            replace(world, &mut rules, 2, old)?;
            ask(&a, plain, b"hello", LIMIT)?;
            is_silent(&a, other)?;
            // To another shape.
            let all = rule("10.77.0.2/32", 0, None, Target::Drop)?;
            rules[0] = replace(world, &mut rules, 0, all)?;
            is_silent(&a, plain)?;
            for rules in [&rules[..1], &[]] {
                done(&world.load_rules(rules)?)?;
                ask(&a, plain, b"hello", LIMIT)?;
                ask(&a, other, b"hello", LIMIT)?;
            }
            Ok(())
        })?;
    }
    judge(Contestant::Bridge, |world| {
        done(&world.load_rules(&[])?)?;
        let able = world.load_rules(&[rule("192.0.2.0/24", 0, None, Target::Drop)?])?;
        ensure!(
            able == Able::Cannot("a bridge alone filters nothing".to_owned()),
            "{able:?}"
        );
        Ok(())
    })
}

#[test]
fn the_first_rule_that_matches_decides() -> Result<()> {
    for contestant in [Contestant::IptablesNft, Contestant::Ipset, Contestant::Nftables] {
        judge(contestant, |world| {
            let (a, b) = (reopened(&world.layout().a.netns)?, world.layout().b.ip);
            let _server = UdpServer::start(&world.layout().b.netns, 9000)?;
            let to = SocketAddrV4::new(b, 9000);
            let mut rules = vec![
                rule("10.77.0.2/32", 17, Some((9000, 9000)), Target::Accept)?,
                rule("192.0.2.0/24", 0, None, Target::Accept)?,
                rule("10.77.0.2/32", 0, None, Target::Drop)?,
                rule("0.0.0.0/0", 0, None, Target::Accept)?,
            ];
            done(&world.load_rules(&rules)?)?;
            ask(&a, to, b"hello", LIMIT)?;
            // The same key, another verdict.
            let drop = rule("10.77.0.2/32", 17, Some((9000, 9000)), Target::Drop)?;
            replace(world, &mut rules, 0, drop)?;
            is_silent(&a, to)?;
            // Away, and the next one decides; then an accept before it, of another shape.
            let other = rule("192.0.2.1/32", 17, Some((9000, 9000)), Target::Drop)?;
            replace(world, &mut rules, 0, other)?;
            is_silent(&a, to)?;
            let wide = rule("10.77.0.0/16", 0, None, Target::Accept)?;
            replace(world, &mut rules, 1, wide)?;
            ask(&a, to, b"hello", LIMIT)?;
            let exact = rule("10.77.0.2/32", 6, None, Target::Drop)?;
            replace(world, &mut rules, 3, exact)?;
            ask(&a, to, b"hello", LIMIT)?;
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn nftables_takes_ten_thousand_rules_of_any_seed() -> Result<()> {
    judge(Contestant::Nftables, |world| {
        let (a, b) = (reopened(&world.layout().a.netns)?, world.layout().b.ip);
        let _server = UdpServer::start(&world.layout().b.netns, 9000)?;
        let to = SocketAddrV4::new(b, 9000);
        let probe = Probe {
            src: world.layout().a.ip,
            dst: b,
            proto: 17,
            dport: 9000,
        };
        for seed in [1, 2, 20_241_105] {
            let mut rules = classbench::rules(10_000, seed, probe);
            done(&world.load_rules(&rules)?)?;
            ask(&a, to, b"hello", LIMIT).with_context(|| format!("seed {seed}"))?;
            let last = rules.len() - 1;
            let drop = Rule {
                target: Target::Drop,
                ..rules[last].clone()
            };
            let accept = replace(world, &mut rules, last, drop)?;
            is_silent(&a, to).with_context(|| format!("seed {seed}"))?;
            replace(world, &mut rules, last, accept)?;
            ask(&a, to, b"hello", LIMIT).with_context(|| format!("seed {seed}"))?;
        }
        done(&world.load_rules(&[])?)?;
        let host = &world.layout().host.as_ref().context("no host")?.netns;
        let left = host.run(|| tool("nft list maps"))??;
        ensure!(!left.contains("rules_"), "{left}");
        Ok(())
    })
}

/// A new link carries nothing at first.
fn reaches(from: &Netns, to: Ipv4Addr) -> Result<()> {
    wait_until(&format!("an answer of {to}"), LIMIT, || {
        Ok(ping(from, to, 56, SILENCE).is_ok())
    })
}

#[test]
fn more_containers_come_and_go() -> Result<()> {
    for contestant in HOSTED {
        judge(contestant, |world| {
            for index in [3, 400] {
                done(&world.new_container(index)?)?;
                done(&world.attach(index)?)?;
            }
            let a = reopened(&world.layout().a.netns)?;
            for address in [Ipv4Addr::new(10, 77, 1, 3), Ipv4Addr::new(10, 77, 2, 144)] {
                reaches(&a, address)?;
            }
            done(&world.detach(3)?)?;
            ensure!(ping(&a, Ipv4Addr::new(10, 77, 1, 3), 56, SILENCE).is_err());
            done(&world.attach(3)?)?;
            reaches(&a, Ipv4Addr::new(10, 77, 1, 3))?;
            done(&world.detach(3)?)?;
            world.remove_container(3)?;
            // Number 400 goes with the world.
            Ok(())
        })?;
    }
    Ok(())
}

/// All worlds of a run live in one sandbox.
#[test]
fn worlds_do_not_meet() -> Result<()> {
    within(|sandbox: &Sandbox| {
        let worlds = Contestant::ALL.map(|contestant| build(contestant, sandbox));
        let worlds: Vec<_> = worlds.into_iter().collect::<Result<_>>()?;
        for world in &worlds {
            let layout = world.layout();
            let _server = UdpServer::start(&layout.b.netns, 9000)?;
            let before: Vec<_> = worlds
                .iter()
                .map(|other| other.path_counters())
                .collect::<Result<_>>()?;
            ask(&layout.a.netns, SocketAddrV4::new(layout.b.ip, 9000), b"hello", LIMIT)?;
            for (other, before) in worlds.iter().zip(before) {
                let moved = moved(&before, &other.path_counters()?);
                let same = other.contestant() == world.contestant();
                ensure!(
                    moved.is_empty() != same,
                    "{} in {}: {moved:?}",
                    other.contestant(),
                    world.contestant()
                );
            }
            let bytes = world.map_bytes()?;
            ensure!(
                bytes.is_some_and(|bytes| bytes > 0) == (world.contestant() == Contestant::Netbridge),
                "{bytes:?} bytes of maps"
            );
        }
        Ok(())
    })
}

/// Packets that a chain before all others of netfilter sees in the host's namespace while `act` runs.
fn in_netfilter(world: &dyn World, act: impl FnOnce(&Layout) -> Result<()>) -> Result<u64> {
    let host = &world.layout().host.as_ref().context("no host")?.netns;
    for command in [
        "nft add table ip witness",
        "nft add chain ip witness seen { type filter hook prerouting priority -400 ; }",
        "nft add rule ip witness seen counter",
    ] {
        host.run(|| tool(command))??;
    }
    act(world.layout())?;
    let listed = host.run(|| tool("nft list chain ip witness seen"))??;
    let packets = listed.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    Ok(packets.context("nft lists no counter")?.parse()?)
}

#[test]
fn only_those_that_should_meet_netfilter() -> Result<()> {
    for contestant in HOSTED {
        judge(contestant, |world| {
            let _in_b = UdpServer::start(&world.layout().b.netns, 9000)?;
            let _outside = UdpServer::start(&world.layout().outside.netns, 9000)?;
            let routes = world.translates() == Able::Done;
            let seen = in_netfilter(world, |layout| {
                ask(&layout.a.netns, SocketAddrV4::new(layout.b.ip, 9000), b"hello", LIMIT)?;
                if routes {
                    ask(
                        &layout.a.netns,
                        SocketAddrV4::new(layout.outside.ip, 9000),
                        b"hello",
                        LIMIT,
                    )?;
                }
                Ok(())
            })?;
            let expected = match contestant {
                Contestant::Bridge | Contestant::Netbridge => 0,
                _ => 4,
            };
            ensure!(seen == expected, "netfilter saw {seen} packets, not {expected}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_world_that_does_not_come_up_leaves_nothing() -> Result<()> {
    for contestant in HOSTED {
        within(|sandbox| {
            let name = contestant.to_possible_value().context("no name")?;
            let taken = format!("{}-b", name.get_name());
            Netns::create_named(&taken)?;
            let before = Census::take(sandbox)?;
            let Err(error) = build(contestant, sandbox) else {
                bail!("{contestant} came up though {taken} existed")
            };
            let text = format!("{error:#}");
            ensure!(text.contains(&taken), "{text}");
            let after = Census::take(sandbox)?;
            ensure!(before == after, "{contestant} left behind: {after:#?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_fails_changes_nothing() -> Result<()> {
    for contestant in HOSTED {
        judge(contestant, |world| {
            ensure!(world.attach(7).is_err(), "there is no container 7");
            done(&world.new_container(7)?)?;
            done(&world.attach(7)?)?;
            ensure!(world.attach(7).is_err() && world.new_container(7).is_err());
            let host = world.layout().host.as_ref().context("no host")?;
            let before = links(&host.netns)?;
            done(&world.new_container(8)?)?;
            // Its interface's name is taken.
            let name = contestant.to_possible_value().context("no name")?;
            tool(&format!("ip -n {}-c8 link add eth0 type bridge", name.get_name()))?;
            let attached = world.attach(8);
            let host = world.layout().host.as_ref().context("no host")?;
            if contestant != Contestant::Netbridge {
                ensure!(attached.is_err() && links(&host.netns)? == before);
            }
            reaches(&world.layout().a.netns, Ipv4Addr::new(10, 77, 1, 7))
        })?;
    }
    Ok(())
}
