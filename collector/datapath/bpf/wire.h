/* SPDX-License-Identifier: GPL-2.0 */
/* The headers that are read, and the cursor that reads them. */
#ifndef COLLECTOR_WIRE_H
#define COLLECTOR_WIRE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "shared.h"

#define VLAN_ID 0x0fff
#define IP_FRAGMENT 0x3fff /* more-fragments bit and offset: either makes it a fragment */
#define IP_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8
#define IPPROTO_FRAGMENT 44
#define ETH_P_TEB 0x6558 /* transparent Ethernet bridging, in GRE and GENEVE */
#define VXLAN_PORT 4789
#define OLD_VXLAN_PORT 8472 /* of Linux, before there was a standard */
#define GENEVE_PORT 6081

/* The bytes of a packet that lie in reach; `pos` moves over the headers. */
struct cursor {
	void *pos;
	void *end;
};

struct vlan_tag {
	__be16 tpid;
	__be16 tci;
};

struct ipv6_fragment {
	__u8 nexthdr;
	__u8 reserved;
	__be16 offset; /* and the more-fragments bit */
	__be32 id;
};

#define VXLAN_FLAG_VNI 0x08

struct vxlanhdr {
	__u8 flags;
	__u8 reserved[3];
	__be32 vni; /* upper 24 bits */
};

struct genevehdr {
	__u8 version_options; /* 2 bits, and the options' length in words in 6 */
	__u8 flags;
	__be16 protocol;
	__be32 vni; /* upper 24 bits */
};

struct grehdr {
	__be16 flags;
	__be16 protocol;
};

#define GRE_CHECKSUM 0x8000
#define GRE_ROUTING 0x4000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION 0x0007
#define GRE_PPTP 0x0001 /* version 1, RFC 2637 */

static __always_inline void *take(struct cursor *c, __u32 size)
{
	void *header = c->pos;

	if (header + size > c->end)
		return NULL;
	c->pos = header + size;
	return header;
}

/* Pointers are subtracted as 64 bits: the verifier allows no other way. */
static __always_inline __u32 distance(const void *from, const void *to)
{
	__u64 bytes = to - from;

	barrier_var(bytes);
	return bytes;
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

/* RFC 2784 and 2890. */
static __always_inline struct grehdr *take_gre(struct cursor *c)
{
	struct grehdr *gre = take(c, sizeof(*gre));

	if (!gre || gre->flags & bpf_htons(GRE_ROUTING | GRE_VERSION))
		return NULL;
	if (gre->flags & bpf_htons(GRE_CHECKSUM) && !take(c, 4))
		return NULL;
	if (gre->flags & bpf_htons(GRE_KEY) && !take(c, 4))
		return NULL;
	if (gre->flags & bpf_htons(GRE_SEQUENCE) && !take(c, 4))
		return NULL;
	return gre;
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD) ||
	       proto == bpf_htons(0x9100);
}

#endif
