/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The steering program: which packets of an interface the director sees. One instance per interface.
 *
 *   not for this interface's MAC, not IPv4 or IPv6, neighbour discovery                -> kernel
 *   destination is a virtual service, or among the ports of one that has many         -> director
 *   source is a real server's port, and destination is no address of the director's   -> director
 *   destination is where the director's own probes along the data path come from       -> director
 *   anything else: ARP, ping, ssh, health checks                                       -> kernel
 *
 * and, where the director says that it takes them (see WANTS_):
 *
 *   a fragment to a virtual service's address, or from a masqueraded server's          -> director
 *   an ICMP error about a packet of a connection's or of a tunnel's                    -> director
 *   any of these behind one or two VLAN tags                                           -> director
 *
 * "Director" is the AF_XDP socket of the receive queue, provided that its worker has beaten within STALE_NS;
 * without a socket or a beat it is the kernel again, so that a hung or half-started director swallows nothing. */
#include "kernel.h"

#define QUEUES 64
#define STALE_NS 500000000ll

/* So many extension headers are stepped over: each kind that there is once, and destination options twice, as
 * RFC 8200, 4.1 has them at most. */
#define EXTENSIONS 5

enum { IPPROTO_ICMP = 1, IPPROTO_IPIP = 4, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_IPV6 = 41, IPPROTO_ICMPV6 = 58, IPPROTO_SCTP = 132 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
enum { ETH_LEN = 14, VLAN_LEN = 4, IPV4_LEN = 20, IPV6_LEN = 40, ICMP_LEN = 8, TICKET_LEN = 28 };

/* What the director wants beside whole packets with ports: the value of an address in `hosts`. */
enum {
	/* Fragments to this address, and from it. */
	WANTS_FRAGMENTS = 1,
	/* ICMP errors to this address, and those about packets to it. */
	WANTS_ERRORS = 2,
	/* ICMP errors to this address about tunnelled packets. */
	WANTS_TUNNEL_ERRORS = 4,
};

/* What the director wants of this interface as a whole: the only value in `settings`. */
enum {
	WANTS_VLANS = 1,
	/* There is something in `ranges`: services of many ports, or where probes come from. */
	WANTS_RANGES = 2,
	/* There are servers in `returns` with all their ports, which are port 0. */
	WANTS_ALL_RETURNS = 4,
};

/* An IPv4 address is in its mapped form, ::ffff:a.b.c.d. All in network order. */
struct address {
	u32 word[4];
};

struct endpoint {
	struct address addr;
	u16 port;
	u8 proto;
	u8 zero;
};

/* The first and the last, in host order. */
struct ports {
	u16 first, last;
};

struct mac {
	u8 byte[6];
	u8 zero[2];
};

/* One cache line per queue, so that two workers' beats do not share one. */
struct beat {
	u64 ns;
	u64 unused[7];
};

/* The first 28 bytes behind the Ethernet header of a frame on its way through the host door, or of a shorter frame
 * the first 20 and zeros: for IPv4 without options that is all of it and the first 8 bytes of TCP, UDP or SCTP, ports and
 * sequence number, checksum or tag among them; for IPv6 it says little, but the frame that the ticket is for comes right
 * behind it. */
struct ticket {
	u32 word[TICKET_LEN / 4];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 262144);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, u8);
} services SEC(".maps"), returns SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 262144);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	/* With port 0. */
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, struct ports);
} ranges SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 262144);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u8);
} own SEC(".maps"), hosts SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} settings SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 64);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct mac);
	MAP_TYPE(value, u8);
} macs SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_UINT(max_entries, QUEUES);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} xsks SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, QUEUES);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct beat);
} heartbeat SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct ticket);
	MAP_TYPE(value, u8);
} tickets SEC(".maps");

enum kind {
	OTHER,
	/* TCP, UDP or SCTP with both ports. */
	WHOLE,
	/* A piece of a TCP or UDP datagram: its addresses are known, its ports are not looked at. */
	PIECE,
	/* An ICMP or ICMPv6 error: its addresses are known. */
	ERROR,
	/* IP in IP: its addresses are known. */
	TUNNELLED,
};

/* What a packet is, and whose. All pointers are into the frame, which ends at `end`. */
struct packet {
	struct endpoint src, dst;
	/* Behind the IP headers. */
	u8 *upper;
};

