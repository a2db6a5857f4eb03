//! Programs on interfaces: tcx links where the kernel has them (Linux 6.6), clsact filters before.
//!
//! A tcx link is pinned as `links/<ifindex>-<hook>` and lives as long as its pin. A clsact filter
//! lives as long as the interface and bears no name of ours, so it is known by a priority and a
//! handle that are fixed for an instance. The clsact qdisc is never removed: others may use it.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::path::Path;

use aya::programs::links::{FdLink, Link, LinkError, LinkOrder, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use netbridge_common::abi::Hook;
use nix::libc::{EEXIST, EINVAL, ENODEV, ENOENT, ENOLINK, EOPNOTSUPP};
use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};

use super::object::pinned_program;
use super::pins::absent_is_ok;
use super::{DatapathError, HOOKS, Pins};

/// Priority of our clsact filters ("nb"): before those that let the kernel choose, which start at 49152.
const PRIORITY: u16 = 0x6e62;

/// How a program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    /// A tcx link.
    Tcx,
    /// A clsact filter.
    Clsact,
}

/// True if the kernel attaches programs by tcx links.
pub fn tcx_supported() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// Attaches or replaces, and removes what the other mode may have left, so that the hook never pauses.
pub(super) fn attach(
    pins: &Pins,
    hook: Hook,
    ifname: &str,
    ifindex: u32,
    mode: AttachMode,
) -> Result<(), DatapathError> {
    if if_nametoindex(ifname) != Ok(ifindex) {
        return Err(DatapathError::NoInterface {
            name: ifname.into(),
            ifindex,
        });
    }
    let mut program = pinned_program(pins, hook.name())?;
    let path = pins.link(ifindex, hook);
    let tcx = match mode {
        AttachMode::Auto => tcx_supported(),
        AttachMode::Tcx => true,
        AttachMode::Clsact => false,
    };
    let failed = |source| DatapathError::Attach {
        action: "attach",
        program: hook.name(),
        interface: format!("to {ifname}"),
        source: Box::new(source),
    };
    if tcx {
        if !replace_tcx(&mut program, &path).map_err(failed)? {
            let link = create_tcx(&mut program, hook, ifname).map_err(failed)?;
            link.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
        }
        remove_filter(pins, hook, ifname)
    } else {
        attach_filter(&mut program, pins, hook, ifname).map_err(failed)?;
        absent_is_ok(fs::remove_file(&path)).map_err(DatapathError::file("remove", path))
    }
}

/// Removes both kinds from every hook of an interface.
pub(super) fn detach(pins: &Pins, ifindex: u32) -> Result<(), DatapathError> {
    for hook in HOOKS {
        let path = pins.link(ifindex, hook);
        absent_is_ok(fs::remove_file(&path)).map_err(DatapathError::file("remove", path))?;
    }
    // An interface that is gone took its filters with it.
    match if_indextoname(ifindex).map(CString::into_string) {
        Ok(Ok(name)) => remove_both_filters(pins, &name),
        _ => Ok(()),
    }
}

/// Removes this instance's filters from all interfaces of the network namespace.
pub(super) fn remove_filters(pins: &Pins) -> Result<(), DatapathError> {
    let interfaces = if_nameindex().map_err(|errno| DatapathError::file("list", "/sys/class/net")(errno.into()))?;
    for interface in &interfaces {
        if let Ok(name) = interface.name().to_str() {
            remove_both_filters(pins, name)?;
        }
    }
    Ok(())
}

/// Puts the program into the pinned link, if there is one whose interface still lives.
fn replace_tcx(program: &mut SchedClassifier, path: &Path) -> Result<bool, ProgramError> {
    let pinned = match PinnedLink::from_pin(path) {
        Ok(pinned) => pinned,
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(link_error(error)),
    };
    let link = SchedClassifierLink::try_from(FdLink::from(pinned)).map_err(link_error)?;
    match program.attach_to_link(link) {
        Ok(_) => Ok(true),
        // An interface of the past had this index.
        Err(error) if errno(&error) == Some(ENOLINK) => {
            absent_is_ok(fs::remove_file(path))?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// First in its chain: whatever others attach, the source guard comes before it.
fn create_tcx(program: &mut SchedClassifier, hook: Hook, ifname: &str) -> Result<FdLink, ProgramError> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(ifname, direction(hook), options)?;
    FdLink::try_from(program.take_link(id)?).map_err(link_error)
}

fn attach_filter(program: &mut SchedClassifier, pins: &Pins, hook: Hook, ifname: &str) -> Result<(), ProgramError> {
    match qdisc_add_clsact(ifname) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(EEXIST) => {}
        other => other?,
    }
    let options = NlOptions {
        priority: PRIORITY,
        handle: handle(pins),
        classid: None,
    };
    let id = match program.attach_with_options(ifname, direction(hook), TcAttachOptions::Netlink(options)) {
        Err(error) if errno(&error) == Some(EEXIST) => program.attach_to_link(filter(pins, hook, ifname)?)?,
        other => other?,
    };
    // A filter needs no owner, but aya's handle removes it when dropped; it holds no resource that could leak.
    let _attached = ManuallyDrop::new(program.take_link(id)?);
    Ok(())
}

fn remove_both_filters(pins: &Pins, ifname: &str) -> Result<(), DatapathError> {
    remove_filter(pins, Hook::FromContainer, ifname)?;
    remove_filter(pins, Hook::ToContainer, ifname)
}

/// Removes the filter in the hook's direction; no filter, no qdisc or no interface is fine.
fn remove_filter(pins: &Pins, hook: Hook, ifname: &str) -> Result<(), DatapathError> {
    match filter(pins, hook, ifname).and_then(Link::detach) {
        Err(error) if !matches!(errno(&error), Some(ENOENT | EINVAL | ENODEV | EOPNOTSUPP)) => {
            Err(DatapathError::Attach {
                action: "detach",
                program: hook.name(),
                interface: format!("from {ifname}"),
                source: Box::new(error),
            })
        }
        _ => Ok(()),
    }
}

/// The instance's filter on an interface, whether it exists or not.
fn filter(pins: &Pins, hook: Hook, ifname: &str) -> Result<SchedClassifierLink, ProgramError> {
    Ok(SchedClassifierLink::attached(
        ifname,
        direction(hook),
        PRIORITY,
        handle(pins),
        None,
    )?)
}

/// A filter handle per instance, so that two of them on one interface leave each other's filters alone (FNV-1a; 0 would
/// let the kernel choose).
fn handle(pins: &Pins) -> TcHandle {
    let hash = pins.instance().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    TcHandle::from(hash.max(1))
}

fn direction(hook: Hook) -> TcAttachType {
    match hook {
        Hook::FromContainer | Hook::FromUplink => TcAttachType::Ingress,
        Hook::ToContainer | Hook::ToUplink => TcAttachType::Egress,
    }
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::NetlinkError(error) | ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
        ProgramError::IOError(error) | ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error(),
        _ => None,
    }
}

fn link_error(error: LinkError) -> ProgramError {
    match error {
        LinkError::SyscallError(error) => error.into(),
        other => ProgramError::IOError(std::io::Error::other(other)),
    }
}
