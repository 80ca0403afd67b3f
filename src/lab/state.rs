//! What a lab leaves on disk about itself, so that another process can look at it and remove it.
//!
//! One JSON file per lab in `/run/lvx-lab`, written before anything is made. Labs belong to root and to one
//! boot, as the namespaces in `/run/netns` do; the session's `$XDG_RUNTIME_DIR` would differ between
//! `sudo lvx` and `sudo -E lvx`.

use super::director::{REPORT_FILE, read_report};
use super::plan::Node;
use super::{Error, Family, Layout, ProcessId, namespace};
use crate::control::report::Report;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const STATE_DIR: &str = "/run/lvx-lab";

/// How often a claim is tried while labs that end remove the directory.
const ATTEMPTS: usize = 10;

/// A lab, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which network it is.
    pub layout: Layout,
    /// Of which family its addresses are.
    #[serde(default)]
    pub family: Family,
    /// How many real servers.
    pub servers: u8,
    /// Configurations, logs and what the servers serve.
    pub dir: PathBuf,
    /// The process that removes the lab when it ends; `None` for a lab that stays.
    pub owner: Option<ProcessId>,
    /// What runs in it.
    pub processes: Vec<Inhabitant>,
}

/// A process of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhabitant {
    /// The node's name.
    pub node: String,
    /// Which process.
    pub id: ProcessId,
    /// Its command line.
    pub command: String,
}

impl State {
    /// Reads the file of the lab `name`; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(name: &str) -> Result<Option<State>, Error> {
        let path = file(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io(format!("read {}", path.display())))?,
        };
        let state = serde_json::from_str(&text)
            .map_err(|error| Error::io(format!("read {}", path.display()))(error.into()))?;
        Ok(Some(state))
    }

    /// Takes the name for a new lab.
    pub(super) fn claim(&self, name: &str) -> Result<(), Error> {
        let path = file(name);
        let tried = Error::io(format!("create {}", path.display()));
        for _ in 0..ATTEMPTS {
            match self.create(&path) {
                // Another lab was the last to leave, and took the directory with it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                created => return created.map_err(tried),
            }
        }
        Err(tried(ErrorKind::NotFound.into()))
    }

    /// Writes the file if there is none of its name, whole from the first moment on: other processes list all labs.
    fn create(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let draft = path.with_extension(format!("json.{}", std::process::id()));
        let written = fs::write(&draft, serde_json::to_vec_pretty(self).unwrap_or_default());
        let linked = written.and_then(|()| fs::hard_link(&draft, path));
        let _ = fs::remove_file(&draft);
        linked
    }

    /// Writes the file anew, at once or not at all.
    pub(super) fn save(&self, name: &str) -> Result<(), Error> {
        let path = file(name);
        let tried = || Error::io(format!("write {}", path.display()));
        let draft = path.with_extension("json.new");
        fs::write(&draft, serde_json::to_vec_pretty(self).unwrap_or_default()).map_err(tried())?;
        fs::rename(&draft, &path).map_err(tried())
    }

    /// What the lab's director reported last.
    ///
    /// # Errors
    /// If there is no report, because there is no director.
    pub fn report(&self) -> Result<Report, Error> {
        read_report(&self.dir.join(REPORT_FILE))
    }

    /// Whether the process that should have removed the lab has ended without doing so.
    pub fn is_abandoned(&self) -> bool {
        self.owner.is_some_and(|owner| !owner.is_alive())
    }
}

/// The namespace of a lab's node.
pub fn namespace_name(lab: &str, node: Node) -> String {
    format!("lvx-{lab}-{node}")
}

/// The names of all labs that have left a file or a namespace.
pub fn labs() -> Vec<String> {
    let files = fs::read_dir(STATE_DIR).into_iter().flatten().flatten();
    let from_files =
        files.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
    let namespaces = namespace::named(|name| lab_of(name).is_some());
    let from_namespaces = namespaces.iter().filter_map(|name| lab_of(name).map(str::to_owned));
    let mut names: Vec<String> = from_files.chain(from_namespaces).collect();
    names.sort();
    names.dedup();
    names
}

/// Removes whatever there is of the lab `name`: its processes, its namespaces, its directory, its file. That
/// there is nothing is no error, nor is a lab whose file was lost.
///
/// # Errors
/// If something cannot be removed; the rest is removed all the same.
pub fn down(name: &str) -> Result<(), Error> {
    super::check_name(name)?;
    // A file that cannot be read must not keep the namespaces alive.
    let state = State::load(name).unwrap_or(None);
    for process in state.iter().flat_map(|state| &state.processes) {
        process.id.kill();
    }
    let mut result = Ok(());
    for namespace in namespace::named(|namespace| lab_of(namespace) == Some(name)) {
        result = result.and(namespace::remove(&namespace));
    }
    if let Some(state) = state {
        result = result.and(remove_dir(&state.dir));
    }
    result.and(forget(name))
}

/// Removes the file of the lab `name`.
pub(super) fn forget(name: &str) -> Result<(), Error> {
    let path = file(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(error))
        }
        // The directory goes with the last lab.
        _ => {
            let _ = fs::remove_dir(STATE_DIR);
            Ok(())
        }
    }
}

/// Removes a lab's directory.
pub(super) fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", dir.display()))(error))
        }
        _ => Ok(()),
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name).with_extension("json")
}

/// Which lab a namespace belongs to: `lvx-{lab}-{node}`, where a lab's name has no hyphen.
fn lab_of(namespace: &str) -> Option<&str> {
    let (lab, node) = namespace.strip_prefix("lvx-")?.split_once('-')?;
    node.parse::<Node>().is_ok().then_some(lab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_belongs_to_just_one_lab_or_to_none() {
        assert_eq!(lab_of("lvx-a-client"), Some("a"));
        assert_eq!(lab_of("lvx-a-server12"), Some("a"));
        for foreign in ["lvx-a-b-client", "lvx-client", "a-client", "lvx-a-", "lvx-a-database"] {
            assert_eq!(lab_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_state_survives_its_file() {
        let state = State {
            layout: Layout::Tun,
            family: Family::V6,
            servers: 3,
            dir: "/tmp/x".into(),
            owner: ProcessId::own(),
            processes: vec![Inhabitant {
                node: "server1".into(),
                id: ProcessId { pid: 7, started: 8 },
                command: "nginx".into(),
            }],
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        assert!(!state.is_abandoned());
        assert!(State { owner: Some(ProcessId { pid: 1, started: u64::MAX }), ..state }.is_abandoned());
    }
    #[test]
    fn a_lab_appears_whole_and_its_name_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labs").join("a.json");
        let state = |servers| State {
            layout: Layout::Nat,
            family: Family::V4,
            servers,
            dir: "/tmp/x".into(),
            owner: None,
            processes: Vec::new(),
        };
        state(1).create(&path).unwrap();
        assert_eq!(state(2).create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let there: State = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(there, state(1));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }
}
