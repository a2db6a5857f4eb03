//! The ends of many connections, each a process of its own: no process may have more than 20,000 files open everywhere.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::netns::Netns;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest time in which an answer must come.
const SILENCE: Duration = Duration::from_secs(20);

/// Bytes of a message: who and which.
const MESSAGE: usize = 16;

/// A process that serves or holds connections; ended when dropped.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    name: String,
}

impl Peer {
    /// Starts this program again as a peer.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self> {
        let name = arguments.join(" ");
        let mut child = Command::new(program)
            .arg("peer")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a process without an output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            name,
        })
    }

    /// Waits for the next line it says, which is a number.
    pub fn says(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim()
            .parse()
            .with_context(|| format!("`{}` failed, and said `{}`", self.name, line.trim()))
    }

    /// Lets it go on with its next part.
    pub fn goes_on(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("it has ended")?;
        input.write_all(b"\n")?;
        Ok(input.flush()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a peer is told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// Serves: sends back what it gets
    Serve {
        /// The namespace
        netns: String,
        /// The address
        address: Ipv4Addr,
        /// The port
        port: u16,
    },
    /// Holds connections, with data both ways on each
    Hold {
        /// The namespace
        netns: String,
        /// The server
        address: Ipv4Addr,
        /// Its port
        port: u16,
        /// Connections
        connections: usize,
        /// Seconds for which they are held
        seconds: u64,
    },
}

/// Does what a peer is told, until its input ends.
pub fn act(role: &Role) -> Result<()> {
    match role {
        Role::Serve { netns, address, port } => {
            Netns::open(&netns.parse()?)?.enter()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(SocketAddrV4::new(*address, *port)))
        }
        Role::Hold {
            netns,
            address,
            port,
            connections,
            seconds,
        } => {
            Netns::open(&netns.parse()?)?.enter()?;
            hold(
                SocketAddrV4::new(*address, *port),
                *connections,
                Duration::from_secs(*seconds),
            )
        }
    }
}

async fn serve(at: SocketAddrV4) -> Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::V4(at))?;
    let listener = socket.listen(8192)?;
    println!("0");
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut message = [0; MESSAGE];
            // A client that goes away says so itself.
            while stream.read_exact(&mut message).await.is_ok() && stream.write_all(&message).await.is_ok() {}
        });
    }
}

/// Opens the connections, and says how many are open; waits for a word; asks on each in turn until the time is over, at
/// least twice, and says how many answers came.
fn hold(server: SocketAddrV4, connections: usize, time: Duration) -> Result<()> {
    let mut streams = Vec::with_capacity(connections);
    for number in 0..connections {
        streams.push(open(server).with_context(|| format!("connection {number} to {server}"))?);
    }
    println!("{}", streams.len());
    io::stdin().read_line(&mut String::new())?;
    let start = Instant::now();
    let mut answers = 0_u64;
    let mut round = 0_u64;
    while round < 2 || start.elapsed() < time {
        for (number, stream) in (0_u64..).zip(&streams) {
            ask(stream, number, round).with_context(|| format!("connection {number} in round {round}"))?;
            answers += 1;
        }
        round += 1;
    }
    println!("{answers}");
    Ok(())
}

fn open(server: SocketAddrV4) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.connect_timeout(&SocketAddr::V4(server).into(), SILENCE)?;
    socket.set_tcp_nodelay(true)?;
    SockRef::from(&socket).set_read_timeout(Some(SILENCE))?;
    Ok(socket.into())
}

fn ask(mut stream: &TcpStream, number: u64, round: u64) -> Result<()> {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&number.to_be_bytes());
    message[8..].copy_from_slice(&round.to_be_bytes());
    stream.write_all(&message)?;
    let mut answer = [0; MESSAGE];
    stream.read_exact(&mut answer)?;
    if answer != message {
        bail!("another answer came");
    }
    ensure!(stream.take_error()?.is_none(), "the connection has an error");
    Ok(())
}
