//! A table of the file, read key by key.

use super::findings::Findings;
use super::value::{did_you_mean, quoted, wrong_type};
use ::toml::Spanned;
use ::toml::de::{DeString, DeTable, DeValue};
use std::sync::LazyLock;

/// A table whose keys are asked for one by one; what was never asked for is unknown, and [`Section::finish`]
/// says so. Errors go to the findings, so that reading goes on behind them.
pub(super) struct Section<'a> {
    findings: &'a Findings,
    table: &'a DeTable<'a>,
    /// Where its header begins.
    at: usize,
    /// The keys that lead here, with dots between, as a header has them.
    path: String,
    /// What the sections around it are called, as messages begin with it.
    outer_title: String,
    title: String,
    known: Vec<&'static str>,
}

/// What may be written in two ways: in one word, or at length.
pub(super) enum Item<'a> {
    /// A value.
    Short(&'a Spanned<DeValue<'a>>),
    /// A table.
    Long(Section<'a>),
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(findings: &'a Findings, table: &'a DeTable<'a>) -> Section<'a> {
        let (path, outer_title, title) = Default::default();
        Section { findings, table, at: 0, path, outer_title, title, known: Vec::new() }
    }

    fn inner(&self, key: &str, title: &str, table: &'a DeTable<'a>, at: usize) -> Section<'a> {
        let outer_title = format!("{}{}", self.outer_title, self.title);
        let (path, title) = (self.path_of(key), format!("{title}: "));
        Section { findings: self.findings, table, at, path, outer_title, title, known: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Says what the section's errors are to be headed with from now on, such as `interface "eth0"`.
    pub(super) fn entitle(&mut self, title: &str) {
        self.title = format!("{title}: ");
    }

    /// Adds an error at byte `at`.
    pub(super) fn error(&self, at: usize, message: &str) {
        self.findings.add(at, format!("{}{}{message}", self.outer_title, self.title));
    }

    /// Where the section begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether the section has `key`, be its value right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Says that what stands at byte `at` stands already at byte `first`.
    pub(super) fn error_again(&self, at: usize, first: usize, what: &str, allowed: &str) {
        let line = self.findings.line(first);
        self.error(at, &format!("{what} stands in {line} already (allowed: {allowed})"));
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The value of `key` as `read` takes it; `None` if it is absent, and if it is wrong, which is then said.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let value = self.ask(key)?;
        match read(value.get_ref()) {
            Ok(meaning) => Some(Spanned::new(value.span(), meaning)),
            Err(error) => {
                self.error(value.span().start, &format!("{key} {error}"));
                None
            }
        }
    }

    /// As [`Section::optional`], but absence is an error too.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        if !self.has(key) {
            self.known.push(key);
            self.error(self.at, &format!("{key} is missing"));
            return None;
        }
        self.optional(key, read)
    }

    /// The elements of the array `key`, each as `read` takes it; empty if the array is absent. Wrong elements
    /// are said to be so and left out. `what` says what the array holds.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Vec<Spanned<T>> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let Some(elements) = value.get_ref().as_array() else {
            let error = wrong_type(value.get_ref(), &format!("an array of {what}"));
            self.error(value.span().start, &format!("{key} {error}"));
            return Vec::new();
        };
        let mut meanings = Vec::with_capacity(elements.len());
        for element in elements.iter() {
            match read(element.get_ref()) {
                Ok(meaning) => meanings.push(Spanned::new(element.span(), meaning)),
                Err(error) => self.error(element.span().start, &format!("{key} {error}")),
            }
        }
        meanings
    }

    /// The table `key`.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.ask(key)?;
        let Some(table) = value.get_ref().as_table() else {
            let error = wrong_type(value.get_ref(), &format!("a table, written [{}]", self.path_of(key)));
            self.error(value.span().start, &format!("{key} {error}"));
            return None;
        };
        Some(self.inner(key, key, table, value.span().start))
    }

    /// The tables that are the elements of `key`, `limit` of them at most. Their errors are headed with
    /// `noun` and their number, until they are told a better title.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        noun: &'static str,
        limit: usize,
    ) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let elements = self.ask(key).and_then(|value| {
            let elements = value.get_ref().as_array();
            if elements.is_none() {
                let allowed = format!("tables, each written [[{}]]", self.path_of(key));
                let error = wrong_type(value.get_ref(), &allowed);
                self.error(value.span().start, &format!("{key} {error}"));
            }
            elements
        });
        let elements = elements.map_or(&[][..], |elements| &**elements);
        if let Some(beyond) = elements.get(limit) {
            let found = elements.len();
            self.error(
                beyond.span().start,
                &format!("{key} is given {found} times (allowed: {limit} times)"),
            );
        }

        let mut sections = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().take(limit).enumerate() {
            let title = format!("{noun} {}", index + 1);
            match element.get_ref().as_table() {
                Some(table) => sections.push(self.inner(key, &title, table, element.span().start)),
                None => {
                    let error = wrong_type(element.get_ref(), "a table");
                    self.error(element.span().start, &format!("{title} {error}"));
                }
            }
        }
        sections.into_iter()
    }

    /// The value of `key`, be it a table or another.
    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.ask(key).map(|value| self.item_of(key, key, value))
    }

    /// The value of `key`, and if it is an array, its elements, `limit` of them at most; `None` if it is absent. Errors
    /// of tables are headed with `noun`, until they are told a better title.
    pub(super) fn items(&mut self, key: &'static str, noun: &str, limit: usize) -> Option<Vec<Item<'a>>> {
        let value = self.ask(key)?;
        let Some(elements) = value.get_ref().as_array() else {
            return Some(vec![self.item_of(key, noun, value)]);
        };
        if let Some(beyond) = elements.get(limit) {
            let found = elements.len();
            self.error(beyond.span().start, &format!("{key} has {found} elements (allowed: {limit})"));
        }
        Some(elements.iter().take(limit).map(|element| self.item_of(key, noun, element)).collect())
    }

    fn item_of(&self, key: &str, title: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        match value.get_ref().as_table() {
            Some(table) => Item::Long(self.inner(key, title, table, value.span().start)),
            None => Item::Short(value),
        }
    }

    /// A table that would stand at byte `at` if anything were written in it.
    pub(super) fn empty(&self, title: &str, at: usize) -> Section<'a> {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        self.inner(title, title, &EMPTY, at)
    }

    /// What stands in the table `key`, whose keys are names of the operator's choice.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(Spanned<&'a str>, Item<'a>)> {
        let Some(section) = self.table(key) else { return Vec::new() };
        let entry = |(name, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let text: &'a str = name.get_ref();
            (Spanned::new(name.span(), text), section.item_of(text, text, value))
        };
        section.table.iter().map(entry).collect()
    }

    /// Says which keys nobody asked for. To be called when all have been.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter() {
            let found: &str = key.get_ref();
            if !self.known.contains(&found) {
                let near = did_you_mean(found, self.known.iter().copied());
                let allowed = self.known.join(", ");
                let error = format!("key {} is unknown{near} (allowed: {allowed})", quoted(found));
                self.error(key.span().start, &error);
            }
        }
    }
}
