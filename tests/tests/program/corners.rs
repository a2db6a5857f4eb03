//! Rewrites whose checksum ends in a corner that random packets do not reach.

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::{Hook, Reason};
use netbridge_common::host::build::{Datagram, packet_of};
use netbridge_common::host::lab::{A, GATEWAY, HOST, REMOTE, ROUTER, at, ifindex, inward, lab, out};
use netbridge_common::host::rewrite::{apply, fault};
use netbridge_common::host::{Frame, HostEnv};

use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::kernel::{Kernel, Outcome};

/// Offset of the UDP checksum in a frame without IP options.
const UDP_SUM: usize = 40;

/// Runs a frame on both sides and returns what came out, if they agree and no checksum is wrong.
fn sound(kernel: &mut Kernel, env: &HostEnv, hook: Hook, frame: &Frame) -> Result<Vec<u8>> {
    let actual = kernel.run(hook, frame)?;
    let verdict = env.run(hook, frame);
    let mut bytes = frame.bytes.clone();
    apply(&verdict, &mut bytes);
    let expected = Outcome::expected(&verdict, bytes);
    ensure!(actual == expected, "kernel {actual:x?}\nhost {expected:x?}");
    ensure!(actual.bytes != frame.bytes, "not rewritten: {actual:x?}");
    if let Some(fault) = fault(&actual.bytes) {
        anyhow::bail!("wrong {fault} in {actual:x?}");
    }
    Ok(actual.bytes)
}

/// A datagram whose checksum comes out as zero when A's packet is masqueraded.
fn zero_when_masqueraded(env: &HostEnv) -> Frame {
    let send = |word: [u8; 2]| at(ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, &word));
    let frame = send([0; 2]);
    let mut bytes = frame.bytes.clone();
    apply(&env.clone().run(Hook::FromContainer, &frame), &mut bytes);
    // What is missing to a sum of 0xffff is the checksum itself: put it into the payload.
    send([bytes[UDP_SUM], bytes[UDP_SUM + 1]])
}

/// A datagram whose checksum is zero as A computes it, and so is sent as 0xffff.
fn zero_as_sent() -> Frame {
    let send = |word: [u8; 2]| at(ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, &word));
    let bytes = send([0; 2]).bytes;
    send([bytes[UDP_SUM], bytes[UDP_SUM + 1]])
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_sent_as_ffff() -> Result<()> {
    with_kernel(64, |kernel| {
        let env = lab();
        kernel.install(&env)?;
        let bytes = sound(kernel, &env, Hook::FromContainer, &zero_when_masqueraded(&env))?;
        ensure!(bytes[UDP_SUM..UDP_SUM + 2] == [0xff; 2], "{bytes:02x?}");
        Ok(())
    })
}

#[test]
fn a_udp_checksum_of_zero_stays_zero_both_ways() -> Result<()> {
    with_kernel(64, |kernel| {
        let env = lab();
        kernel.install(&env)?;
        let mut frame = at(ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b"no checksum"));
        frame.bytes[UDP_SUM..UDP_SUM + 2].fill(0);
        let bytes = sound(kernel, &env, Hook::FromContainer, &frame)?;
        ensure!(bytes[UDP_SUM..UDP_SUM + 2] == [0; 2], "{bytes:02x?}");
        let mut answer = at(ifindex::UPLINK, inward(REMOTE, HOST.1).udp(53, 5000, b"nor here"));
        answer.bytes[UDP_SUM..UDP_SUM + 2].fill(0);
        let bytes = sound(kernel, &env, Hook::FromUplink, &answer)?;
        ensure!(bytes[UDP_SUM..UDP_SUM + 2] == [0; 2], "{bytes:02x?}");
        Ok(())
    })
}

