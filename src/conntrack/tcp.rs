//! IPVS's TCP state machine (reference: the tables of `ip_vs_proto_tcp.c`), to be checked with a finger.
//!
//! A column is the present state, a row what the segment says: the first of RST, SYN, FIN, ACK that is set. A
//! segment with none of the four closes the connection.

use super::sctp;
use super::state::Phase;
use crate::net::{Direction, SctpEvent, TcpFlags};
use crate::service::State;
use crate::service::State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    SynRecv as SR, SynSent as SS, TimeWait as TW,
};

type Row = [State; 11];

/// Rows for SYN, FIN, ACK and RST.
type Rows = [Row; 4];

/// From the client, when the director sees both directions (NAT, or once a reply was seen).
#[rustfmt::skip]
const INPUT: Rows = [
    //      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /*syn*/[SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    /*fin*/[CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
    /*ack*/[ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    /*rst*/[CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
];

/// From the real server.
#[rustfmt::skip]
const OUTPUT: Rows = [
    //      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /*syn*/[SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
    /*fin*/[TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
    /*ack*/[ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
    /*rst*/[CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
];

/// From the client, when replies bypass the director (DR, TUN).
#[rustfmt::skip]
const INPUT_ONLY: Rows = [
    //      NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    /*syn*/[SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    /*fin*/[CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
    /*ack*/[ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    /*rst*/[CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
];

/// The row of a segment: RST before SYN before FIN before ACK, as its flags have them; 4 is none of them.
const fn row_of(flags: usize) -> usize {
    match flags {
        f if f & TcpFlags::RST.0 as usize != 0 => 3,
        f if f & TcpFlags::SYN.0 as usize != 0 => 0,
        f if f & TcpFlags::FIN.0 as usize != 0 => 1,
        f if f & TcpFlags::ACK.0 as usize != 0 => 2,
        _ => 4,
    }
}

const fn moved(phase: Phase, row: usize, direction: usize) -> Phase {
    let state = phase.state() as usize;
    let reply = direction == Direction::Reply as usize;
    if sctp::is_ours(phase.state()) {
        let way = if reply { Direction::Reply } else { Direction::Original };
        let is_data = row == row_of(SctpEvent::Data.as_flags().0 as usize);
        return if is_data { sctp::next(phase, way, SctpEvent::Data) } else { Phase(phase.0 | LOOK) };
    }
    // What has no column has no flags: UDP.
    if state >= 11 {
        return phase;
    }
    let table = match (reply, phase.is_input_only()) {
        (true, _) => OUTPUT,
        (false, true) => INPUT_ONLY,
        (false, false) => INPUT,
    };
    let next = if row < 4 { table[row][state] } else { CL };
    Phase::new(next, phase.is_input_only() && !reply)
}

/// What no phase has: set where a segment is worth a look although the state may stay as it is. That is a client's SYN
/// that is repeated: where answers bypass the director, it has to leave as the first did, with its MSS lowered; and it
/// speaks against the server. It is the server's answer to a SYN, which is timed. And it is every packet of SCTP but
/// data: [`sctp::next`] says what becomes of it.
const LOOK: u8 = Phase::BITS + 1;

/// The three tables as one: phase 6 bits, row 3 bits, direction 1 bit.
const TABLE: [Phase; 1024] = {
    let mut table = [Phase(0); 1024];
    let mut at = 0;
    while at < table.len() {
        let (phase, row, direction) = (Phase(at as u8 & Phase::BITS), at >> 6 & 7, at >> 9);
        let is_syn = row == 0
            && direction == Direction::Original as usize
            && (phase.is_input_only() || matches!(phase.state(), SR));
        let is_udp = phase.state() as usize >= 11;
        let is_answer = row == 0 && direction == Direction::Reply as usize && matches!(phase.state(), SR);
        let look = if is_syn && !is_udp || is_answer { LOOK } else { 0 };
        table[at] = Phase(moved(phase, row, direction).0 | look);
        at += 1;
    }
    table
};

/// Where in the table the row of every combination of flags begins.
const ROW: [u16; 32] = {
    let mut rows = [0; 32];
    let mut flags = 0;
    while flags < 32 {
        rows[flags] = (row_of(flags) << 6) as u16;
        flags += 1;
    }
    rows
};

/// The phase after a segment with these flags, or an SCTP packet of this event in their place. A reply seen ends
/// input-only for good.
#[inline]
pub(super) fn next(phase: Phase, direction: Direction, flags: TcpFlags) -> Phase {
    if sctp::is_ours(phase.state()) {
        return sctp::next(phase, direction, SctpEvent::of_flags(flags));
    }
    Phase(at(phase, direction, flags).0 & Phase::BITS)
}

/// Whether a segment leaves the phase as it is, and is not worth a look of its own.
#[inline]
pub(super) fn stays(phase: Phase, direction: Direction, flags: TcpFlags) -> bool {
    at(phase, direction, flags) == phase
}

#[inline]
fn at(phase: Phase, direction: Direction, flags: TcpFlags) -> Phase {
    let row = ROW[(flags.0 & 31) as usize] as usize;
    TABLE[((direction as usize) << 9 | row | phase.0 as usize) & 1023]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    /// The states after each of these segments of one connection.
    fn walk(input_only: bool, segments: &[(Direction, TcpFlags)]) -> Vec<State> {
        let mut phase = Phase::new(NO, input_only);
        segments
            .iter()
            .map(|&(direction, flags)| {
                phase = next(phase, direction, flags);
                phase.state()
            })
            .collect()
    }

    /// The state after one segment from the client, both directions being seen.
    fn after(state: State, flags: TcpFlags) -> State {
        next(Phase::new(state, false), Original, flags).state()
    }

    #[test]
    fn a_reply_ends_input_only_for_good_and_udp_has_no_phases() {
        let opened = Phase::new(SR, true);
        assert_eq!(next(opened, Original, SYN), opened);
        assert!(!stays(opened, Original, SYN), "a repeated SYN is looked at");
        assert!(!stays(Phase::new(SR, false), Original, SYN));
        assert!(!stays(Phase::new(SR, false), Reply, TcpFlags(0x12)), "the answer is timed");
        assert!(stays(Phase::new(ES, true), Original, ACK) && !stays(opened, Original, ACK));
        assert_eq!(next(opened, Reply, TcpFlags(0x12)), Phase::new(SR, false));
        let udp = Phase::new(State::Udp, false);
        assert!(
            (0..=255).all(|flags| [Original, Reply].iter().all(|&d| next(udp, d, TcpFlags(flags)) == udp))
        );
    }

    #[test]
    fn data_passes_open_associations_and_everything_else_is_looked_at() {
        let sctp = State::ALL.into_iter().filter(|&state| sctp::is_ours(state));
        for (state, input_only) in sctp.flat_map(|state| [(state, false), (state, true)]) {
            let phase = Phase::new(state, input_only);
            for direction in [Original, Reply] {
                for event in SctpEvent::ALL {
                    let passes = stays(phase, direction, event.as_flags());
                    let same = sctp::next(phase, direction, event) == phase;
                    assert_eq!(passes, same && event == SctpEvent::Data, "{state:?} {direction:?} {event:?}");
                    assert_eq!(next(phase, direction, event.as_flags()), sctp::next(phase, direction, event));
                }
            }
        }
        assert!(stays(Phase::new(State::SctpEstablished, true), Original, SctpEvent::Data.as_flags()));
    }

    const NO: State = State::None;
    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags(0x11);
    const RST: TcpFlags = TcpFlags::RST;

    #[test]
    fn a_connection_through_nat_opens_and_closes_from_either_side() {
        let synack = TcpFlags(0x12);
        let opening = [(Original, SYN), (Reply, synack), (Original, ACK)];
        assert_eq!(walk(false, &opening), [SR, SR, ES]);
        let by_client = [&opening[..], &[(Original, FIN), (Reply, FIN), (Original, ACK)]].concat();
        assert_eq!(walk(false, &by_client)[3..], [CW, TW, TW]);
        let by_server = [&opening[..], &[(Reply, FIN), (Original, FIN), (Reply, ACK)]].concat();
        assert_eq!(walk(false, &by_server)[3..], [FW, TW, TW]);
    }

    #[test]
    fn a_connection_seen_from_one_side_only_opens_and_closes() {
        assert_eq!(
            walk(true, &[(Original, SYN), (Original, ACK), (Original, FIN), (Original, ACK)]),
            [SR, ES, FW, FW]
        );
    }

    /// The tables as the kernel's source and its readers write them: rows of states, told apart by eye.
    const IPVS: &str = "
        columns   NO ES SS SR FW TW CL CW LA LI SA
        in syn    SR ES ES SR SR SR SR SR SR SR SR
        in fin    CL CW SS TW TW TW CL CW LA LI TW
        in ack    ES ES SS ES FW TW CL CW CL LI ES
        in rst    CL CL CL SR CL CL CL CL LA LI SR
        in none   CL CL CL CL CL CL CL CL CL CL CL
        out syn   SS ES SS SR SS SS SS SS SS LI SR
        out fin   TW FW SS TW FW TW CL TW LA LI TW
        out ack   ES ES SS ES FW TW CL CW LA ES ES
        out rst   CL CL SS CL CL TW CL CL CL CL CL
        out none  CL CL CL CL CL CL CL CL CL CL CL
        only syn  SR ES ES SR SR SR SR SR SR SR SR
        only fin  CL FW SS TW FW TW CL CW LA LI TW
        only ack  ES ES SS ES FW TW CL CW CL LI ES
        only rst  CL CL CL SR CL CL CL CL LA LI CL
        only none CL CL CL CL CL CL CL CL CL CL CL";

    /// Every cell of the three tables, with every combination of flags that leads to its row, before a reply was seen
    /// and after; a reply on an entry that saw none goes by the output table, and the next segment by the input one.
    #[test]
    fn every_segment_moves_every_state_as_in_the_tables_of_ipvs() {
        let state = |name: &str| -> State {
            let at = "NO ES SS SR FW TW CL CW LA LI SA".split(' ').position(|n| n == name).unwrap();
            State::from_number(at as u8)
        };
        let mut rows = IPVS.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let columns: Vec<State> = rows.next().unwrap()[1..].iter().map(|name| state(name)).collect();
        let event = |flags: u8| match flags {
            f if f & 0x04 != 0 => "rst",
            f if f & 0x02 != 0 => "syn",
            f if f & 0x01 != 0 => "fin",
            f if f & 0x10 != 0 => "ack",
            _ => "none",
        };
        let mut cells = 0;
        for row in rows {
            let (table, row_of) = (row[0], row[1]);
            for (&from, to) in columns.iter().zip(&row[2..]) {
                for flags in (0..=255).filter(|&flags| event(flags) == row_of) {
                    let flags = TcpFlags(flags);
                    let (befores, direction): (&[bool], _) = match table {
                        "in" => (&[false], Original),
                        "only" => (&[true], Original),
                        _ => (&[false, true], Reply),
                    };
                    for &input_only in befores {
                        let after = next(Phase::new(from, input_only), direction, flags);
                        let expected = Phase::new(state(to), input_only && direction == Original);
                        assert_eq!(after, expected, "{table} {row_of} on {from:?} ({flags:?})");
                    }
                }
                cells += 1;
            }
        }
        assert_eq!(cells, 3 * 5 * 11);
    }

    #[test]
    fn a_reset_closes_an_established_connection_and_no_flags_close_any() {
        assert_eq!(walk(false, &[(Original, SYN), (Original, ACK), (Reply, RST)]), [SR, ES, CL]);
        assert_eq!(after(ES, TcpFlags::PSH), CL);
    }

    #[test]
    fn the_reset_flag_counts_before_syn_and_syn_before_fin() {
        let all = TcpFlags(0x1f);
        assert_eq!(after(ES, all), CL, "as RST");
        assert_eq!(after(TW, TcpFlags(0x13)), SR, "as SYN");
        assert_eq!(after(ES, TcpFlags(0x11)), CW, "as FIN");
    }
}
