//! Each command of `netbridge filter`: its request, the operation, its reply.

mod args;
mod shown;
mod texts;

pub(super) use args::{Filter, rule_apart};
pub(super) use texts::{ABOUT, EXAMPLES};

use self::args::{RuleFile, RuleWords};
use super::args::Global;
use super::commands::read;
use super::reply::Reply;
use crate::filter::{Change, Edit};
use crate::ops::{self, EditKind, Failure, Host};
use crate::state::{FilterSource, SetSource};

/// Carries out a command.
pub(super) async fn run(global: &Global, command: Filter) -> Result<Reply, Failure> {
    let open = || Host::open(&global.options());
    match command {
        Filter::Check { file } => check(global, &file).await,
        Filter::Load { file, counters } => {
            let done = ops::filter_load(&open()?, &file.read()?, counters).await?;
            Reply::done(&done, global.dry_run, |source| {
                format!("the rules of {} are in force", source.file)
            })
        }
        Filter::Append { rule } => edit(global, EditKind::Append, &rule).await,
        Filter::Insert { rule } => edit(global, EditKind::Insert, &rule).await,
        Filter::Delete { rule } => edit(global, EditKind::Delete, &rule).await,
        Filter::Show(args) => {
            let filter = ops::filter_show(&open()?, args.chain.as_deref())?;
            let text = shown::shown(filter.as_ref(), &args);
            let mut reply = Reply::new(&filter, text.trim_end())?;
            reply.warnings.extend(filter.and_then(|filter| filter.lost));
            Ok(reply)
        }
        Filter::Import {
            load,
            backend,
            counters,
        } => {
            let host = open()?;
            let imported = ops::filter_import(&host, backend.map(Into::into), counters).await?;
            if load {
                let done = ops::filter_load(&host, &imported.source, counters).await?;
                return Reply::done(&done, global.dry_run, |source| {
                    format!("the rules of {} are in force", source.file)
                });
            }
            let mut reply = Reply::new(&imported, shown::imported(&imported))?;
            reply.warnings.clone_from(&imported.unknown);
            Ok(reply)
        }
        Filter::Test(args) => {
            let tested = ops::filter_test(&open()?, &args.into()).await?;
            Reply::new(&tested, shown::tested(&tested))
        }
        Filter::Zero { chain, number } => {
            let edit = Edit {
                chain,
                change: Change::Zero(number),
            };
            let done = ops::filter_edit(&open()?, &edit).await?;
            Reply::done(&done, global.dry_run, |_| "the counters begin at zero".to_owned())
        }
        Filter::Flush => {
            let done = ops::filter_flush(&open()?).await?;
            Reply::done(&done, global.dry_run, |()| "everything is accepted".to_owned())
        }
    }
}

async fn check(global: &Global, file: &RuleFile) -> Result<Reply, Failure> {
    let source = file.read()?;
    let host = Host::open(&global.options()).ok();
    let checked = ops::filter_check(host.as_ref(), &source).await?;
    let told = format!("{}: no fault, rules: {}", checked.file, checked.rules);
    let lines: Vec<&str> = [told.as_str()]
        .into_iter()
        .chain(checked.notes.iter().map(String::as_str))
        .collect();
    let mut reply = Reply::new(&checked, lines.join("\n"))?;
    reply.warnings.clone_from(&checked.unknown);
    Ok(reply)
}

async fn edit(global: &Global, kind: EditKind, words: &RuleWords) -> Result<Reply, Failure> {
    let edit = ops::edit_of(kind, &words.rule, words.chain.as_deref())?;
    let done = ops::filter_edit(&Host::open(&global.options())?, &edit).await?;
    let count = match &edit.change {
        Change::Append(rules) | Change::Insert(_, rules) | Change::Delete(rules) => rules.len(),
        Change::DeleteNumber(_) | Change::Zero(_) => 1,
    };
    let verb = match kind {
        EditKind::Append => "appended to",
        EditKind::Insert => "inserted into",
        EditKind::Delete => "deleted from",
    };
    Reply::done(&done, global.dry_run, |_| {
        format!("rules {verb} {}: {count}", edit.chain())
    })
}