#[test]
fn carries_of_the_extreme_ports_are_folded() -> Result<()> {
    with_kernel(1024, |kernel| {
        let mut env = lab();
        (env.config.snat_min, env.config.snat_ports) = (u16::MAX, 1);
        kernel.install(&env)?;
        for port in [0, 1, 0x00ff, 0xff00, 0xfffe, u16::MAX] {
            for payload in [&b""[..], b"x", &[0xff; 9], &[0; 4]] {
                let datagram = out(A, GATEWAY, REMOTE);
                for bytes in [
                    datagram.udp(port, port, payload),
                    datagram.tcp(port, port, 2, payload),
                    datagram.echo(8, port, payload),
                ] {
                    let context = format!("port {port}, payload {payload:x?}");
                    let frame = at(ifindex::A, bytes);
                    sound(kernel, &env, Hook::FromContainer, &frame).context(context)?;
                    kernel.flush()?;
                    env.flows.borrow_mut().clear();
                }
            }
        }
        Ok(())
    })
}

#[test]
fn an_answer_quotes_what_fits_into_576_bytes_whatever_it_is_about() -> Result<()> {
    with_kernel(64, |kernel| {
        let mut env = lab();
        env.config.answers_per_tick = u32::MAX;
        kernel.install(&env)?;
        for words in [0, 1, 2, 10] {
            for (ttl, payload, gso_size) in [
                (1, 0, 0),
                (1, 1, 0),
                (1, 511, 0),
                (1, 3000, 1400),
                (64, 3000, 1481),
                (64, 1473, 0),
            ] {
                let datagram = Datagram {
                    ttl,
                    options: vec![1; words * 4],
                    fragment: 0x4000,
                    ..out(A, GATEWAY, REMOTE)
                };
                let payload = vec![0x5a; payload];
                for bytes in [
                    datagram.tcp(5000, 80, 0x02, &payload),
                    datagram.udp(5000, 53, &payload),
                    datagram.echo(8, 5000, &payload),
                ] {
                    let quote = (bytes.len() - 14).min(548);
                    let frame = Frame {
                        gso_size,
                        ..at(ifindex::A, bytes)
                    };
                    let answer = sound(kernel, &env, Hook::FromContainer, &frame)?;
                    ensure!(answer.len() == 42 + quote, "{} bytes", answer.len());
                    ensure!(frame.bytes[14..].starts_with(&answer[42..]), "{answer:02x?}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn an_error_of_any_length_is_summed_up_to_its_end() -> Result<()> {
    with_kernel(64, |kernel| {
        let env = lab();
        kernel.install(&env)?;
        let sent = sound(kernel, &env, Hook::FromContainer, &zero_as_sent())?;
        // About what the programs take at once, and what a link carries.
        for length in [28..40, 498..510, 1010..1022, 1470..1473].into_iter().flatten() {
            let mut quote = packet_of(&sent);
            quote.resize(length, 0xa7);
            let error = at(ifindex::UPLINK, inward(ROUTER.1, HOST.1).error(11, &quote));
            sound(kernel, &env, Hook::FromUplink, &error).with_context(|| format!("{length} bytes"))?;
            let mut damaged = error;
            if let Some(last) = damaged.bytes.last_mut() {
                *last ^= 1;
            }
            let outcome = kernel.run(Hook::FromUplink, &damaged)?;
            ensure!(
                outcome.reason == Reason::BadChecksum as u8,
                "{length} bytes: {outcome:x?}"
            );
            ensure!(
                outcome.bytes == damaged.bytes,
                "a dropped frame was changed: {outcome:x?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_quote_is_untranslated_to_the_very_packet_that_was_sent() -> Result<()> {
    with_kernel(64, |kernel| {
        let env = lab();
        kernel.install(&env)?;
        for frame in [zero_when_masqueraded(&env), zero_as_sent()] {
            let sent = sound(kernel, &env, Hook::FromContainer, &frame)?;
            let error = at(
                ifindex::UPLINK,
                inward([198, 51, 100, 1], HOST.1).error(11, &packet_of(&sent)),
            );
            let bytes = sound(kernel, &env, Hook::FromUplink, &error)?;
            let quoted = &bytes[42..];
            let mut original = packet_of(&frame.bytes);
            // The TTL was spent on the way, and the header's checksum with it.
            original[8] = quoted[8];
            original[10..12].copy_from_slice(&quoted[10..12]);
            ensure!(quoted == original, "{quoted:02x?}\n{original:02x?}");
        }
        Ok(())
    })
}
