/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The steering program: which packets of an interface the director sees. One instance per interface.
 *
 *   not for this interface's MAC, not plain IPv4 or IPv6, not TCP or UDP, a fragment   -> kernel
 *   destination is a virtual service                                                  -> director
 *   source is a real server's port, and destination is no address of the director's   -> director
 *   anything else: ARP, ICMP, ssh, health checks, VLANs                                -> kernel
 *
 * "Director" is the AF_XDP socket of the receive queue, provided that its worker has beaten within STALE_NS;
 * without a socket or a beat it is the kernel again, so that a hung or half-started director swallows nothing. */
#include "kernel.h"

#define QUEUES 64
#define STALE_NS 500000000ll

enum { IPPROTO_TCP = 6, IPPROTO_UDP = 17 };
enum { ETH_LEN = 14, IPV6_LEN = 40, TICKET_LEN = 28 };

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

struct mac {
	u8 byte[6];
	u8 zero[2];
};

/* One cache line per queue, so that two workers' beats do not share one. */
struct beat {
	u64 ns;
	u64 unused[7];
};

/* The first 28 bytes of the network layer of a frame on its way through the host door: for IPv4 without options
 * that is all of it and the first 8 bytes of TCP or UDP, ports and sequence number or checksum among them; for IPv6
 * it says little, but the frame that the ticket is for comes right behind it. */
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
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u8);
} own SEC(".maps");

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

/* The source and destination of a packet, or 0 if it is none of the director's concern. */
ALWAYS_INLINE int parse(void *data, void *end, struct endpoint *src, struct endpoint *dst)
{
	u8 *eth = data;
	u8 *ip = eth + ETH_LEN;
	u16 *ports;
	u8 proto;

	/* Room for the shortest packet of ours, IPv4 and UDP, which is what a ticket covers. */
	if (ip + TICKET_LEN > (u8 *)end)
		return 0;

	u16 type = *(u16 *)(eth + 12);
	if (type == NET16(0x0800)) {
		u32 header = (ip[0] & 15) * 4;
		u16 fragment = *(u16 *)(ip + 6);

		/* Neither MF nor an offset: only then are both ports in it, and in every packet of the flow. */
		if (ip[0] >> 4 != 4 || header < 20 || fragment & NET16(0x3fff))
			return 0;
		proto = ip[9];
		src->addr = (struct address){ { 0, 0, NET32(0xffff), *(u32 *)(ip + 12) } };
		dst->addr = (struct address){ { 0, 0, NET32(0xffff), *(u32 *)(ip + 16) } };
		ports = (u16 *)(ip + header);
	} else if (type == NET16(0x86dd)) {
		u32 *addr = (u32 *)(ip + 8);

		if (ip + IPV6_LEN > (u8 *)end || ip[0] >> 4 != 6)
			return 0;
		/* The next header is TCP or UDP itself: packets with extension headers are the kernel's. */
		proto = ip[6];
		src->addr = (struct address){ { addr[0], addr[1], addr[2], addr[3] } };
		dst->addr = (struct address){ { addr[4], addr[5], addr[6], addr[7] } };
		ports = (u16 *)(ip + IPV6_LEN);
	} else {
		return 0;
	}

	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || (void *)(ports + 2) > end)
		return 0;
	src->port = ports[0];
	dst->port = ports[1];
	src->proto = dst->proto = proto;
	return 1;
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
ALWAYS_INLINE int came_through_the_door(u32 *ip)
{
	struct ticket ticket = { { ip[0], ip[1], ip[2], ip[3], ip[4], ip[5], ip[6] } };

	/* Looked up first: that takes no lock, and nearly no packet has one. */
	return bpf_map_lookup_elem(&tickets, &ticket) && bpf_map_delete_elem(&tickets, &ticket) == 0;
}

ALWAYS_INLINE int steer_packet(struct xdp_md *ctx, int generic)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct endpoint src = {}, dst = {};

	if (!parse(data, end, &src, &dst))
		return XDP_PASS;
	if (!bpf_map_lookup_elem(&services, &dst)) {
		if (!bpf_map_lookup_elem(&returns, &src) || bpf_map_lookup_elem(&own, &dst.addr))
			return XDP_PASS;
	}
	/* A switch floods frames for a MAC that it has not learnt, a direct-routed packet for the VIP among them. */
	if (!for_this_interface(data))
		return XDP_PASS;
	if (!worker_is_alive(ctx->rx_queue_index))
		return XDP_PASS;
	if (generic && came_through_the_door(data + ETH_LEN))
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
