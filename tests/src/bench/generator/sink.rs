//! Where the generator's frames end.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::links::LinkOrder;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::util::nr_cpus;
use netbridge::netns::Netns;
use nix::net::if_::if_indextoname;

use super::object;
use super::traffic::{Seen, Tuple, Wanted};
use crate::wait::wait_until;

/// How long a frame may take to arrive, whatever it has to wait for: an ARP answer, the softirq thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a sink does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Counts and drops it.
    Drop,
    /// Counts it and sends it back, its ends exchanged: the flow's first answer.
    Answer,
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Those among them that had not come yet when they were first counted.
    pub late: u64,
    /// Source of the last one.
    pub src: SocketAddrV4,
    /// Destination of the last one.
    pub dst: SocketAddrV4,
}

/// A TC program for an interface's ingress.
pub struct Sink {
    wanted: Array<MapData, Wanted>,
    seen: PerCpuArray<MapData, Seen>,
    /// While it is attached.
    link: Option<SchedClassifierLink>,
    object: Ebpf,
}

impl Sink {
    /// Loads the program, with maps of its own. It wants nothing yet: see [`expect`](Self::expect).
    pub fn load() -> Result<Self> {
        let mut object = object::open()?;
        let (wanted, seen) = (object::take(&mut object, "WANTED")?, object::take(&mut object, "SEEN")?);
        let mut sink = Self {
            wanted,
            seen,
            link: None,
            object,
        };
        sink.program()?.load().context("cannot load the sink")?;
        Ok(sink)
    }

    /// Loads the program and attaches it.
    pub fn at(namespace: &Netns, ifindex: u32) -> Result<Self> {
        let mut sink = Self::load()?;
        sink.attach(namespace, ifindex)?;
        Ok(sink)
    }

    /// Attaches to the ingress of interface `ifindex` of `namespace`, before whatever else is attached there, until it is
    /// detached or dropped.
    pub fn attach(&mut self, namespace: &Netns, ifindex: u32) -> Result<()> {
        self.link = None;
        let program = self.program()?;
        let link = namespace
            .run(|| {
                let interface = if_indextoname(ifindex)?.into_string()?;
                let order = TcAttachOptions::TcxOrder(LinkOrder::first());
                let id = program.attach_with_options(&interface, TcAttachType::Ingress, order)?;
                Ok::<_, anyhow::Error>(program.take_link(id)?)
            })?
            .with_context(|| format!("cannot attach the sink to interface {ifindex} of {namespace}"))?;
        self.link = Some(link);
        Ok(())
    }

    /// Takes the program away from interface `ifindex` of `namespace`, where it is attached: afterwards no frame meets it.
    ///
    /// To close the link is not enough: where another thread starts a process, that holds it too until it executes its
    /// program, and frames would end here as before.
    pub fn detach(&mut self, namespace: &Netns, ifindex: u32) -> Result<()> {
        self.link = None;
        let id = self.program()?.info()?.id();
        wait_until("the sink to be gone from its interface", PATIENCE, || {
            let attached = namespace.run(|| {
                let interface = if_indextoname(ifindex)?.into_string()?;
                Ok::<_, anyhow::Error>(SchedClassifier::query_tcx(&interface, TcAttachType::Ingress))
            })??;
            // One that goes away while it is asked for is an error.
            Ok(attached.is_ok_and(|(_, programs)| programs.iter().all(|program| program.id() != id)))
        })
    }

    fn program(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.object.program_mut("sink");
        Ok(program.context("the benchmark's eBPF object has no sink")?.try_into()?)
    }

    /// Forgets what was counted; from now on frames must run from `src` to `dst`. A port of 0 stands for any.
    pub fn expect(&mut self, src: SocketAddrV4, dst: SocketAddrV4, mode: Mode) -> Result<()> {
        let free = |port: u16| if port == 0 { [0xff; 2] } else { [0; 2] };
        let wanted = Wanted {
            tuple: Tuple {
                src: src.ip().octets(),
                dst: dst.ip().octets(),
                sport: src.port().to_be_bytes(),
                dport: dst.port().to_be_bytes(),
            },
            free: Tuple {
                sport: free(src.port()),
                dport: free(dst.port()),
                ..Tuple::default()
            },
            answer: u32::from(mode == Mode::Answer),
        };
        self.wanted.set(0, wanted, 0)?;
        self.seen
            .set(0, PerCpuValues::try_from(vec![Seen::default(); cpus()?])?, 0)?;
        Ok(())
    }

    /// Waits until `sent` frames have come, and judges them: too few, too many, or one that is not what it must be, is an
    /// error.
    pub fn settle(&self, sent: u32) -> Result<Arrived> {
        let start = Instant::now();
        let mut seen = self.seen()?;
        let late = u64::from(sent).saturating_sub(seen.frames);
        while seen.frames < u64::from(sent) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
            seen = self.seen()?;
        }
        let wanted = self.wanted.get(&0, 0)?.tuple;
        ensure!(
            seen.strange == 0,
            "{} frames of {} came as {}, not as {}",
            seen.strange,
            seen.frames,
            show(&seen.last_strange),
            show(&wanted)
        );
        ensure!(
            seen.frames == u64::from(sent),
            "{} frames came of {sent} sent, {}",
            seen.frames,
            show(&wanted)
        );
        let (src, dst) = ends(&seen.last);
        Ok(Arrived { late, src, dst })
    }

    /// What all CPUs saw.
    fn seen(&self) -> Result<Seen> {
        let mut total = Seen::default();
        for seen in self.seen.get(&0, 0)?.iter() {
            total.frames += seen.frames;
            total.strange += seen.strange;
            if seen.frames > 0 {
                total.last = seen.last;
            }
            if seen.strange > 0 {
                total.last_strange = seen.last_strange;
            }
        }
        Ok(total)
    }
}

fn cpus() -> Result<usize> {
    nr_cpus().map_err(|(file, error)| anyhow!("cannot count the CPUs by {file}: {error}"))
}

fn ends(tuple: &Tuple) -> (SocketAddrV4, SocketAddrV4) {
    let end = |ip, port| SocketAddrV4::new(Ipv4Addr::from_octets(ip), u16::from_be_bytes(port));
    (end(tuple.src, tuple.sport), end(tuple.dst, tuple.dport))
}

/// Both ends; port 0 stands for any.
fn show(tuple: &Tuple) -> String {
    let (src, dst) = ends(tuple);
    format!("{src} -> {dst}")
}
