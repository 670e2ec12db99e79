// SPDX-License-Identifier: GPL-2.0
/*
 * The way of a frame: claim it for a source, unwrap it, read its flow, wrap it anew, send it.
 *
 * The tc program does all of it. The XDP program is a shortcut for what needs no help, and leaves
 * the rest to the tc program on the same NIC; so whoever decides a frame's fate counts it, once.
 */
#include <linux/pkt_cls.h>

#include "losses.h"
#include "send.h"

#define HEADERS 192 /* bytes that must lie in one piece to be read */

char _license[] SEC("license") = "GPL";

static __always_inline int claim(struct cursor packet, const volatile struct nic *nic,
				 struct frame *frame)
{
	if (nic->span != NONE) {
		frame->source = nic->span;
		return CLAIMED;
	}
	frame->source = nic->first;
	return claim_tunnel(packet, nic->ifindex, &frame->source);
}

static __always_inline int xdp_wrap(struct xdp_md *ctx, struct cpu_state *cpu,
				    const struct frame *frame, const struct flow *flow, __u32 strip)
{
	__u8 macs[MAC_ADDRESSES];
	struct outer outer;
	void *data = (void *)(long)ctx->data + (frame->offset & 0x1ff);
	void *end = (void *)(long)ctx->data_end;

	if (strip) {
		if (data + MAC_ADDRESSES > end)
			return SLOW;
		__builtin_memcpy(macs, data, MAC_ADDRESSES);
	}
	if (bpf_xdp_adjust_head(ctx, (int)(frame->offset + strip) - (int)sizeof(outer)))
		return SLOW;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(outer) + (strip ? MAC_ADDRESSES : 0) > end)
		return DROP_NO_MEMORY;
	build_outer(&outer, cpu, frame->len - strip, frame->vni, flow->hash);
	__builtin_memcpy(data, &outer, sizeof(outer));
	if (strip)
		__builtin_memcpy(data + sizeof(outer), macs, MAC_ADDRESSES);
	return SENT;
}

/* What this program leaves to tc, it leaves with the whole flow: what is passed up waits on its way. */
static __always_inline bool needs_tc(struct xdp_md *ctx, struct cpu_state *cpu,
				     const struct frame *frame, __u32 strip, __u64 now)
{
	bool oversize = frame->len - strip + OUTER_IP_OVERHEAD > config.tmeter.path_mtu;

	return oversize || find_hop(ctx, cpu, now) != HOP_KNOWN;
}

static __always_inline int xdp_forward(struct xdp_md *ctx, struct cursor packet,
				       struct frame *frame, __u64 now)
{
	const volatile struct source *source = &config.sources[frame->source % MAX_SOURCES];
	struct cpu_state *cpu = this_cpu();
	struct flow_way *way;
	struct flow flow;
	__u32 in_reach, strip;
	int verdict;

