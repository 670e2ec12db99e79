/* SPDX-License-Identifier: GPL-2.0 */
/* Reads a mirrored frame as far as needed: its flow, and whether it is on its way to the t-meter. */
#ifndef COLLECTOR_PARSE_H
#define COLLECTOR_PARSE_H

#include "checksum.h"

#define MAX_VLAN_TAGS 8
#define MAX_IPV6_EXTENSIONS 6

struct flow {
	__u32 hash; /* the same for both directions; never 0 */
	__u32 vlan_tags; /* in the frame's bytes, behind its MAC addresses */
	__u32 vlan_id; /* of the first of them */
	bool loop; /* addressed to the t-meter's VXLAN port */
	__u32 telephony; /* enum telephony */
	__u32 overlay; /* IP protocol that may carry an overlay, or 0 */
	__u32 overlay_at; /* bytes of the frame in front of its header */
	bool partial; /* its checksum is still to be completed */
	bool deep; /* behind more than MAX_VLAN_TAGS tags: nobody knows what it is */
};

/* The two ends of a flow, each an address that a port may be added to. */
struct ends {
	__u64 source;
	__u64 dest;
};

/* What the transport header needs to know of the network header. */
struct network {
	struct ends ends;
	__u64 pseudo; /* sum of the addresses' words, for the checksum */
	__u32 payload; /* bytes behind the network headers */
	__u8 protocol;
	bool to_tmeter;
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

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

/* Before Linux 6.13 the verifier does not know that swapped bytes are 16 bits: it has to see that. */
static __always_inline __u8 telephony_port(__be16 port)
{
	__u32 number = bpf_ntohs(port);

	barrier_var(number);
	return telephony_ports[number & 0xffff];
}

/*
 * SIP is told by its ports, RTP by its ports and by its version (RFC 3550 section 5.1), and RTCP on
 * the same ports is left out (RFC 5761 section 4).
 */
static __always_inline __u32 telephony_of(struct cursor c, __u8 protocol, const __be16 *ports)
{
	__u8 one = telephony_port(ports[0]);
	__u8 other = telephony_port(ports[1]);
	__u8 *rtp;

	if (!one && !other)
		return TELEPHONY_NONE;
	if (one == TELEPHONY_SIP || other == TELEPHONY_SIP)
		return TELEPHONY_SIP;
	if (protocol != IPPROTO_UDP || !take(&c, sizeof(struct udphdr)))
		return TELEPHONY_NONE;
	rtp = take(&c, 2);
	if (!rtp || rtp[0] >> 6 != 2 || (rtp[1] >= 192 && rtp[1] < 224))
		return TELEPHONY_NONE;
	return TELEPHONY_RTP;
}

static __always_inline void parse_transport(struct cursor *c, const struct network *net,
					    struct flow *flow)
{
	__be16 *ports = c->pos;

	if (has_ports(net->protocol) && (void *)(ports + 2) <= c->end) {
		flow->hash = hash_ends(net->ends.source + ports[0], net->ends.dest + ports[1]);
		if (net->protocol == IPPROTO_UDP && net->to_tmeter)
			flow->loop = ports[1] == config.tmeter.port;
		if (net->protocol == IPPROTO_UDP || net->protocol == IPPROTO_TCP)
			flow->telephony = telephony_of(*c, net->protocol, ports);
	}
	flow->partial = is_open(*c, net->protocol, net->pseudo, net->payload);
	if (is_overlay(c, net->protocol))
		flow->overlay = net->protocol;
}

/* Fragments are hashed by addresses alone: the later ones have no ports. */
static __always_inline void parse_fragment(struct cursor *c, const struct network *net, bool first,
					   struct flow *flow)
{
	struct udphdr *udp = c->pos;

