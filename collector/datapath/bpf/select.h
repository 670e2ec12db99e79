/* SPDX-License-Identifier: GPL-2.0 */
/* Whose frame it is, and where in the packet it lies. */
#ifndef COLLECTOR_SELECT_H
#define COLLECTOR_SELECT_H

#include "parse.h"

#define VXLAN_FLAG_VNI 0x08

struct vxlanhdr {
	__u8 flags;
	__u8 reserved[3];
	__be32 vni; /* upper 24 bits */
};

/* The mirrored frame within the packet that carried it. */
struct frame {
	__u32 source; /* slot */
	__u32 offset; /* bytes of the mirror's own headers in front of it */
	__u32 len; /* bytes */
	__u32 vni; /* that it leaves with */
};

static __always_inline const volatile struct nic *find_nic(__u32 ifindex)
{
	for (__u32 i = 0; i < MAX_NICS && i < config.nr_nics; i++)
		if (config.nics[i].ifindex == ifindex)
			return &config.nics[i];
	return NULL;
}

static __always_inline bool sender_allowed(__u32 ifindex, enum source_type type, __be16 port,
					   __be32 address, __u32 *slot)
{
	struct sender_key key = {
		.prefixlen = SENDER_BITS,
		.ifindex = ifindex,
		.type = type,
		.port = port,
		.address = { [10] = 0xff, [11] = 0xff },
	};
	__u32 *found;

	__builtin_memcpy(&key.address[12], &address, sizeof(address));
	found = bpf_map_lookup_elem(&senders, &key);
	if (found)
		*slot = *found;
	return found;
}

/* Finds the source that a tunnel packet on this NIC belongs to. */
static __always_inline int claim_tunnel(struct cursor c, __u32 ifindex, __u32 *slot)
{
	struct ethhdr *eth = take(&c, sizeof(*eth));
	struct iphdr *ip;
	struct udphdr *udp;

	if (!eth || eth->h_proto != bpf_htons(ETH_P_IP))
		return PASSED;
	ip = take_ipv4(&c);
	if (!ip || ip->protocol != IPPROTO_UDP)
		return PASSED;
	if (ip->frag_off & bpf_htons(IP_OFFSET)) /* no port to know it by */
		return PASSED;
	udp = take(&c, sizeof(*udp));
	if (!udp || !sender_allowed(ifindex, SOURCE_VXLAN, udp->dest, ip->saddr, slot))
		return PASSED;
	return ip->frag_off & bpf_htons(IP_FRAGMENT) ? DROP_OUTER_FRAGMENT : CLAIMED;
}

/* RFC 7348 section 5. The receiver ignores reserved bits; without the I flag there is no VNI. */
static __always_inline int unwrap_vxlan(struct cursor c, struct frame *frame)
{
	struct ethhdr *eth = take(&c, sizeof(*eth));
	struct vxlanhdr *vxlan;
	struct udphdr *udp;
	struct iphdr *ip;
	__u32 udp_len;

	ip = take_ipv4(&c);
	if (!eth || !ip)
		return DROP_MALFORMED;
	udp = take(&c, sizeof(*udp));
	vxlan = take(&c, sizeof(*vxlan));
	if (!udp || !vxlan || !(vxlan->flags & VXLAN_FLAG_VNI))
		return DROP_MALFORMED;
	udp_len = bpf_ntohs(udp->len);
	frame->offset = sizeof(*eth) + ip->ihl * 4 + sizeof(*udp) + sizeof(*vxlan);
	if (udp_len < sizeof(*udp) + sizeof(*vxlan) + ETH_HLEN ||
	    bpf_ntohs(ip->tot_len) < ip->ihl * 4 + udp_len ||
	    frame->len < sizeof(*eth) + ip->ihl * 4 + udp_len)
		return DROP_MALFORMED;
	frame->len = udp_len - sizeof(*udp) - sizeof(*vxlan);
	frame->vni = bpf_ntohl(vxlan->vni) >> 8;
	return CLAIMED;
}

static __always_inline int choose_vni(const volatile struct source *source, struct frame *frame)
{
	struct vni_key key = { .source = frame->source, .vni = frame->vni };
	__u32 *mapped;

	if (source->vni_rule == VNI_KEEP)
		return CLAIMED;
	if (source->vni_rule == VNI_MAP) {
		mapped = bpf_map_lookup_elem(&vni_rules, &key);
		if (mapped) {
			frame->vni = *mapped;
			return CLAIMED;
		}
		if (source->vni == NONE)
			return DROP_UNKNOWN_VNI;
	}
	frame->vni = source->vni;
	return CLAIMED;
}

/* Takes the mirror's own wrapping off, in thought: frame->len comes in as the packet's length. */
static __always_inline int unwrap(struct cursor c, const volatile struct source *source,
				  struct frame *frame)
{
	int verdict;

	if (source->type == SOURCE_SPAN) {
		frame->offset = 0;
		frame->vni = source->vni;
		return CLAIMED;
	}
	verdict = unwrap_vxlan(c, frame);
	return verdict == CLAIMED ? choose_vni(source, frame) : verdict;
}

#endif
