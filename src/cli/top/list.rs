//! The services as lines, those that are opened with their servers: which lines are in sight, and which one is chosen.
//!
//! The chosen one is meant by its name, not by its place: it stays chosen wherever new numbers put it.

use super::columns::Sort;
use super::moment::{Counts, ServerNow, ServiceNow};
use std::collections::HashSet;
use std::ops::Range;

/// Whom a line tells of: a service, or one of its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The service's key.
    pub service: String,
    /// The server's identity.
    pub server: Option<String>,
}

/// A line.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// A service, and whether it is open.
    Service(&'a ServiceNow, bool),
    /// A server of it.
    Server(&'a ServiceNow, &'a ServerNow),
    /// One of its servers, of which nothing is known yet.
    Unknown(&'a ServiceNow),
}

impl Line<'_> {
    /// The service that it tells of, or whose server.
    pub fn service(&self) -> &ServiceNow {
        match self {
            Line::Service(service, _) | Line::Server(service, _) | Line::Unknown(service) => service,
        }
    }

    /// Whom it tells of, if that is known.
    pub fn who(&self) -> Option<Who> {
        let server = match self {
            Line::Service(..) => None,
            Line::Server(_, server) => Some(server.identity.clone()),
            Line::Unknown(_) => return None,
        };
        Some(Who { service: self.service().service.clone(), server })
    }

    /// What is counted of it.
    pub fn counts(&self) -> Counts {
        match self {
            Line::Service(service, _) => service.counts,
            Line::Server(_, server) => server.counts,
            Line::Unknown(_) => Counts::default(),
        }
    }
}

/// What is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Nothing,
    /// Whoever is there, which is not known yet.
    Place(usize),
    /// Somebody, and where he was when he was last seen.
    Somebody(Who, usize),
}

/// The list.
#[derive(Debug, Clone)]
pub struct List {
    sort: Sort,
    /// What the services were asked for with: those that have it only in a server's address are open.
    filter: String,
    services: Vec<ServiceNow>,
    /// The services that were opened; or those that were closed, if all others are open.
    turned: HashSet<String>,
    is_open_else: bool,
    choice: Choice,
    /// The first line in sight, and how many are.
    first: usize,
    height: usize,
}

impl List {
    /// An empty list.
    pub fn new(sort: Sort) -> List {
        List {
            sort,
            filter: String::new(),
            services: Vec::new(),
            turned: HashSet::new(),
            is_open_else: false,
            choice: Choice::Nothing,
            first: 0,
            height: 0,
        }
    }

    /// Takes up new numbers, of the services that fit this filter.
    pub fn take(&mut self, services: Vec<ServiceNow>, filter: &str) {
        self.services = services;
        self.filter = filter.to_lowercase();
        self.sort_again();
    }

