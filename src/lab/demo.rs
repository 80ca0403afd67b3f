//! `lvx lab demo`: each forwarding method under real traffic, and what may be concluded from it.

use super::load::{Download, Tally};
use super::topology::{LabService, Options, Topology};
use super::{Error, Family, Interrupt, KernelWay, Layout, State};
use crate::control::report::Report;
use crate::net::{Endpoint, FlowKey, Proto, Tick};
use crate::sched;
use crate::service::{
    Live, Method, RealId, RealServer, SchedulerName, SchedulerOptions, Standing, Thresholds,
};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

/// The servers' weights.
pub const WEIGHTS: [u16; 3] = [4, 3, 2];

/// What the names of the demo's labs start with.
const LAB_PREFIX: &str = "demo_";

/// How far a server's share may be from its weight's, as a part of all answers. A single wrr is exact to one
/// connection; several workers each have their own, and reach their last round at different places.
const SHARE_TOLERANCE: f64 = 0.02;

/// Requests before those that are measured, for caches and ARP: one round of the weights, so that shares stay
/// what they are.
const WARM_UP: u32 = 9;

/// What to try.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests per method.
    pub requests: u32,
    /// The program under trial.
    pub lvx: PathBuf,
    /// What ends it early.
    pub interrupt: Interrupt,
}

/// What a trial is doing.
#[derive(Debug)]
pub enum Step<'a> {
    /// Namespaces, links and servers are being made.
    Building,
    /// Requests go through the kernel's own forwarding.
    Kernel(&'a Tally),
    /// Requests go through lvx.
    Director(&'a Tally),
    /// The long download.
    Downloading,
}

/// A server's part in a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The server's number.
    pub number: u8,
    /// RIP:rport.
    pub address: Endpoint,
    /// Its weight.
    pub weight: u16,
    /// Connections that the director gave it, by its own count.
    pub connections: u64,
    /// Its part of all answers by its weight, 0 to 1.
    pub wanted: f64,
    /// Its part of all answers that the client got, 0 to 1.
    pub got: f64,
}

/// What came of one forwarding method.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Which.
    pub layout: Layout,
    /// In which family.
    pub family: Family,
    /// The requests.
    pub tally: Tally,
    /// The same requests through the kernel's own forwarding, where it has a way.
    pub kernel: Option<(KernelWay, Tally)>,
    /// The servers, in their order.
    pub shares: Vec<Share>,
    /// The long download.
    pub download: Download,
    /// The SHA-256 that the download should have.
    pub sha256: String,
    /// The director's last report.
    pub report: Report,
}

impl Trial {
    /// Builds the lab, starts the director, drives the requests and the download, and takes it all down.
    ///
    /// # Errors
    /// If the lab cannot be built, the director does not run to its end, or on an interrupt. Failed requests are
    /// no error, but are among the [`Trial::problems`].
    pub fn run(
        layout: Layout,
        family: Family,
        settings: &Settings,
        mut show: impl FnMut(Step<'_>),
    ) -> Result<Trial, Error> {
        show(Step::Building);
        let options = Options {
            family,
            servers: WEIGHTS.len() as u8,
            lvx: settings.lvx.clone(),
            interrupt: settings.interrupt.clone(),
            ..Options::default()
        };
        let of_family = if family == Family::V6 { "6" } else { "" };
        let name = lab_name(&format!("{layout}{of_family}"));
        let mut topology = Topology::new(&name, layout, options)?;
        topology.start_servers()?;
        let kernel = match topology.start_kernel_forwarding(&WEIGHTS)? {
            Some(way) => {
                topology.load_http(WARM_UP, |_| ())?;
                let tally = topology.load_http(settings.requests, |tally| show(Step::Kernel(tally)))?;
                topology.stop_kernel_forwarding(way)?;
                Some((way, tally))
            }
            None => None,
        };
        let services = [LabService::http(SchedulerName::Wrr, &WEIGHTS)];
        let director = topology.start_director(&topology.director_config(&services))?;
        topology.load_http(WARM_UP, |_| ())?;
        let tally = topology.load_http(settings.requests, |tally| show(Step::Director(tally)))?;
        show(Step::Downloading);
        let download = topology.download()?;
        let report = director.stop()?;
        let shares = shares(&topology, &tally, &report);
        let sha256 = topology.large_file().map(|large| large.sha256.clone()).unwrap_or_default();
        Ok(Trial { layout, family, tally, kernel, shares, download, sha256, report })
    }

    /// Whether the download was what the server has.
    pub fn is_whole(&self) -> bool {
        !self.sha256.is_empty() && self.download.sha256 == self.sha256
    }

    /// Requests per second through lvx for each one through the kernel.
    pub fn ratio_to_kernel(&self) -> Option<f64> {
        self.kernel.as_ref().map(|(_, kernel)| self.tally.per_second() / kernel.per_second())
    }

    /// What is not as it should be; nothing, if the method works.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let tallies =
            [("", Some(&self.tally)), (" through the kernel", self.kernel.as_ref().map(|(_, tally)| tally))];
        for (way, tally) in tallies.into_iter().filter_map(|(way, tally)| Some((way, tally?))) {
            if tally.failed > 0 {
                let said = tally.complaints.join("; ");
                problems.push(format!("{} of {} requests{way} failed: {said}", tally.failed, tally.wanted));
            }
        }
        for share in &self.shares {
            if (share.got - share.wanted).abs() > SHARE_TOLERANCE {
                let (number, got, wanted) = (share.number, share.got * 100.0, share.wanted * 100.0);
                problems
                    .push(format!("server {number} got {got:.1} % of the requests instead of {wanted:.1} %"));
            }
        }
        if !self.is_whole() {
            let bytes = self.download.bytes;
            problems.push(format!("the download of {bytes} bytes is not what the server has"));
        }
        problems
    }
}

