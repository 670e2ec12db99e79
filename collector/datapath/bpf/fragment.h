/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tunnel packets in IP fragments. They are not put together, and none is left to the host, which
 * would wait for the rest of it: all that come after the first are known by it.
 */
#ifndef COLLECTOR_FRAGMENT_H
#define COLLECTOR_FRAGMENT_H

#include "wire.h"

/* What makes fragments one packet: RFC 791 section 3.2, RFC 8200 section 4.5. */
static __always_inline bool read_fragment_key(struct cursor c, struct fragment_key *key)
{
	struct ethhdr *eth = take(&c, sizeof(*eth));
	struct ipv6_fragment *fragment;
	struct ipv6hdr *ipv6 = c.pos;
	struct iphdr *ip = c.pos;

	if (!eth || (void *)(ip + 1) > c.end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		key->version = 4;
		key->protocol = ip->protocol;
		key->id = ip->id;
		key->saddr[0] = ip->saddr;
		key->daddr[0] = ip->daddr;
		return true;
	}
	fragment = (void *)(ipv6 + 1);
	if ((void *)(fragment + 1) > c.end)
		return false;
	key->version = 6;
	key->id = fragment->id;
	__builtin_memcpy(key->saddr, &ipv6->saddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, &ipv6->daddr, sizeof(key->daddr));
	return true;
}

/*
 * `slot`: the source's that sent this packet, or NONE. Where the host's own packet has an identity
 * that a tunnel packet had before, its fragments are the host's again.
 */
static __noinline int note_first_fragment(void *pos, void *end, __u32 ifindex, __u32 slot)
{
	struct fragment_owner owner = {
		.until = bpf_ktime_get_coarse_ns() + FRAGMENTED_NS,
		.source = slot,
	};
	struct fragment_key key = { .ifindex = ifindex };

	if (!read_fragment_key((struct cursor){ pos, end }, &key))
		return PASSED;
	if (slot == NONE) {
		bpf_map_delete_elem(&outer_fragments, &key);
		return PASSED;
	}
	bpf_map_update_elem(&outer_fragments, &key, &owner, BPF_ANY);
	return DROP_OUTER_FRAGMENT;
}

static __noinline int find_first_fragment(void *pos, void *end, __u32 ifindex, __u32 *slot)
{
	struct fragment_key key = { .ifindex = ifindex };
	struct fragment_owner *owner;

	if (!slot || !read_fragment_key((struct cursor){ pos, end }, &key))
		return PASSED;
	owner = bpf_map_lookup_elem(&outer_fragments, &key);
	if (!owner || owner->until < bpf_ktime_get_coarse_ns())
		return PASSED;
	*slot = owner->source;
	return DROP_OUTER_FRAGMENT;
}

#endif
