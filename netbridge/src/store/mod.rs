//! An instance's state on disk, and the lock that makes calls exclusive.
//!
//! The state file is replaced whole: written beside, synced, renamed, and its directory synced, so
//! that a reader or a crash meets the old state or the new one. Texts that it names are written before, and removed after it.
//! Reading takes no lock.

mod lock;
mod texts;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::lock::PATIENCE;
use crate::filter::tables::Uses;
use crate::state::State;

pub use self::lock::Lock;

/// Version of the state file's format: 2 since a published port has a count, 3 since it has sources, a network says how it
/// translates, and there are settings, 4 since a filter has sets, and what its rules have counted, 5 since its texts have files of
/// their own. A program that reads the format before would miss these, and lose them.
const VERSION: u32 = 5;

/// The last version whose texts stood in the state file.
const INLINE: u32 = 4;

/// The oldest version that is read.
const OLDEST: u32 = 1;

/// Where states are, unless `NETBRIDGE_STATE_DIR` says otherwise.
const STATE_DIR: &str = "/var/lib/netbridge";

/// Where locks are, unless `NETBRIDGE_RUN_DIR` says otherwise.
const RUN_DIR: &str = "/run/netbridge";

/// How often a state is read again whose texts have gone meanwhile.
const TRIES: usize = 5;

/// Why a state could not be read, written or locked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{op} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// The operation.
        op: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state file is not what this program writes.
    #[error(
        "{}: the state is damaged ({source}); restore the file, or move it away: the next `netbridge net create` then \
         removes all that it described",
        path.display()
    )]
    Corrupt {
        /// The state file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The state file was written by another version.
    #[error("{}: the state has format {found}, and this netbridge reads {OLDEST} to {VERSION}; use the version that wrote it", path.display())]
    Version {
        /// The state file.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
    /// Another call holds the lock.
    #[error("{}: held by {holder} for more than {} s; wait for it to end, or end it", path.display(), PATIENCE.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it.
        holder: String,
    },
}

/// What to do about an I/O error, where that is known.
fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "; run as root"
    } else {
        ""
    }
}

/// Where one instance's state and lock are.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    run_dir: PathBuf,
    instance: String,
}

/// The state file's header, read before the rest is believed.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

/// The state file, as it is written.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(flatten)]
    state: &'a State,
}

