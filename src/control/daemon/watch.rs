//! Notices when the configuration file changes: written anew, replaced by another (as editors do), or reached by another
//! way, since a link on it has been swapped, as where Kubernetes mounts a ConfigMap:
//!
//! ```text
//! director.toml -> ..data/director.toml
//! ..data -> ..2026_11_23_09_30          then ..2026_11_23_10_15, by a rename over the link
//! ```

use super::RunError;
use crossbeam::channel::{Receiver, Sender, bounded, select};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf, absolute};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a change may take: editors write in several steps.
const SETTLES: Duration = Duration::from_millis(200);

/// Links that are followed, as many as Linux follows.
const LINKS: usize = 40;

/// How often a way is walked again that changes while it is walked.
const WALKS: usize = 8;

/// Watches the file until dropped.
#[derive(Debug)]
pub(super) struct Watch {
    edited: Receiver<()>,
    /// Dropped, it ends the thread.
    _stop: Sender<()>,
}

impl Watch {
    /// Begins to watch the file and the way to it.
    pub(super) fn begin(file: &Path) -> Result<Watch, RunError> {
        let doing = "watch the configuration file";
        let failed = |error: notify::Error| RunError::Io(doing, io::Error::other(error));
        let (tell, told) = bounded(1);
        let (settled, edited) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        let marks = Arc::new(Mutex::new(BTreeSet::<PathBuf>::new()));
        let known = marks.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let concerns_us = |event: &Event| {
                let is_named = || event.paths.iter().any(|path| known.contains(path));
                event.need_rescan() || (!event.kind.is_access() && is_named())
            };
            if event.is_ok_and(|event| concerns_us(&event)) {
                // A full channel holds the same message already.
                let _ = tell.try_send(());
            }
        });
        let file = absolute(file).map_err(RunError::io(doing))?;
        let mut watched = Watched { watcher: watcher.map_err(failed)?, way: Way::to(&file), marks };
        watched.follow(&file).map_err(failed)?;
        let mut seen = version(&file);
        let body = move || {
            loop {
                select! {
                    recv(told) -> _ => {}
                    recv(stopped) -> _ => return,
                }
                while told.recv_timeout(SETTLES).is_ok() {}
                if let Err(error) = watched.follow(&file) {
                    tracing::warn!("cannot {doing}, so that changes may go unnoticed: {error}");
                }
                // After that, so that what changes from here on is told.
                let now = version(&file);
                if std::mem::replace(&mut seen, now) != now {
                    let _ = settled.try_send(());
                }
            }
        };
        let thread = std::thread::Builder::new().name("lvx-watch".to_owned()).spawn(body);
        thread.map_err(RunError::io(doing))?;
        Ok(Watch { edited, _stop: stop })
    }

    /// Gets a message when the file has changed, and a moment has passed.
    pub(super) fn edited(&self) -> &Receiver<()> {
        &self.edited
    }
}

/// What tells a file from the one that was there before: which it is, its size, and when it was written or renamed.
/// `None` if there is none.
fn version(file: &Path) -> Option<(u64, u64, u64, i64, i64)> {
    let of = |file: Metadata| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec());
    fs::metadata(file).ok().map(of)
}

struct Watched {
    watcher: RecommendedWatcher,
    way: Way,
    /// Paths that a change would name.
    marks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Watched {
    /// Watches the way to the file as it is now, all of it anew: a directory that was removed and made again may look the
    /// same.
    fn follow(&mut self, file: &Path) -> notify::Result<()> {
        let mut outcome = Ok(());
        for _ in 0..WALKS {
            for place in &self.way.places {
                // What is gone is not watched any more.
                let _ = self.watcher.unwatch(place);
            }
            self.way = Way::to(file);
            *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = self.way.marks();
            let watch = |place: &PathBuf| self.watcher.watch(place, RecursiveMode::NonRecursive);
            outcome = self.way.places.iter().try_for_each(watch);
            if Way::to(file) == self.way {
                break;
            }
        }
        outcome
    }
}

/// How a file is reached.
#[derive(Debug, Default, PartialEq)]
struct Way {
    /// The links on it, and where it ends: the file, or the first name that is not there.
    names: BTreeSet<PathBuf>,
    /// The directories that these are in, and the file.
    places: BTreeSet<PathBuf>,
}

impl Way {
    fn to(file: &Path) -> Way {
        let mut way = Way::default();
        let mut ahead = components(file);
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(component) = ahead.pop() {
            if component.as_os_str() == ".." {
                at.pop();
                continue;
            }
            let path = at.join(&component);
            let found = fs::symlink_metadata(&path);
            match found {
                Ok(found) if found.is_dir() => at = path,
                Ok(found) if found.is_symlink() && links < LINKS => {
                    links += 1;
                    way.note(&at, path.clone());
                    ahead.extend(fs::read_link(&path).map(|target| components(&target)).unwrap_or_default());
                }
                found => {
                    if found.is_ok_and(|found| !found.is_symlink()) {
                        way.places.insert(path.clone());
                    }
                    way.note(&at, path);
                    break;
                }
            }
        }
        way
    }

