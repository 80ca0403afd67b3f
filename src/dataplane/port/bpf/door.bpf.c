/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The host door: passes every frame to the kernel. It is never attached; the director runs it on single frames
 * (BPF_PROG_RUN with live frames), and what it passes goes up the stack as if it had just arrived. */
#include "kernel.h"

SEC("xdp")
int door(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