impl Store {
    /// The store of `instance` under the usual directories, or those that `NETBRIDGE_STATE_DIR`
    /// and `NETBRIDGE_RUN_DIR` name.
    pub fn new(instance: &str) -> Self {
        let dir =
            |variable, usual: &str| std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from);
        Self::under(
            &dir("NETBRIDGE_STATE_DIR", STATE_DIR),
            &dir("NETBRIDGE_RUN_DIR", RUN_DIR),
            instance,
        )
    }

    /// The store of `instance` under the given directories.
    pub fn under(state_dir: &Path, run_dir: &Path, instance: &str) -> Self {
        Self {
            dir: state_dir.join(instance),
            run_dir: run_dir.to_owned(),
            instance: instance.to_owned(),
        }
    }

    /// The state file.
    pub fn path(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Takes the lock, waiting up to ten seconds for a call that holds it.
    pub async fn lock(&self) -> Result<Lock, StoreError> {
        make_dir(&self.run_dir, 0o755)?;
        let path = self.run_dir.join(format!("{}.lock", self.instance));
        Lock::take(path, self.path()).await
    }

    /// Reads the state; an instance that has none is empty.
    pub fn load(&self) -> Result<State, StoreError> {
        let mut tries = 0..TRIES;
        loop {
            let (mut state, version) = self.read()?;
            if version <= INLINE {
                return Ok(completed(state, version));
            }
            match texts::read(&self.dir, &mut state) {
                Ok(()) => return Ok(state),
                // Another call has replaced the state, and removed what it named.
                Err((_, error)) if error.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
                Err((path, error)) => return Err(failed("read", &path)(error)),
            }
        }
    }

    /// Reads the state file, which names its texts, and its version.
    fn read(&self) -> Result<(State, u32), StoreError> {
        let path = self.path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((State::default(), VERSION)),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let parsed = serde_json::from_slice::<Header>(&text).and_then(|header| {
            if (OLDEST..=VERSION).contains(&header.version) {
                serde_json::from_slice(&text).map(|state| Ok((state, header.version)))
            } else {
                Ok(Err(header.version))
            }
        });
        match parsed {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(found)) => Err(StoreError::Version { path, found }),
            Err(source) => Err(StoreError::Corrupt { path, source }),
        }
    }

    /// Replaces the state; one of nothing is removed, and its directory with it.
    pub fn save(&self, state: &State) -> Result<(), StoreError> {
        if state.is_forgettable() {
            return self.remove();
        }
        make_dir(&self.dir, 0o700)?;
        let path = self.path();
        let document = Document {
            version: VERSION,
            state,
        };
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(&document)?;
            text.push(b'\n');
            texts::write(&self.dir, state)?;
            write_whole(&path, &text)?;
            File::open(&self.dir)?.sync_all()?;
            // The state is kept. Texts that stay are in nobody's way, and go when the next one is.
            let _ = texts::sweep(&self.dir, state);
            Ok(())
        };
        write().map_err(failed("write", &path))
    }

    fn remove(&self) -> Result<(), StoreError> {
        let absent_is_ok = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let path = self.path();
        absent_is_ok(fs::remove_file(&path)).map_err(failed("remove", &path))?;
        absent_is_ok(fs::remove_file(draft(&path))).map_err(failed("remove", &path))?;
        absent_is_ok(texts::sweep(&self.dir, &State::default())).map_err(failed("remove", &self.dir))?;
        absent_is_ok(fs::remove_dir(&self.dir)).map_err(failed("remove", &self.dir))
    }
}

