//! Answers and keys in, whole screens out.

use super::columns::{Column, Sort};
use super::keys::KEYS;
use super::model::{Mode, Model, Order, Wanted};
use super::moment::{Answer, Moment};
use super::view::draw;
use crate::control::api::{Overview, Status};
use crate::control::desired::{Edit, Rest, ServerState, ServiceRef};
use crate::control::rates::Rate;
use crate::control::report::{Connections, Latency, Report, Traffic, Worker};
use crate::control::view::{ServerKeys, ServerRow, ServiceSum};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;
use serde_json::json;
use std::time::Duration;

/// A director so many seconds after its start: each service has as many servers as its number says, and the number of a
/// server is how many connections it gets in a second.
fn overview(seconds: u64, servers: &[u64], wanted: &Wanted) -> Overview<ServerKeys> {
    let traffic = |rate: u64| Traffic {
        connections: rate * seconds,
        in_packets: 10 * rate * seconds,
        in_bytes: 1000 * rate * seconds,
        out_packets: 5 * rate * seconds,
        out_bytes: 100_000 * rate * seconds,
    };
    let latency = |rate: u64| {
        // Half of them within 16 µs, the others within 1 ms.
        let mut buckets = vec![0; 22];
        (buckets[0], buckets[6]) = (rate * seconds, rate * seconds);
        Some(Latency { count: 2 * rate * seconds, buckets, ..Latency::default() })
    };
    let row = |service: usize, server: u64| ServerRow {
        table: serde_json::from_value(json!({
            "address": format!("10.0.{service}.{server}:80"), "forward": "nat", "weight": server - 1
        }))
        .unwrap(),
        weight: server as u16 - 1,
        state: match server {
            2 => Some(ServerState::Draining),
            4 => None,
            _ => Some(ServerState::Up),
        },
        health: None,
        start: None,
        maintenance: None,
        drain: None,
        active: server,
        inactive: 10 * server,
        persistent: 0,
        departed: server == 4,
        traffic: Some(traffic(server)),
        rate: Some(Rate { connections: server, ..Rate::default() }),
        latency: latency(server),
    };
    let sum = |(service, &servers): (usize, &u64)| {
        let key = format!("tcp 192.0.2.{service}:80");
        let all: u64 = (1..=servers).sum();
        let open = wanted.open.iter().any(|open| *open == key || open == "all");
        ServiceSum {
            name: if service == 0 { "web".into() } else { key.clone() },
            scheduler: "wlc".into(),
            server_count: servers as usize,
            active: all,
            inactive: 10 * all,
            persistent: 0,
            traffic: traffic(all),
            rate: Rate { connections: all, ..Rate::default() },
            latency: latency(all),
            servers: open.then(|| (1..=servers).map(|server| row(service, server)).collect()),
            service: key,
        }
    };
    let fits = |sum: &ServiceSum<ServerKeys>| {
        sum.service.contains(&wanted.filter) || sum.name.contains(&wanted.filter)
    };
    let count = |rate: u64| rate * seconds;
    let totals = Report {
        forwarded: count(1500),
        to_host: count(20),
        dropped: count(3) + 7,
        to_host_by_reason: [("no_service".to_owned(), count(20))].into(),
        dropped_by_reason: [("no_server".to_owned(), count(3)), ("ttl".to_owned(), 7)].into(),
        connections: Connections {
            current: 12_345,
            templates: 120,
            limit: 1_000_000,
            ..Connections::default()
        },
        workers: [0.25, 0.95]
            .map(|load| Worker {
                busy_seconds: load * seconds as f64,
                polling_seconds: (1.0 - load) * seconds as f64,
                packets: count(750),
                batches: vec![count(100), count(50)],
                ..Worker::default()
            })
            .into(),
        ..Report::default()
    };
    let status = Status {
        version: "0.1.0".into(),
        pid: 7,
        uptime_seconds: 3600 + seconds,
        file: "/etc/lvx/director.toml".into(),
        workers: 2,
        loads: vec![0.2, 0.9],
        services: servers.len(),
        servers: servers.iter().sum::<u64>() as usize,
        connections: 12_345,
        max_connections: 1_000_000,
        forwarded: totals.forwarded,
        to_host: totals.to_host,
        dropped: totals.dropped,
        confirm_within_seconds: None,
    };
    Overview { status, totals, services: servers.iter().enumerate().map(sum).filter(fits).collect() }
}

