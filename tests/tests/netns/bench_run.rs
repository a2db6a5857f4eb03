//! The benchmark's program as a whole: what a run leaves behind, and what one that is interrupted does not.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::results::Results;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn bench(rounds: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netbridge-bench"));
    command.args(["--quick", "--rounds", rounds]);
    command
}

#[test]
fn a_run_fills_every_cell_or_says_why_not() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let directory = parent.path().join("run");
    let output = bench("1")
        .args([
            "--case",
            "forwarding/l2/rules-0",
            "--case",
            "publish-range/ports-100",
            "--json",
            "--output",
        ])
        .arg(&directory)
        .output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}:\n{complaints}", output.status);
    let results = Results::read(&directory.join("results.json"))?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), results.to_json()?);
    assert_eq!(results.contestants(), Contestant::ALL);
    for case in &results.cases {
        for contestant in Contestant::ALL {
            for series in results.series.iter().filter(|series| series.case == case.id) {
                let metric = series.metric;
                let measured = results.values(&case.id, contestant, metric).is_some();
                let gap = results.gap(&case.id, contestant, metric);
                assert!(
                    measured != gap.is_some(),
                    "{}, {contestant}, {metric:?}: {gap:?}",
                    case.id
                );
            }
        }
    }
    for file in ["report.md", "net-cost.svg", "publishing.svg"] {
        ensure!(directory.join(file).is_file(), "there is no {file}:\n{complaints}");
    }
    Ok(())
}

#[test]
fn an_interrupted_run_writes_nothing() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let mut child = bench("1000")
        .args(["--only", "raw-pair,bridge", "--case", "forwarding/l2", "--output"])
        .arg(parent.path().join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("it has no stderr")?;
    let mut lines = BufReader::new(stderr).lines();
    let measuring = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("[1/"));
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait()?.code(), Some(130), "{rest:?}");
    assert!(measuring, "{rest:?}");
    assert_eq!(parent.path().read_dir()?.count(), 0);
    Ok(())
}
