//! `lvx connections`: the connections that fit what is said, listed or ended.

use super::table::{Cell, Column, Table, Tone};
use crate::control::api::Ended;
use crate::control::client::{Client, ClientError};
use crate::control::connections::Row;
use clap::Args;

/// So many are asked for at once, as the director gives no more.
const PAGE: usize = 10_000;

/// Which connections: those that fit all that is said.
#[derive(Debug, Args)]
pub struct Which {
    /// Of this client: CIP, CIP:cport, or a network such as 203.0.113.0/24
    #[arg(long)]
    client: Option<String>,
    /// Of this real server: RIP, RIP:rport, or a network
    #[arg(long)]
    server: Option<String>,
    /// To this service: VIP, VIP:vport, or a network
    #[arg(long)]
    service: Option<String>,
    /// tcp, udp or sctp
    #[arg(long)]
    protocol: Option<String>,
    /// In this state, such as ESTABLISHED
    #[arg(long)]
    state: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 1000, conflicts_with = "kill")]
    limit: usize,
    /// End them, one or all that fit: the director forgets them, and tells nobody
    #[arg(long)]
    pub(super) kill: bool,
}

impl Which {
    /// Ends them.
    pub(super) fn end(&self, client: &Client) -> Result<Ended, ClientError> {
        client.end_connections(&self.words())
    }

    /// As many as are wanted, and whether there may be more.
    pub(super) fn list(&self, client: &Client) -> Result<(Vec<Row>, bool), ClientError> {
        let (mut rows, mut from) = (Vec::new(), Some(0));
        while let Some(slot) = from.filter(|_| rows.len() < self.limit) {
            let (slot, limit) = (slot.to_string(), (self.limit - rows.len()).min(PAGE).to_string());
            let page = [("from", slot.as_str()), ("limit", limit.as_str())];
            let page = client.connections(&[&self.words()[..], &page].concat())?;
            rows.extend(page.connections);
            from = page.next;
        }
        Ok((rows, from.is_some()))
    }

    fn words(&self) -> Vec<(&'static str, &str)> {
        let words = [
            ("client", &self.client),
            ("server", &self.server),
            ("service", &self.service),
            ("protocol", &self.protocol),
            ("state", &self.state),
        ];
        words.into_iter().filter_map(|(name, word)| Some((name, word.as_deref()?))).collect()
    }
}

/// How many were ended, in words.
pub(super) fn told(Ended { ended }: Ended) -> String {
    format!("{ended} connection{} ended", if ended == 1 { "" } else { "s" })
}

/// A line for each connection, no wider than `room`.
pub(super) fn listed(rows: &[Row], is_cut: bool, room: usize) -> String {
    let columns = [
        Column::text("pro", 3),
        Column::text("client", 0),
        Column::text("service", 1),
        Column::text("server", 0),
        Column::text("state", 0),
        Column::number("expires", 4),
        Column::number("age", 2),
    ];
    let cells = rows.iter().map(|row| {
        let seconds = |seconds: u32| Cell::new(super::status::clock(seconds.into()));
        let [protocol, client, service, server] =
            [&row.protocol, &row.client, &row.service, &row.server].map(|text| Cell::new(text.as_str()));
        let state = match row.template {
            true => Cell::new(format!("{}, template", row.state)).with(Tone::Quiet),
            false => Cell::new(row.state.as_str()),
        };
        let [expires, age] = [row.expires_seconds, row.age_seconds].map(seconds);
        vec![protocol, client, service, server, state, expires, age]
    });
    let more = if is_cut { "\n… and more; --limit says how many are shown" } else { "" };
    Table::new(columns.into(), cells.collect()).text(room) + more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, template: bool) -> Row {
        Row {
            protocol: "tcp".into(),
            client: client.into(),
            service: "192.0.2.1:80".into(),
            server: "10.0.0.1:80".into(),
            state: if template { "NONE" } else { "ESTABLISHED" }.into(),
            expires_seconds: 899,
            age_seconds: 5,
            template,
        }
    }

    fn shown(room: usize) -> String {
        let rows = [row("203.0.113.1:4000", false), row("203.0.113.0:0", true)];
        anstream::adapter::strip_str(&listed(&rows, true, room)).to_string()
    }

    #[test]
    fn connections_stand_in_columns() {
        assert_eq!(
            shown(usize::MAX),
            "pro  client            service       server       state           expires   age\n\
             tcp  203.0.113.1:4000  192.0.2.1:80  10.0.0.1:80  ESTABLISHED       14:59  0:05\n\
             tcp  203.0.113.0:0     192.0.2.1:80  10.0.0.1:80  NONE, template    14:59  0:05\n\
             … and more; --limit says how many are shown"
        );
    }

    #[test]
    fn a_narrow_terminal_shows_who_is_connected_to_whom_before_all_else() {
        assert_eq!(shown(50).lines().nth(1), Some("tcp  203.0.113.1:4000  10.0.0.1:80  ESTABLISHED"));
    }

    #[test]
    fn how_many_were_ended_is_told_in_the_singular_too() {
        assert_eq!(
            [0, 1, 2].map(|ended| told(Ended { ended })),
            ["0 connections ended", "1 connection ended", "2 connections ended"]
        );
    }
}
