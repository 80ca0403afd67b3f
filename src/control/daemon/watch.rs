//! Notices when the configuration file changes.

use super::RunError;
use crossbeam::channel::{Receiver, bounded};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::time::Duration;

/// How long a change may take: editors write in several steps.
const SETTLES: Duration = Duration::from_millis(200);

/// Watches the file until dropped.
#[derive(Debug)]
pub(super) struct Watch {
    edited: Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch the directory that the file is in: editors put a new file in the place of the old.
    pub(super) fn begin(file: &Path) -> Result<Watch, RunError> {
        let failed =
            |error: notify::Error| RunError::Io("watch the configuration file", std::io::Error::other(error));
        let (tell, told) = bounded::<()>(1);
        let (settled, edited) = bounded(1);
        let name = file.file_name().map(ToOwned::to_owned);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let changes = |event: &Event| {
                !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
            };
            if event.is_ok_and(|event| changes(&event)) {
                let _ = tell.try_send(());
            }
        })
        .map_err(failed)?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(parent, RecursiveMode::NonRecursive).map_err(failed)?;
        let body = move || {
            while told.recv().is_ok() {
                while told.recv_timeout(SETTLES).is_ok() {}
                let _ = settled.try_send(());
            }
        };
        let thread = std::thread::Builder::new().name("lvx-watch".to_owned()).spawn(body);
        thread.map_err(RunError::io("watch the configuration file"))?;
        Ok(Watch { edited, _watcher: watcher })
    }

    /// Gets a message when the file has changed, and a moment has passed.
    pub(super) fn edited(&self) -> &Receiver<()> {
        &self.edited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_written_or_replaced_is_noticed_once_and_its_neighbours_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        fs::write(&file, "1").unwrap();
        let watch = Watch::begin(&file).unwrap();
        let patience = Duration::from_secs(10);
        fs::write(folder.path().join("b.toml"), "1").unwrap();
        assert!(watch.edited().recv_timeout(3 * SETTLES).is_err());
        fs::write(&file, "2").unwrap();
        assert!(watch.edited().recv_timeout(patience).is_ok());
        fs::write(folder.path().join("draft"), "3").unwrap();
        fs::rename(folder.path().join("draft"), &file).unwrap();
        assert!(watch.edited().recv_timeout(patience).is_ok());
    }
}
