//! The proof: an example lab in a sandbox, checked with real sockets, a line per check with what was measured.
//!
//! `cargo xtask run` builds and runs it as `netbridge-proof`.

mod counters;
mod host;
mod live;
mod reach;
mod refuse;
mod report;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use netbridge::datapath::HOOKS;
use nix::sys::signal::{SigSet, Signal};

use self::report::Report;
use crate::lab::Lab;
use crate::sandbox::Sandbox;
use crate::tcp::TcpServer;
use crate::udp::UdpServer;

/// The example that is brought up.
const TOPOLOGY: &str = include_str!("../../../examples/web-app-db.toml");
/// Its filter.
const FILTER: &str = include_str!("../../../examples/web-app-db.rules");

/// Exit code after SIGINT, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Brings the example lab up in a sandbox and checks it with real sockets.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Arguments {
    /// End after the checks instead of showing the lab live.
    #[arg(long)]
    pub once: bool,
    /// Print one JSON document instead of lines; implies --once.
    #[arg(long)]
    pub json: bool,
}

/// Runs the proof; returns the exit code: 0 only if every check held.
///
/// Call it on the process's first thread before there is another: it moves this thread into a sandbox.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let stop = stop_on_signals()?;
    let sandbox = Sandbox::enter()?;
    let mut report = Report::new(arguments.json, Arc::clone(&stop));
    let lab = Lab::up(&sandbox, TOPOLOGY, Some(FILTER)).context("cannot bring the lab up")?;
    describe(&mut report, &lab)?;
    let services = Services::start(&lab)?;
    for section in [reach::check, refuse::check, counters::check, host::check] {
        section(&mut report, &lab);
    }
    if stop.load(Ordering::Relaxed) {
        drop(services);
        lab.down()?;
        return Ok(INTERRUPTED);
    }
    let held = report.finish()?;
    if held && !arguments.once && !arguments.json && std::io::stdout().is_terminal() {
        live::show(&lab, &stop)?;
    }
    drop(services);
    lab.down()?;
    Ok(u8::from(!held))
}

/// What listens in the lab while it is checked.
struct Services {
    _tcp: Vec<TcpServer>,
    _udp: Vec<UdpServer>,
}

impl Services {
    fn start(lab: &Lab<'_>) -> Result<Self> {
        let tcp = [("web", 80), ("app", 80), ("db", 5432), ("outside", 80)];
        let udp = [("web", 53), ("app", 53), ("db", 5432), ("outside", 53)];
        Ok(Self {
            _tcp: tcp
                .iter()
                .map(|(node, port)| TcpServer::start(&lab.node(node)?, *port))
                .collect::<Result<_>>()?,
            _udp: udp
                .iter()
                .map(|(node, port)| UdpServer::start(&lab.node(node)?, *port))
                .collect::<Result<_>>()?,
        })
    }
}

/// A flag that SIGINT and SIGTERM raise; a second signal ends the process, and with it the sandbox.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Threads started from here on inherit the mask, so only the waiting one gets these signals.
    signals.thread_block().context("cannot block signals")?;
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if raised.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(stop)
}

/// Says what is being looked at.
fn describe(report: &mut Report, lab: &Lab<'_>) -> Result<()> {
    let datapath = lab.datapath()?;
    let kernel = nix::sys::utsname::uname()?;
    report.note("kernel", &kernel.release().to_string_lossy());
    for hook in HOOKS {
        let instructions = datapath.verified_instructions(hook)?;
        let instructions = instructions.map_or_else(|| "not told by this kernel".to_owned(), |count| count.to_string());
        report.note(hook.name(), &format!("{instructions} verified instructions"));
    }
    Ok(())
}

/// Fails with the two values unless they are equal.
fn equal<T: PartialEq + std::fmt::Display>(what: &str, expected: &T, found: &T) -> Result<()> {
    ensure!(expected == found, anyhow!("{what}: expected {expected}, found {found}"));
    Ok(())
}
