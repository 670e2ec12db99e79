/* SPDX-License-Identifier: GPL-2.0 */
/* The shortcut: frames that need no help, wrapped where they lie. */
#ifndef COLLECTOR_XDP_H
#define COLLECTOR_XDP_H

#include "change.h"

static __always_inline int xdp_checksum(struct xdp_md *ctx, __u32 len)
{
	const __u32 at = sizeof(struct ethhdr) + sizeof(struct ipv6hdr);
	__u8 *bytes = this_scratch();
	struct outer_ipv6 *outer;

	if (!bytes || !len || len >= SCRATCH_SIZE)
		return DROP_NO_MEMORY;
	if (bpf_xdp_load_bytes(ctx, at, bytes, bounded(len)))
		return DROP_NO_MEMORY;
	outer = (void *)(long)ctx->data;
	if ((void *)(outer + 1) > (void *)(long)ctx->data_end)
		return DROP_NO_MEMORY;
	outer->udp.check = udp_checksum(bytes, len);
	return SENT;
}

static __always_inline int xdp_wrap(struct xdp_md *ctx, struct cpu_state *cpu,
				    const struct frame *frame, const struct flow *flow, __u32 strip)
{
	struct change change = plan_change(frame, strip);
	__u32 inner_len = frame->len - strip + (frame->made ? sizeof(struct ethhdr) : 0);
	void *data = (void *)(long)ctx->data + (frame->offset & 0x1ff);
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr link = {};
	union outer outer;

	if (frame->made) {
		make_ethernet(&link, frame->made);
	} else if (strip) {
		if (data + MAC_ADDRESSES > end)
			return SLOW;
		__builtin_memcpy(&link, data, MAC_ADDRESSES);
	}
	if (bpf_xdp_adjust_head(ctx, (int)change.old_len - (int)(outer_len() + change.link_len)))
		return SLOW;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + outer_len() + change.link_len > end)
		return DROP_NO_MEMORY;
	build_outer(&outer, cpu, inner_len, frame->vni, flow->hash);
	if (config.tmeter.ipv6)
		__builtin_memcpy(data, &outer.v6, sizeof(outer.v6));
	else
		__builtin_memcpy(data, &outer.v4, sizeof(outer.v4));
	data += outer_len();
	barrier_var(data); /* verifiers lose the check above on the way here */
	if (frame->made && data + sizeof(link) <= end)
		__builtin_memcpy(data, &link, sizeof(link));
	else if (strip && data + MAC_ADDRESSES <= end)
		__builtin_memcpy(data, &link, MAC_ADDRESSES);
	if (!config.tmeter.udp_checksum)
		return SENT;
	return xdp_checksum(ctx, sizeof(struct udphdr) + sizeof(struct vxlanhdr) + inner_len);
}

/* Functions of their own for the verifier, which else looks at them for each way to get here. */
__noinline int xdp_is_open_inside(struct xdp_md *ctx, __u32 at, __u32 protocol)
{
	void *data = (void *)(long)ctx->data;
	struct cursor c = { data + (at & 0x7ff), (void *)(long)ctx->data_end };

	return is_open_inside(c, protocol);
}

__noinline int xdp_parse(struct xdp_md *ctx, __u32 at, __u32 made, struct flow *flow)
{
	void *data = (void *)(long)ctx->data;
	struct cursor c = { data + (at & MAX_OFFSET), (void *)(long)ctx->data_end };

	if (!flow)
		return 0;
	parse_flow(c, made, false, flow);
	return 0;
}

static __always_inline bool xdp_is_partial(struct xdp_md *ctx, const struct frame *frame,
					   const struct flow *flow)
{
	return flow->partial ||
	       (flow->overlay &&
		xdp_is_open_inside(ctx, frame->offset + flow->overlay_at, flow->overlay));
}

/* What this program leaves to tc, it leaves with the whole flow: what is passed up waits on its way. */
static __always_inline bool needs_tc(struct xdp_md *ctx, struct cpu_state *cpu,
				     const struct frame *frame, const struct flow *flow,
				     __u32 inner_len, __u64 now)
{
	bool oversize = inner_len + outer_overhead() > config.tmeter.path_mtu;

	return oversize || xdp_is_partial(ctx, frame, flow) || find_hop(ctx, cpu, now) != HOP_KNOWN;
}

static __always_inline int xdp_forward(struct xdp_md *ctx, struct cursor packet,
				       struct frame *frame, __u64 now)
{
	const volatile struct source *source = &config.sources[frame->source % MAX_SOURCES];
	struct cpu_state *cpu = this_cpu();
	__u32 strip, inner_len, in_reach;
	struct flow_way *way;
	struct flow flow = {};
	int verdict;

	verdict = unwrap(packet, source, frame);
	if (verdict != CLAIMED)
		return verdict;
	in_reach = distance(packet.pos, packet.end) - frame->offset;
	xdp_parse(ctx, frame->offset, frame->made, &flow);
	frame->telephony = flow.telephony;
	if (in_reach <= frame->len) { /* else what was read may lie behind the frame */
		if (flow.deep)
			return DROP_MALFORMED;
		if (flow.loop)
			return DROP_LOOP;
	}
	strip = unwanted_tags(source, &flow);
	inner_len = frame->len - strip + (frame->made ? sizeof(struct ethhdr) : 0);
	way = find_way(flow.hash);
	if (!way || !cpu || way->slow_until > now)
		return SLOW;
	/* Less in reach: the frame lies in several buffers. More: tc trims what is behind it. */
	if (in_reach != frame->len || needs_tc(ctx, cpu, frame, &flow, inner_len, now)) {
		remember_way(&way->slow_until, now);
		return SLOW;
	}
	return xdp_wrap(ctx, cpu, frame, &flow, strip);
}

#endif
