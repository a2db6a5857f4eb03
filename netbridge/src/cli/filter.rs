//! The arguments of `netbridge filter`, and each of its commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::Global;
use super::commands::read;
use super::reply::Reply;
use super::rules;
use crate::filter::{Change, Edit};
use crate::ops::{self, EditKind, Failure, FilterTest, Host};
use crate::state::{FilterSource, SetSource};

/// What the filter is.
pub(super) const ABOUT: &str = "\
The filter is the chain FORWARD of iptables' table filter, with the chains that it jumps to and the
sets that its rules ask for, as iptables-save and ipset save write them. Names after -i and -o are
those of networks, endpoints and interfaces of the host.

It decides about every packet that a container sends or receives, but for those of the host itself
(its INPUT and OUTPUT), before networks are isolated from each other and before the sources of
published ports are looked at: what it drops stays dropped, what it accepts may still be isolated.

What netbridge would not do exactly as netfilter does is refused with its line; what is of other
tables and chains is left alone, and said.";

/// What it looks like.
pub(super) const EXAMPLES: &str = "\
EXAMPLES

netbridge filter load host.rules --sets host.ipset
  Put a file's rules in force, all at once, with the sets that they ask for.

netbridge filter append -i front -p tcp --dport 5432 -j DROP
  One more rule, behind all others.

netbridge filter insert 1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  One before all others.

netbridge filter delete 3
  The third rule goes. The others go on counting.

netbridge filter append -A DOCKER-USER -s 192.0.2.0/24 -j DROP
  A rule of a chain of the user's.

netbridge filter show -v
  The rules with their counters, as iptables -L -v -n shows them.";

