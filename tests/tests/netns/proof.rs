//! The proof that `cargo xtask run` shows: it holds, and it leaves nothing behind however it ends.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::census::Census;
use netbridge_tests::sandbox::within;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROOF: &str = env!("CARGO_BIN_EXE_netbridge-proof");

#[test]
fn every_check_holds() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        let output = Command::new(PROOF)
            .arg("--json")
            .output()
            .context("cannot run the proof")?;
        let told = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_str(&told)?;
        ensure!(
            report["ok"] == true && report["checks"].as_array().is_some_and(|checks| checks.len() >= 20),
            "{told}"
        );
        ensure!(Census::take(sandbox)? == before);
        Ok(())
    })
}

#[test]
fn an_interrupted_proof_takes_its_lab_down() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        for (signal, after) in [(Signal::SIGINT, 100), (Signal::SIGTERM, 1500), (Signal::SIGKILL, 1500)] {
            let mut proof = Command::new(PROOF)
                .arg("--once")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("cannot run the proof")?;
            thread::sleep(Duration::from_millis(after));
            kill(Pid::from_raw(i32::try_from(proof.id())?), signal)?;
            let status = proof.wait()?;
            let expected = if signal == Signal::SIGKILL { None } else { Some(130) };
            ensure!(status.code() == expected, "{signal} after {after} ms: {status}");
            ensure!(
                Census::take(sandbox)? == before,
                "{signal} after {after} ms leaves something behind"
            );
        }
        Ok(())
    })
}
