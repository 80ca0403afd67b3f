//! What an SCTP packet says to the state machine.

use super::TcpFlags;

/// What a packet says by its first chunk (RFC 9260, 3.2), as far as states go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SctpEvent {
    /// DATA, SACK, HEARTBEAT and whatever else moves nothing.
    Data = 0,
    /// INIT: an end opens an association.
    Init = 1,
    /// INIT ACK: the other one hands it a cookie.
    InitAck = 2,
    /// COOKIE ECHO: which comes back.
    CookieEcho = 3,
    /// COOKIE ACK: the association is open.
    CookieAck = 4,
    /// SHUTDOWN: an end has no more to send.
    Shutdown = 5,
    /// SHUTDOWN ACK: nor has the other one.
    ShutdownAck = 6,
    /// SHUTDOWN COMPLETE.
    ShutdownComplete = 7,
    /// ERROR.
    Error = 8,
    /// ABORT.
    Abort = 9,
}

impl SctpEvent {
    /// Every event, in the order of the discriminants.
    pub const ALL: [SctpEvent; 10] = [
        SctpEvent::Data,
        SctpEvent::Init,
        SctpEvent::InitAck,
        SctpEvent::CookieEcho,
        SctpEvent::CookieAck,
        SctpEvent::Shutdown,
        SctpEvent::ShutdownAck,
        SctpEvent::ShutdownComplete,
        SctpEvent::Error,
        SctpEvent::Abort,
    ];

    /// What a chunk of this type says.
    pub const fn of_chunk(kind: u8) -> SctpEvent {
        match kind {
            1 => SctpEvent::Init,
            2 => SctpEvent::InitAck,
            6 => SctpEvent::Abort,
            7 => SctpEvent::Shutdown,
            8 => SctpEvent::ShutdownAck,
            9 => SctpEvent::Error,
            10 => SctpEvent::CookieEcho,
            11 => SctpEvent::CookieAck,
            14 => SctpEvent::ShutdownComplete,
            _ => SctpEvent::Data,
        }
    }

    /// The event in the place of a TCP segment's flags: what moves nothing looks like an acknowledgement, and everything
    /// else like a segment with none of SYN, ACK, FIN and RST, in whose other bits it stands.
    pub const fn as_flags(self) -> TcpFlags {
        match self as u8 {
            0 => TcpFlags::ACK,
            event => TcpFlags((event & 7) << 5 | event & 8),
        }
    }

    /// The event that [`SctpEvent::as_flags`] put there.
    pub const fn of_flags(flags: TcpFlags) -> SctpEvent {
        let event = (flags.0 >> 5 | flags.0 & 8) as usize;
        if flags.has(TcpFlags::ACK) || event >= SctpEvent::ALL.len() {
            SctpEvent::Data
        } else {
            SctpEvent::ALL[event]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_through_flags_and_only_data_looks_like_a_segment_of_tcp() {
        for (number, event) in SctpEvent::ALL.into_iter().enumerate() {
            assert_eq!((event as usize, SctpEvent::of_flags(event.as_flags())), (number, event));
            let of_tcp = event.as_flags().0 & 0x17;
            assert_eq!(of_tcp, if event == SctpEvent::Data { 0x10 } else { 0 });
        }
        assert!((0..=255).all(|flags| SctpEvent::ALL.contains(&SctpEvent::of_flags(TcpFlags(flags)))));
    }
}