fn model() -> Model {
    let sort = Sort { by: Column::Connections, is_reversed: false };
    Model::new(Duration::from_secs(1), sort, String::new())
}

/// A model beside a director, and a screen.
struct Desk {
    model: Model,
    terminal: Terminal<TestBackend>,
    servers: Vec<u64>,
    seconds: u64,
    looks: usize,
}

impl Desk {
    /// Of services with so many servers, after two looks.
    fn new(servers: &[u64], size: (u16, u16)) -> Desk {
        let terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let mut desk = Desk { model: model(), terminal, servers: servers.to_vec(), seconds: 10, looks: 0 };
        desk.wait(0);
        desk.wait(2);
        desk
    }

    fn look(&mut self, is_in_its_time: bool) {
        let wanted = self.model.wanted();
        let overview = overview(self.seconds, &self.servers, &wanted);
        let answer = Answer { at: Duration::from_secs(self.seconds), overview };
        self.model.take(answer, wanted, is_in_its_time);
        self.looks += 1;
    }

    /// Draws, and asks for what is lacking then, as the loop does.
    fn draw(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| draw(&mut self.model, frame)).unwrap();
        for _ in 0..3 {
            if self.model.lacks_some() {
                self.look(false);
                self.terminal.draw(|frame| draw(&mut self.model, frame)).unwrap();
            }
        }
        assert!(!self.model.lacks_some());
        let buffer = self.terminal.backend().buffer();
        let row = |y: u16| {
            let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol().to_owned());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..buffer.area.height).map(row).collect()
    }

    fn wait(&mut self, seconds: u64) {
        self.seconds += seconds;
        self.look(true);
        self.draw();
    }

    fn press(&mut self, keys: &str) -> Option<Order> {
        let mut order = None;
        for letter in keys.chars() {
            let code = match letter {
                '↑' => KeyCode::Up,
                '↓' => KeyCode::Down,
                '→' => KeyCode::Right,
                '←' => KeyCode::Left,
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                letter => KeyCode::Char(letter),
            };
            order = self.model.press(code.into());
            self.draw();
        }
        order
    }

    /// The line that is chosen.
    fn chosen(&mut self) -> Option<String> {
        let lines = self.draw();
        let buffer = self.terminal.backend().buffer();
        let head = 6;
        let is_chosen = |y: &usize| buffer[(40, *y as u16)].modifier.contains(Modifier::REVERSED);
        (head..lines.len()).find(is_chosen).map(|y| lines[y].trim().to_owned())
    }
}

/// The lines behind a margin.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix('|')).collect()
}

#[test]
fn services_and_servers_stand_with_their_rates_on_eighty_by_twentyfour() {
    let mut desk = Desk::new(&[2, 4, 1], (80, 24));
    desk.press("↓→");
    desk.wait(1);
    let screen = "
            |lvx 0.1.0, process 7, up 1:00:13, /etc/lvx/director.toml
            |packets/s  1.5k forwarded, 20 to the host, 3 dropped; 46 dropped in all
            |table      [                    ] 12345 of 1.0M connections, 120 templates
            |workers    [|||       ] 25 %  [||||||||||] 95 %
            | 1 Services  2 Drops  3 Workers                                        every 1 s
            |service / server             weight  active conn/s↓  in bit/s  out bit/s     p99
            |- tcp 192.0.2.1:80                       10      10       80k       8.0M   1.0ms
            |    10.0.1.4:80             removed       4       4       32k       3.2M   1.0ms
            |    10.0.1.3:80                   2       3       3       24k       2.4M   1.0ms
            |    10.0.1.2:80            draining       2       2       16k       1.6M   1.0ms
            |    10.0.1.1:80                   0       1       1      8.0k       800k   1.0ms
            |+ tcp 192.0.2.0:80 (web)                  3       3       24k       2.4M   1.0ms
            |+ tcp 192.0.2.2:80                        1       1      8.0k       800k   1.0ms
            |
            |
            |
            |
            |
            |
            |
            |
            |
            |
            |? help  / filter  < > sort  → servers  d drain  Tab pages  q quit";
    assert_eq!(desk.draw(), lines(screen));
}

