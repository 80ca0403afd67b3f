//! What a connection is doing: IPVS's states of TCP and SCTP under its names, and the one of UDP.

use super::Standing;

/// A connection's state: IPVS's eleven of TCP in its order, the one of UDP, and its fourteen of SCTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// TCP: just made.
    None = 0,
    /// Both ends talk.
    Established = 1,
    /// The server opened.
    SynSent = 2,
    /// The client's SYN was seen.
    SynRecv = 3,
    /// The server (or in DR and TUN: the client) has closed its direction.
    FinWait = 4,
    /// Both have closed.
    TimeWait = 5,
    /// Reset, or closed for good.
    Close = 6,
    /// The client has closed its direction.
    CloseWait = 7,
    /// Waiting for the last acknowledgement.
    LastAck = 8,
    /// Listening.
    Listen = 9,
    /// Answered a SYN (secure TCP).
    SynAck = 10,
    /// UDP has no states.
    Udp = 11,
    /// SCTP: just made.
    SctpNone = 12,
    /// The client's first INIT was seen.
    SctpInit1 = 13,
    /// The client's next INIT was seen.
    SctpInit = 14,
    /// The server's INIT ACK was seen.
    SctpCookieSent = 15,
    /// The client's COOKIE ECHO was seen.
    SctpCookieReplied = 16,
    /// The server's INIT was seen.
    SctpCookieWait = 17,
    /// The client's INIT ACK was seen.
    SctpCookie = 18,
    /// The server's COOKIE ECHO was seen.
    SctpCookieEchoed = 19,
    /// Both ends talk.
    SctpEstablished = 20,
    /// The server has closed its direction.
    SctpShutdownSent = 21,
    /// The client has closed its direction.
    SctpShutdownReceived = 22,
    /// The server has acknowledged that.
    SctpShutdownAckSent = 23,
    /// The server has refused the client's INIT.
    SctpRejected = 24,
    /// Aborted, or closed for good.
    SctpClosed = 25,
}

/// A state, its number, its key in `timeouts` of the configuration, its name as `ipvsadm -Lc` prints it, and IPVS's
/// timeout in seconds.
type Row = (State, &'static str, &'static str, u32);

/// The longest that an SCTP end waits before it sends again, and a second (`IP_VS_SCTP_MAX_RTO`).
const MAX_RTO: u32 = 61;

#[rustfmt::skip]
const ROWS: [Row; 26] = [
    (State::None,                 "none",                   "NONE",          2),
    (State::Established,          "established",            "ESTABLISHED", 900),
    (State::SynSent,              "syn_sent",               "SYN_SENT",    120),
    (State::SynRecv,              "syn_recv",               "SYN_RECV",     60),
    (State::FinWait,              "fin_wait",               "FIN_WAIT",    120),
    (State::TimeWait,             "time_wait",              "TIME_WAIT",   120),
    (State::Close,                "close",                  "CLOSE",        10),
    (State::CloseWait,            "close_wait",             "CLOSE_WAIT",   60),
    (State::LastAck,              "last_ack",               "LAST_ACK",     30),
    (State::Listen,               "listen",                 "LISTEN",      120),
    (State::SynAck,               "synack",                 "SYNACK",      120),
    (State::Udp,                  "udp",                    "UDP",         300),
    (State::SctpNone,             "sctp_none",              "NONE",          2),
    (State::SctpInit1,            "sctp_init1",             "INIT1",         4),
    (State::SctpInit,             "sctp_init",              "INIT",        MAX_RTO),
    (State::SctpCookieSent,       "sctp_cookie_sent",       "C-SENT",      MAX_RTO),
    (State::SctpCookieReplied,    "sctp_cookie_replied",    "C-REPLIED",   MAX_RTO),
    (State::SctpCookieWait,       "sctp_cookie_wait",       "C-WAIT",      MAX_RTO),
    (State::SctpCookie,           "sctp_cookie",            "COOKIE",      MAX_RTO),
    (State::SctpCookieEchoed,     "sctp_cookie_echoed",     "C-ECHOED",    MAX_RTO),
    (State::SctpEstablished,      "sctp_established",       "ESTABLISHED", 900),
    (State::SctpShutdownSent,     "sctp_shutdown_sent",     "S-SENT",      MAX_RTO),
    (State::SctpShutdownReceived, "sctp_shutdown_received", "S-RECEIVED",  MAX_RTO),
    (State::SctpShutdownAckSent,  "sctp_shutdown_ack_sent", "S-ACK-SENT",  MAX_RTO),
    (State::SctpRejected,         "sctp_rejected",          "REJECTED",      4),
    (State::SctpClosed,           "sctp_closed",            "CLOSED",      MAX_RTO),
];

impl State {
    /// Every state, in the order of the discriminants.
    pub const ALL: [State; 26] = {
        let mut all = [State::None; 26];
        let mut i = 0;
        while i < all.len() {
            all[i] = ROWS[i].0;
            i += 1;
        }
        all
    };

    /// The state of this number; numbers that are no state's are taken for CLOSE.
    #[inline]
    pub const fn from_number(number: u8) -> State {
        const BY_NUMBER: [State; 32] = {
            let mut by_number = [State::Close; 32];
            let mut i = 0;
            while i < State::ALL.len() {
                by_number[i] = State::ALL[i];
                i += 1;
            }
            by_number
        };
        BY_NUMBER[(number & 31) as usize]
    }

    /// The name as `ipvsadm -Lc` prints it.
    pub const fn name(self) -> &'static str {
        ROWS[self as usize].2
    }

    /// The key of its timeout in the configuration.
    pub const fn key(self) -> &'static str {
        ROWS[self as usize].1
    }

    /// Seconds of silence after which IPVS forgets a connection in this state, unless told otherwise.
    pub const fn default_seconds(self) -> u32 {
        ROWS[self as usize].3
    }

    /// How it counts for the schedulers.
    #[inline]
    pub const fn standing(self) -> Standing {
        match self {
            State::Established | State::SynSent | State::SynRecv | State::SynAck => Standing::Active,
            State::SctpEstablished => Standing::Active,
            _ => Standing::Inactive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_states_are_their_places() {
        assert!(
            State::ALL.iter().enumerate().all(|(i, &s)| s as usize == i && State::from_number(i as u8) == s)
        );
        assert!((26..32).all(|number| State::from_number(number) == State::Close));
    }

    #[test]
    fn only_opening_and_open_tcp_and_open_sctp_connections_are_active() {
        let active = State::ALL.into_iter().filter(|s| s.standing() == Standing::Active).collect::<Vec<_>>();
        let tcp = [State::Established, State::SynSent, State::SynRecv, State::SynAck];
        assert_eq!(active, [&tcp[..], &[State::SctpEstablished]].concat());
    }
}
