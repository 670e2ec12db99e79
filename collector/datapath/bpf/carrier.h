/* SPDX-License-Identifier: GPL-2.0 */
/* The outermost headers of a packet, which may be a mirror's: Ethernet and IP. */
#ifndef COLLECTOR_CARRIER_H
#define COLLECTOR_CARRIER_H

#include "parse.h"

/* What the packet's IP header said. */
struct carrier {
	__u8 protocol;
	__u8 version;
	bool fragment;
	bool first; /* fragment: it has the next header */
	__be32 saddr[4];
	__u32 payload; /* bytes behind the IP header */
};

static __always_inline bool read_ipv4_carrier(struct cursor *c, struct carrier *carrier)
{
	struct iphdr *ip = take_ipv4(c);

	if (!ip)
		return false;
	carrier->version = 4;
	carrier->protocol = ip->protocol;
	carrier->fragment = ip->frag_off & bpf_htons(IP_FRAGMENT);
	carrier->first = !(ip->frag_off & bpf_htons(IP_OFFSET));
	carrier->saddr[0] = 0;
	carrier->saddr[1] = 0;
	carrier->saddr[2] = bpf_htonl(0xffff);
	carrier->saddr[3] = ip->saddr;
	carrier->payload = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	return bpf_ntohs(ip->tot_len) >= ip->ihl * 4;
}

/* Linux puts a destination option of eight bytes, a nesting limit, into its IPv6 tunnels (RFC 2473). */
static __always_inline bool skip_nesting_limit(struct cursor *c, struct carrier *carrier)
{
	struct ipv6_opt_hdr *option = c->pos;

	if (!take(c, 8) || option->hdrlen || carrier->payload < 8)
		return false;
	carrier->protocol = option->nexthdr;
	carrier->payload -= 8;
	return true;
}

static __always_inline bool read_ipv6_carrier(struct cursor *c, struct carrier *carrier)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	struct ipv6_fragment *fragment;

	if (!ip || ip->version != 6)
		return false;
	carrier->version = 6;
	carrier->protocol = ip->nexthdr;
	carrier->fragment = ip->nexthdr == IPPROTO_FRAGMENT;
	carrier->first = true;
	carrier->payload = bpf_ntohs(ip->payload_len);
	__builtin_memcpy(carrier->saddr, &ip->saddr, sizeof(carrier->saddr));
	if (carrier->fragment) {
		fragment = take(c, sizeof(*fragment));
		if (!fragment)
			return false;
		carrier->protocol = fragment->nexthdr;
		carrier->first = !(fragment->offset & bpf_htons(IPV6_OFFSET));
		if (!carrier->first)
			return true;
	}
	return carrier->protocol != IPPROTO_DSTOPTS || skip_nesting_limit(c, carrier);
}

static __always_inline bool read_carrier(struct cursor *c, struct carrier *carrier)
{
	struct ethhdr *eth = take(c, sizeof(*eth));

	if (!eth)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return read_ipv4_carrier(c, carrier);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) && read_ipv6_carrier(c, carrier);
}

#endif
