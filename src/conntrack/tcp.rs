//! IPVS's TCP state machine (reference: the tables of `ip_vs_proto_tcp.c`), to be checked with a finger.
//!
//! A column is the present state, a row what the segment says: the first of RST, SYN, FIN, ACK that is set. A
//! segment with none of the four closes the connection.

use super::state::State;
use super::state::State::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    SynRecv as SR, SynSent as SS, TimeWait as TW,
};
use crate::net::{Direction, TcpFlags};

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

/// The three tables as one: column 4 bits, row 3 bits, table 2 bits. What is between them closes.
const TABLE: [State; 512] = {
    let mut table = [CL; 512];
    let tables = [INPUT, INPUT_ONLY, OUTPUT];
    let mut at = 0;
    while at < 3 * 4 * 11 {
        let (which, row, column) = (at / 44, at / 11 % 4, at % 11);
        table[which << 7 | row << 4 | column] = tables[which][row][column];
        at += 1;
    }
    table
};

/// The row of every combination of ACK, RST, SYN and FIN (the flags' bits 4, 2, 1 and 0); 4 is none of them.
const ROW: [u8; 32] = {
    let mut rows = [4; 32];
    let mut flags = 0;
    while flags < 32 {
        rows[flags] = match flags {
            f if f & 0x04 != 0 => 3,
            f if f & 0x02 != 0 => 0,
            f if f & 0x01 != 0 => 1,
            f if f & 0x10 != 0 => 2,
            _ => 4,
        };
        flags += 1;
    }
    rows
};

/// The state after a segment with these flags. `state` is the present one's number. `input_only`: no reply of the
/// connection was ever seen.
#[inline]
pub(super) fn next(state: u8, direction: Direction, input_only: bool, flags: TcpFlags) -> State {
    let table = match direction {
        Direction::Original => input_only as usize,
        Direction::Reply => 2,
    };
    let row = ROW[(flags.0 & 0x1f) as usize] as usize;
    TABLE[(table << 7 | row << 4 | (state & 15) as usize) & 511]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    /// The states after each of these segments of one connection.
    fn walk(input_only: bool, segments: &[(Direction, TcpFlags)]) -> Vec<State> {
        let mut state = NO;
        segments
            .iter()
            .map(|&(direction, flags)| {
                state = next(state as u8, direction, input_only, flags);
                state
            })
            .collect()
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

    #[test]
    fn a_reset_closes_an_established_connection_and_no_flags_close_any() {
        assert_eq!(walk(false, &[(Original, SYN), (Original, ACK), (Reply, RST)]), [SR, ES, CL]);
        assert_eq!(next(ES as u8, Original, false, TcpFlags::PSH), CL);
    }

    #[test]
    fn the_reset_flag_counts_before_syn_and_syn_before_fin() {
        let all = TcpFlags(0x1f);
        assert_eq!(next(ES as u8, Original, false, all), CL, "as RST");
        assert_eq!(next(TW as u8, Original, false, TcpFlags(0x13)), SR, "as SYN");
        assert_eq!(next(ES as u8, Original, false, TcpFlags(0x11)), CW, "as FIN");
    }
}
