//! For tests: a run with figures as a machine might give them, and contestants that are not there.

use anyhow::Result;

use super::contestant::Contestant;
use super::crosscheck::{Check, Outcome};
use super::machine::Machine;
use super::results::{CaseName, Failure, Options, Results};
use super::rule::Rule;
use super::series::{Absence, Metric, Series};
use super::world::{Able, Layout, Published, World};

/// A contestant without namespaces: it can be told apart, and nothing else.
pub(super) struct FakeWorld(pub(super) Contestant);

impl World for FakeWorld {
    fn contestant(&self) -> Contestant {
        self.0
    }

    fn layout(&self) -> &Layout {
        panic!("a fake has no namespaces")
    }

    fn translates(&self) -> Able {
        Able::Done
    }

    fn load_rules(&mut self, _: &[Rule]) -> Result<Able> {
        Ok(Able::Done)
    }

    fn insert_rule(&mut self, _: &[Rule], _: usize, _: &Rule) -> Result<Able> {
        Ok(Able::Done)
    }

    fn delete_rule(&mut self, _: &[Rule], _: usize) -> Result<Able> {
        Ok(Able::Done)
    }

    fn publish(&mut self, _: &[Published]) -> Result<Able> {
        Ok(Able::Done)
    }

    fn publish_range(&mut self, _: Published, _: u16) -> Result<Able> {
        Ok(Able::Done)
    }

    fn unpublish(&mut self) -> Result<Able> {
        Ok(Able::Done)
    }

    fn new_container(&mut self, _: u16) -> Result<Able> {
        Ok(Able::Done)
    }

    fn attach(&mut self, _: u16) -> Result<Able> {
        Ok(Able::Done)
    }

    fn detach(&mut self, _: u16) -> Result<Able> {
        Ok(Able::Done)
    }

    fn remove_container(&mut self, _: u16) -> Result<()> {
        Ok(())
    }

    fn forget_flows(&mut self) -> Result<()> {
        Ok(())
    }

