//! A workload on one contestant: sinks at both ends, and sending.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::conversation::{Conversation, Way, any_port};
use super::workload::{Direction, MANY, Traffic, Workload};
use crate::bench::generator::{Arrived, Flows, Generator, Mode, Sent, Sink};
use crate::bench::world::{Layout, World};

/// Frames that a floor is measured with: 10 ms of a core that makes and drops a frame in 300 ns.
const FLOOR_FRAMES: u32 = 32_768;
/// The fewest frames that a round sends: a batch. It is they that tell how long more would take.
const LEAST: u32 = 64;
/// Frames that tell what a frame costs, where they are not too many.
const SAMPLE: u32 = 256;
/// The most that a round sends.
const MOST: u32 = 1 << 20;
/// Flows are answered again when the last time is so long ago: netfilter forgets a UDP flow after 30 s.
const STALE: Duration = Duration::from_secs(10);

/// What one round measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    /// Of the floor, before the whole path was measured and after, nanoseconds per frame.
    pub(super) floors: [f64; 2],
    /// Of the whole path, nanoseconds per frame.
    pub(super) total: f64,
}

impl Round {
    /// What the path costs above the floor, nanoseconds per frame.
    pub(super) fn net(&self) -> f64 {
        let [before, after] = self.floors;
        self.total - f64::midpoint(before, after)
    }

    /// The floor of the moment when the processor was slower.
    pub(super) fn slower_floor(&self) -> f64 {
        let [before, after] = self.floors;
        before.max(after)
    }
}

/// A workload on a contestant that is ready for it.
pub(super) struct Session {
    workload: Workload,
    /// The server's.
    port: u16,
    client: Sink,
    server: Sink,
    /// Attached to the first interface while the floor is measured.
    first: Sink,
    /// How many frames a round sends.
    frames: u32,
    /// When all flows were last answered.
    opened: Instant,
}

impl Session {
    /// Attaches the sinks, and has the server answer every flow once.
    pub(super) fn open(workload: Workload, port: u16, generator: &Generator, layout: &Layout) -> Result<Self> {
        let talk = Conversation::new(workload.relation, layout, port);
        let (client, server) = (talk.client(), talk.request()?.exit);
        let mut session = Self {
            workload,
            port,
            client: Sink::at(&client.netns, client.ifindex)?,
            server: Sink::at(&server.netns, server.ifindex)?,
            first: Sink::load()?,
            frames: LEAST,
            opened: Instant::now(),
        };
        session.establish(generator, layout)?;
        Ok(session)
    }

