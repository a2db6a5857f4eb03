//! The long runs: `cargo xtask load`.

use std::env;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use super::peer::{Role, act};
use super::{count, flood, full, hold};

/// Loads netbridge, with real sockets and raw packets in namespaces of its own; one line of what came of each load.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask load")]
pub struct Arguments {
    /// TCP connections held through SNAT
    #[arg(long, default_value_t = 50_000)]
    connections: usize,
    /// Seconds for which data goes over them, and for which a flood lasts
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Packets counted one by one
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
    /// A part of it, as its own process
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// One end of connections
    #[command(subcommand, hide = true)]
    Peer(Role),
}

/// Runs all of them; the first that fails ends it.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Part::Peer(role)) = &arguments.part {
        return act(role);
    }
    let time = Duration::from_secs(arguments.seconds);
    println!(
        "connections: {:?}",
        hold::run(&env::current_exe()?, arguments.connections, time)?
    );
    full::table()?;
    println!("full table: established connections go on, new ones are refused, and again accepted when there is room");
    full::quota()?;
    println!("quota used up: the same, for one container");
    full::ports()?;
    println!("no port left: what asks for one is refused and counted, what has one goes on");
    println!("flood: {:?}", flood::run(time)?);
    println!("every packet counted: {:?}", count::run(arguments.packets)?);
    Ok(())
}
