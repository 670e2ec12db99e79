/* SPDX-License-Identifier: GPL-2.0 */
/* Reads a mirrored frame as far as needed: its flow, and whether it is on its way to the t-meter. */
#ifndef COLLECTOR_PARSE_H
#define COLLECTOR_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "shared.h"

#define MAX_VLAN_TAGS 8
#define IP_FRAGMENT 0x3fff /* more-fragments bit and offset: either makes it a fragment */
#define IP_OFFSET 0x1fff
#define MAX_IPV6_EXTENSIONS 6

/* The bytes of a packet that lie in reach; `pos` moves over the headers. */
struct cursor {
	void *pos;
	void *end;
};

struct vlan_tag {
	__be16 tpid;
	__be16 tci;
};

struct flow {
	__u32 hash; /* the same for both directions; never 0 */
	__u32 vlan_tags; /* in the frame's bytes, behind its MAC addresses */
	bool loop; /* addressed to the t-meter's VXLAN port */
};

/* The two ends of a flow, each an address that a port may be added to. */
struct ends {
	__u64 source;
	__u64 dest;
};

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ (x >> 33);
}

/* The ends are put in order first: swapping them changes nothing. */
static __always_inline __u32 hash_ends(__u64 source, __u64 dest)
{
	__u64 low = source < dest ? source : dest;
	__u64 high = source < dest ? dest : source;
	__u32 hash = mix(mix(low) + high) >> 32;

	return hash ? hash : 1;
}

static __always_inline void *take(struct cursor *c, __u32 size)
{
	void *header = c->pos;

	if (header + size > c->end)
		return NULL;
	c->pos = header + size;
	return header;
}

/* The IPv4 header with its options, or NULL where its length is a lie. */
static __always_inline struct iphdr *take_ipv4(struct cursor *c)
{
	struct iphdr *ip = c->pos;
	__u32 size;

	if ((void *)(ip + 1) > c->end || ip->version != 4 || ip->ihl < 5)
		return NULL;
	size = ip->ihl * 4;
	barrier_var(size); /* the verifier has to see the bound below */
	size &= 0x3c;
	return take(c, size);
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD) ||
	       proto == bpf_htons(0x9100);
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

static __always_inline __u32 hash_ports(struct cursor *c, const struct ends *ends)
{
	__be16 *ports = take(c, 4);

	if (!ports)
		return hash_ends(ends->source, ends->dest);
	return hash_ends(ends->source + ports[0], ends->dest + ports[1]);
}

static __always_inline void parse_ipv4(struct cursor *c, struct flow *flow)
{
	struct iphdr *ip = take_ipv4(c);
	struct ends ends;
	struct udphdr *udp;
	bool first;

	if (!ip)
		return;
	ends.source = (__u64)ip->saddr << 16;
	ends.dest = (__u64)ip->daddr << 16;
	flow->hash = hash_ends(ends.source, ends.dest);
	first = !(ip->frag_off & bpf_htons(IP_OFFSET));
	if (ip->protocol == IPPROTO_UDP && ip->daddr == config.tmeter.daddr) {
		udp = c->pos;
		/* A later fragment has no ports; to this address it can only be ours. */
		flow->loop =
			!first || ((void *)(udp + 1) <= c->end && udp->dest == config.tmeter.port);
	}
	if (!(ip->frag_off & bpf_htons(IP_FRAGMENT)) && has_ports(ip->protocol))
		flow->hash = hash_ports(c, &ends);
}

static __always_inline __u64 fold_ipv6_address(const struct in6_addr *address)
{
	const __u32 *w = (const __u32 *)address;

	return mix(((__u64)w[0] << 32 | w[1]) ^ mix((__u64)w[2] << 32 | w[3]));
}

static __always_inline bool is_ipv6_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS;
}

static __always_inline void parse_ipv6(struct cursor *c, struct flow *flow)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	struct ends ends;
	__u8 protocol;

	if (!ip)
		return;
	ends.source = fold_ipv6_address(&ip->saddr);
	ends.dest = fold_ipv6_address(&ip->daddr);
	flow->hash = hash_ends(ends.source, ends.dest);
	protocol = ip->nexthdr;
	for (int i = 0; i < MAX_IPV6_EXTENSIONS && is_ipv6_extension(protocol); i++) {
		struct ipv6_opt_hdr *extension = take(c, sizeof(*extension));

		if (!extension || !take(c, extension->hdrlen * 8 + 6))
			return;
		protocol = extension->nexthdr;
	}
	if (has_ports(protocol)) /* a fragment header (44) has none: addresses alone */
		flow->hash = hash_ports(c, &ends);
}

static __always_inline __u64 mac_as_number(const __u8 *mac)
{
	const __u16 *w = (const __u16 *)mac;

	return (__u64)w[0] << 32 | (__u32)w[1] << 16 | w[2];
}

/* Reads the frame that starts at c->pos. What it cannot read is hashed by what it could. */
static __always_inline void parse_flow(struct cursor c, struct flow *flow)
{
	struct ethhdr *eth = take(&c, sizeof(*eth));
	__be16 proto;

	flow->hash = 1;
	flow->vlan_tags = 0;
	flow->loop = false;
	if (!eth)
		return;
	flow->hash = hash_ends(mac_as_number(eth->h_source), mac_as_number(eth->h_dest));
	proto = eth->h_proto;
	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(proto); i++) {
		__be16 *tag = take(&c, 4);

		if (!tag)
			return;
		proto = tag[1];
		flow->vlan_tags++;
	}
	if (proto == bpf_htons(ETH_P_IP))
		parse_ipv4(&c, flow);
	else if (proto == bpf_htons(ETH_P_IPV6))
		parse_ipv6(&c, flow);
}

#endif