    /// Finds out how many frames fill `budget`.
    pub(super) fn calibrate(&mut self, generator: &Generator, world: &mut dyn World, budget: Duration) -> Result<()> {
        self.frames = LEAST;
        // The first time warms the caches.
        let mut sent = self.total(generator, world)?;
        let fill = |ns: f64| budget.as_secs_f64() * 1e9 / ns;
        if fill(sent.ns) > f64::from(SAMPLE) {
            self.frames = SAMPLE;
            sent = self.total(generator, world)?;
        }
        let most = match self.workload.traffic {
            Traffic::Established(_) => MOST,
            Traffic::New => MANY,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what fits"
        )]
        let frames = fill(sent.ns).clamp(f64::from(LEAST), f64::from(most)) as u32;
        self.frames = frames;
        Ok(())
    }

    /// One round: the floor, the whole path, and the floor again.
    pub(super) fn round(&mut self, generator: &Generator, world: &mut dyn World) -> Result<Round> {
        self.refresh(generator, world.layout())?;
        let before = self.floor(generator, world.layout())?.ns;
        let total = self.total(generator, world)?.ns;
        let after = self.floor(generator, world.layout())?.ns;
        Ok(Round {
            floors: [before, after],
            total,
        })
    }

    /// Sends through the whole path.
    pub(super) fn total(&mut self, generator: &Generator, world: &mut dyn World) -> Result<Sent> {
        if self.workload.traffic == Traffic::New {
            world.forget_flows()?;
        }
        let way = self.way(generator, world.layout())?;
        let flows = self.flows();
        let sink = match self.workload.direction {
            Direction::Request => &mut self.server,
            Direction::Reply => &mut self.client,
        };
        through(generator, &way, flows, self.frames, sink)
    }

    /// Sends as far as the first interface.
    fn floor(&mut self, generator: &Generator, layout: &Layout) -> Result<Sent> {
        let way = self.way(generator, layout)?;
        let flows = self.flows();
        let entrance = way.entrance;
        self.first.attach(entrance.netns, entrance.ifindex)?;
        let way = Way {
            src: way.stream.src,
            dst: way.stream.dst,
            ..way
        };
        let sent = through(generator, &way, flows, FLOOR_FRAMES, &mut self.first).context("on the first interface");
        self.first.detach(entrance.netns, entrance.ifindex)?;
        sent
    }

    /// The way that is measured. The answer's is known when a request has arrived.
    fn way<'a>(&mut self, generator: &Generator, layout: &'a Layout) -> Result<Way<'a>> {
        let talk = self.talk(layout);
        match self.workload.direction {
            Direction::Request => talk.request(),
            Direction::Reply => talk.reply(&self.answered(generator, &talk, 1)?),
        }
    }

    /// Keeps flows and bridge entries from being forgotten between rounds.
    fn refresh(&mut self, generator: &Generator, layout: &Layout) -> Result<()> {
        if self.opened.elapsed() > STALE {
            self.establish(generator, layout)
        } else {
            let talk = self.talk(layout);
            self.answered(generator, &talk, 1).map(drop)
        }
    }

    /// Has every flow answered.
    fn establish(&mut self, generator: &Generator, layout: &Layout) -> Result<()> {
        let flows = match self.workload.traffic {
            Traffic::Established(flows) => flows,
            Traffic::New => 1,
        };
        self.answered(generator, &self.talk(layout), flows)?;
        self.opened = Instant::now();
        Ok(())
    }

    /// Sends the first packet of so many flows, to each of which the server's sink answers; what came of the last one.
    fn answered(&mut self, generator: &Generator, talk: &Conversation<'_>, flows: u32) -> Result<Arrived> {
        let request = talk.request()?;
        let any = |end| if flows == 1 { end } else { any_port(end) };
        self.client
            .expect(request.stream.dst, any(request.stream.src), Mode::Drop)?;
        self.server.expect(any(request.src), request.dst, Mode::Answer)?;
        let stream = request.stream.with_flows(Flows::InOrder(flows));
        generator.send(request.entrance.netns, request.entrance.ifindex, &stream, 0, flows)?;
        let arrived = self.server.settle(flows).context("at the server")?;
        self.client.settle(flows).context("at the client, of the answers")?;
        Ok(arrived)
    }

    fn talk<'a>(&self, layout: &'a Layout) -> Conversation<'a> {
        Conversation::new(self.workload.relation, layout, self.port)
    }

    fn flows(&self) -> Flows {
        match self.workload.traffic {
            Traffic::Established(1) => Flows::One,
            Traffic::Established(flows) => Flows::Scattered(flows),
            Traffic::New => Flows::InOrder(MANY),
        }
    }
}

/// Sends one way; what does not arrive, or not as it should, or not in time, is an error.
fn through(generator: &Generator, way: &Way<'_>, flows: Flows, frames: u32, sink: &mut Sink) -> Result<Sent> {
    let src = if flows == Flows::One {
        way.src
    } else {
        any_port(way.src)
    };
    sink.expect(src, way.dst, Mode::Drop)?;
    let stream = way.stream.with_flows(flows);
    let sent = generator.send(way.entrance.netns, way.entrance.ifindex, &stream, 0, frames)?;
    let arrived = sink.settle(frames)?;
    ensure!(
        arrived.late == 0,
        "{} frames of {frames} came after the clock had stopped: the CPU is overloaded",
        arrived.late
    );
    Ok(sent)
}