    fn path_counters(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn foreign_counters(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn map_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// A made-up run: every kind of case, all contestants, a reason for every hole.
pub(super) fn results() -> Results {
    let machine = Machine {
        kernel: "6.18.0 #1 SMP x86_64".to_owned(),
        cpu: "Model 7".to_owned(),
        cpus: 2,
        memory_bytes: 8 << 30,
        virtualisation: "virtual machine".to_owned(),
        sysctls: [("net.core.netdev_max_backlog".to_owned(), "1000".to_owned())].into(),
        mitigations: [("spectre_v2".to_owned(), "Mitigation: Retpolines".to_owned())].into(),
        governor: Some("performance".to_owned()),
        versions: [("nft".to_owned(), "nftables v1.0.6".to_owned())].into(),
        busy_before: 0.01,
        load_before: "0.10 0.20 0.30".to_owned(),
        load_after: "1.10 0.90 0.50".to_owned(),
        steal_percent: 0.4,
    };
    let options = Options {
        quick: false,
        rounds: 10,
        contestants: Contestant::ALL.into(),
        cases: Vec::new(),
    };
    let mut run = Results::new("2026-02-03T04:05:06Z".to_owned(), machine, options, Vec::new());
    run.seconds = 1234.0;
    forwarding(&mut run);
    sockets(&mut run);
    control(&mut run);
    run.errors.push(Failure {
        case: "control/attach/first".to_owned(),
        contestant: Contestant::IptablesLegacy,
        error: "cannot attach container 7: File exists".to_owned(),
    });
    let check = |what: &str, metric, outcome| Check {
        tool: "iperf3".to_owned(),
        what: what.to_owned(),
        contestant: Contestant::RawPair,
        metric,
        outcome,
    };
    let compared = Outcome::Compared {
        theirs: 31.2,
        ours: 30.9,
        ratio: 0.990,
        rounds: 3,
    };
    let absent = Outcome::Absent("sockperf is not installed".to_owned());
    run.checks = vec![
        check("TCP stream", Metric::GbitPerSecond, compared),
        check("UDP request/response", Metric::P50Micros, absent),
    ];
    run
}

const NO_HOST: &str = "a limit has neither rules nor translation";
const NO_NAT: &str = "a bridge alone translates nothing";

/// A line of figures, in the order of [`Contestant::ALL`]; NaN where there is none.
type Line = [f64; 8];

fn forwarding(run: &mut Results) {
    const NONE: f64 = f64::NAN;
    // Net cost without rules, then of one rule, by linear search: nft, legacy.
    let paths: [(&str, &str, Line, bool); 5] = [
        (
            "l2",
            "same network",
            [NONE, 62.0, 690.0, 1960.0, 1810.0, 1950.0, 1900.0, 135.0],
            false,
        ),
        (
            "snat-1",
            "container to outside, 1 flow",
            [NONE, NONE, NONE, 2680.0, 2410.0, 2650.0, 2500.0, 610.0],
            true,
        ),
        (
            "snat-16k",
            "container to outside, 16 k flows",
            [NONE, NONE, NONE, 3540.0, 3300.0, 3500.0, 3400.0, 702.0],
            true,
        ),
        (
            "published",
            "outside to published port",
            [NONE, NONE, NONE, 1670.0, 1600.0, 1660.0, 1650.0, 330.0],
            true,
        ),
        (
            "new-flow",
            "every packet a new flow",
            [NONE, NONE, NONE, 7900.0, 7100.0, 7800.0, 7400.0, 2950.0],
            true,
        ),
    ];
    for (name, title, line, routed) in paths {
        for rules in [0_u32, 10, 100, 1000, 10_000, 65_536] {
            let id = format!("forwarding/{name}/rules-{rules}");
            let many = if rules == 0 {
                title.to_owned()
            } else {
                format!("{title}, {rules} rules")
            };
            let count = f64::from(rules);
            let slope = [
                0.0,
                0.0,
                0.0,
                22.0 * count,
                4.6 * count,
                90.0 * count.min(1.0),
                40.0 * count.min(1.0),
                25.0 * count.min(1.0),
            ];
            case(
                run,
                &id,
                &many,
                Metric::NetNs,
                std::array::from_fn(|index| line[index] + slope[index]),
                |who| match who {
                    Contestant::Loopback => Some(NO_HOST),
                    Contestant::RawPair if routed || rules > 0 => Some(NO_HOST),
                    Contestant::Bridge if routed => Some(NO_NAT),
                    Contestant::Bridge if rules > 0 => Some("no filter"),
                    Contestant::Ipset if rules > 10_000 => Some("would be 12 million elements"),
                    _ => None,
                },
            );
        }
    }
}

fn sockets(run: &mut Results) {
    for (name, title, factor) in [
        ("local", "container to container", 1.0),
        ("outbound", "container to outside", 1.25),
    ] {
        let limit = |who| match who {
            Contestant::Loopback | Contestant::RawPair if factor > 1.0 => {
                Some("the limit has one direction: see local")
            }
            Contestant::Bridge if factor > 1.0 => Some(NO_NAT),
            _ => None,
        };
        let stream = [38.0, 31.0, 27.0, 22.0, 22.5, 22.1, 22.2, 30.4].map(|rate| rate / factor);
        let id = format!("sockets/tcp-stream-1/{name}");
        case(
            run,
            &id,
            &format!("TCP stream, {title}"),
            Metric::GbitPerSecond,
            stream,
            limit,
        );
        for (load, what, base) in [
            ("tcp-rr", "TCP request/response", 1.0),
            ("udp-rr", "UDP request/response", 0.85),
        ] {
            let id = format!("sockets/{load}/{name}");
            let title = format!("{what}, {title}");
            let p50 = [18.0, 24.0, 28.0, 33.0, 32.0, 32.8, 32.5, 24.6].map(|time| time * base * factor);
            for (metric, tail) in [
                (Metric::P50Micros, 1.0),
                (Metric::P90Micros, 1.2),
                (Metric::P99Micros, 2.1),
                (Metric::P999Micros, 7.5),
            ] {
                case(run, &id, &title, metric, p50.map(|time| time * tail), limit);
            }
        }
    }
}

fn control(run: &mut Results) {
    let nothing = |who| match who {
        Contestant::Loopback | Contestant::RawPair => Some(NO_HOST),
        Contestant::Bridge => Some(NO_NAT),
        _ => None,
    };
    for ports in [1_u32, 100, 1000, 10_000] {
        let count = f64::from(ports);
        let single = [
            0.0,
            0.0,
            0.0,
            20.0 + 3.1 * count,
            15.0 + 4.0 * count,
            20.0 + 3.2 * count,
            8.0 + 0.9 * count,
            2.0 + 0.3 * count,
        ];
        let range = [0.0, 0.0, 0.0, 21.0, 16.0, 21.5, 8.5, 3.0 + 0.001 * count];
        let id = format!("control/publish-single/ports-{ports}");
        let slow = |who| match who {
            Contestant::IptablesNft | Contestant::IptablesLegacy | Contestant::Ipset if ports == 10_000 => {
                Some("takes minutes")
            }
            _ => nothing(who),
        };
        case(
            run,
            &id,
            &format!("publish {ports} ports one by one"),
            Metric::Millis,
            single,
            slow,
        );
        let id = format!("control/publish-range/ports-{ports}");
        case(
            run,
            &id,
            &format!("publish {ports} ports as a range"),
            Metric::Millis,
            range,
            nothing,
        );
    }
    let attach = [0.0, 0.0, 9.0, 12.0, 0.0, 12.0, 11.0, 10.0];
    case(
        run,
        "control/attach/first",
        "attach the 1st endpoint",
        Metric::Millis,
        attach,
        |who| match who {
            Contestant::Loopback | Contestant::RawPair => Some(NO_HOST),
            Contestant::IptablesLegacy => Some(""),
            _ => None,
        },
    );
}

/// Adds one yardstick of a case: ten rounds scattered about the figures, or the reasons why there is none; an empty
/// reason is told elsewhere.
fn case(
    run: &mut Results,
    id: &str,
    title: &str,
    metric: Metric,
    figures: Line,
    gap: impl Fn(Contestant) -> Option<&'static str>,
) {
    let first = run.cases.last().is_none_or(|last| last.id != id);
    if first {
        run.cases.push(CaseName {
            id: id.to_owned(),
            title: title.to_owned(),
        });
    }
    for (contestant, figure) in Contestant::ALL.into_iter().zip(figures) {
        match gap(contestant) {
            Some("") => {}
            Some(reason) if first => run.absences.push(Absence {
                case: id.to_owned(),
                contestant,
                metric: None,
                reason: reason.to_owned(),
            }),
            Some(_) => {}
            None => {
                let mut rng = fastrand::Rng::with_seed(run.series.len() as u64);
                let rounds = if metric.is_of_all_rounds() { 1 } else { 10 };
                run.series.push(Series {
                    case: id.to_owned(),
                    contestant,
                    metric,
                    values: (0..rounds).map(|_| figure * (0.95 + 0.1 * rng.f64())).collect(),
                });
            }
        }
    }
}
