/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A span source's NIC that is the host's too (one-NIC Hyper-V, GCP packet mirroring). What is for
 * this host: its own unicast, and the ARP, neighbour discovery and DHCP by which it lives. All else
 * is mirrored traffic.
 */
#ifndef COLLECTOR_SHARED_NIC_H
#define COLLECTOR_SHARED_NIC_H

#include "select.h"

#define LOOPBACK_IFINDEX 1
#define AF_INET 2
#define AF_INET6 10
#define DHCP_CLIENT 68
#define DHCP_CHADDR 28 /* offset in the message of the client's MAC address (RFC 2131) */
#define MLD_QUERY 130
#define ND_ROUTER_ADVERTISEMENT 134
#define ND_NEIGHBOUR_SOLICITATION 135
#define ND_NEIGHBOUR_ADVERTISEMENT 136

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 lengths[2];
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender;
	__u8 target_mac[6];
	__be32 target;
} __attribute__((packed));

struct nd_solicitation {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 reserved;
	__be32 target[4];
};

static __always_inline bool same_mac(const __u8 *one, const volatile __u8 *other)
{
	__u8 differ = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= one[i] ^ other[i];
	return !differ;
}

static __always_inline bool is_listed(const volatile struct nic *nic, const __be32 *address)
{
	for (__u32 i = 0; i < MAX_OWN_ADDRESSES && i < nic->nr_addresses; i++) {
		const volatile __be32 *own = nic->own_addresses[i];

		if (own[0] == address[0] && own[1] == address[1] && own[2] == address[2] &&
		    own[3] == address[3])
			return true;
	}
	return false;
}

/* `address`: as in own_addresses. */
static __noinline long ask_for_address(void *ctx, __u32 version, const __be32 *address)
{
	struct bpf_fib_lookup fib = { .tot_len = 1, .ifindex = LOOPBACK_IFINDEX };

	if (version == 4) {
		fib.family = AF_INET;
		fib.ipv4_dst = address[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_dst, address, sizeof(fib.ipv6_dst));
	}
	return bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
}

/*
 * The routing table is asked, so that an address that DHCP has just changed is known at once. But it
 * says the same of an address of this host and of one without a route: where the host has no default
 * route, the addresses that it had when the program was loaded decide. Where the table does not
 * answer, because somebody reset lo's forwarding, the host comes before the mirror.
 */
static __always_inline bool is_local(void *ctx, const volatile struct nic *nic, __u32 version,
				     const __be32 *address)
{
	long answer;

	if (nic->strict & (1 << version))
		return is_listed(nic, address);
	answer = ask_for_address(ctx, version, address);
	return answer == BPF_FIB_LKUP_RET_NOT_FWDED || answer == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline bool is_local_ipv4(void *ctx, const volatile struct nic *nic, __be32 address)
{
	__be32 mapped[4] = { 0, 0, bpf_htonl(0xffff), address };

	return is_local(ctx, nic, 4, mapped);
}

static __always_inline bool is_local_ipv6(void *ctx, const volatile struct nic *nic,
					  const __be32 *address)
{
	__be32 copy[4];

	if ((address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000)) /* link-local */
		return true;
	__builtin_memcpy(copy, address, sizeof(copy));
	return is_local(ctx, nic, 6, copy);
}

/* A neighbour that announces a new MAC address must be heard too: the gateway may be it. */
static __always_inline bool is_hosts_arp(void *ctx, struct cursor *c,
					 const volatile struct nic *nic, bool unicast)
{
	struct arp_ipv4 *arp = take(c, sizeof(*arp));

	if (unicast || !arp)
		return unicast;
	return arp->sender == arp->target || is_local_ipv4(ctx, nic, arp->target);
}

static __always_inline bool is_hosts_dhcp(struct cursor *c, const volatile struct nic *nic)
{
	struct udphdr *udp = take(c, sizeof(*udp));
	__u8 *client;

	if (!udp || udp->dest != bpf_htons(DHCP_CLIENT) || !take(c, DHCP_CHADDR))
		return false;
	client = take(c, ETH_ALEN);
	return client && same_mac(client, nic->mac);
}

static __always_inline bool is_hosts_ipv4(void *ctx, struct cursor *c,
					  const volatile struct nic *nic, bool unicast)
{
	struct iphdr *ip = take_ipv4(c);

	if (!ip)
		return false;
	if (unicast && is_local_ipv4(ctx, nic, ip->daddr))
		return true;
	return ip->protocol == IPPROTO_UDP && is_hosts_dhcp(c, nic);
}

/* What was sent to a group: by it the host learns routers and neighbours, and keeps its membership. */
static __always_inline bool is_hosts_icmpv6(void *ctx, struct cursor *c,
					    const volatile struct nic *nic)
{
	struct nd_solicitation *nd = c->pos;

	if ((void *)nd + sizeof(__be32) > c->end)
		return false;
	switch (nd->type) {
	case MLD_QUERY:
	case ND_ROUTER_ADVERTISEMENT:
	case ND_NEIGHBOUR_ADVERTISEMENT:
		return true;
	case ND_NEIGHBOUR_SOLICITATION:
		return (void *)(nd + 1) <= c->end && is_local_ipv6(ctx, nic, nd->target);
	default:
		return false;
	}
}

static __always_inline bool is_hosts_ipv6(void *ctx, struct cursor *c,
					  const volatile struct nic *nic, bool unicast)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	struct ipv6_opt_hdr *options;

	if (!ip)
		return false;
	if (unicast)
		return is_local_ipv6(ctx, nic, (const __be32 *)&ip->daddr);
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return is_hosts_icmpv6(ctx, c, nic);
	options = c->pos; /* MLD comes behind a router alert of eight bytes (RFC 2710) */
	if (ip->nexthdr != IPPROTO_HOPOPTS || !take(c, 8))
		return false;
	return options->nexthdr == IPPROTO_ICMPV6 && !options->hdrlen &&
	       is_hosts_icmpv6(ctx, c, nic);
}

static __always_inline bool is_hosts_own(void *ctx, struct cursor c, const volatile struct nic *nic)
{
	struct ethhdr *eth = take(&c, sizeof(*eth));
	__be16 proto, *tag;
	bool unicast;

	if (!eth)
		return false;
	unicast = same_mac(eth->h_dest, nic->mac);
	if (!unicast && !(eth->h_dest[0] & 1))
		return false;
	proto = eth->h_proto;
	if (proto == bpf_htons(ETH_P_8021Q)) { /* VLAN 0 is a priority, and no VLAN */
		tag = take(&c, 4);
		if (!tag || tag[0] & bpf_htons(VLAN_ID))
			return false;
		proto = tag[1];
	}
	switch (proto) {
	case bpf_htons(ETH_P_ARP):
		return is_hosts_arp(ctx, &c, nic, unicast);
	case bpf_htons(ETH_P_IP):
		return is_hosts_ipv4(ctx, &c, nic, unicast);
	case bpf_htons(ETH_P_IPV6):
		return is_hosts_ipv6(ctx, &c, nic, unicast);
	default:
		return false;
	}
}

#endif
