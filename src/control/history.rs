//! The last ten configurations that another has replaced, to go back to: in memory, and as files that `lvx check`
//! and `lvx run` take. Files are written by a thread of their own: a disk that is slow or full delays nobody.

use super::desired::Desired;
use crate::config::{self, ConfigErrors};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// How many are kept.
pub const KEPT: usize = 10;

/// A configuration that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Version {
    /// How many steps back it is: 1 is the one that the present one replaced.
    pub back: usize,
    /// When it was replaced, in seconds since 1970.
    pub replaced_at: u64,
    /// Its file; it may not be written yet.
    pub file: String,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    replaced_at: u64,
    /// `None` if only the file has it: from before this director's start.
    desired: Option<Desired>,
}

/// The configurations kept.
#[derive(Debug)]
pub struct History {
    dir: PathBuf,
    /// The last one replaced first.
    kept: VecDeque<Kept>,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    tell: Option<Sender<(u64, Desired)>>,
    thread: Option<JoinHandle<()>>,
}

impl History {
    /// What is kept in `dir`, which is made if need be.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<History> {
        fs::create_dir_all(dir)?;
        let mut kept = Vec::new();
        for entry in fs::read_dir(dir)?.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(number_of) else { continue };
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
            kept.push(Kept { number, replaced_at: seconds(modified), desired: None });
        }
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.number));
        let (tell, told) = bounded(2 * KEPT);
        let folder = dir.to_owned();
        let thread = std::thread::Builder::new()
            .name("lvx-history".to_owned())
            .spawn(move || write_all(&folder, &told))?;
        let writer = Writer { tell: Some(tell), thread: Some(thread) };
        let mut history = History { dir: dir.to_owned(), kept: kept.into(), writer: Some(writer) };
        history.kept.truncate(KEPT);
        Ok(history)
    }

    /// One that no file has.
    pub fn in_memory() -> History {
        History { dir: PathBuf::new(), kept: VecDeque::new(), writer: None }
    }

    /// Keeps a configuration that is being replaced.
    pub fn keep(&mut self, replaced: &Desired) {
        let number = self.kept.front().map_or(1, |last| last.number.saturating_add(1));
        let replaced_at = seconds(SystemTime::now());
        self.kept.push_front(Kept { number, replaced_at, desired: Some(replaced.clone()) });
        self.kept.truncate(KEPT);
        let Some(tell) = self.writer.as_ref().and_then(|writer| writer.tell.as_ref()) else { return };
        if let Err(TrySendError::Full(_)) = tell.try_send((number, replaced.clone())) {
            tracing::warn!(
                number,
                "configurations change faster than the disk takes them; this one is kept in memory only"
            );
        }
    }

    /// What is kept, the last one replaced first.
    pub fn versions(&self) -> Vec<Version> {
        let version = |(place, kept): (usize, &Kept)| Version {
            back: place + 1,
            replaced_at: kept.replaced_at,
            file: match self.writer {
                Some(_) => self.dir.join(name(kept.number)).display().to_string(),
                None => String::new(),
            },
        };
        self.kept.iter().enumerate().map(version).collect()
    }

    /// The configuration so many steps back; `None` if that many are not kept.
    ///
    /// # Errors
    /// Only a file has it, and that is gone or was spoilt.
    pub fn back(&self, steps: usize) -> Option<Result<Desired, ConfigErrors>> {
        let kept = self.kept.get(steps.checked_sub(1)?)?;
        Some(match &kept.desired {
            Some(desired) => Ok(desired.clone()),
            None => config::read(&self.dir.join(name(kept.number))).map(Desired::from),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tell = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn write_all(dir: &Path, told: &Receiver<(u64, Desired)>) {
    for (number, desired) in told {
        if let Err(error) = write(dir, number, &desired) {
            tracing::error!("cannot keep configuration {number} in {}: {error}", dir.display());
        }
    }
}

/// Writes one file, whole or not at all, and removes those that are too many.
fn write(dir: &Path, number: u64, desired: &Desired) -> io::Result<()> {
    let text = desired.config().to_toml().map_err(io::Error::other)?;
    let draft = dir.join("draft");
    // There may be secrets in it.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&draft)?.write_all(text.as_bytes())?;
    fs::rename(&draft, dir.join(name(number)))?;
    for entry in fs::read_dir(dir)?.flatten() {
        let old = entry.file_name().to_str().and_then(number_of);
        if old.is_some_and(|old| old.saturating_add(KEPT as u64) <= number) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("{number:08}.toml")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".toml").filter(|digits| digits.len() >= 8)?.parse().ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(weight: u16) -> Desired {
        let text = format!(
            "interface = [{{ name = \"eth0\" }}]\nvirtual_service = [{{ address = \"192.0.2.1:80\", \
             real_server = [{{ address = \"10.0.0.1\", weight = {weight} }}] }}]"
        );
        config::parse("f", &text).unwrap().into()
    }

    fn weights(history: &History) -> Vec<u16> {
        let back = (1..).map_while(|steps| history.back(steps));
        back.map(|desired| desired.unwrap().services()[0].reals[0].weight).collect()
    }

    #[test]
    fn the_last_ten_are_kept_also_over_a_restart_and_the_rest_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("versions");
        let mut history = History::open(&dir).unwrap();
        (1..=13).for_each(|weight| history.keep(&desired(weight)));
        let wanted: Vec<u16> = (4..=13).rev().collect();
        assert_eq!(weights(&history), wanted);
        drop(history);
        let mut history = History::open(&dir).unwrap();
        assert_eq!(weights(&history), wanted);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), KEPT);
        history.keep(&desired(14));
        assert_eq!((weights(&history)[..2].to_vec(), history.versions().len()), (vec![14, 13], KEPT));
        assert!(history.back(0).is_none() && history.back(11).is_none());
    }

    #[test]
    fn a_file_that_was_spoilt_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("00000001.toml"), "interface = 3").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let history = History::open(folder.path()).unwrap();
        let error = history.back(1).unwrap().unwrap_err().to_string();
        assert!(error.contains("00000001.toml:1:13: "), "{error}");
        assert_eq!(history.versions().len(), 1);
    }
}
