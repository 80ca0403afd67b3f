//! `lvx lab demo --scenario`: servers that fall ill under load, and what clients see of it, once without what lvx has
//! against that and once with it.
//!
//! ```text
//!   calm           the fault's time                       calm again
//!   |--------------|--------------------------------------|----------------------|
//!                  begins   server down (looks)           mended     server up, slow start
//! ```
//! Clients ask all the time. Everything that becomes of a run is a [`Record`]; figures, verdict and plot are made of that
//! alone.

mod clients;
mod drive;
mod fault;
mod figures;
mod plot;
mod record;

pub use clients::{EVERY, PATIENCE};
pub use drive::{Moment, run};
pub use fault::{Act, acts};
pub use figures::{Failed, Figures, Phase, PhaseFigures, problems};
pub use plot::svg;
pub use record::{Failure, Look, Record, Sample, Span, WINDOW, Window, percentile, windows};

use super::{Family, Interrupt, Layout};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long a server that comes back takes to its whole share, where a scenario has it start slowly.
pub const RAMP: Duration = Duration::from_secs(2);

/// The server that falls ill, where it is one.
const PATIENT: u8 = 2;

/// How many servers there are.
pub const SERVERS: u8 = 3;

/// What befalls servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A server's process is killed; its port refuses, until it is started again.
    Crash,
    /// A server's process is stopped: its port accepts connections, and nobody answers.
    Hang,
    /// A server's process is killed and started again and again.
    Flap,
    /// What all servers' checks ask fails, while clients would be answered.
    AllDown,
    /// A server loses the VIP: it answers at its own address, and no client.
    NoVip,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 5] =
        [Scenario::Crash, Scenario::Hang, Scenario::Flap, Scenario::AllDown, Scenario::NoVip];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Scenario::Crash => "crash",
            Scenario::Hang => "hang",
            Scenario::Flap => "flap",
            Scenario::AllDown => "all-down",
            Scenario::NoVip => "no-vip",
        }
    }

    /// What it is, in a sentence.
    pub const fn told(self) -> &'static str {
        match self {
            Scenario::Crash => "server 2 is killed, and started again",
            Scenario::Hang => "server 2 is stopped: connections are accepted, and nobody answers",
            Scenario::Flap => "server 2 is killed and started again and again",
            Scenario::AllDown => {
                "what the checks ask fails on all servers, which answer clients all the same"
            }
            Scenario::NoVip => "server 2 loses the VIP: it answers at its own address, and no client",
        }
    }

    /// The layout that is usual for it.
    pub const fn usual_layout(self) -> Layout {
        match self {
            Scenario::NoVip => Layout::Dr,
            _ => Layout::Nat,
        }
    }

    /// Whether the fault can be in this layout.
    pub fn suits(self, layout: Layout) -> bool {
        match self {
            // Of a mixed lab's three servers, the second is one of direct routing.
            Scenario::NoVip => layout != Layout::Nat,
            _ => true,
        }
    }

    /// How long the fault lasts, unless somebody wants it otherwise.
    pub const fn usual_fault(self) -> Duration {
        match self {
            Scenario::Flap => Duration::from_secs(8),
            _ => Duration::from_secs(4),
        }
    }

    /// The servers that fall ill, by number.
    pub fn patients(self) -> Vec<u8> {
        match self {
            Scenario::AllDown => (1..=SERVERS).collect(),
            _ => vec![PATIENT],
        }
    }

    /// What a run of it is called.
    pub const fn label(self, side: Side) -> &'static str {
        match (self, side) {
            (Scenario::AllDown, Side::Without) => "without fail-open",
            (Scenario::AllDown, Side::With) => "with fail-open",
            (Scenario::NoVip, Side::Without) => "checked at its own address",
            (Scenario::NoVip, Side::With) => "checked via the VIP",
            (Scenario::Flap, Side::With) => "with checks and damping",
            (_, Side::Without) => "without checks",
            (_, Side::With) => "with checks",
        }
    }

    /// The keys of the service that make the difference, one per line.
    pub fn keys(self, side: Side) -> String {
        let check = |path: &str, more: &str| {
            format!(
                "check = {{ type = \"http\", path = \"{path}\", interval = \"50ms\", retry = \"10ms\", timeout = \"200ms\", \
                 rise = 2, fall = 2{more} }}\n"
            )
        };
        let slowly = format!("slow_start = \"{}s\"\n", RAMP.as_secs());
        // Who is silent tells no client that it is to ask anew.
        let told = format!("on_down = \"reset\"\n{slowly}");
        match (self, side) {
            (Scenario::Crash | Scenario::Hang | Scenario::Flap, Side::Without) => String::new(),
            (Scenario::Crash, Side::With) => check("/health", "") + &slowly,
            (Scenario::Hang, Side::With) => check("/health", "") + &told,
            (Scenario::Flap, Side::With) => check("/health", ", damping = \"3s\""),
            (Scenario::AllDown, Side::Without) => check("/ready", "") + "fail_open = false\n",
            (Scenario::AllDown, Side::With) => check("/ready", ""),
            (Scenario::NoVip, Side::Without) => check("/health", "") + &told,
            (Scenario::NoVip, Side::With) => check("/health", ", via = \"vip\"") + &told,
        }
    }

    /// Whether the director is to find out, and take servers for down.
    pub fn is_found(self, side: Side) -> bool {
        side == Side::With || self == Scenario::AllDown
    }

    /// Whether servers are asked at all.
    fn has_checks(self, side: Side) -> bool {
        self.keys(side).contains("check = ")
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
        known.ok_or_else(|| {
            format!("no scenario is called {text:?}: there are crash, hang, flap, all-down and no-vip")
        })
    }
}

/// Which of a scenario's two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Without what is shown.
    Without,
    /// With it.
    With,
}

impl Side {
    /// Both, in the order of the runs.
    pub const BOTH: [Side; 2] = [Side::Without, Side::With];
}

/// What to try.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What befalls the servers.
    pub scenario: Scenario,
    /// In which network.
    pub layout: Layout,
    /// In which family.
    pub family: Family,
    /// Clients, each of whom asks every [`EVERY`], on a connection of its own for each request.
    pub clients: u16,
    /// Before the fault.
    pub calm: Duration,
    /// From the fault's beginning to its mending; longer if the director has not found out, where it is to.
    pub fault: Duration,
    /// After it; longer if the servers are not back yet, where they are to be.
    pub after: Duration,
    /// The program under trial.
    pub lvx: PathBuf,
    /// What ends it early.
    pub interrupt: Interrupt,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::LabService;
    use crate::service::SchedulerName;

    #[test]
    fn a_scenario_is_read_as_it_is_written() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse(), Ok(scenario));
            assert!(scenario.suits(scenario.usual_layout()));
        }
        assert!("fire".parse::<Scenario>().is_err());
        assert!(!Scenario::NoVip.suits(Layout::Nat), "servers of NAT never have the VIP");
    }

    #[test]
    fn every_run_has_a_configuration_that_is_accepted_and_only_those_without_checks_have_none() {
        for (scenario, side) in Scenario::ALL.into_iter().flat_map(|one| Side::BOTH.map(|side| (one, side))) {
            let service = LabService::http(SchedulerName::Rr, &[1; SERVERS as usize]);
            let service = LabService { keys: scenario.keys(side), ..service };
            let plan = scenario.usual_layout().plan(Family::V4, SERVERS);
            let text = crate::lab::topology::director_config(&plan, "", &[service]);
            let config = crate::config::parse("f", &text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                !config.services[0].checks.is_empty(),
                scenario.has_checks(side),
                "{scenario} {side:?}"
            );
        }
    }
}