#[test]
fn a_wide_screen_has_every_column_and_a_narrow_one_those_that_matter_most() {
    let mut wide = Desk::new(&[2, 1], (130, 9));
    let screen = "
            |lvx 0.1.0, process 7, up 1:00:12, /etc/lvx/director.toml
            |packets/s  1.5k forwarded, 20 to the host, 3 dropped; 43 dropped in all
            |table      [                    ] 12345 of 1.0M connections, 120 templates
            | 1 Services  2 Drops  3 Workers                                                                                          every 1 s
            |service / server                        weight  active  inactive conn/s↓  in pkt/s  out pkt/s  in bit/s  out bit/s     p50     p99
            |+ tcp 192.0.2.0:80 (web)                             3        30       3        30         15       24k       2.4M    16µs   1.0ms
            |+ tcp 192.0.2.1:80                                   1        10       1        10          5      8.0k       800k    16µs   1.0ms
            |
            |? help  / filter  < > sort  → servers  d drain  Tab pages  q quit";
    assert_eq!(wide.draw(), lines(screen));

    let mut narrow = Desk::new(&[2, 1], (44, 8));
    let screen = "
            |lvx 0.1.0, process 7, up 1:00:12, /etc/lvx/d
            |packets/s  1.5k forwarded, 20 to the host, 3
            | 1 Services  2 Drops  3 Workers    every 1 s
            |service / server              active conn/s↓
            |+ tcp 192.0.2.0:80 (web)           3       3
            |+ tcp 192.0.2.1:80                 1       1
            |
            |? help  / filter  < > sort  → servers  d dra";
    assert_eq!(narrow.draw(), lines(screen));

    let mut tiny = Desk::new(&[2, 1], (16, 4));
    let screen = "
            |service… conn/s↓
            |+ tcp 1…       3
            |+ tcp 1…       1
            |? help  / filter";
    assert_eq!(tiny.draw(), lines(screen));
}

#[test]
fn the_other_pages_tell_of_drops_and_workers() {
    let mut desk = Desk::new(&[1], (80, 12));
    desk.press("2");
    let screen = "
            |lvx 0.1.0, process 7, up 1:00:12, /etc/lvx/director.toml
            |packets/s  1.5k forwarded, 20 to the host, 3 dropped; 43 dropped in all
            |table      [                    ] 12345 of 1.0M connections, 120 templates
            |workers    [|||       ] 25 %  [||||||||||] 95 %
            | 1 Services  2 Drops  3 Workers                                        every 1 s
            |packets      for the reason  by the second  in all
            |to the host  no_service                 20     240
            |dropped      no_server                   3      36
            |dropped      ttl                         0       7
            |
            |
            |? help  / filter  < > sort  → servers  d drain  Tab pages  q quit";
    assert_eq!(desk.draw(), lines(screen));

    desk.press("\t");
    let screen = "
            |lvx 0.1.0, process 7, up 1:00:12, /etc/lvx/director.toml
            |packets/s  1.5k forwarded, 20 to the host, 3 dropped; 43 dropped in all
            |table      [                    ] 12345 of 1.0M connections, 120 templates
            |workers    [|||       ] 25 %  [||||||||||] 95 %
            | 1 Services  2 Drops  3 Workers                                        every 1 s
            |worker                          load  polling  sleeping  packets/s  a batch
            |     0  [|||||               ]  25 %     75 %       0 %        750      5.0
            |     1  [||||||||||||||||||| ]  95 %      5 %       0 %        750      5.0
            |
            |
            |
            |? help  / filter  < > sort  → servers  d drain  Tab pages  q quit";
    assert_eq!(desk.draw(), lines(screen));

    desk.press("3\t↓↓↓");
    assert!(desk.draw()[5].starts_with("service / server"), "round again");
}

