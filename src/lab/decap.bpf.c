/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * At a real server: takes the outer header off IP-in-IP packets (RFC 2003, RFC 2473, RFC 4213) and passes them on, as
 * the kernel's ipip, sit and ip6tnl devices would. Everything else passes as it is.
 *
 *   | Ethernet | outer IPv4, protocol 4 or 41, 20..60 bytes | inner packet |
 *   | Ethernet | outer IPv6, next header 4 or 41, 40 bytes  | inner packet |
 *              '---- goes; the Ethernet header moves up to the inner packet ----'
 */
#include "../dataplane/port/bpf/kernel.h"

static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;

enum { ETHERNET = 14, IPV4 = 20, IPV6 = 40, IPIP = 4, IPV6_IN_IP = 41 };

/* The length of the outer header at `ip` and the protocol number of what is inside, or 0 if there is no tunnel. */
ALWAYS_INLINE u32 outer_header(u16 type, u8 *ip, u8 *end, u8 *inside)
{
	if (type == NET16(0x86dd)) {
		if (ip + IPV6 > end || ip[0] >> 4 != 6)
			return 0;
		*inside = ip[6];
		return IPV6;
	}
	if (type != NET16(0x0800) || ip + IPV4 > end || ip[0] >> 4 != 4)
		return 0;
	/* A fragment of an outer packet holds no whole inner one: the kernel may put it together. */
	if ((ip[6] & 0x3f) || ip[7])
		return 0;
	*inside = ip[9];
	u32 len = (ip[0] & 0x0f) * 4;
	return len < IPV4 ? 0 : len;
}

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	u8 *packet = (u8 *)(long)ctx->data;
	u8 *end = (u8 *)(long)ctx->data_end;
	u8 inside = 0;

	if (packet + ETHERNET > end)
		return XDP_PASS;
	u8 *ip = packet + ETHERNET;
	u32 outer = outer_header(*(u16 *)(packet + 12), ip, end, &inside);
	if (!outer || ip + outer + 1 > end)
		return XDP_PASS;
	u16 type;
	if (inside == IPIP && ip[outer] >> 4 == 4)
		type = NET16(0x0800);
	else if (inside == IPV6_IN_IP && ip[outer] >> 4 == 6)
		type = NET16(0x86dd);
	else
		return XDP_PASS;

	/* Out of the packet before it moves, so that the two may overlap. */
	u8 ethernet[ETHERNET];
	__builtin_memcpy(ethernet, packet, ETHERNET);
	__builtin_memcpy(ethernet + 12, &type, sizeof(type));
	if (bpf_xdp_adjust_head(ctx, (int)outer))
		return XDP_PASS;
	packet = (u8 *)(long)ctx->data;
	end = (u8 *)(long)ctx->data_end;
	if (packet + ETHERNET <= end)
		__builtin_memcpy(packet, ethernet, ETHERNET);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
