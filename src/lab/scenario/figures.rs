//! What a run comes to, in figures, and whether the director did what it promises. Timings are told, and judge nothing.

use super::record::{Failure, Look, Record, Sample, Span, WINDOW, percentile, windows};
use super::{Scenario, Side};
use std::collections::BTreeMap;
use std::time::Duration;

/// What has its whole share again has so much of it.
const WHOLE: f64 = 0.95;
/// How many windows a share is taken over.
const SMOOTH: usize = 5;
/// Who falls so often is held down over a fall at last: after twelve, for longer than any flap lasts.
const OFTEN: u32 = 12;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the fault.
    Calm,
    /// From its beginning to its mending.
    Fault,
    /// After it.
    After,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 3] = [Phase::Calm, Phase::Fault, Phase::After];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Calm => "calm",
            Phase::Fault => "fault",
            Phase::After => "after it",
        }
    }

    fn of(self, record: &Record) -> Span {
        let Span { began, ended } = record.fault;
        match self {
            Phase::Calm => Span { began: Duration::ZERO, ended: began },
            Phase::Fault => record.fault,
            Phase::After => Span { began: ended, ended: record.ended },
        }
    }
}

/// Of the requests that were begun in a phase, those that were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseFigures {
    /// Half of them took no longer.
    pub p50: Option<Duration>,
    /// 99 of 100 took no longer.
    pub p99: Option<Duration>,
    /// The p99 of the worst second.
    pub worst_second: Option<Duration>,
}

/// Requests that failed, of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failed {
    /// How many.
    pub failed: u32,
    /// Of how many.
    pub requests: u32,
    /// How many at most of one client.
    pub most_of_a_client: u32,
}

impl Failed {
    /// Of these.
    pub fn of<'s>(samples: impl Iterator<Item = &'s Sample>) -> Failed {
        let mut by_client: BTreeMap<u16, u32> = BTreeMap::new();
        let mut all = Failed::default();
        for sample in samples {
            all.requests += 1;
            if sample.outcome.is_err() {
                all.failed += 1;
                *by_client.entry(sample.client).or_default() += 1;
            }
        }
        Failed { most_of_a_client: by_client.into_values().max().unwrap_or(0), ..all }
    }
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// All requests.
    pub all: Failed,
    /// From the fault's beginning until those that fell ill got nothing new.
    pub out_after: Option<Duration>,
    /// The requests of that time, or of the whole fault: those that were begun, or had not ended yet when it began.
    pub until_out: Failed,
    /// From the fault's mending until they got something again, for good.
    pub back_after: Option<Duration>,
    /// From then until they had their whole share again.
    pub whole_after: Option<Duration>,
    /// The phases, in their order.
    pub phases: [PhaseFigures; 3],
}

impl Figures {
    /// Those of this run.
    pub fn of(record: &Record) -> Figures {
        let fault = record.fault;
        let outs: Vec<Span> = record.outs().into_iter().filter(|out| out.began >= fault.began).collect();
        let out = outs.first().map(|out| out.began).filter(|&at| at < fault.ended);
        let until = out.unwrap_or(fault.ended);
        let met = record.samples.iter().filter(|s| s.ended() >= fault.began && s.began < until);
        let back = outs.last().map(|out| out.ended).filter(|&at| at < record.ended);
        Figures {
            all: Failed::of(record.samples.iter()),
            out_after: out.map(|out| out - fault.began),
            until_out: Failed::of(met),
            back_after: back.map(|back| back.saturating_sub(fault.ended)),
            whole_after: back.and_then(|back| whole_again(record, back)),
            phases: Phase::ALL.map(|phase| phase_figures(record, phase.of(record))),
        }
    }

    /// How the worst second after the mending compares with the calm's p99.
    pub fn p99_ratio(&self) -> Option<f64> {
        let [calm, _, after] = &self.phases;
        Some(after.worst_second?.as_secs_f64() / calm.p99?.as_secs_f64())
    }
}