#[test]
fn help_names_every_key_and_any_key_leaves_it() {
    let mut desk = Desk::new(&[1], (80, 24));
    desk.press("?");
    let help = desk.draw().join("\n");
    for keys in KEYS {
        assert!(help.contains(keys.named) && help.contains(keys.help), "{}", keys.help);
    }
    assert_eq!(desk.press("q"), None);
    assert!(!desk.draw().join("\n").contains(KEYS[0].help));
}

#[test]
fn the_list_is_sorted_by_the_column_beside_and_turned_round() {
    let names = |desk: &mut Desk| -> Vec<String> {
        let lines = desk.draw();
        let lines = lines[6..].iter().filter(|line| line.starts_with("+ "));
        lines.map(|line| line[2..].split("  ").next().unwrap().trim().to_owned()).collect()
    };
    let mut desk = Desk::new(&[2, 4, 1], (130, 12));
    let [web, four, one] = ["tcp 192.0.2.0:80 (web)", "tcp 192.0.2.1:80", "tcp 192.0.2.2:80"];
    assert_eq!(names(&mut desk), [four, web, one]);
    desk.press("r");
    assert_eq!(names(&mut desk), [one, web, four]);
    assert!(desk.draw()[5].contains("conn/s↑"));
    desk.press("<");
    assert!(desk.draw()[5].contains("inactive↓"), "{:?}", desk.draw()[5]);
    assert_eq!(names(&mut desk), [four, web, one]);
    desk.press("<<<<<<<");
    assert!(desk.draw()[5].starts_with("service / server↑"));
    assert_eq!(names(&mut desk), [web, four, one], "as the operator wrote them");
    desk.press(">>>>>>>>>>>>>>");
    assert!(desk.draw()[5].ends_with("p99↓"));
    assert_eq!(names(&mut desk), [web, four, one], "all alike");
}

#[test]
fn what_is_chosen_stays_chosen_wherever_it_goes_and_in_sight() {
    let mut desk = Desk::new(&[2, 4, 1], (80, 12));
    assert_eq!(desk.chosen(), None);
    desk.press("↓→↓↓");
    let chosen =
        |desk: &mut Desk| desk.chosen().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
    assert_eq!(chosen(&mut desk), "10.0.1.3:80", "the second of four, sorted by rates");
    desk.press("r");
    assert_eq!(chosen(&mut desk), "10.0.1.3:80");
    desk.wait(1);
    desk.press("<<");
    assert_eq!(chosen(&mut desk), "10.0.1.3:80");
    // It is gone: the choice is whose place it was.
    desk.servers[1] = 2;
    desk.wait(1);
    let now = chosen(&mut desk);
    assert!(!now.is_empty() && now != "10.0.1.3:80", "{now}");
    desk.press("\x1b");
    assert_eq!(desk.chosen(), None);
}

