//! Programs on sockets: they lead the host's own connections to published ports, and keep the ports from its programs.
//!
//! They run for the sockets of a cgroup's processes and leave those of other network namespaces alone. A link is pinned as
//! `links/cgroup-<hook>` and lives as long as its pin and its cgroup. Links of several instances on one cgroup all run.

use std::fs;
use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{
    CgroupAttachMode, CgroupSock, CgroupSockAddr, CgroupSockAddrAttachType, CgroupSockAttachType, Program,
    ProgramError, ProgramType,
};
use aya::sys::is_program_supported;

use super::cgroup::{Cgroup, of_link};
use super::pins::absent_is_ok;
use super::{DatapathError, Pins, verifier};

/// What a program on a socket hooks into.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// An address that a program gives or asks for.
    Address(CgroupSockAddrAttachType),
    /// The socket itself.
    Socket(CgroupSockAttachType),
}

/// The hooks, and the names of their programs.
const HOOKS: [(&str, Kind); 9] = [
    ("connect4", Kind::Address(CgroupSockAddrAttachType::Connect4)),
    ("connect6", Kind::Address(CgroupSockAddrAttachType::Connect6)),
    ("sendmsg4", Kind::Address(CgroupSockAddrAttachType::UDPSendMsg4)),
    ("recvmsg4", Kind::Address(CgroupSockAddrAttachType::UDPRecvMsg4)),
    ("recvmsg6", Kind::Address(CgroupSockAddrAttachType::UDPRecvMsg6)),
    ("getpeername4", Kind::Address(CgroupSockAddrAttachType::GetPeerName4)),
    ("getpeername6", Kind::Address(CgroupSockAddrAttachType::GetPeerName6)),
    ("post_bind4", Kind::Socket(CgroupSockAttachType::PostBind4)),
    ("post_bind6", Kind::Socket(CgroupSockAttachType::PostBind6)),
];

/// Names of the programs on sockets.
pub fn socket_programs() -> impl Iterator<Item = &'static str> {
    HOOKS.into_iter().map(|(name, _)| name)
}

/// Loads and pins the programs; not at all where the kernel has none of their kind.
pub(super) fn load(object: &mut Ebpf, pins: &Pins) -> Result<(), DatapathError> {
    if !supported() {
        return Ok(());
    }
    for (name, _) in HOOKS {
        let program = object
            .program_mut(name)
            .ok_or(DatapathError::Incomplete { kind: "program", name })?;
        let path = pins.program(name);
        let pinned = match program {
            Program::CgroupSockAddr(program) => verifier::load(name, || program.load()).map(|()| program.pin(&path)),
            Program::CgroupSock(program) => verifier::load(name, || program.load()).map(|()| program.pin(&path)),
            _ => return Err(DatapathError::Incomplete { kind: "program", name }),
        };
        pinned?.map_err(|source| DatapathError::Pin { path, source })?;
    }
    Ok(())
}

/// Runs the programs for the sockets of a cgroup, `None` for the root; nothing is done where they run already.
///
/// Where none is named they stay on the one they are on.
pub(super) fn attach(pins: &Pins, cgroup: Option<&Path>) -> Result<(), DatapathError> {
    let named = cgroup.map(|path| Cgroup::open(Some(path))).transpose()?;
    let mut missing = Vec::new();
    for (name, kind) in HOOKS {
        let path = pins.socket_link(name);
        // A cgroup that is gone has number 0.
        let stays = of_link(&path)?.is_some_and(|id| id != 0 && named.as_ref().is_none_or(|named| named.id == id));
        if !stays {
            missing.push((name, kind, path));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !supported() {
        return Err(DatapathError::NoSocketPrograms);
    }
    let cgroup = named.map_or_else(|| Cgroup::open(None), Ok)?;
    for (name, kind, path) in missing {
        let link = create(pins, name, kind, &cgroup).map_err(|source| DatapathError::Attach {
            action: "attach",
            program: name,
            interface: format!("to cgroup {}", cgroup.path.display()),
            source: Box::new(source),
        })?;
        absent_is_ok(fs::remove_file(&path)).map_err(DatapathError::file("remove", &path))?;
        link.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
    }
    Ok(())
}

/// The cgroup that the programs would run on, or why they cannot; nothing is attached.
pub fn check_cgroup(cgroup: Option<&Path>) -> Result<String, DatapathError> {
    if !supported() {
        return Err(DatapathError::NoSocketPrograms);
    }
    Ok(Cgroup::open(cgroup)?.path.display().to_string())
}

/// A link of a program. It runs beside whatever else is attached: a link takes no mode, and aya passes none for this one.
fn create(pins: &Pins, name: &str, kind: Kind, cgroup: &Cgroup) -> Result<FdLink, ProgramError> {
    let (path, mode) = (pins.program(name), CgroupAttachMode::Single);
    let link = match kind {
        Kind::Address(hook) => {
            let mut program = CgroupSockAddr::from_pin(path, hook)?;
            let id = program.attach(&cgroup.file, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
        Kind::Socket(hook) => {
            let mut program = CgroupSock::from_pin(path, hook)?;
            let id = program.attach(&cgroup.file, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
    };
    link.map_err(|error: LinkError| ProgramError::IOError(std::io::Error::other(error)))
}

/// Whether the kernel has programs on sockets; where it cannot be asked, loading them will tell.
fn supported() -> bool {
    [ProgramType::CgroupSockAddr, ProgramType::CgroupSock]
        .into_iter()
        .all(|kind| is_program_supported(kind).unwrap_or(true))
}
