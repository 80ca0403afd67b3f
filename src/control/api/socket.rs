//! The Unix socket: who may use it is decided before anybody can.

use super::{ApiError, tried};
use crate::config::Control;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket in the file system, removed when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Binds the socket under a name that nobody knows, gives it its owner, group and mode, and moves it to its place.
    /// One that a director left behind is replaced; one that somebody listens at is not.
    pub(super) fn bind(control: &Control) -> Result<Socket, ApiError> {
        let path = &control.socket;
        let doing = |what: &str| format!("{what} the control socket {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(tried(doing("make a directory for")))?;
        }
        refuse_if_taken(path).map_err(tried(doing("open")))?;
        let owner = control.owner.as_deref().map(|name| number_of(name, "/etc/passwd")).transpose();
        let group = control.group.as_deref().map(|name| number_of(name, "/etc/group")).transpose();
        let (owner, group) =
            owner.and_then(|owner| Ok((owner, group?))).map_err(tried(doing("find who owns")))?;

        let draft = path.with_extension(std::process::id().to_string());
        let _ = fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(tried(doing("open")))?;
        let set = fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))
            .and_then(|()| chown(&draft, owner, group))
            .and_then(|()| fs::set_permissions(&draft, fs::Permissions::from_mode(control.mode)))
            .and_then(|()| fs::rename(&draft, path));
        if set.is_err() {
            let _ = fs::remove_file(&draft);
        }
        set.map_err(tried(doing("say who may use")))?;
        Ok(Socket { path: path.clone(), listener })
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The socket, for a runtime.
    pub(super) fn listener(&self) -> Result<UnixListener, ApiError> {
        let listener = self.listener.set_nonblocking(true).and_then(|()| self.listener.try_clone());
        listener.map_err(tried(format!("listen at {}", self.path.display())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn refuse_if_taken(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another director listens there")),
            Err(_) => Ok(()),
        },
    }
}

/// The number of a user or a group, by name or as it is.
fn number_of(name: &str, file: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split(':').nth(1)?.parse().ok());
    number.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{name:?} is not in {file}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn control(dir: &Path) -> Control {
        Control { socket: dir.join("run").join("lvx.sock"), mode: 0o640, ..Control::default() }
    }

    #[test]
    fn the_socket_has_its_mode_and_owner_and_goes_with_its_director() {
        let folder = tempfile::tempdir().unwrap();
        let mut control = control(folder.path());
        let own = fs::metadata(folder.path()).unwrap();
        control.owner = Some(own.uid().to_string());
        let socket = Socket::bind(&control).unwrap();
        let there = fs::symlink_metadata(&control.socket).unwrap();
        assert_eq!((there.mode() & 0o7777, there.uid()), (0o640, own.uid()));
        assert_eq!(fs::read_dir(control.socket.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        drop(socket);
        assert!(!control.socket.exists());
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let control = control(folder.path());
        let first = Socket::bind(&control).unwrap();
        let error = Socket::bind(&control).unwrap_err().to_string();
        assert!(error.ends_with("another director listens there"), "{error}");
        // Killed: nobody listens, but the file is there.
        let Socket { listener, .. } = &first;
        rustix::net::shutdown(listener, rustix::net::Shutdown::Both).unwrap();
        assert!(Socket::bind(&control).is_ok());

        fs::write(&control.socket, "").unwrap();
        let error = Socket::bind(&control).unwrap_err().to_string();
        assert!(error.ends_with("there is a file that is no socket"), "{error}");
    }

    #[test]
    fn an_owner_that_nobody_knows_is_said_to_be_so() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control { group: Some("no-such-group".into()), ..control(folder.path()) };
        let error = Socket::bind(&control).unwrap_err().to_string();
        assert!(error.contains("\"no-such-group\" is not in /etc/group"), "{error}");
        assert!(!control.socket.exists());
    }
}
