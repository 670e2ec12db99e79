/* SPDX-License-Identifier: GPL-2.0 */
/* Whose packet it is: the host's own, or a source's. */
#ifndef COLLECTOR_SELECT_H
#define COLLECTOR_SELECT_H

#include "fragment.h"
#include "tunnel.h"

static __always_inline const volatile struct nic *find_nic(__u32 ifindex)
{
	for (__u32 i = 0; i < MAX_NICS && i < config.nr_nics; i++)
		if (config.nics[i].ifindex == ifindex)
			return &config.nics[i];
	return NULL;
}

/* UDP sources are told apart by port; GRE ones by whether ERSPAN is inside. PPTP is no mirror's. */
static __always_inline bool claim_key(struct cursor c, const struct carrier *carrier, __be16 *port)
{
	struct udphdr *udp;
	struct grehdr *gre;

	*port = 0;
	switch (carrier->protocol) {
	case IPPROTO_UDP:
		udp = take(&c, sizeof(*udp));
		if (udp)
			*port = udp->dest;
		return udp;
	case IPPROTO_GRE:
		gre = take(&c, sizeof(*gre));
		if (gre && (gre->flags & bpf_htons(GRE_VERSION)) == bpf_htons(GRE_PPTP))
			return false;
		if (gre && (gre->protocol == bpf_htons(ETH_P_ERSPAN_II) ||
			    gre->protocol == bpf_htons(ETH_P_ERSPAN_III)))
			*port = bpf_htons(ETH_P_ERSPAN_II);
		return gre;
	default:
		return carrier->protocol == IPPROTO_IPIP || carrier->protocol == IPPROTO_IPV6;
	}
}

/* Finds the source that sent a tunnel packet: true, and its slot. */
static __always_inline bool find_sender(struct cursor c, __u32 ifindex,
					const struct carrier *carrier, __u32 *slot)
{
	struct sender_key key = { .prefixlen = SENDER_BITS, .ifindex = ifindex };
	__u32 *found;

	if (!claim_key(c, carrier, &key.port))
		return false;
	key.protocol = carrier->protocol;
	key.version = carrier->version;
	__builtin_memcpy(key.address, carrier->saddr, sizeof(key.address));
	found = bpf_map_lookup_elem(&senders, &key);
	if (found)
		*slot = *found;
	return found;
}

/* Finds the source that a packet on this NIC belongs to. */
static __always_inline int claim_tunnel(struct cursor c, __u32 ifindex, __u32 *slot)
{
	struct cursor packet = c;
	struct carrier carrier;
	bool found;

	if (!read_carrier(&c, &carrier))
		return PASSED;
	found = carrier.first && find_sender(c, ifindex, &carrier, slot);
	if (!carrier.fragment)
		return found ? CLAIMED : PASSED;
	if (carrier.first)
		return note_first_fragment(packet.pos, packet.end, ifindex, found ? *slot : NONE);
	return find_first_fragment(packet.pos, packet.end, ifindex, slot);
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

static __always_inline int unwrap(struct cursor c, const volatile struct source *source,
				  struct frame *frame)
{
	int verdict;

	if (source->type == SOURCE_SPAN) {
		frame->vni = source->vni;
		return CLAIMED;
	}
	verdict = unwrap_tunnel(c, source->type, frame);
	return verdict == CLAIMED ? choose_vni(source, frame) : verdict;
}

#endif
