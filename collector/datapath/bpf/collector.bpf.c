// SPDX-License-Identifier: GPL-2.0
/*
 * The way of a frame: claim it for a source, unwrap it, read its flow, wrap it anew, send it.
 *
 * The tc program does all of it. The XDP program is a shortcut for what needs no help, and leaves
 * the rest to the tc program on the same NIC; so whoever decides a frame's fate counts it, once.
 */
#include "losses.h"
#include "tc.h"
#include "xdp.h"

char _license[] SEC("license") = "GPL";

/* `tagged`: a VLAN tag is not in the packet's bytes. Tagged packets are never the mirror's tunnel. */
static __always_inline int claim(void *ctx, struct cursor packet, bool tagged,
				 const volatile struct nic *nic, struct frame *frame)
{
	frame->source = nic->first;
	if (nic->span == NONE)
		return tagged ? PASSED : claim_tunnel(packet, nic->ifindex, &frame->source);
	if (nic->shared && !tagged && is_hosts_own(ctx, packet, nic))
		return PASSED;
	frame->source = nic->span;
	return CLAIMED;
}

SEC("xdp.frags")
int collector_xdp(struct xdp_md *ctx)
{
	struct cursor packet = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	const volatile struct nic *nic = find_nic(ctx->ingress_ifindex);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct frame frame = { .len = bpf_xdp_get_buff_len(ctx) };
	struct cpu_state *cpu = this_cpu();
	int verdict;

	if (!nic || !cpu)
		return XDP_PASS;
	verdict = claim(ctx, packet, false, nic, &frame);
	if (verdict == CLAIMED)
		verdict = xdp_forward(ctx, packet, &frame, now);
	if (verdict == PASSED || verdict == SLOW)
		return XDP_PASS;
	count(&frame, verdict, now);
	return verdict == SENT ? bpf_redirect(cpu->ifindex, 0) : XDP_DROP;
}

/* Redirected frames can leave through a NIC only if it has an XDP program, be it this one. */
SEC("xdp.frags")
int collector_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

static __always_inline int tc_claim(struct __sk_buff *skb, struct frame *frame)
{
	const volatile struct nic *nic = find_nic(skb->ifindex);
	bool tagged = skb->vlan_present &&
		      skb->vlan_tci & VLAN_ID; /* VLAN 0 is a priority, and no VLAN */
	int verdict;

	if (!nic)
		return PASSED;
	verdict = claim(skb, tc_packet(skb, HEADERS), tagged, nic, frame);
	if (verdict == PASSED)
		count_passed(frame->source, skb->gso_segs ? skb->gso_segs : 1);
	return verdict;
}

SEC("tc")
int collector_tc(struct __sk_buff *skb)
{
	bool returned = skb->ifindex == config.splitter_rx;
	__u32 tag = skb->vlan_present ? sizeof(struct vlan_tag) : 0;
	struct frame frame = { .len = skb->len + tag };
	__u64 now = bpf_ktime_get_coarse_ns();
	struct way_out out = {};
	int verdict = CLAIMED;

	if (!returned) {
		verdict = tc_claim(skb, &frame);
	} else if ((skb->mark & MARK_KIND) == MARK_FRAME) {
		frame.source = skb->mark & MARK_SOURCE;
	} else {
		return (skb->mark & MARK_MASK) == MARK ? send_to_neighbour(skb, now) : TC_ACT_SHOT;
	}
	if (verdict == CLAIMED)
		verdict = tc_forward(skb, &frame, returned, &out, now);
	if (verdict == PASSED)
		return TC_ACT_UNSPEC;
	if (verdict != SPLIT)
		count(&frame, verdict, now);
	if (verdict != SENT && verdict != SPLIT)
		return discard(skb);
	skb->mark = (verdict == SENT ? MARK_OUTER : MARK_FRAME) | frame.source;
	return bpf_redirect(out.ifindex, 0);
}
