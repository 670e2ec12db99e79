/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes a mirror's own wrapping off, in thought: says where in the packet the frame lies. Nothing
 * inside the frame is ever taken for wrapping: a mirrored overlay stays as it is.
 */
#ifndef COLLECTOR_TUNNEL_H
#define COLLECTOR_TUNNEL_H

#include "carrier.h"

#define GENEVE_AWS 0x0108 /* option class */
#define ETH_P_ERSPAN_II 0x88be /* and type I, which has no header of its own */
#define ETH_P_ERSPAN_III 0x22eb

/* The mirrored frame within the packet that carried it. */
struct frame {
	__u32 source; /* slot */
	__u32 offset; /* bytes of the mirror's own headers in front of it */
	__u32 len; /* bytes */
	__u32 vni; /* that it leaves with */
	__u32 made; /* ethertype of the Ethernet header that it lacks and gets, or 0 */
	__u32 telephony; /* enum telephony */
	bool oversize; /* larger than the path */
};

/* The first eight bytes of types II and III; draft-foschiano-erspan. */
struct erspanhdr {
	__be16 version_vlan;
	__be16 session; /* lower 10 bits */
	__be32 index; /* type III: a timestamp */
};

#define ERSPAN_SESSION 0x03ff

/* The second part of type III's header. */
struct erspan3hdr {
	__be16 security_group;
	__be16 flags;
};

#define ERSPAN3_FRAME_TYPE 0x7c00 /* 0 Ethernet, 2 IP */
#define ERSPAN3_IP 0x0800
#define ERSPAN3_PLATFORM 0x0001 /* eight more bytes follow */

struct tzsphdr {
	__u8 version;
	__u8 type; /* 0: a received frame, 1: one sent; others carry none, 4 keeps alive */
	__be16 protocol; /* 1: Ethernet */
};

#define TZSP_ETHERNET 1
#define TZSP_PADDING 0
#define TZSP_END 1
#define MAX_TZSP_TAGS 16
#define MAX_OFFSET 0x1ff /* bytes in front of a frame that can be taken off */
#define MAX_TZSP_TAG 0x1f /* bytes of one; the longest in use has 4 */

/* The inner packet has no Ethernet header: its version says which one it gets. */
static __always_inline int found_ip(struct cursor *c, struct frame *frame)
{
	__u8 *version = c->pos;

	if ((void *)(version + 1) > c->end)
		return DROP_MALFORMED;
	if (*version >> 4 == 4)
		frame->made = ETH_P_IP;
	else if (*version >> 4 == 6)
		frame->made = ETH_P_IPV6;
	else
		return DROP_MALFORMED;
	return CLAIMED;
}

static __always_inline int found(struct cursor *c, struct frame *frame, __be16 protocol)
{
	if (protocol == bpf_htons(ETH_P_TEB))
		return CLAIMED;
	if (protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6))
		return found_ip(c, frame);
	return DROP_UNSUPPORTED;
}

/* RFC 7348 section 5. Reserved bits are ignored; without the I flag there is no VNI. */
static __always_inline int unwrap_vxlan(struct cursor *c, struct frame *frame)
{
	struct vxlanhdr *vxlan = take(c, sizeof(*vxlan));

	if (!vxlan || !(vxlan->flags & VXLAN_FLAG_VNI))
		return DROP_MALFORMED;
	frame->vni = bpf_ntohl(vxlan->vni) >> 8;
	return CLAIMED;
}

/* What the headers inside a gateway's packet say of its length. */
struct inner_length {
	bool told;
	__u32 network; /* bytes from the frame on that belong to the IP packet */
	__u32 frame; /* and of these to the frame */
};

/*
 * Takes the IP header of a whole UDP datagram, and returns the bytes that it says are behind it, or
 * -1. One take() for both: the verifier loses a merged pointer.
 */
