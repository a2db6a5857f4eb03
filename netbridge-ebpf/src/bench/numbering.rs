//! Which flow comes next, and the headers it takes. Compiled into the program, and into the tests of `tests`.

use super::traffic::Plan;

/// Offset of the UDP source port.
const SPORT: usize = 34;

/// Offset of the UDP checksum.
const CHECKSUM: usize = 40;

/// Makes the headers of a plan those of the next frame.
pub(crate) fn advance(plan: &mut Plan) {
    let flow = flow(plan.next, plan.scattered != 0) & plan.flows_mask;
    plan.next = plan.next.wrapping_add(1);
    let port = plan.first_port.wrapping_add((flow & 0xffff) as u16);
    [plan.headers[SPORT], plan.headers[SPORT + 1]] = port.to_be_bytes();
    [plan.headers[CHECKSUM], plan.headers[CHECKSUM + 1]] = checksum(plan.sum + u32::from(port)).to_be_bytes();
}

/// The flow of frame `number`, of 2³² flows. Scattered, it is the finaliser of `MurmurHash3`: flows are visited in an
/// order that has nothing to do with the one in which they were opened, so no cache line is fetched in advance.
fn flow(number: u32, scattered: bool) -> u32 {
    if !scattered {
        return number;
    }
    let mut hash = number ^ (number >> 16);
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The UDP checksum of a sum; all zero would mean that there is none (RFC 768).
fn checksum(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    match !((twice & 0xffff) as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}