    fn note(&mut self, place: &Path, name: PathBuf) {
        self.places.insert(place.to_owned());
        self.names.insert(name);
    }

    fn marks(&self) -> BTreeSet<PathBuf> {
        self.names.union(&self.places).cloned().collect()
    }
}

/// The last one first.
fn components(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter(|component| *component != Component::CurDir);
    names.map(|component| PathBuf::from(component.as_os_str())).rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A folder with a file, and somebody who watches what `name` leads to.
    struct Desk {
        folder: TempDir,
        watch: Watch,
    }

    impl Desk {
        fn new(name: &str, furnish: impl FnOnce(&Path)) -> Desk {
            let folder = tempfile::tempdir().unwrap();
            furnish(folder.path());
            let watch = Watch::begin(&folder.path().join(name)).unwrap();
            Desk { folder, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// Puts what is at `from` in the place of `to`.
        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn is_told(&self) {
            self.watch.edited().recv_timeout(Duration::from_secs(10)).unwrap();
        }

        fn is_not_told(&self) {
            assert!(self.watch.edited().recv_timeout(3 * SETTLES).is_err());
        }
    }

    #[test]
    fn a_file_written_or_replaced_is_noticed_once_and_its_neighbours_are_not() {
        let desk = Desk::new("a.toml", |folder| fs::write(folder.join("a.toml"), "1").unwrap());
        desk.write("b.toml", "1");
        desk.is_not_told();
        desk.write("a.toml", "2");
        desk.is_told();
        // vim, emacs, sed -i: the new one takes the old one's place, again and again.
        for text in ["3", "4", "5"] {
            desk.write("draft", text);
            desk.rename("draft", "a.toml");
            desk.is_told();
        }
        // Or the old one is moved aside first.
        desk.rename("a.toml", "a.toml~");
        desk.write("a.toml", "6");
        desk.is_told();
        desk.write("a.toml~", "7");
        desk.is_not_told();
        desk.write("a.toml", "8");
        desk.is_told();
    }

    #[test]
    fn a_link_swapped_on_the_way_is_noticed_as_where_kubernetes_mounts_the_file() {
        let publish = |folder: &Path, version: &str, text: &str| {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("a.toml"), text).unwrap();
            symlink(version, folder.join("..data_tmp")).unwrap();
            fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        };
        let desk = Desk::new("a.toml", |folder| {
            publish(folder, "..1", "1");
            symlink("..data/a.toml", folder.join("a.toml")).unwrap();
        });
        desk.is_not_told();
        for (before, version) in [("..1", "..2"), ("..2", "..3"), ("..3", "..4")] {
            publish(desk.folder.path(), version, "of the same size");
            fs::remove_dir_all(desk.path(before)).unwrap();
            desk.is_told();
            desk.is_not_told();
        }
        desk.write("..4/a.toml", "written where it is");
        desk.is_told();
    }

    #[test]
    fn a_link_to_elsewhere_is_followed_and_so_is_a_directory_that_is_a_link() {
        let desk = Desk::new("current/a.toml", |folder| {
            for name in ["1", "2", "shared"] {
                fs::create_dir(folder.join(name)).unwrap();
            }
            fs::write(folder.join("shared/b.toml"), "1").unwrap();
            symlink("../shared/b.toml", folder.join("1/a.toml")).unwrap();
            fs::write(folder.join("2/a.toml"), "2").unwrap();
            symlink("1", folder.join("current")).unwrap();
        });
        desk.write("shared/b.toml", "3");
        desk.is_told();
        symlink(desk.path("2"), desk.path("next")).unwrap();
        desk.rename("next", "current");
        desk.is_told();
        desk.write("shared/b.toml", "4");
        desk.is_not_told();
        desk.write("2/a.toml", "5");
        desk.is_told();
    }

    #[test]
    fn a_file_whose_directory_went_and_came_back_is_noticed() {
        let make = |folder: &Path, text: &str| {
            fs::create_dir(folder.join("etc")).unwrap();
            fs::write(folder.join("etc/a.toml"), text).unwrap();
        };
        let desk = Desk::new("etc/a.toml", |folder| make(folder, "1"));
        fs::remove_dir_all(desk.path("etc")).unwrap();
        desk.is_told();
        make(desk.folder.path(), "2");
        desk.is_told();
        desk.write("etc/a.toml", "3");
        desk.is_told();
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let desk = Desk::new("a.toml", |folder| symlink("a.toml", folder.join("a.toml")).unwrap());
        desk.write("draft", "1");
        desk.rename("draft", "a.toml");
        desk.is_told();
    }
}
