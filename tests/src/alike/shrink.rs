//! As few rules and conversations as still show a difference.

use std::fmt::Write as _;

use anyhow::Result;

use super::stand::Stands;
use super::trial::{Case, Difference, run};
use super::words::describe;

/// Trials at most.
const TRIALS: usize = 250;

/// The smallest case found, in words, with what both hosts did and know then.
pub(super) fn shrink(stands: &Stands, case: &Case, difference: &Difference) -> Result<String> {
    let (mut small, mut shown, mut trials) = (case.clone(), difference.clone(), 0);
    let mut smaller = |candidate: Case, small: &mut Case| -> Result<bool> {
        trials += 1;
        if trials > TRIALS {
            return Ok(false);
        }
        // A jump to a chain that has gone is no file.
        let Ok(outcome) = run(stands, &candidate) else {
            return Ok(false);
        };
        let same = |found: &Difference| found.talk.is_some() == difference.talk.is_some();
        let Some(difference) = outcome.difference.filter(same) else {
            return Ok(false);
        };
        // A file that says nothing is another matter.
        if !candidate.files.rules.contains("-A FORWARD") {
            return Ok(false);
        }
        (*small, shown) = (candidate, difference);
        Ok(true)
    };
    let alone = difference.talk.map(|talk| vec![case.talks[talk].clone()]);
    if let Some(talks) = alone {
        let candidate = Case { talks, ..small.clone() };
        smaller(candidate, &mut small)?;
    }
    let mut at = 0;
    while at < small.talks.len() {
        let mut candidate = small.clone();
        candidate.talks.remove(at);
        if candidate.talks.is_empty() || !smaller(candidate, &mut small)? {
            at += 1;
        }
    }
    let mut again = true;
    while std::mem::take(&mut again) {
        let mut at = 0;
        while at < small.files.rules.lines().count() {
            let lines: Vec<&str> = small.files.rules.lines().collect();
            let is_rule = lines[at].starts_with("-A ");
            let is_unused = lines[at].strip_prefix(':').is_some_and(|declared| {
                let name = declared.split(' ').next().unwrap_or_default();
                name != "FORWARD" && small.files.rules.matches(name).count() == 1
            });
            if is_rule || is_unused {
                let kept = lines.iter().enumerate().filter(|(line, _)| *line != at);
                let rules = kept.fold(String::new(), |text, (_, line)| text + line + "\n");
                let mut candidate = small.clone();
                candidate.files.rules = rules;
                if smaller(candidate, &mut small)? {
                    again = true;
                    continue;
                }
            }
            at += 1;
        }
    }
    let mut text = format!("{:?}\n{}", small.files.backend, small.files.rules);
    for (number, talk) in small.talks.iter().enumerate() {
        for step in talk {
            writeln!(
                text,
                "talk {number}: {:?} to {:?}: {}",
                step.from,
                step.to,
                describe(&step.packet)
            )?;
        }
    }
    writeln!(text, "{}", shown.text)?;
    if run(stands, &small)?.packets > 0 {
        let [kernel, ours] = stands.show()?;
        write!(text, "--- netfilter\n{kernel}--- netbridge\n{ours}")?;
    }
    Ok(text)
}
