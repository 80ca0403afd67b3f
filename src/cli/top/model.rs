//! What `lvx top` knows and shows, and what keys make of it. Answers and keys in, orders out; it asks nobody itself.

use super::columns::Sort;
use super::keys::{Command, command};
use super::list::{Line, List};
use super::moment::{Answer, Moment};
use crate::control::desired::{Edit, Rest, ServerState, ServiceRef};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Duration;

/// How often the director may be asked, in milliseconds.
const INTERVALS: [u64; 9] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Services and servers.
    Services,
    /// What was not forwarded, and why.
    Drops,
    /// Workers.
    Workers,
}

impl Page {
    /// All of them, and what they are called.
    pub const ALL: [(Page, &'static str); 3] =
        [(Page::Services, "Services"), (Page::Drops, "Drops"), (Page::Workers, "Workers")];
}

/// What the next key is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// For a command.
    Command,
    /// For the filter.
    Filter,
    /// To say whether this edit is to be made, of which the question tells.
    Asked(Edit, String),
    /// To have seen the help.
    Help,
}

/// A server that is there.
struct Chosen {
    service: String,
    address: String,
    state: ServerState,
    connections: u64,
}

/// What is to be done beside drawing.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// End.
    Quit,
    /// Stop until the shell wakes us.
    Suspend,
    /// Have the director make this edit.
    Edit(Edit),
}

/// What is to be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only what has this in its name.
    pub filter: String,
    /// The keys of the services whose servers are wanted.
    pub open: Vec<String>,
}

/// All of it.
#[derive(Debug)]
pub struct Model {
    pub page: Page,
    pub mode: Mode,
    pub list: List,
    /// The first line of the other pages.
    pub scrolled: usize,
    pub filter: String,
    pub interval: Duration,
    pub is_paused: bool,
    pub moment: Option<Moment>,
    /// Why the last answer did not come.
    pub trouble: Option<String>,
    /// What became of an order, until the next key.
    pub notice: Option<String>,
    before: Option<Answer>,
    now: Option<Answer>,
    /// What the last answer was asked with.
    answered: Wanted,
}

impl Model {
    /// Nothing is known yet.
    pub fn new(interval: Duration, sort: Sort, filter: String) -> Model {
        Model {
            page: Page::Services,
            mode: Mode::Command,
            list: List::new(sort),
            scrolled: 0,
            filter,
            interval,
            is_paused: false,
            moment: None,
            trouble: None,
            notice: None,
            before: None,
            now: None,
            answered: Wanted::default(),
        }
    }

    /// What is to be asked for: servers of those services only that are open and in sight.
    pub fn wanted(&self) -> Wanted {
        Wanted { filter: self.filter.clone(), open: self.list.open_in_sight() }
    }

    /// Whether something is to be shown that was not asked for the last time.
    pub fn lacks_some(&self) -> bool {
        self.moment.is_some()
            && (self.answered.filter != self.filter
                || self.list.lacks_some() && self.answered.open != self.list.open_in_sight())
    }

    /// Takes up an answer. One that came in its time is compared with the one before; one that was asked for in between,
    /// since something else is shown, stands in the place of the last.
    pub fn take(&mut self, answer: Answer, wanted: Wanted, is_in_its_time: bool) {
        if is_in_its_time || self.trouble.is_some() {
            self.before = self.now.take();
        }
        self.trouble = None;
        let mut moment = Moment::between(self.before.as_ref(), &answer);
        self.list.take(std::mem::take(&mut moment.services), &wanted.filter);
        self.answered = wanted;
        self.now = Some(answer);
        self.moment = Some(moment);
    }