ALWAYS_INLINE enum kind parse_upper(struct packet *p, u8 proto, void *end)
{
	u16 *ports = (u16 *)p->upper;

	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP) {
		if ((void *)(ports + 2) > end)
			return OTHER;
		p->src.port = ports[0];
		p->dst.port = ports[1];
		p->src.proto = p->dst.proto = proto;
		return WHOLE;
	}
	if (proto == IPPROTO_IPIP || proto == IPPROTO_IPV6)
		return TUNNELLED;
	if (p->upper + ICMP_LEN > (u8 *)end)
		return OTHER;
	/* RFC 792: 3 unreachable, 4 source quench, 11 time exceeded, 12 parameter problem; redirects are the kernel's. */
	if (proto == IPPROTO_ICMP && p->upper[0] < 32 && 1u << p->upper[0] & (1 << 3 | 1 << 4 | 1 << 11 | 1 << 12))
		return ERROR;
	/* RFC 4443, 2.1: errors are below 128; neighbour discovery is above. */
	if (proto == IPPROTO_ICMPV6 && p->upper[0] < 128)
		return ERROR;
	return OTHER;
}

ALWAYS_INLINE enum kind parse_v4(struct packet *p, u8 *ip, void *end)
{
	if (ip + IPV4_LEN > (u8 *)end || ip[0] >> 4 != 4)
		return OTHER;
	u32 header = (ip[0] & 15) * 4;
	if (header < IPV4_LEN)
		return OTHER;
	p->src.addr = (struct address){ { 0, 0, NET32(0xffff), *(u32 *)(ip + 12) } };
	p->dst.addr = (struct address){ { 0, 0, NET32(0xffff), *(u32 *)(ip + 16) } };
	p->upper = ip + header;
	/* Neither MF nor an offset: only then are both ports in it, and in every packet of the flow. */
	if (*(u16 *)(ip + 6) & NET16(0x3fff))
		return ip[9] == IPPROTO_TCP || ip[9] == IPPROTO_UDP ? PIECE : OTHER;
	return parse_upper(p, ip[9], end);
}

ALWAYS_INLINE enum kind parse_v6(struct packet *p, u8 *ip, void *end)
{
	u32 *addr = (u32 *)(ip + 8);

	if (ip + IPV6_LEN > (u8 *)end || ip[0] >> 4 != 6)
		return OTHER;
	p->src.addr = (struct address){ { addr[0], addr[1], addr[2], addr[3] } };
	p->dst.addr = (struct address){ { addr[4], addr[5], addr[6], addr[7] } };

	u8 next = ip[6];
	u8 *at = ip + IPV6_LEN;
#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSIONS; i++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT && next != DESTINATION)
			break;
		if (at + 8 > (u8 *)end)
			return OTHER;
		/* More pieces, or an offset; a packet in one piece (RFC 6946) is whole. */
		if (next == FRAGMENT && *(u16 *)(at + 2) & NET16(0xfff9))
			return at[0] == IPPROTO_TCP || at[0] == IPPROTO_UDP || at[0] == DESTINATION ? PIECE : OTHER;
		/* Segments left: the destination is not the last one. */
		if (next == ROUTING && at[3])
			return OTHER;
		u32 len = next == FRAGMENT ? 8 : 8 + 8 * at[1];
		next = at[0];
		at += len;
	}
	p->upper = at;
	return parse_upper(p, next, end);
}

ALWAYS_INLINE int is_set(u32 what)
{
	u32 zero = 0;
	u32 *wants = bpf_map_lookup_elem(&settings, &zero);

	return wants && *wants & what;
}

/* Steps over one or two tags, 802.1Q or 802.1ad, if the director wants such frames. The Ethernet type behind them, or
 * 0 if it is not one of IP's. */
ALWAYS_INLINE u16 behind_vlan_tags(u8 **ip, u16 type, void *end)
{
	if (!is_set(WANTS_VLANS))
		return 0;
#pragma clang loop unroll(disable)
	for (int tags = 0; tags < 2 && (type == NET16(0x8100) || type == NET16(0x88a8)); tags++) {
		if (*ip + VLAN_LEN > (u8 *)end)
			return 0;
		type = *(u16 *)(*ip + 2);
		*ip += VLAN_LEN;
	}
	return type == NET16(0x0800) || type == NET16(0x86dd) ? type : 0;
}

ALWAYS_INLINE enum kind parse(struct packet *p, u8 *eth, void *end)
{
	/* Room for the shortest packet of ours, which is a piece of IPv4. */
	if (eth + ETH_LEN + IPV4_LEN > (u8 *)end)
		return OTHER;
	u8 *ip = eth + ETH_LEN;
	u16 type = *(u16 *)(eth + 12);
	if (type != NET16(0x0800) && type != NET16(0x86dd)) {
		type = behind_vlan_tags(&ip, type, end);
		if (!type)
			return OTHER;
	}
	return type == NET16(0x0800) ? parse_v4(p, ip, end) : parse_v6(p, ip, end);
}

ALWAYS_INLINE int wants(struct address *host, u8 what)
{
	u8 *wanted = bpf_map_lookup_elem(&hosts, host);

	return wanted && *wanted & what;
}

