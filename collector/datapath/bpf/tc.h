/* SPDX-License-Identifier: GPL-2.0 */
/* The whole of it: whatever a frame needs, done here. */
#ifndef COLLECTOR_TC_H
#define COLLECTOR_TC_H

#include <linux/errno.h>
#include <linux/pkt_cls.h>

#include "change.h"

/* Bytes that must lie in one piece to be read: the mirror's wrapping, then the frame's own headers. */
#define WRAPPING 512
#define HEADERS 192

/* Where an outer packet goes. */
struct way_out {
	__u32 ifindex;
	bool fragmented;
	__u32 payload; /* bytes behind the outer IP header */
};

static __always_inline struct cursor tc_packet(struct __sk_buff *skb, __u32 want)
{
	struct cursor packet = { (void *)(long)skb->data, (void *)(long)skb->data_end };

	if (want > skb->len)
		want = skb->len;
	if (packet.pos + want > packet.end) {
		bpf_skb_pull_data(skb, want);
		packet.pos = (void *)(long)skb->data;
		packet.end = (void *)(long)skb->data_end;
	}
	return packet;
}

/*
 * The kernel keeps the outermost VLAN tag beside the packet, and would put it on the outer one.
 * Taking it off brings the next one up, until none is left.
 */
static __noinline int pop_tags(struct __sk_buff *skb, struct link *link)
{
	int tags;

	if (!link)
		return -1;
	for (tags = 0; tags < MAX_VLAN_TAGS && skb->vlan_present; tags++) {
		link->tags[tags].tpid = skb->vlan_proto;
		link->tags[tags].tci = bpf_htons(skb->vlan_tci);
		if (bpf_skb_vlan_pop(skb)) {
			tags++; /* taken off all the same; the next is cut short, and stays in the bytes */
			break;
		}
	}
	return skb->vlan_present ? -1 : tags;
}

/* Of a span frame, whose tags the kernel holds: those that are kept are written back. */
static __always_inline int change_span_link(struct __sk_buff *skb,
					    const volatile struct source *source,
					    const struct flow *flow, struct link *link,
					    struct change *change)
{
	int all = flow->vlan_tags + (skb->vlan_present ? 1 : 0);
	int popped = pop_tags(skb, link);
	int kept = source->strip_vlan ? 0 : popped;

	if (popped < 0)
		return DROP_MALFORMED;
	change->old_len = MAC_ADDRESSES;
	if (source->strip_vlan) /* those that the kernel left in the packet's bytes */
		change->old_len += (all - popped) * sizeof(struct vlan_tag);
	if (kept && source->rspan_vlan &&
	    (bpf_ntohs(link->tags[0].tci) & VLAN_ID) == source->rspan_vlan) {
#pragma unroll
		for (int i = 1; i < MAX_VLAN_TAGS; i++)
			link->tags[i - 1] = link->tags[i];
		kept--;
	}
	if (!popped &&
	    !source->strip_vlan) /* the RSPAN tag may be one that the kernel does not know */
		change->old_len += unwanted_tags(source, flow);
	change->link_len = MAC_ADDRESSES + kept * sizeof(struct vlan_tag);
	return SENT;
}

/* The Ethernet part of what the frame leaves with, and how much of the packet it replaces. */
static __noinline int change_link(struct __sk_buff *skb, const struct frame *frame,
				  const struct flow *flow, struct link *link, struct change *change)
{
	const volatile struct source *source;
	int verdict;

	if (!frame || !flow || !link || !change)
		return DROP_NO_MEMORY;
	source = &config.sources[frame->source % MAX_SOURCES];
	if (frame->made) {
		make_ethernet((struct ethhdr *)link, frame->made);
		*change = plan_change(frame, 0);
		return SENT;
	}
	if (source->type == SOURCE_SPAN) {
		verdict = change_span_link(skb, source, flow, link, change);
		if (verdict != SENT)
			return verdict;
	} else {
		*change = plan_change(frame, unwanted_tags(source, flow));
	}
	return bpf_skb_load_bytes(skb, frame->offset, link->macs, sizeof(link->macs))
		       ? DROP_MALFORMED
		       : SENT;
}

