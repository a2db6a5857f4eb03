//! Running other programs: where, with which environment, and what is shown while they work.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How many lines of a failed program's log are repeated in the error.
const LOG_TAIL: usize = 20;
/// How many lines of what a failed program says first are repeated: further down there is a backtrace at best.
const COMPLAINT_LINES: usize = 3;

/// The directory of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Where xtask keeps what it makes and installs, whatever `CARGO_TARGET_DIR` says.
pub(crate) fn target() -> PathBuf {
    workspace().join("target")
}

/// Where xtask installs the compiler and the linker that this machine lacks.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Where cargo puts what it builds for this machine.
pub(crate) fn host_target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(target, |dir| workspace().join(dir))
}

/// A program to run in the workspace, without the description of the xtask package that `cargo run` leaves behind.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace());
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "RUST_RECURSION_COUNT" {
            command.env_remove(variable);
        }
    }
    command
}

/// The cargo that started xtask: it builds what runs on this machine.
pub(crate) fn cargo() -> Command {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The first executable called `name` on `PATH`.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// What a program prints on stdout, provided that it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let complaint: Vec<&str> = complaint.lines().take(COMPLAINT_LINES).collect();
        bail!("`{shown}` failed ({}): {}", output.status, complaint.join("; "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program that shows its own progress.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("`{shown}` failed ({status})")
    }
}

/// Runs a program that is quiet or noisy for long: its output goes to `target/xtask/LOG.log`, and in its place a line
/// with the elapsed time says that it is alive.
pub(crate) fn step(what: &str, log: &str, command: &mut Command) -> Result<()> {
    let shown = show(command);
    let directory = target().join("xtask");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join(format!("{log}.log"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let stderr = file
        .try_clone()
        .with_context(|| format!("cannot write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(stderr);
    let status = watch(what, command).with_context(|| format!("cannot run `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(LOG_TAIL)..)
        .unwrap_or_default()
        .join("\n  ");
    bail!(
        "{what} failed: `{shown}` ({status}); the end of {}:\n  {tail}",
        path.display()
    )
}

/// Waits for the program, telling the time: on a terminal in one line that counts, elsewhere in a line every half minute.
fn watch(what: &str, command: &mut Command) -> io::Result<ExitStatus> {
    let terminal = io::stderr().is_terminal();
    let every = Duration::from_secs(if terminal { 1 } else { 30 });
    let start = Instant::now();
    let mut next = every;
    let mut child = command.spawn()?;
    tell(what, start, terminal, '\r');
    loop {
        if let Some(status) = child.try_wait()? {
            tell(what, start, terminal, '\n');
            return Ok(status);
        }
        if start.elapsed() >= next {
            next += every;
            tell(what, start, terminal, '\r');
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn tell(what: &str, start: Instant, terminal: bool, end: char) {
    let end = if terminal { end } else { '\n' };
    eprint!("{what} … {} s{end}", start.elapsed().as_secs());
    let _ = io::stderr().flush();
}

/// The command as one would type it, without its environment.
pub(crate) fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