static __always_inline int take_datagram(struct cursor *c, __u32 ethertype)
{
	struct ipv6hdr *ipv6 = c->pos;
	struct iphdr *ip = c->pos;
	__u32 size = sizeof(*ipv6);
	int len;

	if ((void *)(ip + 1) > c->end)
		return -1;
	if (ethertype == ETH_P_IPV6) {
		if (ipv6->nexthdr != IPPROTO_UDP)
			return -1;
		len = bpf_ntohs(ipv6->payload_len);
	} else {
		size = ip->ihl * 4;
		if (ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(IP_FRAGMENT) ||
		    size < sizeof(*ip))
			return -1;
		len = bpf_ntohs(ip->tot_len) - size;
		if (len < 0)
			len = 0;
	}
	barrier_var(size);
	return take(c, size & 0x3c) ? len : -1;
}

/* An AWS gateway load balancer puts the mirror's VXLAN packet, without Ethernet, into GENEVE. */
static __always_inline int unwrap_gateway(struct cursor *c, struct frame *frame,
					  struct inner_length *inner)
{
	const int headers = sizeof(struct udphdr) + sizeof(struct vxlanhdr);
	struct cursor within = *c;
	int len = take_datagram(&within, frame->made);
	struct udphdr *udp;

	if (len < 0)
		return CLAIMED;
	udp = take(&within, sizeof(*udp));
	if (!udp || udp->dest != bpf_htons(VXLAN_PORT) || unwrap_vxlan(&within, frame) != CLAIMED)
		return CLAIMED;
	if (bpf_ntohs(udp->len) < headers || bpf_ntohs(udp->len) > len)
		return DROP_MALFORMED;
	inner->told = true;
	inner->network = len - headers;
	inner->frame = bpf_ntohs(udp->len) - headers;
	frame->made = 0;
	*c = within;
	return CLAIMED;
}

/* RFC 8926 section 3.4. A gateway is known by the class of its first option. */
static __always_inline int unwrap_geneve(struct cursor *c, struct frame *frame,
					 struct inner_length *inner)
{
	struct genevehdr *geneve = take(c, sizeof(*geneve));
	__be16 *option_class = c->pos;
	__be16 protocol;
	__u32 options;
	bool gateway;
	int verdict;

	if (!geneve || geneve->version_options >> 6)
		return DROP_MALFORMED;
	options = (geneve->version_options & 0x3f) * 4;
	barrier_var(options);
	protocol = geneve->protocol;
	frame->vni = bpf_ntohl(geneve->vni) >> 8;
	if (!take(c, options & 0xfc))
		return DROP_MALFORMED;
	gateway = options && (void *)(option_class + 1) <= c->end &&
		  *option_class == bpf_htons(GENEVE_AWS);
	verdict = found(c, frame, protocol);
	if (verdict != CLAIMED || !frame->made || !gateway)
		return verdict;
	return unwrap_gateway(c, frame, inner);
}

static __always_inline int unwrap_gre(struct cursor *c, struct frame *frame)
{
	struct grehdr *gre = take_gre(c);

	return gre ? found(c, frame, gre->protocol) : DROP_MALFORMED;
}

static __always_inline int unwrap_erspan3(struct cursor *c, struct frame *frame)
{
	struct erspan3hdr *more = take(c, sizeof(*more));
	__u16 flags;

	if (!more)
		return DROP_MALFORMED;
	flags = bpf_ntohs(more->flags);
	if (flags & ERSPAN3_PLATFORM && !take(c, 8))
		return DROP_MALFORMED;
	if ((flags & ERSPAN3_FRAME_TYPE) == ERSPAN3_IP)
		return found_ip(c, frame);
	return flags & ERSPAN3_FRAME_TYPE ? DROP_UNSUPPORTED : CLAIMED;
}

/* Type I has no sequence number and no header; types II and III have both. */
static __always_inline int unwrap_erspan(struct cursor *c, struct frame *frame)
{
	struct grehdr *gre = take_gre(c);
	struct erspanhdr *erspan;
	__u16 version;

	if (!gre)
		return DROP_MALFORMED;
	if (gre->protocol == bpf_htons(ETH_P_ERSPAN_II) && !(gre->flags & bpf_htons(GRE_SEQUENCE)))
		return CLAIMED;
	erspan = take(c, sizeof(*erspan));
	if (!erspan)
		return DROP_MALFORMED;
	frame->vni = bpf_ntohs(erspan->session) & ERSPAN_SESSION;
	version = bpf_ntohs(erspan->version_vlan) >> 12;
	if (gre->protocol == bpf_htons(ETH_P_ERSPAN_III))
		return version == 2 ? unwrap_erspan3(c, frame) : DROP_MALFORMED;
	return version == 1 ? CLAIMED : DROP_MALFORMED;
}