#[test]
fn one_that_was_removed_is_not_taken_for_one_at_the_same_address() {
    let all = Wanted { open: vec!["tcp 192.0.2.0:80".into()], ..Wanted::default() };
    let mut twice = overview(12, &[2], &all);
    let servers = twice.services[0].servers.as_mut().unwrap();
    let gone = ServerRow { departed: true, state: None, active: 9, ..servers[0].clone() };
    servers.push(gone);
    twice.services[0].server_count = 3;
    let mut desk = Desk::new(&[2], (80, 24));
    desk.press("↓→");
    desk.model.take(Answer { at: Duration::from_secs(12), overview: twice }, all, true);
    let mut seen = Vec::new();
    for _ in 0..3 {
        desk.press("↓");
        seen.push(desk.chosen().unwrap());
    }
    assert!(seen[0].starts_with("10.0.0.2:80"), "{seen:?}");
    assert!(seen[1].contains(" 0  ") && seen[2].contains("removed"), "{seen:?}");
}

#[test]
fn closing_a_service_chooses_it_and_all_are_opened_and_closed_together() {
    let mut desk = Desk::new(&[2, 4, 1], (80, 24));
    desk.press("↓→↓↓←");
    assert!(desk.chosen().unwrap().starts_with("+ tcp 192.0.2.1:80"));
    let servers = |desk: &mut Desk| desk.draw().iter().filter(|line| line.starts_with("    10.")).count();
    desk.press("*");
    assert_eq!(servers(&mut desk), 7);
    desk.press("↓↓↓↓↓←");
    assert_eq!(servers(&mut desk), 5, "all but those of one");
    desk.press("*");
    assert_eq!(servers(&mut desk), 0);
    desk.press("\n");
    assert_eq!(servers(&mut desk), 2);
}

#[test]
fn a_server_is_drained_when_that_was_asked_once_and_confirmed() {
    let mut desk = Desk::new(&[4], (80, 24));
    let foot = |desk: &mut Desk| desk.draw()[23].clone();
    let service = || Some(ServiceRef("tcp 192.0.2.0:80".into()));
    desk.press("d");
    assert_eq!(foot(&mut desk), "choose a server first: ↑ ↓, and → shows those of a service");
    desk.press("↓→d");
    assert!(foot(&mut desk).starts_with("choose a server first"));
    desk.press("↓d");
    assert_eq!(foot(&mut desk), "10.0.0.4:80 was removed: its last connections go on");
    desk.press("↓u");
    assert_eq!(foot(&mut desk), "10.0.0.3:80 is not being drained");
    desk.press("d");
    let question = "drain 10.0.0.3:80 of tcp 192.0.2.0:80? Nothing new for it; 33 connections go on.";
    assert!(foot(&mut desk).starts_with(question), "{}", foot(&mut desk));
    assert_eq!(desk.press("\n"), None);
    assert_eq!(foot(&mut desk), "nothing was changed");
    // It is the one that was asked about, whatever comes between.
    desk.press("d");
    desk.model.list.go(1);
    let drain = Edit::Drain {
        service: service(),
        server: "10.0.0.3:80".into(),
        deadline_seconds: None,
        at_deadline: Rest::Reset,
    };
    assert_eq!(desk.press("y"), Some(Order::Edit(drain)));
    desk.press("d");
    assert_eq!(foot(&mut desk), "10.0.0.2:80 is being drained; u takes that back");
    desk.press("u");
    assert_eq!(foot(&mut desk), "undrain 10.0.0.2:80 of tcp 192.0.2.0:80? y/n");
    let undrain = Edit::Undrain { service: service(), server: "10.0.0.2:80".into() };
    assert_eq!(desk.press("y"), Some(Order::Edit(undrain)));
    desk.press("m");
    let question = "maintenance of 10.0.0.2:80 of tcp 192.0.2.0:80? Nothing new for it, and no checks; 22";
    assert!(foot(&mut desk).starts_with(&question[..80]), "{}", foot(&mut desk));
    let begin = Edit::Maintain {
        service: service(),
        server: "10.0.0.2:80".into(),
        reason: String::new(),
        deadline_seconds: None,
        at_deadline: Rest::Reset,
    };
    assert_eq!(desk.press("y"), Some(Order::Edit(begin)));
}

