//! What the filter would say of a packet.

use std::net::Ipv4Addr;

use netbridge_common::abi::{CtState, ZONE_UPLINK, verdict};
use netbridge_common::datapath::filter::Subject;
use serde::Serialize;

use super::filter_packet::subject;
use super::{Failure, Host};
use crate::filter::probe::{self, Said};
use crate::filter::syntax::{Parsed, Policy};
use crate::filter::tables::RuleId;
use crate::plan;
use crate::state::State;

/// A packet to ask about, as it was described.
#[derive(Clone, Debug, Default)]
pub struct FilterTest {
    /// Where it comes from: an endpoint, an address, or `outside`.
    pub from: String,
    /// Where it goes to.
    pub to: String,
    /// Its protocol; TCP if ports are given, else ICMP.
    pub proto: Option<String>,
    /// The port it comes from.
    pub sport: Option<u16>,
    /// The port it goes to.
    pub dport: Option<u16>,
    /// Its ICMP type; an echo request if none is given.
    pub icmp_type: Option<String>,
    /// Its state; `NEW` if none is given.
    pub state: Option<String>,
    /// It goes against the direction of its flow's first packet.
    pub reply: bool,
    /// The interface it comes in by.
    pub input: Option<String>,
    /// The interface it goes out by.
    pub output: Option<String>,
    /// The MAC it comes from.
    pub mac: Option<String>,
    /// Its TCP flags; SYN for a new flow and else ACK if none are given.
    pub tcp_flags: Option<String>,
}

/// The filter's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    /// `ACCEPT`, `DROP` or `REJECT`.
    pub verdict: &'static str,
    /// The rule that decides; `None` if no filter is in force.
    pub decided: Option<Met>,
    /// The rules that match on the way there, in order.
    pub path: Vec<Met>,
    /// The packet.
    pub packet: String,
    /// What the answer depends on, and what comes behind the filter.
    pub notes: Vec<String>,
}

/// A rule that matches, or the policy.
#[derive(Clone, Debug, Serialize)]
pub struct Met {
    /// Its chain.
    pub chain: String,
    /// Its number, from 1 on; `None` for the policy.
    pub number: Option<usize>,
    /// Its line in the file it was loaded from.
    pub line: Option<usize>,
    /// The rule, as `iptables-save` writes it.
    pub text: String,
}

/// Asks the filter in force what it would say of a packet.
pub async fn filter_test(host: &Host, request: &FilterTest) -> Result<Tested, Failure> {
    let state = host.state()?;
    let world = host.world(&state).await?;
    let (subject, packet) = subject(&state, &world, request)?;
    let mut notes = notes(&state, &subject);
    let Some(source) = &state.filter else {
        return Ok(Tested {
            verdict: Policy::Accept.name(),
            decided: None,
            path: Vec::new(),
            packet,
            notes,
        });
    };
    let (Parsed { ruleset, .. }, tables) = plan::check(source, &world).map_err(plan::filter_faults)?;
    let said = probe::ask(&ruleset, &tables, &subject);
    let Said {
        verdict,
        path,
        decided,
        varies,
    } = said
        .ok_or_else(|| anyhow::anyhow!("the compiled rules do not say what the rules do: please report these rules"))?;
    if varies {
        notes.insert(
            0,
            "each packet of the flow is asked about: TCP flags or a limit decide, or a rule reports it".to_owned(),
        );
    }
    let met = |id: RuleId| {
        let chain = ruleset.chains.get(id.chain as usize);
        let rule = chain.and_then(|chain| chain.rules.get(id.rule as usize));
        let name = chain.map_or("FORWARD", |chain| &chain.name);
        Met {
            chain: name.to_owned(),
            number: rule.map(|_| id.rule as usize + 1),
            line: rule.map(|rule| rule.line),
            text: rule.map_or_else(
                || format!("policy {}", ruleset.policy),
                |rule| rule.in_chain(name).to_string(),
            ),
        }
    };
    Ok(Tested {
        verdict: match verdict {
            verdict::ACCEPT => "ACCEPT",
            verdict::REJECT => "REJECT",
            _ => "DROP",
        },
        decided: decided.map(met),
        path: path.into_iter().map(met).collect(),
        packet,
        notes,
    })
}

/// What the filter's word does not say.
fn notes(state: &State, subject: &Subject<[u8; 4]>) -> Vec<String> {
    let mut notes = Vec::new();
    for address in [subject.src, subject.dst].map(Ipv4Addr::from) {
        if state.local.contains(&address) {
            notes.push(format!(
                "{address} is the host's own: the filter is not asked about its packets"
            ));
        }
    }
    let (from, to) = (subject.in_net, subject.out_net);
    let outside = u32::from(ZONE_UPLINK);
    if from == outside && to != outside && subject.state & CtState::NEW != 0 {
        notes
            .push("behind the filter: the outside reaches published ports, and networks made with --routed".to_owned());
    } else if from != to && from != outside && to != outside {
        notes.push("behind the filter: networks reach each other by published ports alone".to_owned());
    }
    notes
}
