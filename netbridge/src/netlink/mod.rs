//! The kernel's network configuration through rtnetlink: links, addresses, routes, bridge forwarding entries.
//!
//! The only place that talks rtnetlink. Requests are sent and their answers judged here, in `Netlink::request`, so that
//! each has one meaning of success: the kernel acknowledged it.

mod address;
mod error;
mod fdb;
mod link;
mod route;

pub use self::error::NetlinkError;
pub use self::link::{BridgeSpec, LinkInfo, VethSpec};
pub use self::route::Route;

use std::io;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::AsyncSocket as _;

use crate::netns::Netns;

/// How often a listing that another's change interrupted is read again.
const DUMP_ATTEMPTS: usize = 16;

/// A connection to rtnetlink, bound to the namespace of the thread that opened it, wherever it is used later.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a connection in the calling thread's namespace; inside a tokio runtime with I/O, which drives it.
    pub fn open() -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let (mut connection, handle, _) = rtnetlink::new_connection()?;
        // Without these the end of an answer cannot be told from the end of the connection.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        runtime.spawn(connection);
        Ok(Self { handle })
    }

    /// Asks for a change, and waits until the kernel has made it.
    async fn change(&self, operation: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.request(operation, message, NLM_F_ACK | flags).await.map(drop)
    }

    /// Asks for one object; none if the kernel says that there is none.
    async fn get(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        match self.request(operation, message, NLM_F_ACK).await {
            // Acknowledged but unreadable is not the same as absent.
            Ok(mut answer) => match answer.pop() {
                Some(object) => Ok(Some(object)),
                None => Err(NetlinkError::NoAnswer {
                    operation: operation.to_owned(),
                }),
            },
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks for all objects of a kind, and again if they changed meanwhile: what it returns is of one moment.
    async fn list(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 1..DUMP_ATTEMPTS {
            match self.request(operation, message.clone(), NLM_F_DUMP).await {
                Err(NetlinkError::Interrupted { .. }) => {}
                answer => return answer,
            }
        }
        self.request(operation, message, NLM_F_DUMP).await
    }

    /// Sends a request and collects its answer up to the acknowledgement (`NLM_F_ACK`) or the end of the listing.
    async fn request(
        &self,
        operation: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let no_answer = || NetlinkError::NoAnswer {
            operation: operation.to_owned(),
        };
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let Ok(mut replies) = self.handle.clone().request(request) else {
            return Err(no_answer());
        };
        let mut answer = Vec::new();
        let mut interrupted = false;
        while let Some(reply) = replies.next().await {
            interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(object) => answer.push(object),
                NetlinkPayload::Error(error) => {
                    return NetlinkError::refused(operation, &error).map_or(Ok(answer), Err);
                }
                NetlinkPayload::Done(_) if interrupted => {
                    return Err(NetlinkError::Interrupted {
                        operation: operation.to_owned(),
                    });
                }
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(NetlinkError::Refused {
                        operation: operation.to_owned(),
                        errno: Errno::from_raw(done.code.abs()),
                        remark: None,
                    });
                }
                NetlinkPayload::Done(_) => return Ok(answer),
                _ => return Err(no_answer()),
            }
        }
        Err(no_answer())
    }
}

/// Runs `f` with a connection inside a namespace, on a thread and a runtime of its own, and waits for it.
pub fn in_namespace<T, F>(ns: &Netns, f: F) -> anyhow::Result<T>
where
    T: Send,
    F: AsyncFnOnce(Netlink) -> anyhow::Result<T> + Send,
{
    ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start an asynchronous runtime")?;
        runtime.block_on(async { f(Netlink::open()?).await })
    })?
}