	verdict = unwrap(packet, source, frame);
	if (verdict != CLAIMED)
		return verdict;
	packet.pos += frame->offset & 0x1ff;
	in_reach = packet.end - packet.pos;
	if (in_reach > frame->len) /* bytes behind the frame: tc trims them */
		return SLOW;
	parse_flow(packet, &flow);
	if (flow.loop)
		return DROP_LOOP;
	strip = source->strip_vlan ? flow.vlan_tags * sizeof(struct vlan_tag) : 0;
	way = find_way(flow.hash);
	if (!way || !cpu || way->slow_until > now)
		return SLOW;
	/* Less in reach: the frame lies in several buffers. */
	if (in_reach < frame->len || needs_tc(ctx, cpu, frame, strip, now)) {
		remember_way(&way->slow_until, now);
		return SLOW;
	}
	return xdp_wrap(ctx, cpu, frame, &flow, strip);
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
	verdict = claim(packet, nic, &frame);
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

/* What takes the place of the packet's first bytes at tc. */
struct head {
	struct outer outer;
	__u8 macs[MAC_ADDRESSES];
	struct vlan_tag tags[MAX_VLAN_TAGS];
} __attribute__((packed));

/* Where an outer packet goes. */
struct way_out {
	__u32 ifindex;
	__u32 fragmented; /* bytes of the outer IP packet's payload, if it must go in fragments */
};

static __always_inline struct cursor tc_packet(struct __sk_buff *skb)
{
	struct cursor packet = { (void *)(long)skb->data, (void *)(long)skb->data_end };
	__u32 want = skb->len < HEADERS ? skb->len : HEADERS;

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
static __noinline int pop_tags(struct __sk_buff *skb, struct head *head)
{
	int tags;

	if (!head)
		return -1;
	for (tags = 0; tags < MAX_VLAN_TAGS && skb->vlan_present; tags++) {
		head->tags[tags].tpid = skb->vlan_proto;
		head->tags[tags].tci = bpf_htons(skb->vlan_tci);
		if (bpf_skb_vlan_pop(skb))
			return -1;
	}
	return skb->vlan_present ? -1 : tags;
}

/* Makes the packet begin with `head_len` bytes of ours in the place of `old_len` that it had. */
static __always_inline int replace_head(struct __sk_buff *skb, const struct head *head,
					__u32 head_len, __u32 old_len)
{
	int shift = (int)head_len - (int)old_len;
	long err = 0;

	if (shift > 0)
		err = bpf_skb_change_head(skb, shift, 0);
	else if (shift < 0)
		err = bpf_skb_adjust_room(skb, shift, BPF_ADJ_ROOM_MAC, 0);
	if (err || head_len < sizeof(head->outer) || head_len > sizeof(*head))
		return DROP_NO_MEMORY;
	return bpf_skb_store_bytes(skb, 0, head, head_len, 0) ? DROP_NO_MEMORY : SENT;
}

/* Wraps the frame where it lies in the packet. */
static __noinline int tc_wrap(struct __sk_buff *skb, const struct frame *frame,
			      const struct flow *flow, struct cpu_state *cpu, struct way_out *out)
{
	const volatile struct source *source;
	__u32 old_len, head_len, inner_len, end;
	struct head head = {};
	__u32 all_tags;
	int tags = 0;

	if (!frame || !flow || !cpu || !out)
		return DROP_NO_MEMORY;
	source = &config.sources[frame->source % MAX_SOURCES];
	old_len = frame->offset + MAC_ADDRESSES;
	end = frame->offset + frame->len;
	all_tags = flow->vlan_tags + (skb->vlan_present ? 1 : 0);
	if (source->type == SOURCE_SPAN) {
		tags = pop_tags(skb, &head);
		end = skb->len;
	}
	if (source->strip_vlan) /* those that the kernel left in the packet's bytes */
		old_len += (all_tags - tags) * sizeof(struct vlan_tag);
	if (tags < 0 || end < old_len ||
	    bpf_skb_load_bytes(skb, frame->offset, head.macs, MAC_ADDRESSES))
		return DROP_MALFORMED;
	head_len = sizeof(head.outer) + MAC_ADDRESSES;
	if (!source->strip_vlan)
		head_len += tags * sizeof(struct vlan_tag);
	inner_len = head_len - sizeof(head.outer) + end - old_len;

	out->fragmented = 0;
	if (inner_len + OUTER_IP_OVERHEAD > config.tmeter.path_mtu) {
		if (config.tmeter.oversize == OVERSIZE_DROP)
			return DROP_OVERSIZE;
		if (config.tmeter.oversize == OVERSIZE_SLICE) {
			end -= inner_len + OUTER_IP_OVERHEAD - config.tmeter.path_mtu;
			inner_len = config.tmeter.path_mtu - OUTER_IP_OVERHEAD;
		} else {
			out->fragmented = inner_len + OUTER_IP_OVERHEAD - sizeof(struct iphdr);
		}
	}
	if (end != skb->len && bpf_skb_change_tail(skb, end, 0))
		return DROP_NO_MEMORY;
	build_outer(&head.outer, cpu, inner_len, frame->vni, flow->hash);
	return replace_head(skb, &head, head_len, old_len);
}

/* `returned`: from the splitter. */
static __always_inline int tc_forward(struct __sk_buff *skb, struct frame *frame, bool returned,
				      struct way_out *out, __u64 now)
{
	const volatile struct source *source = &config.sources[frame->source % MAX_SOURCES];
	struct cursor packet = tc_packet(skb);
	struct cpu_state *cpu = this_cpu();
	struct flow_way *way;
	struct flow flow;
	enum hop hop;
	int verdict;

	verdict = unwrap(packet, source, frame);
	if (verdict != CLAIMED && !skb->gso_size)
		return verdict;
	if (!skb->gso_size && frame->offset + frame->len < skb->len) { /* padding of the carrier */
		if (bpf_skb_change_tail(skb, frame->offset + frame->len, 0))
			return DROP_NO_MEMORY;
		packet = tc_packet(skb);
	}
	packet.pos += frame->offset & 0x1ff;
	parse_flow(packet, &flow);
	way = find_way(flow.hash);
	if (!way || !cpu)
		return DROP_NO_MEMORY;
	if (skb->gso_size)
		remember_way(&way->split_until, now);
	if (!returned && way->split_until > now) {
		remember_way(&way->slow_until, now);
		out->ifindex = config.splitter_tx;
		return SPLIT;
	}
	if (flow.loop)
		return DROP_LOOP;
	hop = find_hop(skb, cpu, now);
	if (hop == HOP_NONE)
		return DROP_NO_ROUTE;
	out->ifindex = hop == HOP_KNOWN ? cpu->ifindex : config.splitter_tx;
	verdict = tc_wrap(skb, frame, &flow, cpu, out);
	if (verdict != SENT)
		return verdict;
	return out->fragmented ? send_fragments(skb, out->ifindex, out->fragmented) : SENT;
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

static __always_inline int tc_claim(struct __sk_buff *skb, struct frame *frame)
{
	const volatile struct nic *nic = find_nic(skb->ifindex);
	int verdict;

	if (!nic)
		return PASSED;
	if (nic->span == NONE && skb->vlan_present) {
		frame->source = nic->first;
		verdict = PASSED;
	} else {
		verdict = claim(tc_packet(skb), nic, frame);
	}
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
