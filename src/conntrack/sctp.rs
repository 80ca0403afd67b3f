//! IPVS's SCTP state machine (reference: the tables of `ip_vs_proto_sctp.c`), to be checked with a finger.
//!
//! A column is the present state, a row what the packet says. The states are those of the server, as packets from the
//! client (C) and the server (S) show them:
//!
//! ```text
//! opened by the client    I1 first C:INIT, IN next C:INIT, CS S:INIT-ACK, CR C:COOKIE-ECHO, then ES
//! opened by the server    CW S:INIT, CO C:INIT-ACK, CE S:COOKIE-ECHO, then ES
//! closing                 SS S:SHUTDOWN, SR C:SHUTDOWN, SA S:SHUTDOWN-ACK, RJ S:ABORT instead of S:INIT-ACK, CL
//! ```

use super::state::Phase;
use crate::net::{Direction, SctpEvent};
use crate::service::State;
use crate::service::State::{
    SctpClosed as CL, SctpCookie as CO, SctpCookieEchoed as CE, SctpCookieReplied as CR,
    SctpCookieSent as CS, SctpCookieWait as CW, SctpEstablished as ES, SctpInit as IN, SctpInit1 as I1,
    SctpRejected as RJ, SctpShutdownAckSent as SA, SctpShutdownReceived as SR, SctpShutdownSent as SS,
};

type Row = [State; 14];

/// Rows in the order of [`SctpEvent`].
type Rows = [Row; 10];

/// From the client, when the director sees both directions (NAT, or once a reply was seen).
#[rustfmt::skip]
const INPUT: Rows = [
    //                  NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /*data           */[ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*init           */[I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN],
    /*init ack       */[CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie echo    */[CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie ack     */[ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL],
    /*shutdown       */[SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    /*shutdown ack   */[CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL],
    /*shutdown compl.*/[CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL],
    /*error          */[CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL],
    /*abort          */[CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
];

/// From the real server.
#[rustfmt::skip]
const OUTPUT: Rows = [
    //                  NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /*data           */[ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*init           */[CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW],
    /*init ack       */[CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie echo    */[CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie ack     */[ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL],
    /*shutdown       */[SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL],
    /*shutdown ack   */[SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL],
    /*shutdown compl.*/[CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*error          */[CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*abort          */[CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL],
];

/// From the client, when replies bypass the director (DR, TUN).
#[rustfmt::skip]
const INPUT_ONLY: Rows = [
    //                  NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    /*data           */[ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*init           */[I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN],
    /*init ack       */[CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie echo    */[ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*cookie ack     */[ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL],
    /*shutdown       */[SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    /*shutdown ack   */[CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL],
    /*shutdown compl.*/[CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL],
    /*error          */[CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    /*abort          */[CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
];

/// The first of SCTP's states.
const FIRST: usize = State::SctpNone as usize;

/// Whether a state is one of these tables'.
pub(super) const fn is_ours(state: State) -> bool {
    state as usize >= FIRST
}

/// The phase after a packet that says this, of a phase whose state is one of these tables'. A reply seen ends input-only
/// for good.
pub(super) const fn next(phase: Phase, direction: Direction, event: SctpEvent) -> Phase {
    let reply = matches!(direction, Direction::Reply);
    let table = match (reply, phase.is_input_only()) {
        (true, _) => &OUTPUT,
        (false, true) => &INPUT_ONLY,
        (false, false) => &INPUT,
    };
    let next = table[event as usize][phase.state() as usize - FIRST];
    Phase::new(next, phase.is_input_only() && !reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};
    use SctpEvent::{
        Abort, CookieAck, CookieEcho, Data, Init, InitAck, Shutdown, ShutdownAck, ShutdownComplete,
    };

    /// The states after each of these packets of one association.
    fn walk(input_only: bool, packets: &[(Direction, SctpEvent)]) -> Vec<&'static str> {
        let mut phase = Phase::new(State::SctpNone, input_only);
        packets
            .iter()
            .map(|&(direction, event)| {
                phase = next(phase, direction, event);
                phase.state().name()
            })
            .collect()
    }

    #[test]
    fn an_association_through_nat_opens_and_closes_from_either_side() {
        let opening = [
            (Original, Init),
            (Reply, InitAck),
            (Original, CookieEcho),
            (Reply, CookieAck),
            (Original, Data),
        ];
        assert_eq!(walk(false, &opening), ["INIT1", "C-SENT", "C-REPLIED", "ESTABLISHED", "ESTABLISHED"]);
        let by_client = [(Original, Shutdown), (Reply, ShutdownAck), (Original, ShutdownComplete)];
        let by_client = [&opening[..], &by_client].concat();
        assert_eq!(walk(false, &by_client)[5..], ["S-RECEIVED", "S-ACK-SENT", "CLOSED"]);
        let by_server = [(Reply, Shutdown), (Original, ShutdownAck), (Reply, ShutdownComplete)];
        let by_server = [&opening[..], &by_server].concat();
        assert_eq!(walk(false, &by_server)[5..], ["S-SENT", "CLOSED", "CLOSED"]);
    }

    #[test]
    fn an_association_seen_from_one_side_only_opens_and_closes() {
        let seen = [Init, Init, CookieEcho, Data, Shutdown, ShutdownComplete].map(|event| (Original, event));
        assert_eq!(
            walk(true, &seen),
            ["INIT1", "INIT", "ESTABLISHED", "ESTABLISHED", "S-RECEIVED", "CLOSED"]
        );
    }

    #[test]
    fn an_init_that_is_refused_and_an_abort_at_any_time_close() {
        assert_eq!(walk(false, &[(Original, Init), (Reply, Abort)]), ["INIT1", "REJECTED"]);
        for state in State::ALL.into_iter().filter(|&state| is_ours(state)) {
            let after = next(Phase::new(state, false), Original, Abort).state().name();
            assert!(["CLOSED", "REJECTED"].contains(&after), "{state:?}");
        }
    }

    #[test]
    fn a_reply_seen_ends_input_only_for_good() {
        for state in State::ALL.into_iter().filter(|&state| is_ours(state)) {
            for event in SctpEvent::ALL {
                assert!(!next(Phase::new(state, true), Reply, event).is_input_only());
                assert!(next(Phase::new(state, true), Original, event).is_input_only());
            }
        }
    }
}
