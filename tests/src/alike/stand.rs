//! The two hosts, each on a thread of its own, as a host is a property of the thread that built it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};

use super::ground::Station;
use super::host::{Counters, Files, Host};
use super::linux::Linux;
use super::ours::Ours;
use super::words::tell;
use crate::conformance::packet::Ip;
use crate::sandbox::within;

/// Something to do to a host.
#[derive(Debug, Clone)]
enum Order {
    Load(Files),
    Send(Station, Ip),
    Count,
    Show,
}

/// What came of it.
#[derive(Debug)]
enum Answer {
    Done,
    Arrived(Vec<String>),
    Counted(Counters),
    Shown(String),
}

struct Stand {
    orders: Sender<Order>,
    answers: Receiver<Result<Answer>>,
}

/// What both hosts say, the kernel's first.
pub(super) type Both<T> = [T; 2];

/// Both hosts.
pub(super) struct Stands([Stand; 2]);

impl Stands {
    fn ask(&self, order: &Order) -> Result<Both<Answer>> {
        for stand in &self.0 {
            stand
                .orders
                .send(order.clone())
                .map_err(|_gone| anyhow!("a host has gone"))?;
        }
        let [kernel, ours] = &self.0;
        let answer = |stand: &Stand| stand.answers.recv().context("a host has gone")?;
        // Both are heard before either's failure is told.
        let (kernel, ours) = (answer(kernel), answer(ours));
        Ok([kernel.context("on the kernel's host")?, ours.context("on netbridge's")?])
    }

    /// Puts rules in force on both, and makes both forget what they have seen.
    pub(super) fn load(&self, files: &Files) -> Result<()> {
        self.ask(&Order::Load(files.clone())).map(drop)
    }

    /// Sends a packet through both; what arrived, in words.
    pub(super) fn send(&self, from: Station, packet: &Ip) -> Result<Both<Vec<String>>> {
        match self.ask(&Order::Send(from, packet.clone()))? {
            [Answer::Arrived(kernel), Answer::Arrived(ours)] => Ok([kernel, ours]),
            other => bail!("{other:?} is no answer"),
        }
    }

    /// What rules have counted.
    pub(super) fn counters(&self) -> Result<Both<Counters>> {
        match self.ask(&Order::Count)? {
            [Answer::Counted(kernel), Answer::Counted(ours)] => Ok([kernel, ours]),
            other => bail!("{other:?} is no answer"),
        }
    }

    /// What both know, for a reader.
    pub(super) fn show(&self) -> Result<Both<String>> {
        match self.ask(&Order::Show)? {
            [Answer::Shown(kernel), Answer::Shown(ours)] => Ok([kernel, ours]),
            other => bail!("{other:?} is no answer"),
        }
    }
}

/// Carries out orders on a host until there are no more.
fn serve(mut host: impl Host, orders: &Receiver<Order>, answers: &Sender<Result<Answer>>) {
    while let Ok(order) = orders.recv() {
        let answer = match &order {
            Order::Load(files) => host.load(files).map(|()| Answer::Done),
            Order::Send(from, packet) => host
                .ground()
                .exchange(*from, packet)
                .map(|arrivals| Answer::Arrived(tell(&arrivals))),
            Order::Count => host.counters().map(Answer::Counted),
            Order::Show => host.show().map(Answer::Shown),
        };
        if answers.send(answer).is_err() {
            break;
        }
    }
}

/// Does something with two hosts, each in a sandbox of its own.
pub(super) fn with_stands<T>(work: impl FnOnce(&Stands) -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let (kernel, (orders, answers)) = stand();
        let linux = scope.spawn(move || {
            within(move |_| {
                serve(Linux::build()?, &orders, &answers);
                Ok(())
            })
        });
        let (ours, (orders, answers)) = stand();
        let netbridge = scope.spawn(move || {
            within(move |sandbox| {
                serve(Ours::build(sandbox)?, &orders, &answers);
                Ok(())
            })
        });
        let stands = Stands([kernel, ours]);
        let done = work(&stands);
        drop(stands);
        let ended = [linux, netbridge].map(|host| host.join().map_err(|_panic| anyhow!("a host panicked")));
        for ended in ended {
            // Why a host has gone says more than that it has.
            ended??;
        }
        done
    })
}

fn stand() -> (Stand, (Receiver<Order>, Sender<Result<Answer>>)) {
    let (orders, told) = channel();
    let (tell, answers) = channel();
    (Stand { orders, answers }, (told, tell))
}