/// Replaces a file whole, so that whoever reads it meets the old one or the new one.
fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Where a file is written before it takes the place of what was there.
fn draft(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// A state with what its format did not say: up to format 4, the names of its texts, which stood in it; up to format 3, what a
/// filter depends on beside its text. One that is not understood any more is told about where it would be put in force.
fn completed(mut state: State, version: u32) -> State {
    texts::inline(&mut state);
    if version <= 3
        && let Some(filter) = &mut state.filter
        && let Ok(parsed) = filter.parse()
    {
        filter.uses = Uses::of(&parsed.ruleset);
    }
    state
}

pub(crate) fn failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io {
        op,
        path: path.to_owned(),
        source,
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("create directory", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::filter::Text;
    use crate::state::{Dependence, FilterSource, Network};

    fn sample() -> State {
        State {
            networks: vec![Network {
                name: "web".parse().unwrap(),
                id: 1,
                subnet: "10.88.0.0/24".parse().unwrap(),
                gateway: "10.88.0.1".parse().unwrap(),
                bridge: "nb-web".to_owned(),
                ifindex: 7,
                mac: crate::model::MacAddr([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                uplink: None,
                internal: false,
                masquerade: true,
                snat: None,
                mapping: Dependence::Independent,
                filtering: Dependence::Dependent,
                routed: false,
                tunnels: false,
            }],
            ..State::default()
        }
    }

    #[test]
    fn round_trips_privately_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        assert_eq!(store.load().unwrap(), State::default());
        store.save(&sample()).unwrap();
        assert_eq!(store.load().unwrap(), sample());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.dir), mode(&store.path())), (0o700, 0o600));
        store.save(&State::default()).unwrap();
        assert!(!store.dir.exists());
        store.save(&State::default()).unwrap();
    }

    #[test]
    fn damage_is_named() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        store.save(&sample()).unwrap();
        let texts = ["", "{", "[]", "{\"version\":1}", "{\"version\":1,\"networks\":3}"];
        for damaged in texts.map(str::as_bytes).into_iter().chain([&b"\xff\xfe"[..]]) {
            fs::write(store.path(), damaged).unwrap();
            let error = store.load().unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{damaged:?}: {error}");
            assert!(error.to_string().contains("state.json"), "{error}");
        }
    }

    /// What a version wrote that knew single ports only.
    const FIRST_FORMAT: &str = include_str!("state-1.json");

    #[test]
    fn a_state_of_the_first_format_is_read_and_replaced() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        make_dir(&store.dir, 0o700).unwrap();
        fs::write(store.path(), FIRST_FORMAT).unwrap();
        let state = store.load().unwrap();
        let ports: Vec<String> = state.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["0.0.0.0:8080/tcp to web:80", "192.0.2.1:53/udp to web:5353"]);
        assert_eq!(state.endpoints.len(), 1);
        store.save(&state).unwrap();
        assert_eq!(store.load().unwrap(), state);
        let text = fs::read_to_string(store.path()).unwrap();
        assert!(
            text.contains("\"version\": 5") && text.contains("\"count\": 1"),
            "{text}"
        );
    }

    /// What a version wrote that knew neither sets nor counters of rules, with all that it took for a rule.
    const THIRD_FORMAT: &str = include_str!("state-3.json");

    #[test]
    fn a_filter_of_the_third_format_is_read_with_what_it_depends_on() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        make_dir(&store.dir, 0o700).unwrap();
        fs::write(store.path(), THIRD_FORMAT).unwrap();
        let state = store.load().unwrap();
        let filter = state.filter.as_ref().unwrap();
        let rules = filter.in_force().unwrap().ruleset;
        assert_eq!((rules.chains.len(), rules.chains[0].rules.len()), (1, 31));
        assert!(rules.chains[0].rules.iter().all(|rule| rule.counters.packets == 0));
        let names: Vec<&str> = filter.uses.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["app", "eth0.100", "web"]);
        store.save(&state).unwrap();
        assert_eq!(store.load().unwrap(), state);
    }

    #[test]
    fn a_filter_of_the_fourth_format_is_read_and_its_texts_get_files() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        store.save(&sample()).unwrap();
        let written = fs::read_to_string(store.path()).unwrap();
        let filter = r#"{"file":"f","text":"*filter\n:FORWARD DROP [0:0]\nCOMMIT\n",
            "sets":{"file":"s","text":"create s hash:ip\n"},"tally":"fe 1:10","buckets":"7"}"#;
        let written = written.replace("\"filter\": null", &format!("\"filter\": {filter}"));
        fs::write(store.path(), written.replace("\"version\": 5", "\"version\": 4")).unwrap();
        let state = store.load().unwrap();
        let filter = state.filter.as_ref().unwrap();
        assert_eq!(&*filter.text, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
        assert_eq!(&*filter.sets.as_ref().unwrap().text, "create s hash:ip\n");
        store.save(&state).unwrap();
        assert_eq!(store.load().unwrap(), state);
        assert_eq!(files(&store), 3);
    }

    fn files(store: &Store) -> usize {
        fs::read_dir(&store.dir).unwrap().count()
    }

    #[test]
    fn texts_have_files_as_long_as_the_state_names_them() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        let with = |text: &str| State {
            filter: Some(FilterSource::new("f", text)),
            ..sample()
        };
        store.save(&with("one")).unwrap();
        let path = |text: &str| store.dir.join(format!("{}.text", Text::from(text).name()));
        assert_eq!(fs::read_to_string(path("one")).unwrap(), "one");
        assert_eq!(store.load().unwrap(), with("one"));
        // One that a call has left that was killed while it wrote it.
        fs::write(draft(&path("three")), "th").unwrap();
        store.save(&with("two")).unwrap();
        assert!(path("two").exists() && !path("one").exists());
        assert_eq!(files(&store), 2);
        fs::remove_file(path("two")).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains(path("two").to_str().unwrap()), "{error}");
        store.save(&State::default()).unwrap();
        assert!(!store.dir.exists());
    }

    #[test]
    fn another_version_is_refused_whatever_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        store.save(&sample()).unwrap();
        fs::write(store.path(), "{\"version\":99,\"networks\":\"?\"}").unwrap();
        assert!(matches!(store.load(), Err(StoreError::Version { found: 99, .. })));
    }
}