    /// What sorts it.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// Sorts by another column.
    pub fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.sort_again();
    }

    /// Has so many lines in sight.
    pub fn show(&mut self, height: usize) {
        self.height = height;
        self.settle();
    }

    /// The services as they are sorted.
    pub fn into_services(self) -> Vec<ServiceNow> {
        self.services
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.services.iter().map(|service| self.lines_of(service)).sum()
    }

    /// The places of the lines in sight.
    pub fn in_sight(&self) -> Range<usize> {
        self.first..self.len().min(self.first.saturating_add(self.height))
    }

    /// The lines in sight, and whether each is chosen.
    pub fn lines(&self) -> Vec<(Line<'_>, bool)> {
        let chosen = self.chosen_at();
        let Range { start, end } = self.in_sight();
        let in_sight = self.all_lines().zip(0..end).skip(start);
        in_sight.map(|(line, at)| (line, chosen == Some(at))).collect()
    }

    /// The keys of the open services that have a server in sight.
    pub fn open_in_sight(&self) -> Vec<String> {
        let lines = self.lines();
        let servers = lines.iter().filter(|(line, _)| !matches!(line, Line::Service(..)));
        let mut keys: Vec<String> = servers.map(|(line, _)| line.service().service.clone()).collect();
        keys.dedup();
        keys
    }

    /// Whether a line is in sight of which nothing is known yet.
    pub fn lacks_some(&self) -> bool {
        self.lines().iter().any(|(line, _)| matches!(line, Line::Unknown(_)))
    }

    /// What is chosen.
    pub fn chosen(&self) -> Option<Line<'_>> {
        self.line(self.chosen_at()?)
    }

    /// Chooses the line so many further on; the first in sight, if none is chosen.
    pub fn go(&mut self, by: isize) {
        self.choose(self.chosen_at().map_or(self.first, |at| at.saturating_add_signed(by)));
    }

    /// Chooses the first line, or the last.
    pub fn go_to_end(&mut self, is_last: bool) {
        self.choose(if is_last { usize::MAX } else { 0 });
    }

    /// Chooses nothing, and shows the beginning.
    pub fn leave(&mut self) {
        self.choice = Choice::Nothing;
        self.first = 0;
    }

    /// Opens or closes the service that is chosen, or whose server is; the first in sight if none is. `open` says what it
    /// is to be from what it is.
    pub fn turn(&mut self, open: impl FnOnce(bool) -> bool) {
        let at = self.chosen_at().unwrap_or(self.first);
        let Some(service) = self.line(at).map(|line| line.service().clone()) else { return };
        if open(self.is_open(&service)) == self.is_open_else {
            self.turned.remove(&service.service);
        } else {
            self.turned.insert(service.service.clone());
        }
        if !self.is_open(&service) || self.choice == Choice::Nothing {
            self.choice = Choice::Somebody(Who { service: service.service, server: None }, at);
        }
        self.settle();
    }

    /// Opens all services; closes them if they were opened so.
    pub fn turn_all(&mut self) {
        self.is_open_else = !self.is_open_else;
        self.turned.clear();
        self.settle();
    }

    fn is_open(&self, service: &ServiceNow) -> bool {
        let has_it = |text: &str| text.to_lowercase().contains(&self.filter);
        self.turned.contains(&service.service) != self.is_open_else
            || !(has_it(&service.service) || has_it(&service.name))
    }

    fn lines_of(&self, service: &ServiceNow) -> usize {
        let servers = || service.servers.as_ref().map_or(service.server_count, Vec::len);
        1 + if self.is_open(service) { servers() } else { 0 }
    }

    fn all_lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.services.iter().flat_map(|service| {
            let is_open = self.is_open(service);
            let known = service.servers.iter().flatten().map(move |server| Line::Server(service, server));
            let unknown = if service.servers.is_none() { service.server_count } else { 0 };
            let servers = known.chain((0..unknown).map(move |_| Line::Unknown(service)));
            let shown = servers.take(if is_open { usize::MAX } else { 0 });
            std::iter::once(Line::Service(service, is_open)).chain(shown)
        })
    }

    fn line(&self, at: usize) -> Option<Line<'_>> {
        self.all_lines().nth(at)
    }

    /// Where somebody's line is; the service's, if nothing is known of its server.
    fn place_of(&self, who: &Who) -> Option<usize> {
        let mut at = 0;
        for service in &self.services {
            if service.service != who.service {
                at += self.lines_of(service);
                continue;
            }
            let Some(server) = who.server.as_ref().filter(|_| self.is_open(service)) else {
                return Some(at);
            };
            let Some(servers) = &service.servers else { return Some(at) };
            return servers.iter().position(|of| of.identity == *server).map(|place| at + 1 + place);
        }
        None
    }

    fn chosen_at(&self) -> Option<usize> {
        match &self.choice {
            Choice::Nothing => None,
            Choice::Place(at) => Some(*at),
            Choice::Somebody(who, _) => self.place_of(who),
        }
    }

    fn choose(&mut self, at: usize) {
        self.choice = Choice::Place(at);
        self.settle();
    }

    /// Brings what is chosen into sight. Who is gone leaves the choice to who has come in his place.
    fn settle(&mut self) {
        let len = self.len();
        self.first = self.first.min(len.saturating_sub(self.height));
        let (at, who) = match &self.choice {
            Choice::Nothing => return,
            Choice::Place(at) => (*at, None),
            Choice::Somebody(who, at) => match self.place_of(who) {
                Some(at) => (at, Some(who.clone())),
                None => (*at, None),
            },
        };
        let at = at.min(len.saturating_sub(1));
        self.choice = match who.or_else(|| self.line(at)?.who()) {
            Some(who) => Choice::Somebody(who, at),
            None if len > 0 => Choice::Place(at),
            None => Choice::Nothing,
        };
        self.first = self.first.clamp((at + 1).saturating_sub(self.height.max(1)), at);
    }

    fn sort_again(&mut self) {
        let sort = self.sort;
        self.services.sort_by(|a, b| sort.order((&a.counts, a.place), (&b.counts, b.place)));
        for servers in self.services.iter_mut().filter_map(|service| service.servers.as_mut()) {
            servers.sort_by(|a, b| sort.order((&a.counts, a.place), (&b.counts, b.place)));
        }
        self.settle();
    }
}