/// How long after `back` those that fell ill had as large a share again as before the fault.
fn whole_again(record: &Record, back: Duration) -> Option<Duration> {
    let windows = record.windows();
    let share = |windows: &[super::Window]| -> Option<f64> {
        let requests: u32 = windows.iter().map(super::Window::requests).sum();
        let answers = |server: &u8| -> u32 {
            windows.iter().filter_map(|window| window.answers.get(usize::from(*server) - 1)).sum()
        };
        let answers: u32 = record.patients.iter().map(answers).sum();
        (requests > 0).then(|| f64::from(answers) / f64::from(requests))
    };
    let calm = windows.iter().take_while(|window| window.began + WINDOW <= record.fault.began).count();
    let wanted = WHOLE * share(&windows[..calm])?;
    let after = windows.windows(SMOOTH).filter(|some| some[0].began >= back);
    let whole = after.into_iter().find(|some| share(some).is_some_and(|share| share >= wanted))?;
    // What is seen over some time is so in its middle.
    Some(whole[0].began + WINDOW * SMOOTH as u32 / 2 - back)
}

fn phase_figures(record: &Record, phase: Span) -> PhaseFigures {
    let begun: Vec<Sample> =
        record.samples.iter().filter(|sample| phase.holds(sample.began)).copied().collect();
    let mut latencies: Vec<Duration> =
        begun.iter().filter(|sample| sample.outcome.is_ok()).map(|sample| sample.took).collect();
    let shifted: Vec<Sample> =
        begun.iter().map(|sample| Sample { began: sample.began - phase.began, ..*sample }).collect();
    let lasts = phase.ended.saturating_sub(phase.began);
    let seconds = windows(&shifted, record.servers, Duration::from_secs(1).min(lasts), lasts);
    PhaseFigures {
        p50: percentile(&mut latencies, 50),
        p99: percentile(&mut latencies, 99),
        worst_second: seconds.into_iter().filter_map(|second| second.p99).max(),
    }
}

