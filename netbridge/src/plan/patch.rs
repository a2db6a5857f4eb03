//! A change of few rules, planned without compiling the others: only packets that such a rule may match are concerned, and
//! only the rules that these may match are compiled for them.

use netbridge_common::abi::{PATCHES, Region};

use super::{Step, digest};
use crate::facts::KernelFacts;
use crate::filter::edit::FORWARD;
use crate::filter::syntax::{
    Chain, ChainText, Counters, Excerpt, MAX_RULES, Rule, RuleId, Ruleset, Target, both, is_whole, region,
};
use crate::filter::tables::{self, Bank, Tables, Uses, World};
use crate::filter::{Change, Edit, FilterErrors, Journal};
use crate::state::FilterSource;

/// Rules that are compiled at no cost to speak of. Of others a change may concern half: with more, all are compiled as fast, and
/// packets pay for no patch.
const FEW_RULES: usize = 256;

/// Tables for the packets that a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The change.
    pub edit: Edit,
    /// The packets.
    pub region: Region,
    /// The tables.
    pub tables: Tables,
    /// What is in force before.
    pub before: Bank,
}

/// The filter that a change makes of one in force, and the step there. None where it must be compiled whole: what is wrong
/// with a change is also found then.
pub(crate) fn patch(
    source: &FilterSource,
    edit: &Edit,
    world: &World,
    kernel: &KernelFacts,
) -> Result<Option<(FilterSource, Step)>, FilterErrors> {
    let Some(bank) = kernel
        .bank
        .filter(|bank| bank.patches < PATCHES && bank.digest == digest(source, world))
    else {
        return Ok(None);
    };
    let names = edit
        .change
        .comes()
        .iter()
        .flat_map(|rule| [&rule.in_interface, &rule.out_interface]);
    if names.flatten().any(|asks| !world.knows(&asks.value)) {
        return Ok(None);
    }
    let Some(region) = concerned(source, edit)? else {
        return Ok(None);
    };
    let forward = reached(source, edit, &region)?;
    let mut rules = source.excerpt(&Excerpt { region, forward })?;
    let Some(journal) = changed(source, &rules, edit)? else {
        return Ok(None);
    };
    if rules
        .chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .flat_map(Rule::rates)
        .any(|rate| rate.bucket == 0)
    {
        // Tables would number it by where it stands, which is elsewhere here.
        return Ok(None);
    }
    journal.replay(&mut rules)?;
    cut(&mut rules, &region);
    let count = |chain: &Chain| chain.stood.map_or(0, |policy| policy.rule as usize);
    let all: usize = rules.chains.iter().map(count).sum();
    let read: usize = rules.chains.iter().map(|chain| chain.rules.len()).sum();
    if read > all / 2 + FEW_RULES || all + journal.len() > MAX_RULES {
        return Ok(None);
    }
    let uses = source.uses.and(&Uses::of(&rules));
    let source = FilterSource {
        journal,
        uses,
        ..source.clone()
    };
    // Pairs of endpoints are known for all packets only.
    let world_without = World {
        endpoints: Vec::new(),
        ..world.clone()
    };
    let Ok(mut tables) = tables::compile_part(bank.room, &rules, &world_without, kernel.hz) else {
        return Ok(None);
    };
    tables.head.digest = digest(&source, world);
    let step = Step::PatchFilter(Box::new(Patched {
        edit: edit.clone(),
        region,
        tables,
        before: bank,
    }));
    Ok(Some((source, step)))
}

/// The packets that a change concerns; none if that is no matter of single rules.
fn concerned(source: &FilterSource, edit: &Edit) -> Result<Option<Region>, FilterErrors> {
    let went;
    let rules = match &edit.change {
        Change::Append(rules) | Change::Insert(_, rules) => &**rules,
        Change::Delete(rules) if rules.len() == 1 => rules,
        Change::DeleteNumber(number) => {
            went = rule_at(source, edit.chain(), number.wrapping_sub(1))?;
            went.as_slice()
        }
        Change::Delete(_) | Change::Zero(_) => &[],
    };
    let adds = edit.change.adds();
    let is_simple =
        |rule: &Rule| !rule.leads() && rule.counters == Counters::default() && !(adds && rule.rates().next().is_some());
    if !rules.iter().all(is_simple) {
        return Ok(None);
    }
    Ok(rules.iter().map(region).reduce(|one, other| both(&one, &other)))
}