#[test]
fn a_filter_is_asked_for_as_it_is_written_and_taken_back() {
    let mut desk = Desk::new(&[2, 4, 1], (80, 24));
    desk.press("/we");
    assert_eq!(desk.model.wanted().filter, "we");
    let screen = desk.draw();
    assert_eq!(screen[23], "/we_");
    assert!(screen[6].starts_with("+ tcp 192.0.2.0:80 (web)") && screen[7].is_empty(), "{screen:?}");
    desk.press("q");
    assert_eq!(desk.draw()[5], "nothing has this in its name");
    desk.press("\n");
    assert!(desk.draw()[4].contains("/weq"));
    desk.press("\x1b");
    assert_eq!(desk.model.wanted().filter, "");
    assert!(desk.draw()[8].starts_with("+ tcp"));
}

#[test]
fn a_director_that_is_not_heard_is_told_of_and_what_was_known_stays() {
    let mut desk = Desk { model: model(), ..Desk::new(&[1], (60, 10)) };
    let trouble = "no director is heard at /run/lvx/lvx.sock: No such file or directory (os error 2)";
    desk.model.fail(trouble.to_owned());
    let screen = "
            |
            |
            |
            |
            | 1 Services  2 Drops  3 Workers                    every 1 s
            |no director is heard at /run/lvx/lvx.sock: No such file or
            |directory (os error 2)
            |
            |lvx top asks again.
            |? help  / filter  < > sort  → servers  d drain  Tab pages  q";
    assert_eq!(desk.draw(), lines(screen));
    desk.press("↓→dr*/x");
    desk.press("\x1b");
    desk.wait(0);
    desk.wait(1);
    assert!(desk.draw()[6].starts_with("- tcp 192.0.2.0:80"), "back");
    desk.model.fail(trouble.to_owned());
    let screen = desk.draw();
    assert!(screen[9].starts_with("no director is heard at /run"), "{screen:?}");
    assert!(screen[6].starts_with("- tcp 192.0.2.0:80"), "{screen:?}");
    assert!(desk.terminal.backend().buffer()[(3, 6)].modifier.contains(Modifier::DIM));
}

#[test]
fn a_pause_and_another_pace_are_shown() {
    let mut desk = Desk::new(&[1], (60, 10));
    assert!(desk.draw()[4].ends_with(" every 1 s"));
    desk.press("-");
    assert_eq!(desk.model.interval, Duration::from_millis(500));
    assert!(desk.draw()[4].ends_with(" every 500 ms"));
    desk.press("++");
    assert!(desk.draw()[4].ends_with(" every 2 s"));
    desk.press("p");
    assert!(desk.model.is_paused && desk.draw()[4].ends_with(" paused"));
    desk.press("---------++++++++++++++++");
    assert_eq!(desk.model.interval, Duration::from_secs(60));
}

#[test]
fn only_the_servers_in_sight_are_asked_for() {
    let mut desk = Desk::new(&vec![100; 1000], (80, 24));
    desk.press("*");
    assert_eq!(desk.model.wanted().open.len(), 1);
    desk.press("G");
    assert_eq!(desk.model.wanted().open, ["tcp 192.0.2.999:80"]);
    assert!(desk.draw()[4].ends_with("100984-101000 of 101000, every 1 s"), "{}", desk.draw()[4]);
    let looks = desk.looks;
    desk.press("↑↑↑↑↑↑↑");
    assert_eq!(desk.looks, looks, "nothing new is in sight");
}

#[test]
fn control_c_quits_from_everywhere() {
    let mut desk = Desk::new(&[1], (80, 24));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for keys in ["", "?", "/", "/q"] {
        desk.press(keys);
        assert_eq!(desk.model.press(control_c), Some(Order::Quit), "{keys}");
    }
    assert_eq!(desk.press("q"), Some(Order::Quit));
}

