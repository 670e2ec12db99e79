/* SPDX-License-Identifier: GPL-2.0 */
/* The outer headers: Ethernet, IPv4 or IPv6, UDP, VXLAN (RFC 7348 section 5). */
#ifndef COLLECTOR_ENCAP_H
#define COLLECTOR_ENCAP_H

#include "select.h"

#define FIRST_SOURCE_PORT 49152
#define SOURCE_PORTS 16384
#define TTL 64
#define MAC_ADDRESSES (2 * ETH_ALEN)

struct outer_ipv4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
} __attribute__((packed));

struct outer_ipv6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
} __attribute__((packed));

union outer {
	struct outer_ipv4 v4;
	struct outer_ipv6 v6;
};

/* Ethernet as it is put in front of the frame's payload at tc. */
struct link {
	__u8 macs[MAC_ADDRESSES];
	struct vlan_tag tags[MAX_VLAN_TAGS]; /* or the ethertype of a header that is made up */
	__u8 unused[20]; /* a power of two in all */
};

/* What one CPU remembers between frames, and the headers that it writes at tc, where the stack is full. */
struct cpu_state {
	__u64 tick; /* when the next hop was looked up; 0: never */
	__u32 ifindex;
	__u32 packets;
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
	union outer outer;
	struct link link;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

static __always_inline __u32 network_header_len(void)
{
	return config.tmeter.ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline __u32 outer_len(void)
{
	return config.tmeter.ipv6 ? sizeof(struct outer_ipv6) : sizeof(struct outer_ipv4);
}

/* What the path's MTU counts of a frame's outer packet, beside the frame. */
static __always_inline __u32 outer_overhead(void)
{
	return outer_len() - sizeof(struct ethhdr);
}

static __always_inline __u16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += word[i];
	return ~fold_checksum(sum);
}

/* Unlike zero, ids that differ keep a fragmenting router from mixing two packets up (RFC 6864). */
static __always_inline __u32 next_ip_id(struct cpu_state *cpu)
{
	return cpu->packets++ * config.nr_cpus + bpf_get_smp_processor_id();
}

static __always_inline struct ethhdr make_link(const struct cpu_state *cpu, __u16 proto)
{
	struct ethhdr eth = { .h_proto = bpf_htons(proto) };

	__builtin_memcpy(eth.h_dest, cpu->dmac, ETH_ALEN);
	__builtin_memcpy(eth.h_source, cpu->smac, ETH_ALEN);
	return eth;
}

static __always_inline struct iphdr make_ipv4(struct cpu_state *cpu, __u32 len)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(ip) / 4,
		.tot_len = bpf_htons(sizeof(ip) + len),
		.id = bpf_htons(next_ip_id(cpu)),
		.ttl = TTL,
		.protocol = IPPROTO_UDP,
		.saddr = config.tmeter.saddr[3],
		.daddr = config.tmeter.daddr[3],
	};

	ip.check = ipv4_checksum(&ip);
	return ip;
}

static __always_inline struct ipv6hdr make_ipv6(__u32 len)
{
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(len),
		.nexthdr = IPPROTO_UDP,
		.hop_limit = TTL,
	};

#pragma unroll
	for (int i = 0; i < 4; i++) {
		ip.saddr.in6_u.u6_addr32[i] = config.tmeter.saddr[i];
		ip.daddr.in6_u.u6_addr32[i] = config.tmeter.daddr[i];
	}
	return ip;
}

/* `inner_len`: bytes of the frame as it leaves. A UDP checksum comes later, over the whole packet. */
static __always_inline void build_outer(union outer *outer, struct cpu_state *cpu, __u32 inner_len,
					__u32 vni, __u32 hash)
{
	__u32 len = sizeof(struct udphdr) + sizeof(struct vxlanhdr) + inner_len;
	__u32 port = FIRST_SOURCE_PORT + (__u32)(((__u64)hash * SOURCE_PORTS) >> 32);
	struct udphdr udp = {
		.source = bpf_htons(port),
		.dest = config.tmeter.port,
		.len = bpf_htons(len),
	};
	struct vxlanhdr vxlan = {
		.flags = VXLAN_FLAG_VNI,
		.vni = bpf_htonl(vni << 8),
	};

	if (config.tmeter.ipv6) {
		outer->v6.eth = make_link(cpu, ETH_P_IPV6);
		outer->v6.ip = make_ipv6(len);
		outer->v6.udp = udp;
		outer->v6.vxlan = vxlan;
	} else {
		outer->v4.eth = make_link(cpu, ETH_P_IP);
		outer->v4.ip = make_ipv4(cpu, len);
		outer->v4.udp = udp;
		outer->v4.vxlan = vxlan;
	}
}

/* The Ethernet header of a frame that came without one: locally administered addresses. */
static __always_inline void make_ethernet(struct ethhdr *eth, __u32 made)
{
	*eth = (struct ethhdr){
		.h_dest = { 0x02, 0, 0, 0, 0, 0x02 },
		.h_source = { 0x02, 0, 0, 0, 0, 0x01 },
		.h_proto = bpf_htons(made),
	};
}

#endif
