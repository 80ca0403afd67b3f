//! A script of the operator's: its exit code is the verdict.
//!
//! It runs in a process group of its own, which is killed when its time is up, and also when the script ends, so that
//! nothing of it stays. Its environment is clear but for a path and who is asked.

use super::failure::said;
use super::probe::{Ask, facts, filled};
use super::{Failure, Healthy};
use crate::service::check::Script;
use nix::unistd::User;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

/// How many scripts run at a time.
const MAX_RUNNING: usize = 32;

/// How much of what a script prints is kept. The rest is thrown away.
const MAX_OUTPUT_BYTES: usize = 1024;

/// As much as a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// How long a script that prints much waits until more is taken, so that it does not keep us busy.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a script finds its programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who may run a script now: those who wait do so in a line.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// The right to run a script, until all of it is gone.
pub(super) type Turn = OwnedSemaphorePermit;

/// What it takes to run a script.
#[derive(Debug)]
pub(super) struct Prober {
    script: Script,
    turns: Arc<Semaphore>,
}

/// What a script is told, by name: in its command line in the place of `{name}`, and in its environment as `LVX_NAME`.
pub type Facts = Vec<(&'static str, String)>;

/// How a script ended, and what it printed.
pub(super) type Ended = Result<(ExitStatus, Vec<u8>), Failure>;

impl Default for Turns {
    fn default() -> Turns {
        Turns(Arc::new(Semaphore::new(MAX_RUNNING)))
    }
}

impl Prober {
    pub(super) fn of(script: &Script, Turns(turns): &Turns) -> Prober {
        Prober { script: script.clone(), turns: turns.clone() }
    }

    /// Waits in the line.
    pub(super) async fn turn(&self) -> Result<Turn, Failure> {
        self.turns.clone().acquire_owned().await.map_err(|error| Failure::own(error.to_string()))
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>, turn: Option<Turn>) -> Result<Healthy, Failure> {
        ask.is("waiting for the script");
        let (tell, ended) = oneshot::channel();
        tokio::spawn(run(self.script.clone(), facts(ask.target.peer()), turn, tell));
        match ended.await {
            Ok(ended) => ended.and_then(|(status, output)| self.judge(status, &output)),
            Err(_) => Err(Failure::own("the script was not waited for")),
        }
    }

    fn judge(&self, status: ExitStatus, output: &[u8]) -> Result<Healthy, Failure> {
        let cause = match (status.code(), status.signal()) {
            (Some(0), _) => return Ok(Healthy::default()),
            (Some(code @ 2..=255), _) if self.script.is_dynamic => {
                return Ok(Healthy { weight: Some(code as u16 - 2), ..Healthy::default() });
            }
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => status.to_string(),
        };
        let line = output.trim_ascii().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let says = if line.is_empty() { String::new() } else { format!(": {}", said(line)) };
        Err(Failure::of_server(format!("{cause}{says}")))
    }
}

/// Runs the script until it ends, or until nobody waits for it any more.
pub(super) async fn run(script: Script, facts: Facts, turn: Option<Turn>, mut tell: oneshot::Sender<Ended>) {
    // Its path may lead to a file system that hangs.
    let started = spawn_blocking(move || start(&script, &facts)).await;
    let started = started.unwrap_or_else(|error| Err(Failure::own(error.to_string())));
    let ended = match started {
        Ok(running) => running.end(&mut tell).await.map_err(|error| cannot("watch the script", &error)),
        Err(failure) => Err(failure),
    };
    drop(turn);
    // Who waited may be gone.
    let _ = tell.send(ended);
}

fn cannot(doing: &str, error: &io::Error) -> Failure {
    Failure::own(Failure::of_system(doing, error).cause)
}

/// A script that has been started.
#[derive(Debug)]
struct Running {
    group: Group,
    /// Readable when the script has ended.
    exit: OwnedFd,
    /// What it prints.
    output: OwnedFd,
}

/// The processes of a script, killed when this is dropped.
#[derive(Debug)]
struct Group {
    leader: Child,
    is_gone: bool,
}

impl Group {
    /// Kills them all. As long as nobody has waited for the leader, its number is nobody else's.
    fn kill(&self) {
        // There is nothing to be done about one that changed its user and may not be killed.
        let _ = kill_process_group(Pid::from_child(&self.leader), Signal::KILL);
    }

    /// How the leader ended, which it has.
    fn end(mut self) -> io::Result<ExitStatus> {
        self.kill();
        let status = self.leader.wait()?;
        self.is_gone = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_gone {
            self.kill();
        }
    }
}

fn start(script: &Script, facts: &Facts) -> Result<Running, Failure> {
    let words: Vec<String> = script.command.iter().map(|word| filled(word, facts)).collect();
    let [program, arguments @ ..] = &words[..] else { return Err(Failure::own("there is no script")) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0).stdin(Stdio::null());
    command.env_clear().env("PATH", PATH);
    command.envs(facts.iter().map(|(name, value)| (format!("LVX_{}", name.to_uppercase()), value)));
    if let Some(name) = &script.user {
        let user = User::from_name(name).map_err(|error| Failure::own(format!("user {name:?}: {error}")))?;
        let user = user.ok_or_else(|| Failure::own(format!("user {name:?} is unknown")))?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let mut spawn = || -> io::Result<Running> {
        let (output, printed) = io::pipe()?;
        let leader = command.stdout(printed.try_clone()?).stderr(printed).spawn()?;
        let group = Group { leader, is_gone: false };
        let exit = pidfd_open(Pid::from_child(&group.leader), PidfdFlags::NONBLOCK)?;
        Ok(Running { group, exit, output: output.into() })
    };
    spawn().map_err(|error| cannot(&format!("start {program}"), &error))
}

impl Running {
    /// Waits for the script, for as long as its asker does, and for the end of all that it has started.
    async fn end(self, asker: &mut oneshot::Sender<Ended>) -> io::Result<(ExitStatus, Vec<u8>)> {
        let Running { group, exit, output } = self;
        #[expect(deprecated, reason = "its successor is unsafe, for descriptors that somebody else closes")]
        let exit = AsyncFd::with_interest(exit, Interest::READABLE)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let mut output = Receiver::from_owned_fd(output)?;
        let mut printed = Vec::new();
        tokio::select! {
            ended = exit.readable() => drop(ended?),
            () = asker.closed() => {}
            () = listen(&mut output, &mut printed) => {}
        }
        // What it printed last.
        let mut rest = [0; MAX_OUTPUT_BYTES];
        while let Ok(bytes @ 1..) = rustix::io::read(&output, &mut rest)
            && keep(&mut printed, &rest[..bytes])
        {}
        group.kill();
        drop(exit.readable().await?);
        Ok((group.end()?, printed))
    }
}

/// Takes what is printed, and goes on when nothing more comes.
async fn listen(output: &mut Receiver, printed: &mut Vec<u8>) {
    let mut bytes = vec![0; PIPE_BYTES];
    while let Ok(read @ 1..) = output.read(&mut bytes).await {
        keep(printed, &bytes[..read]);
        tokio::time::sleep(PAUSE).await;
    }
    // The script's end is waited for, not that of its output.
    std::future::pending().await
}

/// Keeps of `bytes` what there is room for; false if there is no more.
fn keep(printed: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let room = MAX_OUTPUT_BYTES - printed.len();
    printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
    printed.len() < MAX_OUTPUT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Driver;
    use crate::health::bed::{MS, check, probe, probe_once, target};
    use crate::service::check::{Check, Kind, Pace};
    use std::fs;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(20);

    fn server() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 11], 80))
    }

    /// A script of these lines.
    fn shell(lines: &str) -> Script {
        let command = ["/bin/sh", "-c", lines].map(str::to_owned).to_vec();
        Script { command, ..Script::default() }
    }

    fn cause(script: Script) -> String {
        probe(server(), Kind::Script(script)).unwrap_err().cause
    }

    fn impatient(lines: &str) -> Failure {
        probe_once(&target(server(), check(Kind::Script(shell(lines))))).unwrap_err()
    }

    /// Whether there is a process of this number that has not ended.
    fn runs(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(5 * MS);
        }
    }

    #[test]
    fn the_exit_code_is_the_verdict_and_the_first_line_the_cause() {
        assert_eq!(probe(server(), Kind::Script(shell("exit 0"))), Ok(Healthy::default()));
        assert_eq!(cause(shell("exit 1")), "exit code 1");
        assert_eq!(
            cause(shell("echo; echo disk full; echo and more >&2; exit 3")),
            "exit code 3: \"disk full\""
        );
        assert_eq!(cause(shell("echo no disk >&2; exit 255")), "exit code 255: \"no disk\"");
        assert_eq!(cause(shell("kill -9 $$")), "ended by signal 9");
        assert_eq!(cause(shell("seq 100000; exit 4")), "exit code 4: \"1\"");
    }

    #[test]
    fn exit_codes_of_a_dynamic_script_are_weights_as_with_keepalived() {
        let weight = |code: u8| {
            let script = Script { is_dynamic: true, ..shell(&format!("exit {code}")) };
            probe(server(), Kind::Script(script)).map(|found| found.weight).map_err(|failure| failure.cause)
        };
        assert_eq!([0, 2, 3, 255].map(weight), [Ok(None), Ok(Some(0)), Ok(Some(1)), Ok(Some(253))]);
        assert_eq!(weight(1), Err("exit code 1".to_owned()));
    }

    #[test]
    fn a_script_is_told_who_is_asked_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let seen = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let lines =
            format!("cd {}; env -u PWD -u OLDPWD -u _ > env; echo \"$@\" > words", folder.path().display());
        let mut script = shell(&lines);
        script.command.extend(["sh", "{address}", "a b; exit 1", "port {port}"].map(str::to_owned));
        probe(server(), Kind::Script(script)).unwrap();
        let mut env: Vec<String> = seen("env").lines().map(str::to_owned).collect();
        env.sort();
        assert_eq!(env, ["LVX_ADDRESS=10.0.0.11", "LVX_PORT=80", &format!("PATH={PATH}")]);
        assert_eq!(seen("words"), "10.0.0.11 a b; exit 1 port 80\n");
    }

    #[test]
    fn what_cannot_be_run_says_nothing_of_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        let name = path.to_str().unwrap();
        let script = || Script { command: vec![name.to_owned()], ..Script::default() };
        let own = |script| probe(server(), Kind::Script(script)).unwrap_err();
        assert_eq!(own(script()), Failure::own(format!("start {name}: no such file or directory")));
        fs::write(&path, "").unwrap();
        assert_eq!(own(script()), Failure::own(format!("start {name}: permission denied")));
        let stranger = Script { user: Some("no-such-user".to_owned()), ..shell("exit 0") };
        assert_eq!(own(stranger), Failure::own("user \"no-such-user\" is unknown"));
    }

    #[test]
    fn a_script_has_the_rights_of_its_user_alone() {
        let user = Some("nobody".to_owned());
        assert_eq!(
            cause(Script { user, ..shell("echo $(id -u) $(id -G); exit 1") }),
            "exit code 1: \"65534 65534\""
        );
    }

    #[test]
    fn a_script_that_hangs_is_killed_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let failure = impatient(&format!(
            "sleep 1000 & trap '' TERM; echo $! $$ > {}; while :; do sleep 1000; done",
            pids.display()
        ));
        assert_eq!(failure, Failure::of_server("timed out after 200ms waiting for the script"));
        // The runtime is gone, and with it all of the script.
        for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
            eventually("the script and its child are gone", || !runs(pid));
        }
    }

    #[test]
    fn nothing_stays_of_a_script_that_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        probe(server(), Kind::Script(shell(&format!("sleep 1000 & echo $! > {}", pid.display())))).unwrap();
        let pid = fs::read_to_string(pid).unwrap();
        eventually("what it left behind is gone", || !runs(pid.trim()));
    }

    #[test]
    fn a_script_that_prints_without_end_is_not_listened_to() {
        let failure = impatient("yes");
        assert_eq!(failure, Failure::of_server("timed out after 200ms waiting for the script"));
    }

    #[test]
    fn no_more_than_so_many_scripts_run_at_a_time_and_those_in_line_do_not_fail() {
        let folder = tempfile::tempdir().unwrap();
        let running = folder.path().join("running");
        fs::create_dir(&running).unwrap();
        let most = folder.path().join("most");
        // Each writes down how many there are beside it.
        let lines = format!(
            "touch {running}/$$; ls {running} | wc -l >> {most}; sleep 0.15; rm {running}/$$",
            running = running.display(),
            most = most.display()
        );
        let hour = Duration::from_secs(3600);
        let pace = Pace { interval: hour, retry: hour, timeout: Duration::from_secs(10), ..Pace::default() };
        let wanted = MAX_RUNNING * 2;
        let targets = (0..wanted).map(|port| {
            let kind = Kind::Script(shell(&lines));
            target(server(), Check { kind, pace, port: Some(port as u16 + 1), ..Check::default() })
        });
        let driver = Driver::start(|| (), ()).unwrap();
        driver.set(targets);
        for _ in 0..wanted {
            let event = driver.events().recv_timeout(LONG).unwrap();
            assert_eq!(driver.status(&event.target).unwrap().failures, 0, "{event:?}");
        }
        let most =
            fs::read_to_string(most).unwrap().lines().map(|line| line.trim().parse::<usize>().unwrap()).max();
        assert!(most.is_some_and(|most| most > 1 && most <= MAX_RUNNING), "{most:?}");
    }

    #[test]
    fn scripts_end_with_their_driver_and_leave_no_zombies() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let driver = Driver::start(|| (), ()).unwrap();
        let short = shell(&format!("echo $$ >> {}", pids.display()));
        driver.set([target(server(), check(Kind::Script(short)))]);
        let lines = || fs::read_to_string(&pids).unwrap_or_default();
        eventually("a few have run", || lines().lines().count() >= 4);
        driver.set([]);
        for pid in lines().lines() {
            eventually("it has been waited for", || !Path::new(&format!("/proc/{pid}")).exists());
        }
        let long = shell(&format!("echo $$ > {}; sleep 1000", pids.display()));
        driver.set([target(
            server(),
            Check { pace: Pace { timeout: LONG, ..Pace::default() }, ..check(Kind::Script(long)) },
        )]);
        eventually("it runs", || lines().lines().count() == 1);
        let pid = lines();
        drop(driver);
        eventually("it is gone", || !runs(pid.trim()));
    }
}
