//! The datapath's counters against what was sent, and against what the kernel counts in the containers.

use anyhow::Result;
use netbridge::netns::Netns;

use super::report::Report;
use crate::frame;
use crate::lab::Lab;
use crate::wire::counters;

/// Frames of the counted burst.
const FRAMES: u64 = 1000;

/// Tries until no other packet gets in between: two counters cannot be read at one instant.
const TRIES: usize = 20;

pub(super) fn check(report: &mut Report, lab: &Lab<'_>) {
    report.check("counters equal the frames sent", || burst(lab));
    for node in [
        ("web", "web"),
        ("app", "app"),
        ("app-back", "app"),
        ("db", "db"),
        ("batch", "batch"),
    ] {
        let (endpoint, namespace) = node;
        report.check(&format!("counters of {endpoint} equal the kernel's"), || {
            against_kernel(lab, endpoint, &lab.node(namespace)?)
        });
    }
}

/// A burst from `app` to `web`. Nobody listens there, so `web` may answer with errors; those count as sent by `web`
/// and received by `app`, which is not what is compared.
fn burst(lab: &Lab<'_>) -> Result<String> {
    let bytes = frame::udp(lab.station("app")?, lab.station("web")?, (9, 9), &[0x55; 1000])?;
    let wire = lab.wire("app", "app")?;
    let mut result = Ok(String::new());
    for _ in 0..TRIES {
        let (sent, received) = (lab.traffic("app")?, lab.traffic("web")?);
        for _ in 0..FRAMES {
            wire.send(&bytes)?;
        }
        let (sent_after, received_after) = (lab.traffic("app")?, lab.traffic("web")?);
        let expected = FRAMES * bytes.len() as u64;
        let told = format!(
            "{FRAMES} frames, {expected} bytes sent; app counts {} and {}, web {} and {}",
            sent_after.tx_packets - sent.tx_packets,
            sent_after.tx_bytes - sent.tx_bytes,
            received_after.rx_packets - received.rx_packets,
            received_after.rx_bytes - received.rx_bytes,
        );
        let equal = sent_after.tx_packets - sent.tx_packets == FRAMES
            && sent_after.tx_bytes - sent.tx_bytes == expected
            && received_after.rx_packets - received.rx_packets == FRAMES
            && received_after.rx_bytes - received.rx_bytes == expected;
        result = if equal { Ok(told) } else { Err(anyhow::anyhow!(told)) };
        if equal {
            break;
        }
    }
    result
}

fn against_kernel(lab: &Lab<'_>, endpoint: &str, namespace: &Netns) -> Result<String> {
    let ifname = lab.endpoint(endpoint)?.ifname;
    let mut result = Ok(String::new());
    for _ in 0..TRIES {
        let counted = lab.traffic(endpoint)?;
        let kernel = counters(namespace, &ifname)?;
        let told = format!(
            "sent {} packets and {} bytes, received {} and {}",
            counted.tx_packets, counted.tx_bytes, counted.rx_packets, counted.rx_bytes
        );
        let equal = (
            counted.tx_packets,
            counted.tx_bytes,
            counted.rx_packets,
            counted.rx_bytes,
        ) == (kernel.tx_packets, kernel.tx_bytes, kernel.rx_packets, kernel.rx_bytes);
        result = if equal {
            Ok(told)
        } else {
            Err(anyhow::anyhow!(
                "{told}; the kernel counts {} and {}, {} and {}",
                kernel.tx_packets,
                kernel.tx_bytes,
                kernel.rx_packets,
                kernel.rx_bytes
            ))
        };
        if result.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    result
}
