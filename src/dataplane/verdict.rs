//! What becomes of a packet. Every outcome has a name, and every name is counted.

use crate::net::InterfaceId;
use serde::Serialize;

/// What the pipeline says of one frame; the port that lent the frame carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send the frame, as it now is, out of this interface.
    Forward(InterfaceId),
    /// Not ours: the kernel gets the frame as it came, but for a partial checksum that was completed.
    ToHost(HostReason),
    /// Dropped and counted.
    Drop(DropReason),
    /// Dropped for this reason, and its sender is told: the frame now holds the answer, to be sent out of this
    /// interface.
    Answer(InterfaceId, DropReason),
    /// A copy of it waits with the road for the first fragment of its datagram. It is counted when it goes on, or is
    /// dropped.
    Held,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every reason, in the order of the discriminants.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name in reports, metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// The frame ends before its headers do.
        Truncated = "truncated",
        /// An IP version field that is neither 4 nor what the Ethernet type announced.
        BadVersion = "bad_version",
        /// An IPv4 header length below 20 bytes, or a TCP data offset below 20 or beyond the segment.
        BadHeaderLength = "bad_header_length",
        /// A total or UDP length that does not fit the frame or its own header.
        BadLength = "bad_length",
        /// The IPv4 header checksum is wrong, or that of an ICMP error.
        BadChecksum = "bad_checksum",
        /// An IPv4 option, or one of a hop-by-hop options header, whose length is impossible.
        BadOptions = "bad_options",
        /// IPv4 options lay out the packet's route (RFC 7126, 4.3).
        SourceRouted = "source_routed",
        /// The source is no address that a packet may come from: 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/4, everybody; ::, ::1,
        /// ff00::/8, mapped IPv4.
        MartianSource = "martian_source",
        /// The source is one of the director's own addresses, a VIP among them.
        OwnSource = "own_source",
        /// Source and destination are one address and one port.
        Land = "land",
        /// A tunnel's packet from one of the director's own addresses: it has sent it, and it came back.
        Looped = "looped",
        /// A first fragment without its whole transport header (RFC 1858), or another that begins within it (RFC 3128).
        TinyFragment = "tiny_fragment",
        /// A fragment whose data overlap another's, or any further one of such a datagram (RFC 5722).
        FragmentOverlap = "fragment_overlap",
        /// A fragment whose data have come already.
        FragmentDuplicate = "fragment_duplicate",
        /// A fragment of an SCTP packet to a masqueraded server at another port: the checksum stands over all fragments.
        SctpFragment = "sctp_fragment",
        /// A fragment that ends beyond the longest datagram.
        FragmentTooLong = "fragment_too_long",
        /// A fragment without data, or of a length that lets none follow although one does, or one that contradicts what
        /// is known of the datagram's end, or any further one of such a datagram.
        FragmentMisfit = "fragment_misfit",
        /// Too many fragments wait for the first of their datagram, or have left gaps.
        TooManyFragments = "too_many_fragments",
        /// A fragment has waited in vain for the first of its datagram, or the datagram's connection is gone.
        FragmentTimeout = "fragment_timeout",
        /// The packet may not travel another hop.
        TtlExpired = "ttl_expired",
        /// The service has no server that may take a new connection.
        NoRealServer = "no_real_server",
        /// The connection is ended from here, and its ends are being reset.
        Condemned = "condemned",
        /// `max_connections` connections exist already.
        TableFull = "table_full",
        /// No route leads to the next hop, or it leads out of an interface that lvx does not work on.
        NoRoute = "no_route",
        /// The next hop's MAC is not known yet; the kernel has been asked for it.
        NoNeighbour = "no_neighbour",
        /// The packet, with its outer header if there is one, does not fit the egress interface's MTU.
        TooBig = "too_big",
        /// The frame has no room in front for an outer header.
        NoHeadroom = "no_headroom",
        /// The egress interface's transmit ring is full.
        TxRingFull = "tx_ring_full",
        /// A frame for the host that could not be handed over.
        HostUnreachable = "host_unreachable",
    }
}

reasons! {
    /// Why a packet belongs to the kernel.
    HostReason {
        /// ARP, LLDP, VLAN-tagged, or anything else that is not IP in a plain Ethernet frame.
        NotIp = "not_ip",
        /// Neither TCP, UDP, SCTP nor an ICMP error (ICMP echo to the VIP, VRRP and so on), or behind IPv6 headers that are not followed.
        OtherProtocol = "other_protocol",
        /// A fragment to no virtual service's address, and from no masqueraded server's.
        Fragment = "fragment",
        /// Addressed to no virtual service of ours, and a reply of no connection.
        NotOurs = "not_ours",
        /// An ICMP error about a packet of no connection, or one that no end of a connection is to hear of.
        Unrelated = "unrelated",
        /// Addressed to a service, but of no connection and not opening one; the kernel answers with RST.
        NoConnection = "no_connection",
    }
}
