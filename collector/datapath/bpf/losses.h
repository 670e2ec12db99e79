/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Redirected frames that the egress NIC did not take. The program that sent them cannot see it;
 * the kernel's tracepoints can.
 */
#ifndef COLLECTOR_LOSSES_H
#define COLLECTOR_LOSSES_H

#include "send.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* The kernel's own types, as far as they are read here. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	unsigned char *head;
	unsigned char *data;
	__u16 network_header;
	__u32 mark;
};

#pragma clang attribute pop

enum skb_drop_reason___kernel {
	SKB_DROP_REASON_NOT_SPECIFIED___kernel,
	SKB_DROP_REASON_NEIGH_CREATEFAIL___kernel,
	SKB_DROP_REASON_NEIGH_FAILED___kernel,
	SKB_DROP_REASON_NEIGH_QUEUEFULL___kernel,
};

#define REASON(name) \
	bpf_core_enum_value(enum skb_drop_reason___kernel, SKB_DROP_REASON_##name##___kernel)

static __always_inline bool is_ours(const struct net_device *dev)
{
	return dev->nd_net.net->ns.inum == config.netns;
}

static __always_inline void count_nic_losses(const struct net_device *from, __u32 frames)
{
	const volatile struct nic *nic;

	if (!is_ours(from))
		return;
	nic = find_nic(from->ifindex);
	if (nic)
		count_lost(nic->first, DROP_EGRESS, frames);
}

/* XDP: the bulk queue was offered to the egress NIC's driver, which left `drops` frames. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(collector_xmit, const struct net_device *from, const struct net_device *to, int sent,
	     int drops, int err)
{
	if (drops > 0)
		count_nic_losses(from, drops);
	return 0;
}

/* XDP: the frame did not even reach the bulk queue. */
SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(collector_refused, const struct net_device *from)
{
	count_nic_losses(from, 1);
	return 0;
}

/*
 * A packet that waits for its neighbour begins with its IP header, as no other marked one does. Over
 * IPv6 the kernel gives no other sign of why it gave it up.
 */
static __always_inline bool awaits_neighbour(const struct sk_buff *skb)
{
	return skb->data == skb->head + skb->network_header;
}

/*
 * tc: the kernel gave up a marked packet and says why. Drivers that free what they have sent as
 * if it were dropped give no reason, so those without one cannot be counted.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(collector_freed, struct sk_buff *skb, void *location, __u32 reason)
{
	__u32 kind = skb->mark & MARK_KIND;
	__u32 slot = skb->mark & MARK_SOURCE;
	struct net_device *dev = skb->dev;
	bool neighbour;

	if ((kind != MARK_OUTER && kind != MARK_FRAME) || !dev || !is_ours(dev))
		return 0;
	neighbour = reason == REASON(NEIGH_CREATEFAIL) || reason == REASON(NEIGH_FAILED) ||
		    reason == REASON(NEIGH_QUEUEFULL) || awaits_neighbour(skb);
	if (reason <= REASON(NOT_SPECIFIED) && !(kind == MARK_OUTER && neighbour))
		return 0;
	if (kind == MARK_FRAME) {
		struct frame frame = { .source = slot };

		count(&frame, DROP_EGRESS, bpf_ktime_get_ns());
	} else {
		count_lost(slot, neighbour ? DROP_NEIGHBOUR : DROP_EGRESS, 1);
	}
	return 0;
}

#endif
