/* SPDX-License-Identifier: GPL-2.0 */
/* What the program and the control plane share: configuration, counters, drop reasons. */
#ifndef COLLECTOR_SHARED_H
#define COLLECTOR_SHARED_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NAME_SIZE 32
#define MAX_NICS 16
#define MAX_SOURCES 64
#define MAX_OWN_ADDRESSES 8
#define MAX_VNI_RULES 65536
#define MAX_SENDERS 8192
#define NONE 0xffffffff

/*
 * Why a frame was not sent. Reason 0 is "sent". Python reads the names from this enum's BTF;
 * docs/datapath.md says what each one means to the operator.
 */
enum drop_reason {
	/* the mirror's tunnel header contradicts itself; or the frame has more than MAX_VLAN_TAGS tags */
	DROP_MALFORMED = 1,
	DROP_LOOP, /* the frame was already on its way to the t-meter */
	DROP_UNKNOWN_VNI, /* the source's VNI map has no entry and no default */
	DROP_OVERSIZE, /* larger than the path, and the file says `oversize: drop` */
	DROP_OUTER_FRAGMENT, /* the mirror sent its packet in IP fragments: each that was known as one */
	DROP_NO_ROUTE, /* this host has no route to the t-meter */
	DROP_NEIGHBOUR, /* the gateway or the t-meter on link does not answer ARP or neighbour discovery */
	DROP_EGRESS, /* handed to the egress NIC, which did not take it */
	DROP_NO_MEMORY, /* the kernel had no memory for the outer headers */
	DROP_UNSUPPORTED, /* the mirror's tunnel carries neither Ethernet nor IP, or nothing */
	NR_DROP_REASONS,
};

#define DROP_SLOTS 32 /* room for reasons to come, so that pinned counters keep their size */

/* A frame's fate: 0 sent, positive an enum drop_reason, negative one of these. */
enum verdict {
	SENT = 0,
	PASSED = -1, /* not a mirrored frame: the host's own */
	SLOW = -2, /* XDP only: the tc program finishes it, and counts it */
	CLAIMED = -3, /* not decided yet: go on */
	SPLIT = -4, /* tc only: it comes back from the splitter, and is counted then */
};

enum source_type {
	SOURCE_SPAN = 1,
	SOURCE_VXLAN,
	SOURCE_GENEVE,
	SOURCE_GRE,
	SOURCE_ERSPAN,
	SOURCE_TZSP,
	SOURCE_IPIP,
};

enum vni_rule {
	VNI_FIXED,
	VNI_KEEP,
	VNI_MAP,
};

enum oversize {
	OVERSIZE_FRAGMENT,
	OVERSIZE_SLICE,
	OVERSIZE_DROP,
};

struct source {
	char name[NAME_SIZE];
	__u32 type; /* enum source_type; 0: the slot is free */
	__u32 vni_rule; /* enum vni_rule */
	__u32 vni; /* VNI_FIXED: the VNI; VNI_MAP: the default, or NONE for none */
	__u32 strip_vlan;
	__u32 rspan_vlan; /* VLAN id whose outermost tag is the mirror's own; 0: none */
};

struct nic {
	__u32 ifindex;
	__u32 span; /* slot of the span source that owns every frame, or NONE */
	__u32 first; /* slot of the first source here: what is passed is counted there */
	__u32 shared; /* the span's NIC is the host's too */
	__u32 strict; /* IP versions, as bits, of which only own_addresses are the host's */
	__u32 nr_addresses;
	__u8 mac[8]; /* its own address, padded */
	__be32 own_addresses[MAX_OWN_ADDRESSES][4];
};

struct tmeter {
	char name[NAME_SIZE];
	__be32 saddr[4]; /* IPv4 in the last word, as ::ffff:a.b.c.d */
	__be32 daddr[4];
	__be16 port;
	__u16 path_mtu; /* bytes, outer IP header included */
	__u32 oversize; /* enum oversize */
	__u32 ifindex; /* egress NIC when the routing table cannot be asked */
	__u32 ipv6;
	__u32 udp_checksum; /* over IPv6; over IPv4 it is 0 (RFC 7348) */
};

