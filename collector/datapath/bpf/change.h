/* SPDX-License-Identifier: GPL-2.0 */
/* What of a packet is replaced, at either hook. */
#ifndef COLLECTOR_CHANGE_H
#define COLLECTOR_CHANGE_H

#include "send.h"

/* What the frame leaves without: bytes of VLAN tags in the packet, the outermost first. */
static __always_inline __u32 unwanted_tags(const volatile struct source *source,
					   const struct flow *flow)
{
	if (source->strip_vlan)
		return flow->vlan_tags * sizeof(struct vlan_tag);
	if (source->rspan_vlan && flow->vlan_tags && flow->vlan_id == source->rspan_vlan)
		return sizeof(struct vlan_tag);
	return 0;
}

/* Bytes of the packet that are replaced, and what replaces them behind the outer headers. */
struct change {
	__u32 old_len;
	__u32 link_len; /* 0, or MAC addresses, or a whole Ethernet header */
};

static __always_inline struct change plan_change(const struct frame *frame, __u32 strip)
{
	if (frame->made)
		return (struct change){ frame->offset, sizeof(struct ethhdr) };
	if (strip)
		return (struct change){ frame->offset + MAC_ADDRESSES + strip, MAC_ADDRESSES };
	return (struct change){ frame->offset, 0 };
}

#endif
