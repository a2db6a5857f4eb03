//! The arguments of `netbridge filter`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::texts::{IMPORT, LOAD, RULE, SHOW, TEST};
use crate::ops::{self, FilterTest};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Filter {
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
pub(in crate::cli) struct RuleFile {
    /// The file, as iptables-save writes it; `-` reads standard input
    pub(super) file: PathBuf,
    /// The sets that its rules ask for, as `ipset save` writes them
    #[arg(long, value_name = "FILE")]
    pub(super) sets: Option<PathBuf>,
}

/// A rule, or a number.
#[derive(Args, Debug)]
pub(in crate::cli) struct RuleWords {
    /// The chain [default: FORWARD]
    #[arg(long, value_name = "CHAIN")]
    pub(super) chain: Option<String>,
    /// Its options, for `insert` with a number before them; for `delete` a number may stand alone
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "RULE"
    )]
    pub(super) rule: Vec<String>,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub(in crate::cli) struct ShowArgs {
    /// Only this chain
    pub(in crate::cli) chain: Option<String>,
    /// In columns, as `iptables -L -v -n`
    #[arg(short, long)]
    pub(in crate::cli) verbose: bool,
    /// With counters
    #[arg(short, long)]
    pub(in crate::cli) counters: bool,
    /// Counters in full, without K, M and G
    #[arg(short = 'x', long)]
    pub(in crate::cli) exact: bool,
    /// With the numbers that `insert` and `delete` take
    #[arg(long)]
    pub(in crate::cli) line_numbers: bool,
}

/// [`ops::Backend`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Backend {
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
pub(in crate::cli) struct TestArgs {
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
pub(in crate::cli) fn rule_apart(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
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