ALWAYS_INLINE int is_own(struct address *addr)
{
	return bpf_map_lookup_elem(&own, addr) != 0;
}

ALWAYS_INLINE int is_service(struct endpoint *to)
{
	if (bpf_map_lookup_elem(&services, to))
		return 1;
	if (!is_set(WANTS_RANGES))
		return 0;
	struct endpoint all = *to;
	all.port = 0;
	struct ports *ports = bpf_map_lookup_elem(&ranges, &all);
	u16 port = NET16(to->port);
	return ports && ports->first <= port && port <= ports->last;
}

ALWAYS_INLINE int is_return(struct endpoint *from)
{
	if (bpf_map_lookup_elem(&returns, from))
		return 1;
	if (!is_set(WANTS_ALL_RETURNS))
		return 0;
	struct endpoint all = *from;
	all.port = 0;
	return bpf_map_lookup_elem(&returns, &all) != 0;
}

/* Whether an ICMP error is about a packet of the director's: one that a virtual service has answered, to whose address
 * it comes; one that went to a masqueraded server, as which it comes to the client; or a tunnel's outer packet. */
ALWAYS_INLINE int is_wanted_error(struct packet *p, void *end)
{
	struct packet quoted = {};
	u8 *ip = p->upper + ICMP_LEN;
	enum kind kind;

	if (wants(&p->dst.addr, WANTS_ERRORS))
		return 1;
	if (p->dst.addr.word[2] == NET32(0xffff) && !p->dst.addr.word[0] && !p->dst.addr.word[1])
		kind = parse_v4(&quoted, ip, end);
	else
		kind = parse_v6(&quoted, ip, end);
	if (kind == TUNNELLED)
		return wants(&p->dst.addr, WANTS_TUNNEL_ERRORS);
	return kind == WHOLE && wants(&quoted.dst.addr, WANTS_ERRORS) &&
	       is_return(&quoted.dst) && !is_own(&p->dst.addr);
}

ALWAYS_INLINE int is_wanted(struct packet *p, enum kind kind, void *end)
{
	if (kind == WHOLE)
		return is_service(&p->dst) || (is_return(&p->src) && !is_own(&p->dst.addr));
	if (kind == PIECE)
		return wants(&p->dst.addr, WANTS_FRAGMENTS) ||
		       (wants(&p->src.addr, WANTS_FRAGMENTS) && !is_own(&p->dst.addr));
	return kind == ERROR && is_wanted_error(p, end);
}

ALWAYS_INLINE int worker_is_alive(u32 queue)
{
	struct beat *beat = bpf_map_lookup_elem(&heartbeat, &queue);

	/* Signed: a beat may be younger than our reading of the clock. */
	return beat && (s64)(bpf_ktime_get_ns() - *(volatile u64 *)&beat->ns) < STALE_NS;
}

ALWAYS_INLINE int for_this_interface(u8 *eth)
{
	struct mac mac = { { eth[0], eth[1], eth[2], eth[3], eth[4], eth[5] }, { 0, 0 } };

	return bpf_map_lookup_elem(&macs, &mac) != 0;
}

/* In generic mode a frame from the host door passes this program again on its way up; its ticket lets it go on. */
ALWAYS_INLINE int came_through_the_door(u8 *eth, void *end)
{
	struct ticket ticket = {};
	u32 *word = (u32 *)(eth + ETH_LEN);

	if (eth + ETH_LEN + IPV4_LEN > (u8 *)end)
		return 0;
	for (int i = 0; i < IPV4_LEN / 4; i++)
		ticket.word[i] = word[i];
	if (eth + ETH_LEN + TICKET_LEN <= (u8 *)end) {
		ticket.word[5] = word[5];
		ticket.word[6] = word[6];
	}
	/* Looked up first: that takes no lock, and nearly no packet has one. */
	return bpf_map_lookup_elem(&tickets, &ticket) && bpf_map_delete_elem(&tickets, &ticket) == 0;
}

ALWAYS_INLINE int steer_packet(struct xdp_md *ctx, int generic)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct packet packet = {};
	enum kind kind = parse(&packet, data, end);

	if (kind == OTHER || !is_wanted(&packet, kind, end))
		return XDP_PASS;
	/* A switch floods frames for a MAC that it has not learnt, a direct-routed packet for the VIP among them. */
	if (!for_this_interface(data))
		return XDP_PASS;
	if (!worker_is_alive(ctx->rx_queue_index))
		return XDP_PASS;
	if (generic && came_through_the_door(data, end))
		return XDP_PASS;
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	return steer_packet(ctx, 0);
}

SEC("xdp")
int steer_generic(struct xdp_md *ctx)
{
	return steer_packet(ctx, 1);
}

char _license[] SEC("license") = "Dual MIT/GPL";