/*
 * Cuts the packet's end off. The kernel does not cut where it has found a header behind that: then
 * the packet's lengths lie.
 */
static __always_inline int tc_trim(struct __sk_buff *skb, __u32 len)
{
	long err = bpf_skb_change_tail(skb, len, 0);

	if (err)
		return err == -EINVAL ? DROP_MALFORMED : DROP_NO_MEMORY;
	return SENT;
}

/* Makes the packet begin with `head_len` bytes that are ours to write in the place of `old_len`. */
static __always_inline long make_room(struct __sk_buff *skb, __u32 head_len, __u32 old_len)
{
	int shift = (int)head_len - (int)old_len;

	if (shift > 0)
		return bpf_skb_change_head(skb, shift, 0);
	return shift < 0 ? bpf_skb_adjust_room(skb, shift, BPF_ADJ_ROOM_MAC, 0) : 0;
}

static __always_inline long write_head(struct __sk_buff *skb, struct cpu_state *cpu, __u32 link_len)
{
	long err;

	if (config.tmeter.ipv6)
		err = bpf_skb_store_bytes(skb, 0, &cpu->outer.v6, sizeof(cpu->outer.v6), 0);
	else
		err = bpf_skb_store_bytes(skb, 0, &cpu->outer.v4, sizeof(cpu->outer.v4), 0);
	if (err || !link_len)
		return err;
	barrier_var(link_len); /* the same length, as verifiers from Linux 6.1 on understand it */
	link_len = ((link_len - 1) & (sizeof(cpu->link) - 1)) + 1;
	return bpf_skb_store_bytes(skb, outer_len(), &cpu->link, link_len, 0);
}

/* Wraps the frame where it lies in the packet, cut to what the path takes where that is wanted. */
static __noinline int tc_wrap(struct __sk_buff *skb, struct frame *frame, const struct flow *flow,
			      struct cpu_state *cpu, struct way_out *out)
{
	struct change change = {};
	__u32 inner_len, most, end;
	int verdict;

	if (!frame || !flow || !cpu || !out)
		return DROP_NO_MEMORY;
	verdict = change_link(skb, frame, flow, &cpu->link, &change);
	if (verdict != SENT)
		return verdict;
	end = skb->len;
	if (end < change.old_len)
		return DROP_MALFORMED;
	inner_len = change.link_len + end - change.old_len;
	most = config.tmeter.path_mtu - outer_overhead();
	frame->oversize = inner_len > most;
	if (inner_len > most && config.tmeter.oversize == OVERSIZE_DROP)
		return DROP_OVERSIZE;
	if (inner_len > most && config.tmeter.oversize == OVERSIZE_SLICE) {
		verdict = tc_trim(skb, end - (inner_len - most));
		if (verdict != SENT)
			return verdict;
		inner_len = most;
	}
	out->fragmented = inner_len > most;
	out->payload = sizeof(struct udphdr) + sizeof(struct vxlanhdr) + inner_len;
	build_outer(&cpu->outer, cpu, inner_len, frame->vni, flow->hash);
	if (make_room(skb, outer_len() + change.link_len, change.old_len) ||
	    write_head(skb, cpu, change.link_len))
		return DROP_NO_MEMORY;
	return SENT;
}

/* What has to look at the whole packet: a checksum, and fragments. */
static __noinline int tc_finish(struct __sk_buff *skb, struct cpu_state *cpu,
				const struct way_out *out)
{
	const __u32 at = sizeof(struct ethhdr) + network_header_len();
	__u8 *bytes = this_scratch();
	__u32 len;
	__u16 check;

	if (!cpu || !out || !bytes)
		return DROP_NO_MEMORY;
	len = out->payload;
	if (!len || len >= SCRATCH_SIZE)
		return DROP_OVERSIZE;
	if (bpf_skb_load_bytes(skb, at, bytes, bounded(len)))
		return DROP_NO_MEMORY;
	if (config.tmeter.udp_checksum) {
		check = udp_checksum(bytes, len);
		__builtin_memcpy(bytes + 6, &check, sizeof(check));
		if (bpf_skb_store_bytes(skb, at + 6, &check, sizeof(check), 0))
			return DROP_NO_MEMORY;
	}
	return out->fragmented ? send_fragments(skb, out->ifindex, len, next_ip_id(cpu)) : SENT;
}