impl RuleFile {
    /// The files' text.
    fn read(&self) -> Result<FilterSource, Failure> {
        let (file, text) = read(&self.file, "iptables-save")?;
        let sets = self.sets.as_deref().map(|sets| read(sets, "ipset save")).transpose()?;
        Ok(FilterSource {
            sets: sets.map(|(file, text)| SetSource {
                file,
                text: text.into(),
            }),
            ..FilterSource::new(file, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;

    fn parsed(line: &[&str]) -> Filter {
        let words = ["netbridge", "filter"].iter().chain(line).map(OsString::from);
        let cli = Cli::try_parse_from(rule_apart(words)).unwrap();
        let Command::Filter(filter) = cli.command else {
            panic!("not filter")
        };
        filter
    }

    #[test]
    fn the_words_of_a_rule_are_its_own() {
        let Filter::Append { rule } = parsed(&["append", "--chain", "mine", "-i", "web", "-j", "DROP", "-n"]) else {
            panic!("not append")
        };
        assert_eq!((rule.chain.as_deref(), rule.rule.len()), (Some("mine"), 5));
        let Filter::Insert { rule } = parsed(&["insert", "2", "-j", "DROP"]) else {
            panic!("not insert")
        };
        assert_eq!(rule.rule, ["2", "-j", "DROP"]);
        let Filter::Append { rule } = parsed(&["append", "!", "-s", "10.0.0.1", "-j", "DROP"]) else {
            panic!("not append")
        };
        assert_eq!(rule.rule[0], "!");
        let Filter::Append { rule } = parsed(&["append", "-j", "DROP"]) else {
            panic!("not append")
        };
        assert_eq!(rule.rule, ["-j", "DROP"]);
        assert!(Cli::try_parse_from(["netbridge", "filter", "append"]).is_err());
        let line = "netbridge -j filter append --dry-run --chain mine -j DROP --dry-run";
        let cli = Cli::try_parse_from(rule_apart(line.split(' ').map(OsString::from))).unwrap();
        let Command::Filter(Filter::Append { rule }) = cli.command else {
            panic!("not append")
        };
        assert_eq!((cli.global.json, cli.global.dry_run, rule.rule.len()), (true, true, 3));
        let Filter::Append { rule } = parsed(&["append", "--protocol", "udp"]) else {
            panic!("not append")
        };
        assert_eq!(rule.rule.len(), 2);
    }

    #[test]
    fn edits_are_what_the_words_say() {
        let edit = |kind, words: &[&str], chain| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            ops::edit_of(kind, &words, chain)
        };
        let inserted = edit(EditKind::Insert, &["-p", "udp", "-j", "DROP"], None).unwrap();
        assert!(matches!(inserted.change, Change::Insert(1, rules) if rules.len() == 1));
        let deleted = edit(EditKind::Delete, &["-D", "mine", "4"], None).unwrap();
        assert_eq!((deleted.chain(), &deleted.change), ("mine", &Change::DeleteNumber(4)));
        for (kind, words, chain) in [
            (EditKind::Append, &["3", "-j", "DROP"][..], None),
            (EditKind::Delete, &["3", "-j", "DROP"], None),
            (EditKind::Append, &[""], None),
            (EditKind::Append, &["-A", "mine", "-j", "DROP"], Some("theirs")),
            (EditKind::Append, &["-A", "INPUT2", "-j", "MARK"], None),
            (EditKind::Append, &["-s", "x"], None),
        ] {
            let failure = edit(kind, words, chain).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{words:?}: {failure}");
        }
    }

    #[test]
    fn the_examples_are_commands() {
        let commands = EXAMPLES.lines().filter(|line| line.starts_with("netbridge "));
        let mut count = 0;
        for line in commands {
            Cli::try_parse_from(rule_apart(line.split(' ').map(OsString::from)))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert_eq!(count, 6);
    }
}
