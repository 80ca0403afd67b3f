//! `[director]`.

use super::section::Section;
use super::services::REMOVED;
use super::slow_start::slow_start;
use super::timeouts::timeouts;
use super::value::{boolean, integer, one_of, power_of_two};
use crate::config::{Director, Poll, XdpMode};
use crate::service::{Conduct, Reuse, WhenFull};
use ::toml::Spanned;
use std::collections::HashSet;

/// What `[director]` says; defaults for what it does not.
pub(super) fn director(root: &mut Section<'_>) -> Director {
    let default = Director::default();
    let Some(mut section) = root.table("director") else { return default };

    let workers = section.optional("workers", integer(1..=256)).map(Spanned::into_inner);
    let cores = section.list("cores", "core numbers", integer(0..=8191));
    check_cores(&section, workers, &cores);
    let director = Director {
        workers,
        cores: cores.into_iter().map(Spanned::into_inner).collect(),
        poll: section
            .optional("poll", one_of(&[("adaptive", Poll::Adaptive), ("busy", Poll::Busy)]))
            .map_or(default.poll, Spanned::into_inner),
        max_connections: section
            .optional("max_connections", integer(1..=200_000_000))
            .map_or(default.max_connections, Spanned::into_inner),
        xdp_mode: section
            .optional(
                "xdp_mode",
                one_of(&[
                    ("auto", XdpMode::Auto),
                    ("native", XdpMode::Native),
                    ("generic", XdpMode::Generic),
                ]),
            )
            .map_or(default.xdp_mode, Spanned::into_inner),
        busy_poll: section.optional("busy_poll", boolean).map_or(default.busy_poll, Spanned::into_inner),
        frames: section
            .optional("frames", power_of_two(64..=1 << 20))
            .map_or(default.frames, Spanned::into_inner),
        removed_server: section
            .optional("removed_server", one_of(&REMOVED))
            .map_or(default.removed_server, Spanned::into_inner),
        slow_start: slow_start(&mut section),
        conduct: conduct(&mut section),
    };
    section.finish();
    director
}

fn conduct(section: &mut Section<'_>) -> Conduct {
    let default = Conduct::default();
    let reuse = section.optional("conn_reuse_mode", integer(0..=Reuse::MODES.len() - 1));
    let expire_quiescent_template = section.optional("expire_quiescent_template", boolean);
    Conduct {
        sloppy_tcp: section.optional("sloppy_tcp", boolean).map_or(default.sloppy_tcp, Spanned::into_inner),
        sloppy_sctp: section
            .optional("sloppy_sctp", boolean)
            .map_or(default.sloppy_sctp, Spanned::into_inner),
        when_full: section
            .optional("when_full", one_of(&[("evict", WhenFull::Evict), ("refuse", WhenFull::Refuse)]))
            .map_or(default.when_full, Spanned::into_inner),
        reuse: reuse.map_or(default.reuse, |mode| Reuse::MODES[mode.into_inner()]),
        keeps_quiesced_templates: expire_quiescent_template
            .map_or(default.keeps_quiesced_templates, |expire| !expire.into_inner()),
        timeouts: timeouts(section),
    }
}

/// Two workers on one core would take turns instead of running.
fn check_cores(section: &Section<'_>, workers: Option<u16>, cores: &[Spanned<usize>]) {
    let mut seen = HashSet::new();
    for core in cores.iter().filter(|core| !seen.insert(*core.get_ref())) {
        let error = format!("cores names {} twice (allowed: each core once)", core.get_ref());
        section.error(core.span().start, &error);
    }
    if let (Some(workers), Some(first)) = (workers, cores.first())
        && cores.len() < usize::from(workers)
    {
        let found = cores.len();
        let error = format!("cores names {found} for {workers} workers (allowed: a core for each worker)");
        section.error(first.span().start, &error);
    }
}
