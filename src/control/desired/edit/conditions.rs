//! Edits of what holds of servers, beside what is written of them.

use super::{Draft, Wrong, wrong};
use crate::config::{Real, Service};
use crate::control::desired::{Condition, Drain, Key, Maintenance, Rest, ServiceRef};
use crate::net::Endpoint;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Seconds that a deadline may be away.
const DEADLINES: RangeInclusive<u64> = 1..=86_400;

/// Bytes of a reason.
const MAX_REASON: usize = 200;

impl Draft<'_> {
    pub(super) fn drain(
        &mut self,
        service: Option<&ServiceRef>,
        server: &str,
        deadline: Option<u64>,
        rest: Rest,
    ) -> Result<(), Wrong> {
        let leave = self.leave(server, deadline, rest)?;
        for (key, server) in self.meant(service, server)? {
            self.conditions.change(key, server, |condition| {
                let since = condition.drain.map_or(leave.since, |before| before.since);
                condition.drain = Some(Drain { since, ..leave });
            });
        }
        Ok(())
    }

    /// From now on, until a deadline.
    fn leave(&self, server: &str, deadline: Option<u64>, rest: Rest) -> Result<Drain, Wrong> {
        if let Some(seconds) = deadline.filter(|seconds| !DEADLINES.contains(seconds)) {
            let (least, most) = DEADLINES.into_inner();
            return wrong(format!(
                "real server {server:?}: deadline_seconds {seconds} is out of range (allowed: {least} to {most})"
            ));
        }
        let deadline = deadline.map(|seconds| self.now + Duration::from_secs(seconds));
        Ok(Drain { since: self.now, deadline, rest })
    }

    pub(super) fn undrain(&mut self, service: Option<&ServiceRef>, server: &str) -> Result<(), Wrong> {
        let is_drained = |condition: &Condition| condition.drain.is_some();
        self.end(service, server, is_drained, "being drained", |condition| condition.drain = None)
    }

    pub(super) fn maintain(
        &mut self,
        service: Option<&ServiceRef>,
        server: &str,
        reason: &str,
        deadline: Option<u64>,
        rest: Rest,
    ) -> Result<(), Wrong> {
        if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            return wrong(format!(
                "real server {server:?}: the reason is too long or no line (allowed: a line of at most {MAX_REASON} bytes)"
            ));
        }
        let leave = self.leave(server, deadline, rest)?;
        let by = self.by;
        for (key, server) in self.meant(service, server)? {
            self.conditions.change(key, server, |condition| {
                let since = condition.maintenance.as_ref().map_or(leave.since, |before| before.leave.since);
                let leave = Drain { since, ..leave };
                condition.maintenance = Some(Maintenance { leave, by, reason: reason.into() });
            });
        }
        Ok(())
    }

    pub(super) fn end_maintenance(
        &mut self,
        service: Option<&ServiceRef>,
        server: &str,
    ) -> Result<(), Wrong> {
        let is_in = |condition: &Condition| condition.maintenance.is_some();
        self.end(service, server, is_in, "in maintenance", |condition| condition.maintenance = None)
    }

    /// Ends what holds of the servers that are meant, of one at least.
    fn end(
        &mut self,
        service: Option<&ServiceRef>,
        server: &str,
        holds: impl Fn(&Condition) -> bool,
        what: &str,
        end: impl Fn(&mut Condition),
    ) -> Result<(), Wrong> {
        let mut meant = self.meant(service, server)?;
        meant.retain(|&(key, server)| self.conditions.of(key, server).is_some_and(&holds));
        if meant.is_empty() {
            return wrong(format!("real server {server:?} is not {what}"));
        }
        for (key, server) in meant {
            self.conditions.change(key, server, &end);
        }
        Ok(())
    }

    /// The servers of this address, with any port if it says none, in one service or in all.
    fn meant(&self, service: Option<&ServiceRef>, server: &str) -> Result<Vec<(Key, Endpoint)>, Wrong> {
        let services = match service {
            Some(service) => {
                let place = self.place(service)?;
                &self.services[place..=place]
            }
            None => &self.services[..],
        };
        let (endpoint, addr) = (server.parse::<Endpoint>().ok(), server.parse::<IpAddr>().ok());
        let is_meant = |real: &&Real| endpoint == Some(real.endpoint) || addr == Some(real.endpoint.addr);
        let of = |service: &Service| {
            let key = Key::of(service);
            service.reals.iter().filter(is_meant).map(|real| (key, real.endpoint)).collect::<Vec<_>>()
        };
        let found: Vec<_> = services.iter().flatten().flat_map(|service| of(service)).collect();
        match service {
            _ if !found.is_empty() => Ok(found),
            Some(service) => {
                wrong(format!("virtual service {:?}: real server {server:?} is unknown", service.0))
            }
            None => wrong(format!("real server {server:?} is unknown")),
        }
    }
}
