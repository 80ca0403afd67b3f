//! What is done to servers, and when.

use super::Scenario;
use crate::lab::servers::{READY_FILE, http_dir};
use crate::lab::{Error, Process, ProcessId, Server, Signal, Topology};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// From one fall of a flapping server to the next.
const FLAP: Duration = Duration::from_millis(500);
/// For so long of it the server is down.
const FLAP_DOWN: Duration = Duration::from_millis(200);

/// Something that is done to every server that falls ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL.
    Kill,
    /// Its nginx is started again.
    Start,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// What its checks ask is not there.
    Fail,
    /// It is there again.
    Pass,
    /// It loses the VIP.
    LoseVip,
    /// It gets the VIP again.
    HoldVip,
}

/// What is done in a fault that lasts so long, and when since its beginning; the first begins it, the last mends it.
pub fn acts(scenario: Scenario, lasts: Duration) -> Vec<(Duration, Act)> {
    let (begins, mends) = match scenario {
        Scenario::Crash | Scenario::Flap => (Act::Kill, Act::Start),
        Scenario::Hang => (Act::Stop, Act::Continue),
        Scenario::AllDown => (Act::Fail, Act::Pass),
        Scenario::NoVip => (Act::LoseVip, Act::HoldVip),
    };
    if scenario != Scenario::Flap {
        return vec![(Duration::ZERO, begins), (lasts, mends)];
    }
    let falls = (lasts.as_nanos() / FLAP.as_nanos()).max(1) as u32;
    (0..falls).flat_map(|fall| [(FLAP * fall, begins), (FLAP * fall + FLAP_DOWN, mends)]).collect()
}

/// The servers that fall ill, in their lab.
pub(super) struct Patients<'t> {
    topology: &'t Topology,
    servers: Vec<Server>,
    /// nginx that were started again.
    again: Vec<Process>,
}

impl<'t> Patients<'t> {
    pub(super) fn new(topology: &'t Topology, numbers: &[u8]) -> Patients<'t> {
        let servers = topology.plan.servers.iter().filter(|server| numbers.contains(&server.number));
        Patients { topology, servers: servers.cloned().collect(), again: Vec::new() }
    }

    /// nginx that run beyond this value.
    pub(super) fn into_processes(self) -> Vec<Process> {
        self.again
    }

    /// Does it to each of them.
    pub(super) fn suffer(&mut self, act: Act) -> Result<(), Error> {
        for server in &self.servers {
            let node = server.node();
            match act {
                Act::Kill => self.signal(server, Signal::KILL)?,
                Act::Stop => self.signal(server, Signal::STOP)?,
                Act::Continue => self.signal(server, Signal::CONT)?,
                Act::Start => {
                    self.again.retain_mut(|process| process.exit_status().is_none());
                    self.again.push(self.topology.start_http_again(server)?);
                }
                Act::Fail => {
                    let file = self.ready(server);
                    fs::remove_file(&file).map_err(Error::io(format!("remove {}", file.display())))?;
                }
                Act::Pass => {
                    let file = self.ready(server);
                    fs::write(&file, "ready\n").map_err(Error::io(format!("write {}", file.display())))?;
                }
                Act::LoseVip => {
                    let lines = self.topology.plan.vip_batch(node);
                    self.topology.node(node)?.batch(&lines.replace("address add", "address del"))?;
                }
                Act::HoldVip => self.topology.node(node)?.batch(&self.topology.plan.vip_batch(node))?,
            }
        }
        Ok(())
    }

    fn ready(&self, server: &Server) -> PathBuf {
        http_dir(&self.topology.dir(), server.number).join(READY_FILE)
    }

    /// Signals a server's nginx, which is one process and says which.
    fn signal(&self, server: &Server, signal: Signal) -> Result<(), Error> {
        let file = http_dir(&self.topology.dir(), server.number).join("nginx.pid");
        let text = fs::read_to_string(&file).map_err(Error::io(format!("read {}", file.display())))?;
        let nginx = text.trim().parse().ok().and_then(ProcessId::of);
        if nginx.is_some_and(|nginx| nginx.signal(signal)) {
            Ok(())
        } else {
            Err(Error::Refused(format!("nginx of {} does not run", server.node())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_begins_at_once_and_whatever_is_done_is_mended() {
        for scenario in Scenario::ALL {
            for lasts in [0, 1, 4, 9].map(Duration::from_secs) {
                let acts = acts(scenario, lasts);
                assert!(acts.is_sorted_by_key(|(at, _)| *at), "{acts:?}");
                assert_eq!(acts[0].0, Duration::ZERO);
                let ends_with =
                    matches!(acts.last(), Some((_, Act::Start | Act::Continue | Act::Pass | Act::HoldVip)));
                assert!(ends_with && acts.len().is_multiple_of(2), "{acts:?}");
            }
        }
    }

    #[test]
    fn a_flapping_server_falls_again_and_again() {
        let falls = acts(Scenario::Flap, Duration::from_secs(8));
        assert_eq!(falls.iter().filter(|(_, act)| *act == Act::Kill).count(), 16);
        assert_eq!(falls[2], (FLAP, Act::Kill));
    }
}