#[test]
fn of_a_director_that_began_anew_there_are_no_rates_yet() {
    let none = Wanted::default();
    let answer = |at: u64, overview| Answer { at: Duration::from_secs(at), overview };
    let before = answer(10, overview(10, &[2], &none));
    let mut restarted = overview(3, &[2], &none);
    restarted.status.pid = 8;
    let moment = Moment::between(Some(&before), &answer(11, restarted));
    assert_eq!((moment.seconds, moment.packets.forwarded), (None, None));
    let estimated =
        |moment: &Moment| moment.services[0].counts.rate.map(|rate| (rate.connections, rate.in_bits));
    assert_eq!(estimated(&moment), Some((3.0, 0.0)), "as IPVS estimates it");

    // Counted from zero again, as `ipvsadm -Z` has it.
    let mut zeroed = overview(11, &[2], &none);
    zeroed.services[0].traffic = Traffic::default();
    let moment = Moment::between(Some(&before), &answer(11, zeroed));
    assert_eq!((moment.packets.forwarded, estimated(&moment)), (Some(1500.0), Some((3.0, 0.0))));
}

#[test]
fn a_moment_in_json_has_what_the_screen_has() {
    let all = Wanted { open: vec!["all".into()], ..Wanted::default() };
    let answer = |at: u64| Answer { at: Duration::from_secs(at), overview: overview(at, &[2, 1], &all) };
    let json = serde_json::to_value(Moment::between(Some(&answer(10)), &answer(12))).unwrap();
    assert_eq!(json["seconds"], 2.0);
    assert_eq!(json["packets"], json!({ "forwarded": 1500.0, "to_host": 20.0, "dropped": 3.0 }));
    assert_eq!(
        json["reasons"][1],
        json!({ "fate": "dropped", "reason": "no_server", "packets": 36, "per_second": 3.0 })
    );
    assert_eq!(json["workers"][1]["load"], 0.95);
    assert_eq!(json["workers"][1]["packets_per_batch"], 5.0);
    let server = &json["services"][0]["servers"][1];
    assert_eq!(
        (&server["address"], &server["weight"], &server["state"]),
        (&json!("10.0.0.2:80"), &json!(1), &json!("draining"))
    );
    assert_eq!(server["rate"]["out_bits"], 1_600_000.0);
    assert_eq!(server["latency"]["answered"], 8);
    assert!(server["latency"]["p99_seconds"].as_f64().unwrap() > 0.0005);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is pressed, and however the director and the terminal change meanwhile: what is chosen is in sight, and
    /// nothing else is asked for than what is.
    #[test]
    fn no_key_leads_out_of_the_list(
        steps in prop::collection::vec(
            prop_oneof![
                4 => "[↑↓→←\\n\\x1b\\t*<>r/du123p+?gGhy0-9.tcw-]".prop_map(Some),
                1 => Just(None),
            ],
            1..40,
        ),
        services in prop::collection::vec(0u64..5, 0..6),
        sizes in prop::collection::vec((0u16..100, 0u16..30), 1..4),
    ) {
        let mut desk = Desk::new(&services, (80, 24));
        for (at, step) in steps.into_iter().enumerate() {
            let (width, height) = sizes[at % sizes.len()];
            desk.terminal.backend_mut().resize(width.max(1), height.max(1));
            match step {
                Some(key) => drop(desk.press(&key)),
                None => {
                    desk.servers.rotate_left((at % 3).min(services.len()));
                    desk.wait(1);
                }
            }
            let sight = desk.model.list.in_sight();
            prop_assert!(sight.end <= desk.model.list.len());
            if desk.model.page == super::model::Page::Services && desk.model.mode != Mode::Help {
                let chosen = desk.model.list.lines().iter().filter(|(_, is_chosen)| *is_chosen).count();
                let is_drawn = !sight.is_empty();
                prop_assert_eq!(chosen, usize::from(is_drawn && desk.model.list.chosen().is_some()));
            }
        }
    }
}