/// True if all packets of a region end at a rule that come to it.
fn ends(region: &Region, rule: &Rule) -> bool {
    let own = self::region(rule);
    matches!(rule.target, Target::Accept | Target::Drop | Target::Reject(_))
        && is_whole(rule)
        && both(&own, region) == own
}

/// How many rules of the text of `FORWARD` packets of a region come to at most, when a rule has come that ends there for them.
fn reached(source: &FilterSource, edit: &Edit, region: &Region) -> Result<u32, FilterErrors> {
    let (Change::Insert(number, rules), FORWARD) = (&edit.change, edit.chain()) else {
        return Ok(u32::MAX);
    };
    if !rules.iter().any(|rule| ends(region, rule)) {
        return Ok(u32::MAX);
    }
    // So many rules of the text as it takes to know what stood before.
    let policy = RuleId {
        chain: 0,
        rule: u32::try_from(MAX_RULES.min(number.saturating_add(source.journal.len()))).unwrap_or(u32::MAX),
    };
    let order = source.journal.order(FORWARD, policy)?;
    let behind = (number.saturating_sub(1)..order.count()).filter_map(|index| order.place(index));
    let of_text = behind.map(|place| place.rule).find(|place| *place < policy.rule);
    Ok(of_text.unwrap_or(u32::MAX))
}

/// Takes out of `FORWARD` what no packet of the region comes to.
fn cut(rules: &mut Ruleset, region: &Region) {
    if let Some(chain) = rules.chains.first_mut()
        && let Some(last) = chain.rules.iter().position(|rule| ends(region, rule))
    {
        chain.rules.truncate(last + 1);
    }
}

/// The rule at an index of a chain.
fn rule_at(source: &FilterSource, chain: &str, index: usize) -> Result<Option<Rule>, FilterErrors> {
    let text = ChainText::of(&source.text, chain);
    let policy = RuleId {
        chain: 0,
        rule: u32::try_from(text.count).unwrap_or(u32::MAX),
    };
    let order = source.journal.order(chain, policy)?;
    let Some(stood) = order.place(index) else {
        return Ok(None);
    };
    let came = order.came(stood).cloned();
    Ok(came.or_else(|| text.rule(stood.rule as usize)))
}

/// The journal of a filter with a change; none if that cannot be made.
fn changed(source: &FilterSource, rules: &Ruleset, edit: &Edit) -> Result<Option<Journal>, FilterErrors> {
    let chain = rules.chains.iter().find(|chain| chain.name == edit.chain());
    let Some((chain, policy)) = chain.and_then(|chain| Some((chain, chain.stood?))) else {
        return Ok(None);
    };
    let order = source.journal.order(&chain.name, policy)?;
    let mut journal = source.journal.clone();
    match &edit.change {
        Change::Append(rules) => {
            for (index, rule) in (order.count()..).zip(rules) {
                journal.insert(&chain.name, index, rule);
            }
        }
        Change::Insert(number, rules) if (1..=order.count() + 1).contains(number) => {
            for rule in rules {
                journal.insert(&chain.name, number - 1, rule);
            }
        }
        Change::DeleteNumber(number) if (1..=order.count()).contains(number) => journal.delete(&chain.name, number - 1),
        Change::Delete(gone) => {
            let mut now = rules.clone();
            source.journal.replay(&mut now)?;
            let now = now.chains.iter().find(|now| now.name == chain.name);
            let text = gone.first().map(Rule::to_string);
            let same = |rule: &&Rule| text == Some(rule.to_string());
            let found = now.and_then(|now| now.rules.iter().find(same)?.stood);
            let Some(index) = found.and_then(|stood| order.index(stood)) else {
                return Ok(None);
            };
            journal.delete(&chain.name, index);
        }
        _ => return Ok(None),
    }
    Ok(Some(journal))
}