/* Functions of their own for the verifier, which else looks at them for each way to get here. */
__noinline int tc_is_open_inside(struct __sk_buff *skb, __u32 at, __u32 protocol)
{
	void *data = (void *)(long)skb->data;
	struct cursor c = { data + (at & 0x7ff), (void *)(long)skb->data_end };

	return is_open_inside(c, protocol);
}

__noinline int tc_parse(struct __sk_buff *skb, __u32 at, __u32 made, bool beside, struct flow *flow)
{
	void *data = (void *)(long)skb->data;
	struct cursor c = { data + (at & MAX_OFFSET), (void *)(long)skb->data_end };

	if (!flow)
		return 0;
	parse_flow(c, made, beside, flow);
	return 0;
}

static __always_inline bool tc_is_partial(struct __sk_buff *skb, const struct frame *frame,
					  const struct flow *flow)
{
	return flow->partial ||
	       (flow->overlay &&
		tc_is_open_inside(skb, frame->offset + flow->overlay_at, flow->overlay));
}

/* `returned`: from the splitter. */
static __always_inline int tc_forward(struct __sk_buff *skb, struct frame *frame, bool returned,
				      struct way_out *out, __u64 now)
{
	const volatile struct source *source = &config.sources[frame->source % MAX_SOURCES];
	bool span = source->type == SOURCE_SPAN;
	struct cursor packet = tc_packet(skb, span ? HEADERS : WRAPPING);
	struct cpu_state *cpu = this_cpu();
	struct flow_way *way;
	struct flow flow = {};
	enum hop hop;
	int verdict;

	verdict = unwrap(packet, source, frame);
	if (verdict != CLAIMED && !skb->gso_size)
		return verdict;
	if (!skb->gso_size && frame->offset + frame->len < skb->len) { /* padding of the carrier */
		verdict = tc_trim(skb, frame->offset + frame->len);
		if (verdict != SENT)
			return verdict;
	}
	tc_packet(skb, frame->offset + HEADERS);
	tc_parse(skb, frame->offset, frame->made, span && skb->vlan_present, &flow);
	frame->telephony = flow.telephony;
	way = find_way(flow.hash);
	if (!way || !cpu)
		return DROP_NO_MEMORY;
	if (skb->gso_size || tc_is_partial(skb, frame, &flow))
		remember_way(&way->split_until, now);
	if (!returned && way->split_until > now) {
		remember_way(&way->slow_until, now);
		out->ifindex = config.splitter_tx;
		return SPLIT;
	}
	if (flow.deep)
		return DROP_MALFORMED;
	if (flow.loop)
		return DROP_LOOP;
	hop = find_hop(skb, cpu, now);
	if (hop == HOP_NONE)
		return DROP_NO_ROUTE;
	out->ifindex = hop == HOP_KNOWN ? cpu->ifindex : config.splitter_tx;
	verdict = tc_wrap(skb, frame, &flow, cpu, out);
	if (verdict != SENT || !(out->fragmented || config.tmeter.udp_checksum))
		return verdict;
	return tc_finish(skb, cpu, out);
}

/* A mark would have the kernel's drop tracepoint count the frame once more. */
static __always_inline int discard(struct __sk_buff *skb)
{
	skb->mark = 0;
	return TC_ACT_SHOT;
}

/* An outer packet that waits for its next hop: the kernel resolves it, and sends it then. */
static __always_inline int send_to_neighbour(struct __sk_buff *skb, __u64 now)
{
	struct cpu_state *cpu = this_cpu();
	__u32 mark = skb->mark;

	if (cpu && find_hop(skb, cpu, now) != HOP_NONE)
		return bpf_redirect_neigh(cpu->ifindex, NULL, 0, 0);
	if ((mark & MARK_KIND) == MARK_OUTER)
		count_lost(mark & MARK_SOURCE, DROP_NO_ROUTE, 1);
	return discard(skb);
}

#endif
