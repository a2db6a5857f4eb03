//! What the options of a line mean: its rules.

use std::borrow::Cow;

use super::{
    Counters, Extension, Interface, Match, Prefix, Rule, Target,
    fault::Refusal,
    given::{Build, Given},
    interface,
    options::{Goal, Options, Place},
};

/// Most rules in a filter, all chains that `FORWARD` reaches together.
pub const MAX_RULES: usize = 65_536;

/// Most matches that its rules have, comments among them: of a line with lists of addresses each rule has them all.
const MAX_MATCHES: usize = 8 * MAX_RULES;

/// A set that a rule asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) line: usize,
    /// How many of a packet's addresses and ports the rule has looked up.
    pub(super) directions: usize,
}

/// What one line adds to.
#[derive(Default)]
pub(super) struct Output {
    pub(super) rules: Vec<Rule>,
    pub(super) sets: Vec<Asked>,
    /// Rules that other chains have already.
    pub(super) elsewhere: usize,
    /// Matches of all rules.
    matches: usize,
    /// True once there were too many rules or matches, which is said once.
    full: bool,
    sources: Vec<Option<Match<Prefix>>>,
    destinations: Vec<Option<Match<Prefix>>>,
}

/// Adds the rules of a line, one for each pair of a source and a destination, or its faults to `options`.
pub(super) fn rules(
    line: usize,
    counters: Counters,
    words: &[Cow<'_, str>],
    options: &mut Options,
    output: &mut Output,
) {
    let mut built = Rule {
        line,
        counters,
        stood: None,
        source: None,
        destination: None,
        in_interface: device(options.input, words, &mut options.faults),
        out_interface: device(options.output, words, &mut options.faults),
        protocol: options.protocol.take(),
        matches: Vec::with_capacity(options.loaded.len()),
        target: Target::Count,
    };
    let Output {
        sources, destinations, ..
    } = output;
    prefixes(options.source, words, sources, &mut options.faults);
    prefixes(options.destination, words, destinations, &mut options.faults);
    let target = matches(&mut built, words, options);
    built.target = match options.goal {
        None | Some(Goal::Refused) => Target::Count,
        Some(Goal::Accept) => Target::Accept,
        Some(Goal::Drop) => Target::Drop,
        Some(Goal::Return) => Target::Return,
        Some(Goal::Target) => target.unwrap_or(Target::Count),
        Some(Goal::Jump(at)) => Target::Jump(text(words, at).to_owned()),
        Some(Goal::Goto(at)) => Target::Goto(text(words, at).to_owned()),
    };
    check_protocol(&built, options);
    for set in &built.matches {
        if let Extension::Set(Match { value, .. }) = set {
            output.sets.push(Asked {
                name: value.name.clone(),
                line,
                directions: value.source.len(),
            });
        }
    }
    if options.faults.is_empty() {
        expand(built, output, &mut options.faults);
    }
}

/// How many rules a line without faults is.
pub(super) fn count(options: &Options, words: &[Cow<'_, str>]) -> u32 {
    let lists = [options.source, options.destination];
    let commas = |place: Place| text(words, place.at).bytes().filter(|byte| *byte == b',').count();
    let count = |place: Option<Place>| place.map_or(1, |place| commas(place) + 1);
    let all = lists.into_iter().map(count).product::<usize>();
    u32::try_from(all).unwrap_or(u32::MAX)
}

fn text<'a>(words: &'a [Cow<'_, str>], at: usize) -> &'a str {
    words.get(at).map_or("", |word| word)
}

/// Builds the matches in order; answers what the target means, if it has options.
fn matches(rule: &mut Rule, words: &[Cow<'_, str>], options: &mut Options) -> Option<Target> {
    let mut target = None;
    for (owner, loaded) in options.loaded.iter().enumerate() {
        let spec = loaded.spec;
        let before = options.faults.len();
        let mut given = Given {
            spec,
            owner,
            raws: &options.raws,
            words,
            faults: &mut options.faults,
        };
        match spec.build {
            Build::Target(build) => target = build(&mut given),
            Build::Match(build) => match build(&mut given) {
                Some(extension) => rule.matches.push(extension),
                None if loaded.spoiled || given.faults.len() > before => {}
                None => {
                    let option = spec.options.first().map_or("", |option| option.names[0]);
                    let advice = format!("add `{option} …` or remove it");
                    given.refuse(format!("-m {}", spec.name), "the match asks for nothing", advice);
                }
            },
        }
    }
    target
}

/// Refuses what does not go with the protocol.
fn check_protocol(rule: &Rule, options: &mut Options) {
    if options.protocol_refused {
        return;
    }
    let asked = rule
        .protocol
        .as_ref()
        .filter(|protocol| !protocol.negated)
        .map(|protocol| protocol.value);
    for loaded in &options.loaded {
        let wanted = loaded.spec.protocols;
        if !wanted.is_empty() && asked.is_none_or(|asked| !wanted.contains(&asked)) {
            let names: Vec<_> = wanted.iter().map(|wanted| format!("`-p {wanted}`")).collect();
            options.faults.push(Refusal::new(
                format!("-m {}", loaded.spec.name),
                "the match does not fit the protocol",
                format!("add {} or remove it", names.join(" or ")),
            ));
        }
    }
    if let Target::Reject(with) = rule.target
        && let Some(wanted) = with.protocol()
        && asked != Some(wanted)
    {
        options.faults.push(Refusal::new(
            format!("--reject-with {with}"),
            "only TCP knows a reset",
            format!("add `-p {wanted}`, or give icmp-port-unreachable"),
        ));
    }
}

fn device(place: Option<Place>, words: &[Cow<'_, str>], faults: &mut Vec<Refusal>) -> Option<Match<Interface>> {
    let Place { at, negated } = place?;
    let word = text(words, at);
    match interface::parse(word) {
        Ok(Some(value)) => Some(Match { value, negated }),
        Ok(None) => {
            if negated {
                let reason = "no packet is outside of every interface";
                faults.push(Refusal::new(word, reason, "remove the rule"));
            }
            None
        }
        Err(refusal) => {
            faults.push(refusal);
            None
        }
    }
}

/// Reads a list of addresses into `list`: at least one, `None` for those that hold every address.
fn prefixes(
    place: Option<Place>,
    words: &[Cow<'_, str>],
    list: &mut Vec<Option<Match<Prefix>>>,
    faults: &mut Vec<Refusal>,
) {
    list.clear();
    let Some(Place { at, negated }) = place else {
        list.push(None);
        return;
    };
    let word = text(words, at);
    if negated && word.contains(',') {
        let advice = "write `-j RETURN` rules for each in a chain of their own, or keep them in a set";
        faults.push(Refusal::new(word, "a list of addresses cannot be negated", advice));
        return;
    }
    for word in word.split(',') {
        match prefix(word, negated) {
            Ok(prefix) => list.push(prefix),
            Err(refusal) => faults.push(refusal),
        }
    }
}

fn prefix(word: &str, negated: bool) -> Result<Option<Match<Prefix>>, Refusal> {
    let value = Prefix::parse(word)?;
    if value.is_everything() && negated {
        let reason = "no packet is outside of every address";
        return Err(Refusal::new(word, reason, "remove the rule"));
    }
    Ok((!value.is_everything()).then_some(Match { value, negated }))
}

/// One rule for each pair of a source and a destination, in the order of `iptables`.
fn expand(mut rule: Rule, output: &mut Output, faults: &mut Vec<Refusal>) {
    let Output {
        rules,
        elsewhere,
        matches,
        full,
        sources,
        destinations,
        ..
    } = output;
    let count = sources.len().saturating_mul(destinations.len());
    let all = rules.len().saturating_add(*elsewhere).saturating_add(count);
    *matches = matches.saturating_add(count.saturating_mul(rule.matches.len()));
    if all > MAX_RULES || *matches > MAX_MATCHES {
        let reason = if all > MAX_RULES {
            format!("a filter holds at most {MAX_RULES} rules, and this is one more")
        } else {
            format!("the rules of a filter have at most {MAX_MATCHES} matches, and this is one more")
        };
        if !std::mem::replace(full, true) {
            let advice = "merge rules, or keep addresses and ports in sets";
            faults.push(Refusal::new("-A", reason, advice));
        }
        return;
    }
    let (Some(last_source), Some(last_destination)) = (sources.pop(), destinations.pop()) else {
        return;
    };
    if count > 1 {
        rules.reserve(count);
        for source in sources.iter().chain([&last_source]) {
            for destination in destinations.iter().chain([&last_destination]) {
                rules.push(Rule {
                    source: source.clone(),
                    destination: destination.clone(),
                    ..rule.clone()
                });
            }
        }
        return;
    }
    rule.source = last_source;
    rule.destination = last_destination;
    rules.push(rule);
}
