//! The vocabulary of the controller, pure: names, addresses, requests, and what is wrong with them.

mod address;
mod claims;
mod fault;
mod mac;
mod name;
mod port;
mod request;
mod settings;

pub use address::{AddressSpec, parse_ipv4, parse_sources, parse_subnet};
pub use claims::Claims;
pub use fault::{Fault, FaultKind, Faults};
pub use mac::MacAddr;
pub use name::Name;
pub use port::{PortSpec, Transport};
pub use request::{Attach, NetCreate, Ports};
pub use settings::{Profile, Settings, Timer, Tune};