struct config {
	__u32 netns; /* inode of the network namespace: ifindexes mean nothing elsewhere */
	__u32 nr_cpus;
	__u32 splitter_tx;
	__u32 splitter_rx;
	__u32 nr_nics;
	struct nic nics[MAX_NICS];
	struct tmeter tmeter;
	struct source sources[MAX_SOURCES];
};

const volatile struct config config SEC(".rodata.cfg");

/* What a UDP or TCP port carries, by the configuration: enum telephony. */
const volatile __u8 telephony_ports[65536] SEC(".rodata.ports");

enum telephony {
	TELEPHONY_NONE,
	TELEPHONY_SIP,
	TELEPHONY_RTP,
};

/* Kept over changes of the configuration: pinned, reused by every new program. */

struct source_counters {
	__u64 frames;
	__u64 bytes;
	__u64 passed_frames;
	__u64 last_frame_ns; /* CLOCK_MONOTONIC_COARSE */
	__u64 last_sip_ns;
	__u64 last_rtp_ns;
	__u64 drops[DROP_SLOTS];
};

struct tmeter_counters {
	__u64 frames;
	__u64 bytes;
	__u64 oversize_frames; /* sent in fragments, cut or dropped, as the file says */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u32);
	__type(value, struct source_counters);
} source_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tmeter_counters);
} tmeter_counters SEC(".maps");

/*
 * A flow that has once needed a slower way keeps to it for a while: frames that XDP redirects wait
 * in the NIC's bulk queue, and a frame that went round them would overtake.
 */
struct flow_way {
	__u64 slow_until; /* ns: XDP leaves the flow to tc */
	__u64 split_until; /* ns: tc sends the flow through the splitter */
};

#define FLOW_WAYS 65536
#define FLOW_WAY_NS 10000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_WAYS);
	__type(key, __u32);
	__type(value, struct flow_way);
} flow_ways SEC(".maps");

/* Part of the configuration: filled before the program is attached, replaced with it. */

struct sender_key {
	__u32 prefixlen; /* bits of what follows */
	__u32 ifindex;
	__u8 protocol; /* IPPROTO_UDP, _GRE, _IPIP or _IPV6 */
	__u8 version; /* of IP: a network of one family claims nothing of the other */
	__be16 port; /* UDP; GRE: ETH_P_ERSPAN, or 0 for any other payload */
	__be32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
};

#define SENDER_BITS (8 * (sizeof(struct sender_key) - sizeof(__u32)))

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SENDERS);
	__type(key, struct sender_key);
	__type(value, __u32); /* slot of the source */
} senders SEC(".maps");

/*
 * Tunnel packets whose first fragment was claimed: the later ones do not say whose they are. Known
 * only for as long as a receiver would wait for them.
 */
struct fragment_key {
	__u32 ifindex;
	__u32 id;
	__be32 saddr[4];
	__be32 daddr[4];
	__u8 version; /* of IP */
	__u8 protocol; /* IPv4; over IPv6 it is no part of what makes fragments one packet */
	__u8 unused[2];
};

struct fragment_owner {
	__u64 until; /* ns */
	__u32 source; /* slot */
	__u32 unused;
};

#define MAX_FRAGMENTED 4096 /* each CPU sets some aside for itself */
#define FRAGMENTED_NS 30000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTED);
	__type(key, struct fragment_key);
	__type(value, struct fragment_owner);
} outer_fragments SEC(".maps");

struct vni_key {
	__u32 source;
	__u32 vni;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VNI_RULES);
	__type(key, struct vni_key);
	__type(value, __u32);
} vni_rules SEC(".maps");

#endif
