//! The arguments of `netbridge ct`.

use clap::{Args, Subcommand, ValueEnum};

use super::args::OneEndpoint;
use crate::model::{self, Tune};

#[derive(Debug, Subcommand)]
pub(super) enum Ct {
    /// List flows
    Ls(OneEndpoint),
    /// End flows
    Flush(OneEndpoint),
    /// Remove expired flows now; the programs do so when they need room
    Reap,
    /// Take up TCP connections in the middle for a while: the flow table was lost
    Pickup {
        /// For how long
        #[arg(value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
    },
    /// Show or set lifetimes, quotas and the size of the table
    Config(ConfigArgs),
}

#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// Begin with nothing set
    #[arg(long)]
    reset: bool,
    /// Lifetimes and quarantine: those of the RFCs, or those of Linux' conntrack
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// One lifetime, at least 2 seconds; repeatable
    #[arg(long = "timeout", value_name = "NAME=SECONDS")]
    timeouts: Vec<String>,
    /// Flows that the table holds; only while there is no network
    #[arg(long, value_name = "N")]
    flows: Option<u32>,
    /// Flows that one endpoint may have, and ports outside [default: a quarter of the table, at most 15872: half of
    /// the ports that masquerading usually has]
    #[arg(long, value_name = "N")]
    quota: Option<u32>,
    /// Of these, flows that are not established [default: a quarter of it]
    #[arg(long, value_name = "N")]
    half_open: Option<u32>,
    /// How long a port that stood for a container's, and whose connection did not close, is kept from others
    /// [default: 120; 0 in profile netfilter]
    #[arg(long, value_name = "SECONDS")]
    quarantine: Option<u32>,
    /// MACs that may be learned behind one trunk; 0 for no limit
    #[arg(long, value_name = "N")]
    macs: Option<u32>,
    /// Broadcast, multicast and unknown unicast frames of one port a second on each CPU; 0 for no limit
    #[arg(long, value_name = "N")]
    floods: Option<u32>,
    /// Drop SYNs from outside to unprivileged ports that no socket of the host holds, instead of letting the host reset them
    /// (RFC 5382 REQ-4); rules of the host's own that redirect such ports then see none of them
    #[arg(long, value_name = "BOOL")]
    silent: Option<bool>,
}

/// [`model::Profile`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    Rfc,
    Netfilter,
}

impl From<ConfigArgs> for Tune {
    fn from(args: ConfigArgs) -> Self {
        Self {
            reset: args.reset,
            profile: args.profile.map(|profile| match profile {
                Profile::Rfc => model::Profile::Rfc,
                Profile::Netfilter => model::Profile::Netfilter,
            }),
            timeouts: args.timeouts,
            flows: args.flows,
            quota: args.quota,
            half_open: args.half_open,
            quarantine: args.quarantine,
            macs: args.macs,
            floods: args.floods,
            silent: args.silent,
        }
    }
}
