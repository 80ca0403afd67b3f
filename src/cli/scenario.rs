//! `lvx lab demo --scenario` on the screen: both runs as they go, then a table beside each other, and a plot.

use super::table::{Cell, Column, Table, Tone, painted, room};
use crate::control::desired::ServerState;
use crate::lab::scenario::{
    self, EVERY, Failed, Figures, Moment, Phase, SERVERS, Sample, Scenario, Settings, Side, WINDOW, windows,
};
use crate::lab::{Error, Family, Interrupt, Layout};
use clap::Args;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is shown of a run as it goes is that of so much time.
const RECENT: Duration = Duration::from_secs(1);
/// How often that is told where nobody watches a terminal.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What befalls the servers.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// In place of that, have servers fall ill under load, once without what lvx has against that and once with it: crash,
    /// hang, flap, all-down or no-vip. In NAT unless --methods names another, no-vip in DR; in IPv4 unless --family does
    #[arg(long, value_name = "SCENARIO", conflicts_with = "requests")]
    scenario: Option<Scenario>,
    /// Clients, each of whom asks ten times a second, on a connection of its own each time, and waits for a second at most
    #[arg(long, default_value_t = 100, requires = "scenario", value_parser = clap::value_parser!(u16).range(1..=2000))]
    clients: u16,
    /// How long all is well at first (3s, 500ms)
    #[arg(long, value_name = "TIME", default_value = "3s", requires = "scenario", value_parser = time)]
    calm: Duration,
    /// How long the fault lasts [default: 4s; 8s for flap]
    #[arg(long, value_name = "TIME", requires = "scenario", value_parser = time)]
    fault: Option<Duration>,
    /// How long the clients go on after that
    #[arg(long, value_name = "TIME", default_value = "5s", requires = "scenario", value_parser = time)]
    after: Duration,
    /// Where the plot goes, an SVG [default: lvx-SCENARIO.svg]
    #[arg(long, value_name = "FILE", requires = "scenario")]
    plot: Option<PathBuf>,
}

/// `3s`, `500ms`, `1m`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    let ms = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let ms = ms.filter(|ms| (500..=600_000).contains(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "allowed: such as 500ms, 3s or 1m, up to 10m".to_owned())
}

impl ScenarioArgs {
    /// What is to be run, if it is a scenario: in one of these layouts and families, of which none means the usual one.
    pub(super) fn settings(
        &self,
        layouts: &[Layout],
        families: &[Family],
        lvx: PathBuf,
        interrupt: Interrupt,
    ) -> Result<Option<Settings>, Error> {
        let Some(scenario) = self.scenario else { return Ok(None) };
        let layout = match layouts {
            [] => scenario.usual_layout(),
            [layout] if scenario.suits(*layout) => *layout,
            [layout] => {
                return Err(Error::Refused(format!(
                    "there is no {scenario} with {layout}: its servers have no VIP"
                )));
            }
            _ => return Err(Error::Refused("a scenario runs with one of the methods".into())),
        };
        let family = match families {
            [] => Family::V4,
            [family] => *family,
            _ => return Err(Error::Refused("a scenario runs in one family".into())),
        };
        let ScenarioArgs { clients, calm, after, .. } = *self;
        let fault = self.fault.unwrap_or(scenario.usual_fault());
        Ok(Some(Settings { scenario, layout, family, clients, calm, fault, after, lvx, interrupt }))
    }

    /// Where the plot goes.
    pub(super) fn plot(&self, scenario: Scenario) -> PathBuf {
        self.plot.clone().unwrap_or_else(|| format!("lvx-{scenario}.svg").into())
    }
}