	if (net->protocol != IPPROTO_UDP || !net->to_tmeter)
		return;
	/* Without ports: to this address it can only be part of an outer packet. */
	flow->loop = !first || ((void *)(udp + 1) <= c->end && udp->dest == config.tmeter.port);
}

static __always_inline void parse_ipv4(struct cursor *c, struct flow *flow)
{
	struct iphdr *ip = take_ipv4(c);
	struct network net = {};

	if (!ip)
		return;
	net.ends.source = (__u64)ip->saddr << 16;
	net.ends.dest = (__u64)ip->daddr << 16;
	net.pseudo = (__u64)ip->saddr + ip->daddr;
	net.payload = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	net.protocol = ip->protocol;
	net.to_tmeter = !config.tmeter.ipv6 && ip->daddr == config.tmeter.daddr[3];
	flow->hash = hash_ends(net.ends.source, net.ends.dest);
	if (ip->frag_off & bpf_htons(IP_FRAGMENT))
		parse_fragment(c, &net, !(ip->frag_off & bpf_htons(IP_OFFSET)), flow);
	else
		parse_transport(c, &net, flow);
}

static __always_inline __u64 fold_ipv6_address(const __be32 *w)
{
	return mix(((__u64)w[0] << 32 | w[1]) ^ mix((__u64)w[2] << 32 | w[3]));
}

static __always_inline bool is_tmeter_ipv6(const __be32 *w)
{
	return config.tmeter.ipv6 && w[0] == config.tmeter.daddr[0] &&
	       w[1] == config.tmeter.daddr[1] && w[2] == config.tmeter.daddr[2] &&
	       w[3] == config.tmeter.daddr[3];
}

static __always_inline bool is_ipv6_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS;
}

static __always_inline void parse_ipv6(struct cursor *c, struct flow *flow)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	struct ipv6_fragment *fragment;
	const __be32 *saddr, *daddr;
	struct network net = {};

	if (!ip)
		return;
	saddr = (const __be32 *)&ip->saddr;
	daddr = (const __be32 *)&ip->daddr;
	net.ends.source = fold_ipv6_address(saddr);
	net.ends.dest = fold_ipv6_address(daddr);
	net.pseudo = sum_ipv6_address(saddr) + sum_ipv6_address(daddr);
	net.payload = bpf_ntohs(ip->payload_len);
	net.protocol = ip->nexthdr;
	net.to_tmeter = is_tmeter_ipv6(daddr);
	flow->hash = hash_ends(net.ends.source, net.ends.dest);
	for (int i = 0; i < MAX_IPV6_EXTENSIONS && is_ipv6_extension(net.protocol); i++) {
		struct ipv6_opt_hdr *extension = take(c, sizeof(*extension));

		if (!extension || !take(c, extension->hdrlen * 8 + 6))
			return;
		net.protocol = extension->nexthdr;
		net.payload -= extension->hdrlen * 8 + 8;
	}
	if (net.protocol != IPPROTO_FRAGMENT) {
		parse_transport(c, &net, flow);
		return;
	}
	fragment = take(c, sizeof(*fragment));
	if (!fragment)
		return;
	net.protocol = fragment->nexthdr;
	parse_fragment(c, &net, !(fragment->offset & bpf_htons(IPV6_OFFSET)), flow);
}

static __always_inline __u64 mac_as_number(const __u8 *mac)
{
	const __u16 *w = (const __u16 *)mac;

	return (__u64)w[0] << 32 | (__u32)w[1] << 16 | w[2];
}

/*
 * Reads the addresses and tags that lie before the network header; returns its ethertype, or 0.
 * `beside`: one more tag is the outermost, and not in the packet's bytes.
 */
static __always_inline __be16 parse_link(struct cursor *c, bool beside, struct flow *flow)
{
	struct ethhdr *eth = take(c, sizeof(*eth));
	__be16 proto;

	if (!eth)
		return 0;
	flow->hash = hash_ends(mac_as_number(eth->h_source), mac_as_number(eth->h_dest));
	proto = eth->h_proto;
	for (int i = 0; i <= MAX_VLAN_TAGS && is_vlan(proto); i++) {
		__be16 *tag = take(c, 4);

		if (i + beside >= MAX_VLAN_TAGS) {
			flow->deep = true;
			return 0;
		}
		if (!tag)
			return 0;
		if (!flow->vlan_tags)
			flow->vlan_id = bpf_ntohs(tag[0]) & VLAN_ID;
		proto = tag[1];
		flow->vlan_tags++;
	}
	return proto;
}

/*
 * Reads the frame that starts at c.pos, or the bare packet of ethertype `made`. What cannot be
 * read is hashed by what could.
 */
static __always_inline void parse_flow(struct cursor c, __u32 made, bool beside, struct flow *flow)
{
	void *start = c.pos;
	__be16 proto;

	*flow = (struct flow){ .hash = 1 };
	proto = made ? bpf_htons(made) : parse_link(&c, beside, flow);
	if (proto == bpf_htons(ETH_P_IP))
		parse_ipv4(&c, flow);
	else if (proto == bpf_htons(ETH_P_IPV6))
		parse_ipv6(&c, flow);
	flow->overlay_at = distance(start, c.pos);
}

#endif