/// What was not as a scenario's run should be; nothing, if the director did what it promises, and the fault was one.
pub fn problems(scenario: Scenario, side: Side, record: &Record) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |is_so: bool, what: &str| {
        if !is_so {
            problems.push(what.to_owned());
        }
    };
    let Span { began, ended } = record.fault;
    let during = |span: &Span| span.ended > began && span.began < ended;
    let outs: Vec<Span> = record.outs().into_iter().filter(during).collect();
    let answered = |span: Span, server: u8| {
        record.samples.iter().any(|sample| span.holds(sample.began) && sample.outcome == Ok(server))
    };
    let by_all = |span: Span| (1..=record.servers).all(|server| answered(span, server));
    let suffered = record.samples.iter().any(|sample| sample.outcome.is_err() && sample.ended() >= began);

    must(by_all(Phase::Calm.of(record)), "not every server has answered before the fault");
    must(by_all(Phase::After.of(record)), "not every server has answered after the fault");
    must(
        record.last_look().is_some_and(Look::is_well),
        "in the end the director does not take all servers for well",
    );
    match (scenario, side) {
        (Scenario::AllDown, Side::With) => {
            let opened = record.spans(|look| look.fails_open);
            must(opened.iter().any(during), "the director did not schedule all servers when all seemed down");
            must(by_all(Phase::Fault.of(record)), "not every server has answered while all seemed down");
            let refused =
                record.samples.iter().filter(|sample| sample.outcome == Err(Failure::Refused)).count();
            must(
                refused == 0,
                &format!("{refused} requests were refused, though servers would have answered"),
            );
        }
        (_, Side::With) => must(!outs.is_empty(), "the director did not take out the server that fell ill"),
        (Scenario::AllDown, Side::Without) => {
            must(!outs.is_empty(), "the director did not take all servers out");
            must(suffered, "clients did not suffer from an empty pool, so that nothing is shown");
        }
        (_, Side::Without) => {
            must(outs.is_empty(), "the director took out a server that nobody has found out about");
            must(suffered, "clients did not suffer from the fault, so that nothing is shown");
        }
    }
    if (scenario, side) == (Scenario::Flap, Side::With) && record.strikes >= OFTEN {
        let downs = record.spans(|look| record.patients.iter().all(|&server| look.is_down(server)));
        must(downs.len() < record.strikes as usize, "the server that fell again and again was not held down");
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::desired::ServerState;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Three servers in turn every 10 ms; the second is dead from 1 to 3 s, out from `out`, back at `back`, and has its whole
    /// share at once.
    fn crash(out: Option<u64>, back: u64) -> Record {
        use ServerState::{Down, Up};
        let mut record = Record { servers: 3, patients: vec![2], ended: ms(5000), ..Record::default() };
        record.fault = Span { began: ms(1000), ended: ms(3000) };
        let is_dead = |at: u64| (1000..3000).contains(&at);
        let is_out = |at: u64| out.is_some_and(|out| (out..back).contains(&at));
        for turn in 0..500 {
            let at = turn * 10;
            let server = match (turn % 3, is_out(at)) {
                (1, true) => 1 + 2 * (turn / 3 % 2) as u8,
                (turn, _) => turn as u8 + 1,
            };
            let outcome = if server == 2 && is_dead(at) { Err(Failure::Refused) } else { Ok(server) };
            record.samples.push(Sample { client: (turn % 7) as u16, began: ms(at), took: ms(2), outcome });
        }
        let look =
            |at, state| Look { at: ms(at), states: vec![Some(Up), Some(state), Some(Up)], fails_open: false };
        record.see(look(0, Up));
        if let Some(out) = out {
            record.see(look(out, Down));
            record.see(look(back, Up));
        }
        record
    }

    #[test]
    fn a_crash_that_is_found_costs_what_was_asked_before() {
        let figures = Figures::of(&crash(Some(1100), 3050));
        assert_eq!((figures.out_after, figures.back_after), (Some(ms(100)), Some(ms(50))));
        // Ten turns, of which 100, 103, 106 and 109 were the second server's; turn 99 had ended.
        assert_eq!(figures.until_out, Failed { failed: 4, requests: 10, most_of_a_client: 1 });
        assert_eq!(figures.all.failed, 4);
        assert_eq!((figures.all.requests, figures.phases[0].p99), (500, Some(ms(2))));
        assert_eq!(figures.whole_after, Some(ms(300)), "the first whole window begins at 3.1 s");
        assert!((figures.p99_ratio().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_crash_that_nobody_finds_costs_a_third_of_all_requests_until_it_is_mended() {
        let figures = Figures::of(&crash(None, 0));
        assert_eq!((figures.out_after, figures.back_after, figures.whole_after), (None, None, None));
        assert_eq!((figures.until_out.failed, figures.until_out.requests), (67, 200));
        assert_eq!(figures.until_out, Failed { failed: 67, requests: 200, most_of_a_client: 10 });
    }

    #[test]
    fn whoever_keeps_the_promises_has_no_problems_and_each_broken_one_is_told() {
        let (found, missed) = (crash(Some(1100), 3050), crash(None, 0));
        assert_eq!(problems(Scenario::Crash, Side::With, &found), [""; 0]);
        assert_eq!(problems(Scenario::Crash, Side::Without, &missed), [""; 0]);
        assert_eq!(
            problems(Scenario::Crash, Side::With, &missed),
            ["the director did not take out the server that fell ill"]
        );
        assert_eq!(
            problems(Scenario::Crash, Side::Without, &found),
            ["the director took out a server that nobody has found out about"]
        );
        let mut lost = crash(Some(1100), 6000);
        lost.looks.pop();
        let said = problems(Scenario::Crash, Side::With, &lost);
        assert!(said.iter().any(|said| said.contains("not every server has answered after")), "{said:?}");
        assert!(said.iter().any(|said| said.contains("does not take all servers for well")), "{said:?}");
        assert_eq!(problems(Scenario::Flap, Side::With, &found), [""; 0], "it fell once");
        let often = Record { strikes: OFTEN, ..found };
        assert_eq!(
            problems(Scenario::Flap, Side::With, &often),
            [""; 0],
            "and was down once, over all of that"
        );
        let once = Record { strikes: 1, ..often };
        assert_eq!(problems(Scenario::Flap, Side::With, &once), [""; 0]);
    }

    #[test]
    fn a_pool_that_is_emptied_is_a_problem_where_it_is_not_to_be() {
        use ServerState::{Down, Up};
        let mut record = crash(None, 0);
        record.patients = vec![1, 2, 3];
        for sample in &mut record.samples {
            sample.outcome = sample.outcome.or(Ok(2));
        }
        let all = |at, state, fails_open| Look { at: ms(at), states: vec![Some(state); 3], fails_open };
        [all(1100, Down, true), all(3100, Up, false)].into_iter().for_each(|look| record.see(look));
        assert_eq!(problems(Scenario::AllDown, Side::With, &record), [""; 0]);
        assert_eq!(problems(Scenario::AllDown, Side::Without, &record).len(), 2);
        record.looks[1].fails_open = false;
        record.samples[150].outcome = Err(Failure::Refused);
        assert_eq!(problems(Scenario::AllDown, Side::With, &record).len(), 2);
        assert_eq!(problems(Scenario::AllDown, Side::Without, &record), [""; 0]);
    }
}