/// Runs a scenario; `false` if the director did not do what it promises.
pub(super) fn run(settings: &Settings, plot: &Path) -> Result<bool, Error> {
    let unwritten = || Error::io(format!("write {}", plot.display()));
    // Before half a minute is spent on it; one that is there stays until there is a new one.
    fs::File::options().create(true).append(true).open(plot).map_err(unwritten())?;
    let Settings { scenario, layout, clients, .. } = settings;
    let in_family = if settings.family == Family::V6 { ", in IPv6" } else { "" };
    say!("{scenario}: {}", scenario.told());
    say!(
        "{clients} clients ask every {} ms; {SERVERS} servers by rr through {layout}{in_family}\n",
        EVERY.as_millis()
    );
    let mut screen = Screen::new(settings);
    let records = scenario::run(settings, |moment| screen.show(moment));
    screen.clear();
    let records = records.inspect_err(|_| {
        if fs::metadata(plot).is_ok_and(|plot| plot.len() == 0) {
            let _ = fs::remove_file(plot);
        }
    })?;
    let labels = Side::BOTH.map(|side| scenario.label(side));
    let [without, with] = &records;
    let title = format!("lvx lab demo --scenario {scenario} ({layout}{in_family}): {}", scenario.told());
    let svg = scenario::svg(&title, [(labels[0], without), (labels[1], with)]).map_err(Error::Refused)?;
    fs::write(plot, svg).map_err(unwritten())?;
    say!("{}", table(labels, [Figures::of(without), Figures::of(with)]).text(room()));
    let mut is_well = true;
    for (side, record) in Side::BOTH.into_iter().zip(&records) {
        for problem in scenario::problems(*scenario, side, record) {
            say!("WRONG  {}: {problem}", scenario.label(side));
            is_well = false;
        }
    }
    say!("\nplot   {}", plot.display());
    Ok(is_well)
}

/// What is redrawn in its place on a terminal, and told line by line elsewhere.
struct Screen<'s> {
    settings: &'s Settings,
    is_terminal: bool,
    lines: usize,
    told: Option<(Side, Duration)>,
}

impl<'s> Screen<'s> {
    fn new(settings: &'s Settings) -> Screen<'s> {
        Screen { settings, is_terminal: io::stdout().is_terminal(), lines: 0, told: None }
    }

    fn show(&mut self, moment: &Moment<'_>) {
        let now = Now::of(moment);
        if self.is_terminal {
            let text = now.block(self.settings.scenario);
            self.clear();
            self.lines = text.lines().count();
            self.write(&text);
        } else if !self.told.is_some_and(|(side, at)| side == moment.side && moment.at < at + TOLD_EVERY) {
            self.told = Some((moment.side, moment.at));
            say!("{}", now.line(self.settings.scenario));
        }
    }

    /// Takes off what was shown last.
    fn clear(&mut self) {
        if self.is_terminal && self.lines > 0 {
            self.write(&format!("\x1b[{}A\r\x1b[J", self.lines));
            self.lines = 0;
        }
    }

    fn write(&self, text: &str) {
        // A screen that is gone is no reason to stop before the lab is removed.
        let mut out = anstream::stdout().lock();
        let _ = write!(out, "{text}");
        let _ = out.flush();
    }
}

/// What there is to see now.
struct Now {
    side: Side,
    at: Duration,
    phase: Phase,
    /// Each server, with its part of the recent requests.
    servers: Vec<(u8, Option<ServerState>, f64)>,
    fails_open: bool,
    recent: Failed,
    p99: Option<Duration>,
    all: Failed,
}

impl Now {
    fn of(moment: &Moment<'_>) -> Now {
        let Moment { side, at, record, .. } = *moment;
        let since = at.saturating_sub(RECENT);
        // Ended lately, for what was begun lately and fails may not have failed yet.
        let recent: Vec<Sample> = record
            .samples
            .iter()
            .filter(|sample| sample.ended() >= since)
            .map(|sample| Sample { began: Duration::ZERO, ..*sample })
            .collect();
        let whole = windows(&recent, record.servers, WINDOW, WINDOW).pop();
        let look = record.last_look();
        let server = |number: u8| {
            let state = look.and_then(|look| look.states.get(usize::from(number) - 1).copied().flatten());
            (number, state, whole.as_ref().and_then(|whole| whole.share(number)).unwrap_or(0.0))
        };
        Now {
            side,
            at,
            phase: match (moment.has_begun, moment.is_mended) {
                (false, _) => Phase::Calm,
                (true, false) => Phase::Fault,
                (true, true) => Phase::After,
            },
            servers: (1..=record.servers).map(server).collect(),
            fails_open: look.is_some_and(|look| look.fails_open),
            recent: Failed::of(recent.iter()),
            p99: whole.and_then(|whole| whole.p99),
            all: Failed::of(record.samples.iter()),
        }
    }