    /// No answer came.
    pub fn fail(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// What a key does; what else is to be done.
    pub fn press(&mut self, key: KeyEvent) -> Option<Order> {
        self.notice = None;
        let asked = command(key);
        if let Some(Command::Suspend) = asked {
            return Some(Order::Suspend);
        }
        match std::mem::replace(&mut self.mode, Mode::Command) {
            Mode::Command => self.obey(asked?),
            // Control-C quits wherever it is pressed.
            _ if asked == Some(Command::Quit) && key.code == KeyCode::Char('c') => Some(Order::Quit),
            Mode::Help => None,
            Mode::Asked(edit, _) if matches!(key.code, KeyCode::Char('y' | 'Y')) => Some(Order::Edit(edit)),
            Mode::Asked(..) => {
                self.notice = Some("nothing was changed".to_owned());
                None
            }
            Mode::Filter => {
                match key.modifiers.contains(KeyModifiers::CONTROL) {
                    true => self.mode = Mode::Filter,
                    false => self.write_filter(key.code),
                }
                None
            }
        }
    }

    fn write_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.filter.clear(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.mode = Mode::Filter;
        self.list.leave();
    }

    fn obey(&mut self, command: Command) -> Option<Order> {
        match command {
            Command::Quit => return Some(Order::Quit),
            Command::Suspend => return Some(Order::Suspend),
            Command::Help => self.mode = Mode::Help,
            Command::NextPage => {
                let at = Page::ALL.iter().position(|(page, _)| *page == self.page).unwrap_or(0);
                self.turn_to((at + 1) % Page::ALL.len());
            }
            Command::Page(at) => self.turn_to(at),
            Command::Pause => self.is_paused = !self.is_paused,
            Command::Quicker => self.interval = beside(self.interval, |interval, now| interval < now, true),
            Command::Slower => self.interval = beside(self.interval, |interval, now| interval > now, false),
            _ if self.page != Page::Services => self.scroll(command),
            command => self.obey_in_list(command),
        }
        None
    }

    fn turn_to(&mut self, at: usize) {
        if let Some((page, _)) = Page::ALL.get(at) {
            self.page = *page;
            self.scrolled = 0;
        }
    }

    fn scroll(&mut self, command: Command) {
        const PAGE: usize = 10;
        self.scrolled = match command {
            Command::Up => self.scrolled.saturating_sub(1),
            Command::Down => self.scrolled.saturating_add(1),
            Command::PageUp => self.scrolled.saturating_sub(PAGE),
            Command::PageDown => self.scrolled.saturating_add(PAGE),
            Command::Last => usize::MAX,
            Command::First | Command::Back => 0,
            _ => self.scrolled,
        };
    }

    fn obey_in_list(&mut self, command: Command) {
        let page = self.list.in_sight().len().saturating_sub(1).max(1) as isize;
        let sort = self.list.sort();
        match command {
            Command::Up => self.list.go(-1),
            Command::Down => self.list.go(1),
            Command::PageUp => self.list.go(-page),
            Command::PageDown => self.list.go(page),
            Command::First => self.list.go_to_end(false),
            Command::Last => self.list.go_to_end(true),
            Command::Open => self.list.turn(|_| true),
            Command::Close => self.list.turn(|_| false),
            Command::Turn => self.list.turn(|is_open| !is_open),
            Command::TurnAll => self.list.turn_all(),
            Command::SortLeft => self.sort_beside(-1),
            Command::SortRight => self.sort_beside(1),
            Command::Reverse => self.list.sort_by(Sort { is_reversed: !sort.is_reversed, ..sort }),
            Command::Filter => self.mode = Mode::Filter,
            Command::Drain => self.ask_about_drain(true),
            Command::Undrain => self.ask_about_drain(false),
            Command::Maintain => self.ask_about_maintenance(),
            Command::Back if !self.filter.is_empty() => self.filter.clear(),
            Command::Back => self.list.leave(),
            _ => {}
        }
    }

    fn sort_beside(&mut self, by: isize) {
        if let Some(column) = self.list.sort().by.beside(by) {
            self.list.sort_by(Sort { by: column, is_reversed: false });
        }
    }

    /// The chosen server; if none is, or it was removed, that is said.
    fn chosen_server(&mut self) -> Option<Chosen> {
        let Some(Line::Server(service, server)) = self.list.chosen() else {
            self.notice = Some("choose a server first: ↑ ↓, and → shows those of a service".to_owned());
            return None;
        };
        let address = server.address.clone();
        let Some(state) = server.state else {
            self.notice = Some(format!("{address} was removed: its last connections go on"));
            return None;
        };
        let connections = server.counts.active + server.counts.inactive;
        Some(Chosen { service: service.service.clone(), address, state, connections })
    }

    /// Asks once whether the chosen server is to be in maintenance, or not any more.
    fn ask_about_maintenance(&mut self) {
        let Some(Chosen { service, address, state, connections }) = self.chosen_server() else { return };
        let of = format!("{address} of {service}");
        let service = Some(ServiceRef(service));
        self.mode = if state == ServerState::Maintenance {
            let end = Edit::EndMaintenance { service, server: address };
            Mode::Asked(end, format!("end the maintenance of {of}? y/n"))
        } else {
            let question = format!(
                "maintenance of {of}? Nothing new for it, and no checks; {connections} connections go on. y/n"
            );
            let (reason, at_deadline) = (String::new(), Rest::default());
            let begin =
                Edit::Maintain { service, server: address, reason, deadline_seconds: None, at_deadline };
            Mode::Asked(begin, question)
        };
    }

    /// Asks once whether the chosen server is to be drained, or not any more.
    fn ask_about_drain(&mut self, begin: bool) {
        let Some(Chosen { service, address, state, connections }) = self.chosen_server() else { return };
        match (begin, state) {
            (true, ServerState::Draining) => {
                self.notice = Some(format!("{address} is being drained; u takes that back"));
            }
            (_, ServerState::Maintenance) => {
                self.notice = Some(format!("{address} is in maintenance; m ends that"));
            }
            (false, state) if state != ServerState::Draining => {
                self.notice = Some(format!("{address} is not being drained"));
            }
            _ => {
                let of = format!("{address} of {service}");
                let (service, server) = (Some(ServiceRef(service)), address);
                self.mode = if begin {
                    let question =
                        format!("drain {of}? Nothing new for it; {connections} connections go on. y/n");
                    let at_deadline = Rest::default();
                    Mode::Asked(
                        Edit::Drain { service, server, deadline_seconds: None, at_deadline },
                        question,
                    )
                } else {
                    Mode::Asked(Edit::Undrain { service, server }, format!("undrain {of}? y/n"))
                };
            }
        }
    }
}

/// The interval before this one, or after it; this one if there is none.
fn beside(now: Duration, is_beyond: impl Fn(Duration, Duration) -> bool, last: bool) -> Duration {
    let mut beyond =
        INTERVALS.map(Duration::from_millis).into_iter().filter(|interval| is_beyond(*interval, now));
    if last { beyond.last() } else { beyond.next() }.unwrap_or(now)
}
