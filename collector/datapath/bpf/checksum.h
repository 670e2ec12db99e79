/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Checksums, and those that are still to be completed. Where one is left to the NIC, as between
 * virtual machines, the field holds the folded sum of the pseudo header, for SCTP 0, and nothing
 * else of the frame gives it away.
 */
#ifndef COLLECTOR_CHECKSUM_H
#define COLLECTOR_CHECKSUM_H

#include "wire.h"

static __always_inline __u16 fold_checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u64 sum_ipv6_address(const __be32 *w)
{
	return (__u64)w[0] + w[1] + w[2] + w[3];
}

/* SCTP's is a CRC over everything, and has no pseudo header (RFC 9260 section 6.8). */
static __always_inline bool is_open_sctp(struct cursor c)
{
	__be32 *ports_tag_checksum = take(&c, 12);

	return ports_tag_checksum && !ports_tag_checksum[2];
}

/* `pseudo`: sum of the addresses' words; `len`: bytes of the transport header at c.pos and behind. */
static __always_inline bool is_open(struct cursor c, __u8 protocol, __u64 pseudo, __u32 len)
{
	__u32 at = protocol == IPPROTO_TCP ? 16 : 6;
	__u16 *checksum;

	if (protocol == IPPROTO_SCTP)
		return is_open_sctp(c);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return false;
	if (!take(&c, at))
		return false;
	checksum = take(&c, sizeof(*checksum));
	return checksum && *checksum &&
	       *checksum == fold_checksum(pseudo + bpf_htons(len) + bpf_htons(protocol));
}

static __always_inline bool is_overlay_port(__be16 port)
{
	return port == bpf_htons(VXLAN_PORT) || port == bpf_htons(OLD_VXLAN_PORT) ||
	       port == bpf_htons(GENEVE_PORT);
}

static __always_inline bool is_overlay(const struct cursor *c, __u8 protocol)
{
	struct udphdr *udp = c->pos;

	if (protocol == IPPROTO_UDP)
		return (void *)(udp + 1) <= c->end && is_overlay_port(udp->dest);
	return protocol == IPPROTO_GRE || protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

/* Moves behind the headers of an overlay; returns the ethertype of what it carries, or 0. */
static __always_inline __be16 skip_udp_overlay(struct cursor *c)
{
	struct udphdr *udp = take(c, sizeof(*udp));
	struct genevehdr *geneve = c->pos;
	__u32 size = sizeof(*geneve); /* and of a VXLAN header */
	__be16 ethertype = bpf_htons(ETH_P_TEB);

	if (!udp || (void *)(geneve + 1) > c->end)
		return 0;
	if (udp->dest == bpf_htons(GENEVE_PORT)) {
		size += (geneve->version_options & 0x3f) * 4;
		ethertype = geneve->protocol;
	} else if (!is_overlay_port(udp->dest)) {
		return 0;
	}
	barrier_var(size);
	return take(c, size & 0x1fc) ? ethertype : 0;
}

static __always_inline __be16 skip_overlay(struct cursor *c, __u8 protocol)
{
	struct grehdr *gre;

	switch (protocol) {
	case IPPROTO_UDP:
		return skip_udp_overlay(c);
	case IPPROTO_GRE:
		gre = take_gre(c);
		return gre ? gre->protocol : 0;
	case IPPROTO_IPIP:
		return bpf_htons(ETH_P_IP);
	case IPPROTO_IPV6:
		return bpf_htons(ETH_P_IPV6);
	default:
		return 0;
	}
}

static __always_inline __be16 skip_overlay_ethernet(struct cursor *c)
{
	struct ethhdr *eth = take(c, sizeof(*eth));
	__be16 *tag;

	if (!eth || !is_vlan(eth->h_proto))
		return eth ? eth->h_proto : 0;
	tag = take(c, 4);
	return tag ? tag[1] : 0;
}

static __always_inline bool is_open_ipv4(struct cursor c)
{
	struct iphdr *ip = take_ipv4(&c);

	return ip && !(ip->frag_off & bpf_htons(IP_FRAGMENT)) &&
	       is_open(c, ip->protocol, (__u64)ip->saddr + ip->daddr,
		       bpf_ntohs(ip->tot_len) - ip->ihl * 4);
}

static __always_inline bool is_open_ipv6(struct cursor c)
{
	struct ipv6hdr *ip = take(&c, sizeof(*ip));

	return ip && is_open(c, ip->nexthdr,
			     sum_ipv6_address((const __be32 *)&ip->saddr) +
				     sum_ipv6_address((const __be32 *)&ip->daddr),
			     bpf_ntohs(ip->payload_len));
}

/* Of the packet in an overlay, whose IP payload of that protocol is at `c.pos`. One level is looked into. */
static __always_inline bool is_open_inside(struct cursor c, __u8 protocol)
{
	__be16 ethertype = skip_overlay(&c, protocol);

	if (ethertype == bpf_htons(ETH_P_TEB))
		ethertype = skip_overlay_ethernet(&c);
	if (ethertype == bpf_htons(ETH_P_IP))
		return is_open_ipv4(c);
	return ethertype == bpf_htons(ETH_P_IPV6) && is_open_ipv6(c);
}

#endif
