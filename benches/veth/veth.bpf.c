/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The programs around a director that `make bench-veth` measures: who floods it, who takes the bare loop's packets,
 * and who counts what arrives. A packet of the flood is 64 bytes long and known by MAGIC in its payload:
 *
 *   | Ethernet 14 | IPv4 20 | UDP 8 | counterweight 2 | zero 4 | MAGIC 8 | zero 8 |
 *   0            14        34      42                44       48        56       64
 */
#include "../../src/dataplane/port/bpf/kernel.h"

#define PACKET 64
#define MAGIC 0x6f6f6c66786c766cull

enum { XDP_DROP = 1 };

static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;

/* What flood sends, over which interface, and of how many flows. */
struct order {
	u64 packet[PACKET / 8];
	u32 ifindex;
	u16 first_port;
	u16 flows;
};

/* Where a packet of the flood should arrive, in network order. */
struct goal {
	u8 mac[6];
	u16 port;
	u32 addr;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct order);
} orders SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct goal);
} goals SEC(".maps");

/* Packets sent; arrived at the goal; arrived elsewhere. Each has one writer at a time. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 3);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} counts SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} xsks SEC(".maps");

enum { SENT, RIGHT, WRONG };

ALWAYS_INLINE u64 *counted(u32 what)
{
	return bpf_map_lookup_elem(&counts, &what);
}

ALWAYS_INLINE int of_the_flood(struct xdp_md *ctx)
{
	u8 *packet = (u8 *)(long)ctx->data;

	return packet + PACKET <= (u8 *)(long)ctx->data_end && *(u64 *)(packet + 48) == MAGIC;
}

/* Runs on live frames: makes each the flood's next packet, whatever it was, and sends it. The source port tells the
 * flow; a counterweight in the payload keeps the checksum right. */
SEC("xdp")
int flood(struct xdp_md *ctx)
{
	u32 first = 0;
	struct order *order = bpf_map_lookup_elem(&orders, &first);
	u64 *sent = counted(SENT);
	u8 *packet = (u8 *)(long)ctx->data;

	if (!order || !sent || !order->flows || packet + PACKET > (u8 *)(long)ctx->data_end)
		return XDP_DROP;
	u32 flow = *sent % order->flows;
	*sent += 1;
	for (int i = 0; i < PACKET / 8; i++)
		((u64 *)packet)[i] = order->packet[i];
	*(u16 *)(packet + 34) = NET16(order->first_port + flow);
	*(u16 *)(packet + 42) = NET16(order->flows - flow);
	return bpf_redirect(order->ifindex, 0);
}

/* The flood for the bare loop, the rest for the kernel. */
SEC("xdp")
int to_socket(struct xdp_md *ctx)
{
	return of_the_flood(ctx) ? bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS) : XDP_PASS;
}

/* Counts the flood where it ends. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	u32 first = 0;
	struct goal *goal = bpf_map_lookup_elem(&goals, &first);
	u8 *packet = (u8 *)(long)ctx->data;

	if (!goal || !of_the_flood(ctx) || packet + PACKET > (u8 *)(long)ctx->data_end)
		return XDP_PASS;
	int right = *(u32 *)packet == *(u32 *)goal->mac && *(u16 *)(packet + 4) == *(u16 *)(goal->mac + 4) &&
		    *(u32 *)(packet + 30) == goal->addr && *(u16 *)(packet + 36) == goal->port;
	u64 *count = counted(right ? RIGHT : WRONG);
	if (count)
		*count += 1;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
