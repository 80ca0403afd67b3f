/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A tunnel's end at a real server: takes the outer header off IP-in-IP packets (RFC 2003) and passes them on, as
 * the kernel's ipip device would. Everything else passes as it is.
 *
 *   | Ethernet | outer IPv4, protocol 4, 20..60 bytes | inner packet |
 *              '---- goes; the Ethernet header moves up to the inner packet ----'
 */
#include "../dataplane/port/bpf/kernel.h"

static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;

enum { ETHERNET = 14, IPV4 = 20, IPIP = 4 };

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	u8 *packet = (u8 *)(long)ctx->data;
	u8 *end = (u8 *)(long)ctx->data_end;

	if (packet + ETHERNET + IPV4 > end)
		return XDP_PASS;
	u8 *ip = packet + ETHERNET;
	if (packet[12] != 0x08 || packet[13] != 0x00 || ip[0] >> 4 != 4 || ip[9] != IPIP)
		return XDP_PASS;
	/* A fragment of an outer packet holds no whole inner one: the kernel may put it together. */
	if ((ip[6] & 0x3f) || ip[7])
		return XDP_PASS;
	u32 outer = (ip[0] & 0x0f) * 4;
	if (outer < IPV4 || ip + outer + IPV4 > end || ip[outer] >> 4 != 4)
		return XDP_PASS;

	/* Out of the packet before it moves, so that the two may overlap. */
	u8 ethernet[ETHERNET];
	__builtin_memcpy(ethernet, packet, ETHERNET);
	if (bpf_xdp_adjust_head(ctx, (int)outer))
		return XDP_PASS;
	packet = (u8 *)(long)ctx->data;
	end = (u8 *)(long)ctx->data_end;
	if (packet + ETHERNET <= end)
		__builtin_memcpy(packet, ethernet, ETHERNET);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
