//! Network namespaces that remove themselves, with everything that runs in them.

use super::{Error, Process, ProcessId};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where iproute2 keeps named namespaces.
const NETNS_DIR: &str = "/run/netns";

/// A named network namespace. Dropping it kills what runs in it and deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    is_left_behind: bool,
}

impl Namespace {
    /// `ip netns add`.
    ///
    /// # Errors
    /// Without root, and if the name is taken.
    pub fn create(name: &str) -> Result<Namespace, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        run(Command::new("ip").args(["netns", "add", name]))?;
        Ok(Namespace { name: name.to_owned(), is_left_behind: false })
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside, with `/sys` showing this namespace.
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(argv).stdin(Stdio::null());
        // A process group of its own: ctrl-C at the terminal is for the lab, which then ends its children.
        command.process_group(0);
        command
    }

    /// Runs a command inside to its end.
    ///
    /// # Errors
    /// If it cannot be started or does not succeed; the error holds the command and its standard error.
    pub fn exec<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<Output, Error> {
        run(&mut self.command(argv))
    }

    /// Starts a command inside; both its outputs go to the end of the file `log`.
    ///
    /// # Errors
    /// If the log cannot be opened or the command not started.
    pub fn spawn<S: AsRef<OsStr>>(&self, argv: &[S], log: &Path) -> Result<Process, Error> {
        let open = || File::options().create(true).append(true).open(log);
        let mut command = self.command(argv);
        let line = display(&command);
        let out = open().map_err(Error::io(format!("open {}", log.display())))?;
        let err = out.try_clone().map_err(Error::io(format!("open {}", log.display())))?;
        let child = command.stdout(out).stderr(err).spawn().map_err(Error::io(line.clone()))?;
        Ok(Process::new(child, line, log))
    }

    /// Configures the namespace: one `ip -batch` command per line.
    ///
    /// # Errors
    /// The first line that fails; the lines before it have taken effect.
    pub fn batch(&self, lines: &str) -> Result<(), Error> {
        ip_batch(&["-n", &self.name], lines)
    }

    /// Runs `work` on a thread whose network is this namespace: sockets that it opens belong there for as long
    /// as they live, and `/proc/sys/net` means the namespace's.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn inside<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
        let path = path(&self.name);
        let file = File::open(&path).map_err(Error::io(format!("open {}", path.display())))?;
        // The thread ends afterwards, so that nothing else of this process ever runs in there.
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<R, rustix::io::Errno>(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        result.map_err(|errno| Error::io(format!("enter namespace {}", self.name))(errno.into()))
    }

    /// Sets a sysctl of the namespace, named as sysctl(8) does.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| fs::write(path, value))?
            .map_err(Error::io(format!("set {name} = {value} in {}", self.name)))
    }

    /// Lets the namespace stay after this value is gone.
    pub fn leave_behind(&mut self) {
        self.is_left_behind = true;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.is_left_behind {
            // Nobody to tell, and `lvx lab down` finds what is left.
            let _ = remove(&self.name);
        }
    }
}

/// The names of the namespaces that there are and that `wanted` wants.
pub(super) fn named(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| wanted(name))
        .collect();
    names.sort();
    names
}

/// Kills what runs in the namespace `name` and deletes it; nothing happens if there is none.
pub(super) fn remove(name: &str) -> Result<(), Error> {
    if !path(name).exists() {
        return Ok(());
    }
    for process in inhabitants(name) {
        process.kill();
    }
    run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

/// The processes in the namespace `name`, but for the calling one.
fn inhabitants(name: &str) -> Vec<ProcessId> {
    let identity = |path: PathBuf| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let Some(namespace) = identity(path(name)) else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid: &i32| pid as u32 != std::process::id())
        .filter(|pid| identity(format!("/proc/{pid}/ns/net").into()) == Some(namespace))
        .filter_map(ProcessId::of)
        .collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Runs `ip` with `options` on a batch of commands, one per line.
pub(super) fn ip_batch(options: &[&str], lines: &str) -> Result<(), Error> {
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    feed(&mut command, lines)
}

/// Runs a command to its end with `input` on its standard input.
pub(super) fn feed(command: &mut Command, input: &str) -> Result<(), Error> {
    let line = display(command);
    let tried = || Error::io(line.clone());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(tried())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends before it has read everything tells why on its standard error.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(tried()(error)),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(tried())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::command(format!("{line} <<\n{input}\n"), &output))
    }
}

/// Runs a command to its end, in success.
pub(super) fn run(command: &mut Command) -> Result<Output, Error> {
    let line = display(command);
    let output = command.output().map_err(Error::io(line.clone()))?;
    if output.status.success() { Ok(output) } else { Err(Error::command(line, &output)) }
}

/// The command as one would type it.
fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