    /// Some lines for a terminal.
    fn block(&self, scenario: Scenario) -> String {
        const WIDTH: usize = 30;
        let title = painted(scenario.label(self.side), Tone::Title);
        let phase = match self.phase {
            Phase::Fault => painted(self.phase.name(), Tone::Warning),
            phase => phase.name().to_owned(),
        };
        let mut text = format!("{title}  {:.1} s  {phase}\n", self.at.as_secs_f64());
        for &(number, state, share) in &self.servers {
            let state = state.map_or("", ServerState::name);
            let tone = if matches!(state, "up" | "") { Tone::Plain } else { Tone::Warning };
            let full = ((share * WIDTH as f64).round() as usize).min(WIDTH);
            text += &format!(
                "  server {number}  {}  {:5.1} %  [{:.<WIDTH$}]\n",
                painted(&format!("{state:<8}"), tone),
                share * 100.0,
                "#".repeat(full)
            );
        }
        if self.fails_open {
            text += &format!("  {}\n", painted("too few seem well: all are scheduled", Tone::Warning));
        }
        let Failed { failed, requests, most_of_a_client } = self.all;
        text += &format!("  last second  {}\n", self.told_lately());
        text + &format!(
            "  so far       {requests} requests, {failed} failed, {most_of_a_client} of one client at most\n"
        )
    }

    fn told_lately(&self) -> String {
        let Failed { failed, requests, .. } = self.recent;
        format!("{requests} requests, {failed} failed, p99 {}", latency(self.p99))
    }

