//! A file of the operator's: whether there is one, or the weight that it holds.
//!
//! What cannot be read says nothing of the server: neither a missing weight, nor one that is just being written.

use super::probe::{Ask, facts, filled};
use super::{Failure, Healthy};
use crate::service::check::{self, Says};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::spawn_blocking;

/// The longest file that may be a number, white space included.
const MAX_BYTES: u64 = 64;

/// What it takes to look.
#[derive(Debug)]
pub(super) struct Prober {
    file: check::File,
    /// Whether somebody is looking: where a file system hangs, that outlasts the probe.
    is_looking: Arc<AtomicBool>,
}

impl Prober {
    pub(super) fn of(file: &check::File) -> Prober {
        Prober { file: file.clone(), is_looking: Arc::default() }
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        ask.is_busy("reading the file");
        let path = PathBuf::from(filled(&self.file.path, &facts(ask.target.peer())));
        let (says, is_looking) = (self.file.says, self.is_looking.clone());
        if is_looking.swap(true, Ordering::Relaxed) {
            return Err(Failure::own(format!("{}: the last probe still waits for it", path.display())));
        }
        let looked = spawn_blocking(move || {
            let outcome = look(says, &path);
            is_looking.store(false, Ordering::Relaxed);
            outcome
        });
        looked.await.unwrap_or_else(|error| Err(Failure::own(error.to_string())))
    }
}

fn look(says: Says, path: &Path) -> Result<Healthy, Failure> {
    let name = path.display();
    let cannot = |error: io::Error| Failure::own(Failure::of_system(&format!("{name}"), &error).cause);
    if says == Says::Weight {
        let text = read(path).map_err(cannot)?;
        let weight = text.trim().parse();
        let weight = weight.map_err(|_| format!("{name}: {text:?} is no weight (allowed: 0 to 65535)"));
        return Ok(Healthy { weight: Some(weight.map_err(Failure::own)?), ..Healthy::default() });
    }
    let is_there = path.try_exists().map_err(cannot)?;
    match (says, is_there) {
        (Says::Absent, true) => Err(Failure::of_server(format!("{name} is there"))),
        (Says::Present, false) => Err(Failure::of_server(format!("{name} is not there"))),
        _ => Ok(Healthy::default()),
    }
}

/// The text in a file that is a file, and a short one.
fn read(path: &Path) -> io::Result<String> {
    // To open a pipe without a writer would wait for one.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("is longer than {MAX_BYTES} bytes")));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::health::bed::probe;
    use crate::service::check::Kind;
    use std::net::SocketAddr;

    /// What a file says of 10.0.0.11:80.
    fn says(path: &str, says: Says) -> Result<Healthy, Failure> {
        let server = SocketAddr::from(([10, 0, 0, 11], 80));
        probe(server, Kind::File(check::File { path: path.to_owned(), says }))
    }

    fn weighs(path: &str) -> Result<Option<u16>, String> {
        says(path, Says::Weight).map(|found| found.weight).map_err(|failure| {
            assert!(failure.is_own, "{failure}");
            failure.cause
        })
    }

    #[test]
    fn a_file_says_by_being_there() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = format!("{}/{{address}}_{{port}}", folder.path().display());
        let path = folder.path().join("10.0.0.11_80");
        let name = path.display().to_string();
        assert_eq!(says(&pattern, Says::Absent), Ok(Healthy::default()));
        assert_eq!(says(&pattern, Says::Present), Err(Failure::of_server(format!("{name} is not there"))));
        std::fs::write(&path, "").unwrap();
        assert_eq!(says(&pattern, Says::Present), Ok(Healthy::default()));
        assert_eq!(says(&pattern, Says::Absent), Err(Failure::of_server(format!("{name} is there"))));
        // Whether it is there is not known.
        let below = format!("{name}/{}", "x".repeat(300));
        assert!(says(&below, Says::Absent).unwrap_err().is_own);
    }

    #[test]
    fn the_number_in_a_file_is_the_weight_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weight");
        let name = path.to_str().unwrap();
        assert_eq!(weighs(name), Err(format!("{name}: no such file or directory")));
        for (text, weight) in [("3", 3), (" 65535\n", 65535), ("0\n", 0)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(weighs(name), Ok(Some(weight)), "{text:?}");
        }
        for text in ["", "65536", "-1", "3.5", "drain", "1 2"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(weighs(name), Err(format!("{name}: {text:?} is no weight (allowed: 0 to 65535)")));
        }
        std::fs::write(&path, [b'0'; 1 << 20]).unwrap();
        assert_eq!(weighs(name), Err(format!("{name}: is longer than 64 bytes")));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(weighs(name).is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [pipe.to_str().unwrap(), folder.path().to_str().unwrap(), "/dev/zero"] {
            assert_eq!(weighs(path), Err(format!("{path}: is no regular file")));
        }
    }
}