/// What a rule is on the command line.
const RULE: &str = "\
The rule is what stands behind `-A FORWARD` in a file, as words or as one quoted line. With `-A
CHAIN` (or -I, -D) before it, or --chain CHAIN, it is of another chain. Lists of addresses make
several rules.";

/// What `filter load` promises.
const LOAD: &str = "\
Put a file's rules in force; `-` reads standard input.

All of them take force at once, in place of those before, or none: what is wrong with the file is
said with its lines, and nothing is changed. Connections that exist are judged anew by their next
packet. Counters begin at zero, unless -c takes those of the file.

Where no filter was in force, TCP connections in the middle are taken up for two minutes, as `ct
pickup` does: inside a network they were not tracked.";

/// What `filter show` promises.
const SHOW: &str = "\
Show the rules in force.

The text can be loaded again. With -c it has the counters: packets, and bytes from the IP header on.
They are those since the filter was loaded, whatever rules came and went meanwhile. A jump has
counted what its condition matched; the policy, what no rule has decided about. A filter without
rules that accepts everything counts nothing.";

/// What `filter import` promises.
const IMPORT: &str = "\
Take over the rules that netfilter has in the host's namespace, and with -n in that of another.

They are read with iptables-save, and the sets that they ask for with `ipset save`. What would
change is shown as a difference between the filter in force and them; what netbridge would not do
exactly as netfilter does is refused, all of it at once. --load puts them in force. Netfilter's own
rules stay: packets that netbridge carries do not meet them.";

/// What `filter test` promises.
const TEST: &str = "\
Say what becomes of a packet, and which rules match on the way.

No packet is sent: the tables are searched as the datapath does. It is asked what the filter says,
not whether the network leads there; what comes behind the filter is noted. An endpoint stands for
its address, its interface and its MAC; an address that no endpoint has is in its network, or
outside; `outside` is anybody there. Limits have a token for the packet.

Without --proto it is TCP if ports are given, else an ICMP echo request.";

#[derive(Debug, Subcommand)]
pub(super) enum Filter {
    /// Put a file's rules in force
    #[command(long_about = LOAD)]
    Load {
        #[command(flatten)]
        file: RuleFile,
        /// Go on from the counters in the file
        #[arg(short, long)]
        counters: bool,
    },
    /// Say all that is wrong with a file, and what of it would be left alone
    Check {
        #[command(flatten)]
        file: RuleFile,
    },
    /// Add a rule behind all others of its chain
    #[command(after_long_help = RULE)]
    Append {
        #[command(flatten)]
        rule: RuleWords,
    },
    /// Add a rule at a number, or before all others of its chain
    #[command(after_long_help = RULE)]
    Insert {
        #[command(flatten)]
        rule: RuleWords,
    },
    /// Remove a rule, named by its number or by what it says; of equal ones the first
    #[command(after_long_help = RULE)]
    Delete {
        #[command(flatten)]
        rule: RuleWords,
    },
    /// Show the rules in force
    #[command(long_about = SHOW)]
    Show(ShowArgs),
    /// Take over the rules that netfilter has in the host's namespace
    #[command(long_about = IMPORT)]
    Import {
        /// Put them in force; without, what would change is shown
        #[arg(long)]
        load: bool,
        /// Which engine of netfilter's [default: the one that has rules in FORWARD]
        #[arg(long, value_enum)]
        backend: Option<Backend>,
        /// With what they have counted
        #[arg(short, long)]
        counters: bool,
    },
    /// Say what becomes of a packet, and which rules match on the way
    #[command(long_about = TEST)]
    Test(TestArgs),
    /// Begin counters at zero: all of them, a chain's, or a rule's
    Zero {
        /// The chain
        chain: Option<String>,
        /// The rule's number
        number: Option<usize>,
    },
    /// Remove all rules: everything is accepted
    Flush,
}

/// A file of rules, and one of sets.
#[derive(Args, Debug)]
pub(super) struct RuleFile {
    /// The file, as iptables-save writes it; `-` reads standard input
    file: PathBuf,
    /// The sets that its rules ask for, as `ipset save` writes them
    #[arg(long, value_name = "FILE")]
    sets: Option<PathBuf>,
}

/// A rule, or a number.
#[derive(Args, Debug)]
pub(super) struct RuleWords {
    /// The chain [default: FORWARD]
    #[arg(long, value_name = "CHAIN")]
    chain: Option<String>,
    /// Its options, for `insert` with a number before them; for `delete` a number may stand alone
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "RULE"
    )]
    rule: Vec<String>,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub(super) struct ShowArgs {
    /// Only this chain
    pub(super) chain: Option<String>,
    /// In columns, as `iptables -L -v -n`
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// With counters
    #[arg(short, long)]
    pub(super) counters: bool,
    /// Counters in full, without K, M and G
    #[arg(short = 'x', long)]
    pub(super) exact: bool,
    /// With the numbers that `insert` and `delete` take
    #[arg(long)]
    pub(super) line_numbers: bool,
}

/// [`ops::Backend`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Backend {
    Nft,
    Legacy,
}

impl From<Backend> for ops::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Nft => Self::Nft,
            Backend::Legacy => Self::Legacy,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// Where it comes from: an endpoint, an address, or `outside`
    #[arg(long, value_name = "EP|IP")]
    from: String,
    /// Where it goes to
    #[arg(long, value_name = "EP|IP")]
    to: String,
    /// Its protocol: a name or a number
    #[arg(short, long, value_name = "PROTO")]
    proto: Option<String>,
    /// The port it comes from [default: 49152]
    #[arg(long, value_name = "N")]
    sport: Option<u16>,
    /// The port it goes to
    #[arg(long, value_name = "N")]
    dport: Option<u16>,
    /// Its ICMP type: TYPE, TYPE/CODE or a name [default: echo-request]
    #[arg(long, value_name = "TYPE")]
    icmp_type: Option<String>,
    /// NEW, ESTABLISHED, RELATED or INVALID; with SNAT or DNAT behind a comma if it is translated [default: NEW]
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// It goes against the direction of its flow's first packet
    #[arg(long)]
    reply: bool,
    /// The interface it comes in by [default: that of --from]
    #[arg(short, long = "in", value_name = "NAME")]
    input: Option<String>,
    /// The interface it goes out by [default: that of --to]
    #[arg(short, long = "out", value_name = "NAME")]
    output: Option<String>,
    /// The MAC it comes from [default: that of --from]
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// Its TCP flags, separated by commas [default: SYN if it is NEW, else ACK]
    #[arg(long, value_name = "FLAGS")]
    tcp_flags: Option<String>,
}

impl From<TestArgs> for FilterTest {
    fn from(args: TestArgs) -> Self {
        Self {
            from: args.from,
            to: args.to,
            proto: args.proto,
            sport: args.sport,
            dport: args.dport,
            icmp_type: args.icmp_type,
            state: args.state,
            reply: args.reply,
            input: args.input,
            output: args.output,
            mac: args.mac,
            tcp_flags: args.tcp_flags,
        }
    }
}

/// The arguments with `--` before the words of a rule: some of these, such as `-j`, are options of every command too.
pub(super) fn rule_apart(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let verb = |pair: &[OsString]| match pair {
        [noun, verb] => noun == "filter" && (verb == "append" || verb == "insert" || verb == "delete"),
        _ => false,
    };
    let Some(at) = arguments.windows(2).position(verb) else {
        return arguments;
    };
    let mut at = at + 2;
    loop {
        at += match arguments.get(at).and_then(|word| word.to_str()) {
            Some("--chain" | "--netns" | "--instance" | "--bpffs" | "--cgroup") => 2,
            Some("--json" | "--dry-run" | "--help") => 1,
            Some(word) if word.starts_with("--chain=") => 1,
            _ => break,
        };
    }
    if arguments.get(at).is_some_and(|word| word != "-h") {
        arguments.insert(at, "--".into());
    }
    arguments
}

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
            let text = rules::shown(filter.as_ref(), &args);
            Reply::new(&filter, text.trim_end())
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
            let mut reply = Reply::new(&imported, rules::imported(&imported))?;
            reply.warnings.clone_from(&imported.unknown);
            Ok(reply)
        }
        Filter::Test(args) => {
            let tested = ops::filter_test(&open()?, &args.into()).await?;
            Reply::new(&tested, rules::tested(&tested))
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
            sets: sets.map(|(file, text)| SetSource { file, text }),
            ..FilterSource::new(file, text)
        })
    }
}

#[cfg(test)]
mod tests {
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