    /// The same in one line.
    fn line(&self, scenario: Scenario) -> String {
        let server = |(number, state, share): &(u8, Option<ServerState>, f64)| {
            let state = state.filter(|state| *state != ServerState::Up);
            let state = state.map_or(String::new(), |state| format!(" {state}"));
            format!("{number}{state} {:.0} %", share * 100.0)
        };
        let servers: Vec<String> = self.servers.iter().map(server).collect();
        format!(
            "{}  {:>4.1} s  {:<8}  server {}{}; {}",
            scenario.label(self.side),
            self.at.as_secs_f64(),
            self.phase.name(),
            servers.join(", "),
            if self.fails_open { "; all are scheduled" } else { "" },
            self.told_lately()
        )
    }
}

/// As many digits as matter.
fn latency(time: Option<Duration>) -> String {
    let Some(time) = time else { return "none".to_owned() };
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        1000.0.. => format!("{:.2} s", ms / 1e3),
        10.0.. => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

/// Both runs' figures beside each other.
fn table(labels: [&str; 2], figures: [Figures; 2]) -> Table {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        let values = figures.iter().map(|figures| Cell::new(value(figures)));
        rows.push(std::iter::once(Cell::new(name)).chain(values).collect::<Vec<Cell>>());
    };
    let never = |time: Option<Duration>| match time {
        None => "never".to_owned(),
        time => latency(time),
    };
    row("requests", &|of| of.all.requests.to_string());
    row("failed", &|of| of.all.failed.to_string());
    row("  of one client at most", &|of| of.all.most_of_a_client.to_string());
    row("out of rotation after", &|of| never(of.out_after));
    row("  failed until then", &|of| format!("{} of {}", of.until_out.failed, of.until_out.requests));
    row("  of one client at most", &|of| of.until_out.most_of_a_client.to_string());
    row("back in rotation after", &|of| match of.out_after {
        None => String::new(),
        Some(_) => never(of.back_after),
    });
    row("  its whole share then after", &|of| match of.out_after {
        None => String::new(),
        Some(_) => never(of.whole_after),
    });
    for (at, phase) in Phase::ALL.into_iter().enumerate() {
        let of_phase = |of: &Figures| of.phases[at];
        row(&format!("p50, p99 {}", phase.name()), &|of| {
            format!("{}, {}", latency(of_phase(of).p50), latency(of_phase(of).p99))
        });
        row("  p99 of the worst second", &|of| latency(of_phase(of).worst_second));
    }
    row("  that to the calm's p99", &|of| {
        of.p99_ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"))
    });
    let [without, with] = labels;
    Table::new(vec![Column::text("", 0), Column::number(without, 0), Column::number(with, 0)], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenario::Record;

    #[test]
    fn times_are_read_with_their_units() {
        let ms = |text| time(text).map(|time| time.as_millis());
        assert_eq!(["500ms", "3s", "7", "1m"].map(|text| ms(text).unwrap()), [500, 3000, 7000, 60_000]);
        assert!(["", "0s", "1ms", "11m", "s", "-1s", "1h"].iter().all(|text| time(text).is_err()));
    }

    fn record() -> Record {
        let outcomes = [Ok(1), Ok(2), Err(scenario::Failure::Refused), Ok(1)];
        let sample = |(number, outcome): (u64, _)| Sample {
            client: 0,
            began: Duration::from_millis(100 * number),
            took: Duration::from_millis(2),
            outcome,
        };
        let states = vec![Some(ServerState::Up), Some(ServerState::Down)];
        Record {
            servers: 2,
            patients: vec![2],
            samples: (0..).zip(outcomes).map(sample).collect(),
            looks: vec![scenario::Look { states, ..scenario::Look::default() }],
            ..Record::default()
        }
    }

    #[test]
    fn a_moment_tells_states_shares_and_failures_of_the_last_second() {
        let record = record();
        let at = Duration::from_millis(400);
        let now =
            Now::of(&Moment { side: Side::With, at, record: &record, has_begun: true, is_mended: false });
        assert_eq!(
            now.line(Scenario::Crash),
            "with checks   0.4 s  fault     server 1 50 %, 2 down 25 %; 4 requests, 1 failed, p99 2.0 ms"
        );
        let block = anstream::adapter::strip_str(&now.block(Scenario::Crash)).to_string();
        assert!(block.contains("server 1  up         50.0 %  [###############...............]\n"), "{block}");
        assert!(block.contains("server 2  down       25.0 %  [########......................]\n"), "{block}");
    }

    #[test]
    fn what_never_happened_has_no_time_and_what_did_stands_in_its_column() {
        let mut found = record();
        found.fault = scenario::Span { began: Duration::from_millis(100), ended: Duration::from_millis(250) };
        found.ended = Duration::from_millis(400);
        found.looks = [(0, ServerState::Up), (190, ServerState::Down), (300, ServerState::Up)]
            .map(|(at, state)| scenario::Look {
                at: Duration::from_millis(at),
                states: vec![Some(ServerState::Up), Some(state)],
                fails_open: false,
            })
            .to_vec();
        let missed = Record { looks: vec![found.looks[0].clone()], ..found.clone() };
        let text = table(["without", "with"], [&missed, &found].map(Figures::of)).text(usize::MAX);
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(row("out of rotation after"), ["never", "90 ms"]);
        assert_eq!(row("  failed until then"), ["1 of 2", "0 of 1"]);
        assert_eq!(row("back in rotation after"), ["50 ms"]);
    }
}