struct tzsp_tags {
	__u8 *start;
	void *end;
	__u32 len; /* bytes of those that were read */
	int verdict;
};

static long read_tzsp_tag(__u32 i, struct tzsp_tags *tags)
{
	__u8 *tag = tags->start + (tags->len & MAX_OFFSET);
	bool end, padding;

	if (tags->len > MAX_OFFSET || (void *)(tag + 1) > tags->end)
		return 1;
	end = *tag == TZSP_END;
	padding = *tag == TZSP_PADDING;
	tags->len++;
	if (end)
		tags->verdict = CLAIMED;
	if (end || padding)
		return end;
	if ((void *)(tag + 2) > tags->end || tag[1] > MAX_TZSP_TAG)
		return 1;
	tags->len += 1 + tag[1];
	return 0;
}

/* As MikroTik's sniffer sends it: a header, tagged fields up to an end tag, the frame. */
static __always_inline int unwrap_tzsp(struct cursor *c, struct frame *frame)
{
	struct tzsphdr *tzsp = take(c, sizeof(*tzsp));
	struct tzsp_tags tags;

	if (!tzsp || tzsp->version != 1)
		return DROP_MALFORMED;
	if (tzsp->type > 1 || tzsp->protocol != bpf_htons(TZSP_ETHERNET))
		return DROP_UNSUPPORTED;
	tags = (struct tzsp_tags){ .start = c->pos, .end = c->end, .verdict = DROP_MALFORMED };
	bpf_loop(MAX_TZSP_TAGS, read_tzsp_tag, &tags, 0);
	if (tags.verdict != CLAIMED || tags.len > MAX_OFFSET || !take(c, tags.len & MAX_OFFSET))
		return DROP_MALFORMED;
	return CLAIMED;
}

static __always_inline int unwrap_type(struct cursor *c, __u32 type, struct frame *frame,
				       struct inner_length *inner)
{
	switch (type) {
	case SOURCE_VXLAN:
		return unwrap_vxlan(c, frame);
	case SOURCE_GENEVE:
		return unwrap_geneve(c, frame, inner);
	case SOURCE_GRE:
		return unwrap_gre(c, frame);
	case SOURCE_ERSPAN:
		return unwrap_erspan(c, frame);
	case SOURCE_TZSP:
		return unwrap_tzsp(c, frame);
	default:
		return found_ip(c, frame);
	}
}

/*
 * frame->len comes in as the packet's length and leaves as the frame's: what the IP and UDP headers
 * say, and those of a gateway, which must not be more than there is.
 */
static __always_inline int unwrap_tunnel(struct cursor c, __u32 type, struct frame *frame)
{
	struct inner_length inner = {};
	void *start = c.pos;
	struct carrier carrier;
	struct udphdr *udp;
	__u32 payload, outer, tunnel;
	int verdict;

	if (!read_carrier(&c, &carrier))
		return DROP_MALFORMED;
	outer = distance(start, c.pos);
	payload = carrier.payload;
	if (carrier.protocol == IPPROTO_UDP) {
		udp = take(&c, sizeof(*udp));
		if (!udp || bpf_ntohs(udp->len) > payload)
			return DROP_MALFORMED;
		payload = bpf_ntohs(udp->len);
	}
	if (payload > frame->len - outer)
		return DROP_MALFORMED;
	verdict = unwrap_type(&c, type, frame, &inner);
	if (verdict != CLAIMED)
		return verdict;
	frame->offset = distance(start, c.pos);
	tunnel = frame->offset;
	barrier_var(tunnel); /* else the compiler leaves out masks that the verifier wants */
	if (tunnel > MAX_OFFSET)
		return DROP_MALFORMED;
	tunnel = frame->offset - outer;
	if (payload < tunnel + (frame->made ? 1 : ETH_HLEN))
		return DROP_MALFORMED;
	payload -= tunnel;
	if (inner.told && (inner.network > payload || inner.frame < ETH_HLEN))
		return DROP_MALFORMED;
	frame->len = inner.told ? inner.frame : payload;
	return CLAIMED;
}

#endif
