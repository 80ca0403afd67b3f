//! Answers and keys in, whole screens out.

use super::columns::{Column, Sort};
use super::keys::KEYS;
use super::model::{Mode, Model, Order, Wanted};
use super::moment::{Answer, Moment};
use super::view::draw;
use crate::control::api::{Overview, Status};
use crate::control::report::{Connections, Latency, Report, Traffic, Worker};
use crate::control::view::{ServerRow, ServiceSum};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;
use serde_json::{Value, json};
use std::time::Duration;

/// A director so many seconds after its start: each service has as many servers as its number says, and the number of a
/// server is how many connections it gets in a second.
fn overview(seconds: u64, servers: &[u64], wanted: &Wanted) -> Overview {
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
        active: server,
        inactive: 10 * server,
        persistent: 0,
        departed: server == 4,
        traffic: Some(traffic(server)),
        rate: None,
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
            latency: latency(all),
            servers: open.then(|| (1..=servers).map(|server| row(service, server)).collect()),
            service: key,
        }
    };
    let fits = |sum: &ServiceSum| sum.service.contains(&wanted.filter) || sum.name.contains(&wanted.filter);
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

#[test]
fn services_and_servers_stand_with_their_rates_on_eighty_by_twentyfour() {
    let mut desk = Desk::new(&[2, 4, 1], (80, 24));
    desk.press("↓→");
    assert_eq!(desk.draw().join("\n"), "");
}