/// A name for the lab of what is shown; several demos may run at once.
pub(super) fn lab_name(shown: &str) -> String {
    format!("{LAB_PREFIX}{shown}_{}", std::process::id())
}

/// Removes what demos that were killed have left.
///
/// # Errors
/// If something of it cannot be removed.
pub fn remove_abandoned() -> Result<(), Error> {
    let demos = super::labs().into_iter().filter(|name| name.starts_with(LAB_PREFIX));
    for name in demos {
        if State::load(&name)?.is_some_and(|state| state.is_abandoned()) {
            super::down(&name)?;
        }
    }
    Ok(())
}

fn shares(topology: &Topology, tally: &Tally, report: &Report) -> Vec<Share> {
    let all: f64 = WEIGHTS.iter().copied().map(f64::from).sum();
    let reported: Vec<_> = report.services.iter().flat_map(|service| &service.real_servers).collect();
    let share = |(server, weight): (&super::Server, u16)| {
        let address = Endpoint::new(server.rip, server.http.port());
        let reported = reported.iter().find(|real| real.address == address.to_string());
        Share {
            number: server.number,
            address,
            weight,
            connections: reported.map_or(0, |real| real.traffic.connections),
            wanted: f64::from(weight) / all,
            got: tally.share(&format!("server {}", server.number)),
        }
    };
    topology.plan.servers.iter().zip(WEIGHTS).map(share).collect()
}

/// The first `picks` choices of the schedulers that go round or count connections, among servers A, B and C of [`WEIGHTS`], when every connection becomes
/// active and stays.
pub fn sequences(picks: usize) -> Vec<(SchedulerName, String)> {
    let sequence = |name| {
        let server = |(id, weight): (u32, u16)| RealServer {
            id: RealId(id),
            endpoint: Endpoint::v4(Ipv4Addr::from_bits(id), 80),
            weight,
            is_shut: false,
            method: Method::Nat,
            thresholds: Thresholds::default(),
            ramp: None,
            live: Arc::new(Live::default()),
        };
        let reals: Vec<RealServer> = (0..).zip(WEIGHTS).map(server).collect();
        let scheduler = sched::build(name, &SchedulerOptions::default(), &reals);
        let mut clients = 0..;
        let pick = || {
            let key = FlowKey::v4(Proto::Tcp, clients.next()?, 0, 4000, 80);
            let pick = scheduler.pick(&reals, &key, Tick(0))?;
            reals[pick].live.opened(Standing::Active);
            Some(char::from(b'A' + pick as u8))
        };
        std::iter::repeat_with(pick).take(picks).map_while(|letter| letter).collect()
    };
    let shown = [SchedulerName::Rr, SchedulerName::Wrr, SchedulerName::Lc, SchedulerName::Wlc];
    shown.into_iter().map(|name| (name, sequence(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn good() -> Trial {
        let share = |number, weight, wanted| Share {
            number,
            address: "10.30.0.11:8080".parse().unwrap(),
            weight,
            connections: 1,
            wanted,
            got: wanted,
        };
        Trial {
            layout: Layout::Nat,
            family: Family::V4,
            tally: Tally { wanted: 9, done: 9, elapsed: Duration::from_secs(3), ..Tally::default() },
            kernel: Some((
                KernelWay::Dnat,
                Tally { wanted: 9, done: 9, elapsed: Duration::from_secs(1), ..Tally::default() },
            )),
            shares: vec![share(1, 2, 2.0 / 3.0), share(2, 1, 1.0 / 3.0)],
            download: Download { bytes: 1, seconds: 1.0, sha256: "ab".into() },
            sha256: "ab".into(),
            report: Report::default(),
        }
    }

    #[test]
    fn a_trial_in_which_all_went_well_has_no_problems() {
        assert_eq!(good().problems(), Vec::<String>::new());
        assert!((good().ratio_to_kernel().unwrap() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn each_thing_that_went_wrong_is_told() {
        let mut failed = good();
        failed.tally.failed = 2;
        failed.tally.complaints = vec!["curl: (28) timed out".into()];
        assert_eq!(failed.problems(), ["2 of 9 requests failed: curl: (28) timed out"]);

        let mut uneven = good();
        uneven.shares[1].got = 0.5;
        assert_eq!(uneven.problems(), ["server 2 got 50.0 % of the requests instead of 33.3 %"]);

        let mut torn = good();
        torn.download.sha256 = "ac".into();
        assert_eq!(torn.problems(), ["the download of 1 bytes is not what the server has"]);
        let unknown = Trial {
            sha256: String::new(),
            download: Download { sha256: String::new(), ..torn.download },
            ..good()
        };
        assert_eq!(unknown.problems().len(), 1);
    }

    #[test]
    fn the_sequences_are_those_that_the_schedulers_promise() {
        let sequences: Vec<String> =
            sequences(9).into_iter().map(|(name, picks)| format!("{name} {picks}")).collect();
        // wlc: compare a/4, b/3, c/2 after each pick; the earlier server wins a tie.
        assert_eq!(sequences, ["rr ABCABCABC", "wrr ABCABCABA", "lc ABCABCABC", "wlc ABCABACBA"]);
    }
}
