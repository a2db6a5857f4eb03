//! The course of a measurement: two ends as pinned threads, a window between two readings, and an orderly end.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail};
use netbridge::netns::Netns;

use super::{Route, Timing};
use crate::bench::cpu::{Reading, Used};
use crate::processors::{keep_to, two};

/// Both ends work, and it does not count: before the window, and after it until the clients stop.
const WARM_UP: u8 = 0;
/// Both ends work, and it counts.
const WINDOW: u8 = 1;
/// The clients stop; the servers take what is on its way.
const CLIENTS_STOP: u8 = 2;
/// The servers stop too.
const SERVERS_STOP: u8 = 3;

/// A cache line of its own: the ends write and read from different CPUs. (Neighbouring lines are fetched in pairs.)
#[repr(align(128))]
struct Alone<T>(T);

/// What the ends share with the course of the measurement.
pub(super) struct Stage {
    phase: Alone<AtomicU8>,
    count: Alone<AtomicU64>,
}

impl Stage {
    /// Whether what happens now counts.
    pub(super) fn counts(&self) -> bool {
        self.phase.0.load(Ordering::Relaxed) == WINDOW
    }

    /// Whether the clients shall go on.
    pub(super) fn clients_work(&self) -> bool {
        self.phase.0.load(Ordering::Relaxed) < CLIENTS_STOP
    }

    /// Whether the servers shall wait for more.
    pub(super) fn servers_work(&self) -> bool {
        self.phase.0.load(Ordering::Relaxed) < SERVERS_STOP
    }

    /// This much arrived.
    pub(super) fn add(&self, count: u64) {
        self.count.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What arrived until now, and the CPU time used until then.
    fn reading(&self) -> Result<(u64, Reading)> {
        Ok((self.count.0.load(Ordering::Relaxed), Reading::now()?))
    }

    fn enter(&self, phase: u8) {
        self.phase.0.store(phase, Ordering::Relaxed);
    }
}

/// What an end tells while it works.
enum News {
    /// A client has proven its way and works from now on.
    Ready,
    /// An end is through, well or not.
    Ended,
}

/// How a client tells that it works.
pub(super) struct Herald(Sender<News>);

impl Herald {
    /// The way is proven.
    pub(super) fn ready(&self) {
        // Nobody listens only if the measurement has been given up.
        let _ = self.0.send(News::Ready);
    }
}

/// Tells the end of an end on every way out of it.
struct Farewell(Sender<News>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(News::Ended);
    }
}

/// What a measurement yields.
pub(super) struct Played<C, S> {
    /// What was added in the window.
    pub(super) count: u64,
    /// The window, and the CPU time used in it.
    pub(super) used: Used,
    /// What the clients say.
    pub(super) clients: Vec<C>,
    /// What the servers say.
    pub(super) servers: Vec<S>,
}

/// Runs `flows` clients on one CPU and as many servers on another, each on a thread inside its namespace.
///
/// A client gives `Herald::ready` once and works while `clients_work`; a server works while `servers_work`. Every wait
/// of theirs must be bounded by `silence`.
pub(super) fn play<C: Send, S: Send>(
    route: &Route<'_>,
    timing: Timing,
    flows: NonZeroU16,
    client: impl Fn(&Stage, &Herald) -> Result<C> + Sync,
    server: impl Fn(&Stage) -> Result<S> + Sync,
) -> Result<Played<C, S>> {
    let stage = Stage {
        phase: Alone(AtomicU8::new(WARM_UP)),
        count: Alone(AtomicU64::new(0)),
    };
    let [client_cpu, server_cpu] = two()?;
    thread::scope(|scope| {
        let (sender, news) = mpsc::channel();
        let spawn_server = || {
            let sender = sender.clone();
            scope.spawn(|| {
                let _farewell = Farewell(sender);
                settle(route.server, server_cpu)?;
                server(&stage)
            })
        };
        let servers: Vec<_> = (0..flows.get()).map(|_| spawn_server()).collect();
        let spawn_client = || {
            let (herald, farewell) = (Herald(sender.clone()), Farewell(sender.clone()));
            scope.spawn(|| {
                let (herald, _farewell) = (herald, farewell);
                settle(route.client, client_cpu)?;
                client(&stage, &herald)
            })
        };
        let clients: Vec<_> = (0..flows.get()).map(|_| spawn_client()).collect();
        let watched = watch(&stage, &news, timing, flows);
        stage.enter(CLIENTS_STOP);
        let clients = join_all(clients);
        stage.enter(SERVERS_STOP);
        let servers = join_all(servers);
        // Why an end failed says more than that it did.
        let (clients, servers) = match (clients, servers) {
            (Ok(clients), Ok(servers)) => (clients, servers),
            (Err(client), Ok(_)) => return Err(client.context("the client failed")),
            (Ok(_), Err(server)) => return Err(server.context("the server failed")),
            (Err(client), Err(server)) => {
                return Err(client.context(format!("the client failed, and the server too ({server:#})")));
            }
        };
        let (count, used) = watched?;
        Ok(Played {
            count,
            used,
            clients,
            servers,
        })
    })
}

/// Waits until all clients work, lets them warm up, and reads the counters at both ends of the window.
fn watch(stage: &Stage, news: &Receiver<News>, timing: Timing, flows: NonZeroU16) -> Result<(u64, Used)> {
    // A client that waits for its first answer fails by itself after `silence`, and tells.
    let setup = Instant::now() + 2 * timing.silence;
    for _ in 0..flows.get() {
        match news.recv_timeout(setup.saturating_duration_since(Instant::now())) {
            Ok(News::Ready) => {}
            Ok(News::Ended) => bail!("an end gave up before the measurement began"),
            Err(_) => bail!("the clients were not ready after {:?}", 2 * timing.silence),
        }
    }
    undisturbed(news, timing.warm_up)?;
    let before = stage.reading()?;
    loop {
        stage.enter(WINDOW);
        undisturbed(news, timing.window)?;
        // First of all: what is timed from now on would not be counted.
        stage.enter(WARM_UP);
        let after = stage.reading()?;
        let (count, used) = (after.0 - before.0, after.1.since(&before.1));
        // A busy machine may have let neither end run in a short window; the ends give up after `silence` themselves.
        if count > 0 || used.window >= timing.window + timing.silence {
            return Ok((count, used));
        }
    }
}

/// Waits; an end that gives up meanwhile is an error at once.
fn undisturbed(news: &Receiver<News>, wait: Duration) -> Result<()> {
    match news.recv_timeout(wait) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        _ => Err(anyhow!("an end gave up before the measurement was over")),
    }
}

/// Waits for all and gives what they gave, or the first error.
fn join_all<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    ended
        .into_iter()
        .map(|end| end.unwrap_or_else(|_| Err(Error::msg("the thread panicked"))))
        .collect()
}

/// Moves the calling thread into a namespace and onto a CPU.
fn settle(netns: &Netns, cpu: usize) -> Result<()> {
    netns.enter()?;
    keep_to(cpu)
}
