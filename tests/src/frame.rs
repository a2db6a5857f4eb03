//! Ethernet frames by hand, and the judgement of frames that were captured.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, NetSlice, PacketBuilder, SlicedPacket, ip_number,
};

/// One end of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Station {
    /// Ethernet address.
    pub mac: [u8; 6],
    /// IP address.
    pub ip: Ipv4Addr,
}

/// A UDP datagram.
pub fn udp(from: Station, to: Station, ports: (u16, u16), payload: &[u8]) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(from.mac, to.mac)
        .ipv4(from.ip.octets(), to.ip.octets(), 64)
        .udp(ports.0, ports.1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write_to_vec(&mut frame, payload)?;
    Ok(frame)
}

/// The first segment of a TCP connection.
pub fn tcp_syn(from: Station, to: Station, ports: (u16, u16)) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(from.mac, to.mac)
        .ipv4(from.ip.octets(), to.ip.octets(), 64)
        .tcp(ports.0, ports.1, 1, 65_535)
        .syn();
    let mut frame = Vec::with_capacity(builder.size(0));
    builder.write_to_vec(&mut frame, &[])?;
    Ok(frame)
}

/// An ICMP echo request.
pub fn echo_request(from: Station, to: Station, id: u16) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(from.mac, to.mac)
        .ipv4(from.ip.octets(), to.ip.octets(), 64)
        .icmpv4_echo_request(id, 1);
    let mut frame = Vec::with_capacity(builder.size(8));
    builder.write_to_vec(&mut frame, b"netbridg")?;
    Ok(frame)
}

/// A broadcast question for the owner of `target`, asked in the name of `sender` by the interface `source`.
pub fn arp_request(source: [u8; 6], sender: Station, target: Ipv4Addr) -> Vec<u8> {
    let ethernet = Ethernet2Header {
        source,
        destination: [0xff; 6],
        ether_type: EtherType::ARP,
    };
    let question = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: sender.mac,
        sender_ipv4: sender.ip.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let mut frame = ethernet.to_bytes().to_vec();
    frame.extend_from_slice(&question.to_bytes());
    frame
}

/// A frame of an EtherType that nobody parses.
pub fn unknown(from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
    let mut frame = Ethernet2Header {
        source: from,
        destination: to,
        ether_type: EtherType(0x88b5),
    }
    .to_bytes()
    .to_vec();
    frame.resize(60, 0);
    frame
}

/// Refuses a frame whose IPv4, TCP, UDP or ICMP checksum is wrong; frames of other kinds pass.
pub fn verify(frame: &[u8]) -> Result<()> {
    let packet = SlicedPacket::from_ethernet(frame)?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else {
        return Ok(());
    };
    ensure!(
        ones_sum(0, ip.header().slice()) == 0xffff,
        "bad IPv4 header checksum in {ip:?}"
    );
    let payload = ip.payload();
    if payload.fragmented {
        return Ok(());
    }
    let segment = payload.payload;
    let pseudo = ones_sum(0, &ip.header().source())
        + ones_sum(0, &ip.header().destination())
        + u32::from(payload.ip_number.0)
        + u32::try_from(segment.len())?;
    let seed = match payload.ip_number {
        ip_number::ICMP => 0,
        // RFC 768: an all-zero checksum says that the sender made none.
        ip_number::UDP if segment.get(6..8) == Some(&[0, 0]) => return Ok(()),
        ip_number::TCP | ip_number::UDP => pseudo,
        _ => return Ok(()),
    };
    if ones_sum(seed, segment) != 0xffff {
        bail!(
            "bad checksum, protocol {}, {} to {}, {} bytes",
            payload.ip_number.0,
            ip.header().source_addr(),
            ip.header().destination_addr(),
            segment.len()
        );
    }
    Ok(())
}

/// The one's complement sum of RFC 1071, folded to 16 bits.
pub(crate) fn ones_sum(seed: u32, bytes: &[u8]) -> u32 {
    let mut sum = u64::from(seed);
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded to 16 bits just above.
    u32::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Station, echo_request, tcp_syn, udp, verify};

    const A: Station = Station {
        mac: [2, 0, 0, 0, 0, 1],
        ip: std::net::Ipv4Addr::new(10, 0, 0, 1),
    };
    const B: Station = Station {
        mac: [2, 0, 0, 0, 0, 2],
        ip: std::net::Ipv4Addr::new(10, 0, 0, 2),
    };

    #[test]
    fn a_built_frame_is_right_and_a_changed_one_is_not() {
        for frame in [
            udp(A, B, (1, 2), b"odd").unwrap(),
            tcp_syn(A, B, (1, 2)).unwrap(),
            echo_request(A, B, 7).unwrap(),
        ] {
            verify(&frame).unwrap();
            for position in [20, frame.len() - 1] {
                let mut changed = frame.clone();
                changed[position] ^= 1;
                verify(&changed).unwrap_err();
            }
        }
    }
}
