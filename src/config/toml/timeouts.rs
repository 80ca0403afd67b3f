//! `[director.timeouts]` and `[virtual_service.timeouts]`: a duration for each state.

use super::section::Section;
use super::value::duration;
use crate::service::{State, Timeouts};

/// ipvsadm's words for three of the states (`--set tcp tcpfin udp`), beside the states' own.
const SHORT: [(State, &str); 2] = [(State::Established, "tcp"), (State::FinWait, "tcp_fin")];

/// What the section `timeouts` of `outer` says.
pub(super) fn timeouts(outer: &mut Section<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut section) = outer.table("timeouts") else { return timeouts };
    let mut short = Vec::new();
    for (state, key) in SHORT {
        if let Some(silence) = section.optional(key, duration) {
            short.push((state, silence.span().start));
            timeouts.set(state, silence.into_inner());
        }
    }
    for state in State::ALL {
        let Some(silence) = section.optional(state.key(), duration) else { continue };
        if let Some(&(_, first)) = short.iter().find(|&&(of, _)| of == state) {
            section.error_again(silence.span().start, first, state.key(), "either of both names");
        }
        timeouts.set(state, silence.into_inner());
    }
    section.finish();
    timeouts
}
