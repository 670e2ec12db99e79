/* SPDX-License-Identifier: GPL-2.0 */
/* The outer headers: Ethernet, IPv4, UDP, VXLAN (RFC 7348 section 5). */
#ifndef COLLECTOR_ENCAP_H
#define COLLECTOR_ENCAP_H

#include "select.h"

#define FIRST_SOURCE_PORT 49152
#define SOURCE_PORTS 16384
#define TTL 64
#define MAC_ADDRESSES (2 * ETH_ALEN)

struct outer {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
} __attribute__((packed));

#define OUTER_IP_OVERHEAD (sizeof(struct outer) - sizeof(struct ethhdr))

/* What one CPU remembers between frames. */
struct cpu_state {
	__u64 tick; /* when the next hop was looked up; 0: never */
	__u32 ifindex;
	__u32 packets;
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

static __always_inline __u16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* Unlike zero, ids that differ keep a fragmenting router from mixing two packets up (RFC 6864). */
static __always_inline __be16 next_ip_id(struct cpu_state *cpu)
{
	return bpf_htons(cpu->packets++ * config.nr_cpus + bpf_get_smp_processor_id());
}

/* `inner_len`: bytes of the frame as it leaves. */
static __always_inline void build_outer(struct outer *outer, struct cpu_state *cpu, __u32 inner_len,
					__u32 vni, __u32 hash)
{
	__u32 port = FIRST_SOURCE_PORT + (__u32)(((__u64)hash * SOURCE_PORTS) >> 32);
	__u32 len = OUTER_IP_OVERHEAD + inner_len;
	struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(struct iphdr) / 4,
		.tot_len = bpf_htons(len),
		.id = next_ip_id(cpu),
		.ttl = TTL,
		.protocol = IPPROTO_UDP,
		.saddr = config.tmeter.saddr,
		.daddr = config.tmeter.daddr,
	};

	ip.check = ipv4_checksum(&ip);
	outer->ip = ip;
	__builtin_memcpy(outer->eth.h_dest, cpu->dmac, ETH_ALEN);
	__builtin_memcpy(outer->eth.h_source, cpu->smac, ETH_ALEN);
	outer->eth.h_proto = bpf_htons(ETH_P_IP);
	outer->udp = (struct udphdr){
		.source = bpf_htons(port),
		.dest = config.tmeter.port,
		.len = bpf_htons(len - sizeof(struct iphdr)),
	};
	outer->vxlan = (struct vxlanhdr){
		.flags = VXLAN_FLAG_VNI,
		.vni = bpf_htonl(vni << 8),
	};
}

#endif
