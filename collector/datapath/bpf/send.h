/* SPDX-License-Identifier: GPL-2.0 */
/* The next hop, the slower ways, and the one place where frames are counted. */
#ifndef COLLECTOR_SEND_H
#define COLLECTOR_SEND_H

#include "encap.h"

#define LOOPBACK_IFINDEX 1
#define AF_INET 2

/*
 * The mark of a packet on its way through the splitter, a veth pair of ours. What enters at
 * splitter_tx comes back at splitter_rx as the kernel would have put it on a wire: superframes
 * split, checksums complete, the protocol read anew. The low byte is the source's slot.
 */
#define MARK 0xc05a0000
#define MARK_MASK 0xffff0000
#define MARK_FRAME (MARK | 0x100) /* a mirrored packet, not counted yet */
#define MARK_OUTER (MARK | 0x200) /* an outer packet, or its last fragment, counted as sent */
#define MARK_PART (MARK | 0x300) /* an earlier fragment of one */
#define MARK_KIND (MARK_MASK | 0xff00)
#define MARK_SOURCE 0xff

#define MAX_FRAGMENTS 40
#define SCRATCH_SIZE 16384

/* One buffer a CPU for the part of a frame that goes into later fragments. Twice the size that is
 * used, so that an offset and a length below SCRATCH_SIZE are always inside.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set to the possible CPUs when loaded */
	__type(key, __u32);
	__type(value, __u8[2 * SCRATCH_SIZE]);
} scratch SEC(".maps");

enum hop {
	HOP_KNOWN,
	HOP_UNRESOLVED, /* cpu->ifindex is set, the MAC addresses are not */
	HOP_NONE,
};

static __always_inline struct cpu_state *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_states, &zero);
}

static __always_inline struct flow_way *find_way(__u32 hash)
{
	__u32 key = hash % FLOW_WAYS;

	return bpf_map_lookup_elem(&flow_ways, &key);
}

/* A flow that goes on needing the slower way renews its stay, but not with every frame. */
static __always_inline void remember_way(__u64 *until, __u64 now)
{
	if (*until < now + FLOW_WAY_NS / 2) /* spares other CPUs the cache line */
		*until = now + FLOW_WAY_NS;
}

/*
 * Asks the routing and neighbour tables as a socket of this host would (input device lo), at most
 * once a tick on each CPU: a gateway that changes its address is followed, at no cost a frame.
 */
static __always_inline enum hop find_hop(void *ctx, struct cpu_state *cpu, __u64 now)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_UDP,
		.dport = config.tmeter.port,
		.tot_len = 1, /* else the frame itself is held against the egress NIC's MTU */
		.ifindex = LOOPBACK_IFINDEX,
		.ipv4_src = config.tmeter.saddr,
		.ipv4_dst = config.tmeter.daddr,
	};

	if (cpu->tick == now)
		return HOP_KNOWN;
	cpu->tick = 0;
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		cpu->tick = now;
		cpu->ifindex = fib.ifindex;
		__builtin_memcpy(cpu->dmac, fib.dmac, ETH_ALEN);
		__builtin_memcpy(cpu->smac, fib.smac, ETH_ALEN);
		return HOP_KNOWN;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		cpu->ifindex = fib.ifindex;
		return HOP_UNRESOLVED;
	case BPF_FIB_LKUP_RET_FWD_DISABLED: /* somebody reset lo's forwarding: ask the slow way */
		cpu->ifindex = config.tmeter.ifindex;
		return HOP_UNRESOLVED;
	default:
		return HOP_NONE;
	}
}

static __always_inline void count(const struct frame *frame, int verdict, __u64 now)
{
	__u32 slot = frame->source;
	__u32 zero = 0;
	struct source_counters *source = bpf_map_lookup_elem(&source_counters, &slot);
	struct tmeter_counters *tmeter = bpf_map_lookup_elem(&tmeter_counters, &zero);

	if (!source || !tmeter)
		return;
	source->frames++;
	source->bytes += frame->len;
	source->last_frame_ns = now;
	if (verdict == SENT) {
		tmeter->frames++;
		tmeter->bytes += frame->len;
	} else if (verdict > 0 && verdict < DROP_SLOTS) {
		source->drops[verdict]++;
	}
}

static __always_inline void count_passed(__u32 slot, __u32 frames)
{
	struct source_counters *source = bpf_map_lookup_elem(&source_counters, &slot);

	if (source)
		source->passed_frames += frames;
}

/* Frames once counted as sent turn out to be lost. */
static __always_inline void count_lost(__u32 slot, enum drop_reason reason, __u32 frames)
{
	__u32 zero = 0;
	struct source_counters *source = bpf_map_lookup_elem(&source_counters, &slot);
	struct tmeter_counters *tmeter = bpf_map_lookup_elem(&tmeter_counters, &zero);

	if (!source || !tmeter)
		return;
	tmeter->frames -= frames;
	source->drops[reason] += frames;
}

#define FRAGMENT_START (sizeof(struct ethhdr) + sizeof(struct iphdr))
#define MORE_FRAGMENTS 0x2000

struct fragments {
	struct __sk_buff *skb;
	struct iphdr ip;
	__u32 ifindex;
	__u32 payload; /* bytes of all fragments together */
	__u32 size; /* bytes of each but the last */
	int verdict;
};

/* The same length, so that verifiers from Linux 6.1 on see that it is 1 to SCRATCH_SIZE. */
static __always_inline __u32 bounded(__u32 len)
{
	barrier_var(len);
	return ((len - 1) & (SCRATCH_SIZE - 1)) + 1;
}

static __always_inline int write_fragment(struct fragments *f, __u32 done, __u32 piece, bool more)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u8 *rest = bpf_map_lookup_elem(&scratch, &cpu);

	if (!rest || !piece || piece > SCRATCH_SIZE)
		return DROP_NO_MEMORY;
	piece = bounded(piece);
	if (bpf_skb_change_tail(f->skb, FRAGMENT_START + piece, 0))
		return DROP_NO_MEMORY;
	if (done && bpf_skb_store_bytes(f->skb, FRAGMENT_START,
					rest + ((done - f->size) % SCRATCH_SIZE), piece, 0))
		return DROP_NO_MEMORY;
	f->ip.tot_len = bpf_htons(sizeof(f->ip) + piece);
	f->ip.frag_off = bpf_htons(done / 8 | (more ? MORE_FRAGMENTS : 0));
	f->ip.check = 0;
	f->ip.check = ipv4_checksum(&f->ip);
	return bpf_skb_store_bytes(f->skb, sizeof(struct ethhdr), &f->ip, sizeof(f->ip), 0)
		       ? DROP_NO_MEMORY
		       : SENT;
}

/* Returns 1 after the last one, which stays in the skb for its caller to send. */
static long send_fragment(__u32 i, struct fragments *f)
{
	__u32 done = i * f->size;
	bool more = done + f->size < f->payload;

	f->verdict = write_fragment(f, done, more ? f->size : f->payload - done, more);
	if (f->verdict != SENT || !more)
		return 1;
	if (bpf_clone_redirect(f->skb, f->ifindex, 0)) {
		f->verdict = DROP_EGRESS;
		return 1;
	}
	return 0;
}

/*
 * Sends an outer packet that exceeds the path in IP fragments of equal size (RFC 791), all but the
 * last, which it leaves in `skb`. Equal, because the kernel refuses to trim a packet to less than
 * the mirrored frame's own headers.
 */
static __noinline int send_fragments(struct __sk_buff *skb, __u32 ifindex, __u32 payload)
{
	__u32 room = (config.tmeter.path_mtu - sizeof(struct iphdr)) & ~7U;
	struct fragments f = { .skb = skb, .ifindex = ifindex, .payload = payload };
	__u32 cpu = bpf_get_smp_processor_id();
	__u8 *rest = bpf_map_lookup_elem(&scratch, &cpu);
	__u32 pieces, left;

	if (!rest || !room || bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &f.ip, sizeof(f.ip)))
		return DROP_NO_MEMORY;
	pieces = (payload + room - 1) / room;
	f.size = ((payload + pieces - 1) / (pieces ? pieces : 1) + 7) & ~7U;
	left = payload - f.size;
	if (f.size >= payload || left > SCRATCH_SIZE)
		return DROP_OVERSIZE;
	left = bounded(left);
	if (bpf_skb_load_bytes(skb, FRAGMENT_START + f.size, rest, left))
		return DROP_NO_MEMORY;
	skb->mark = MARK_PART;
	f.verdict = DROP_OVERSIZE;
	bpf_loop(MAX_FRAGMENTS, send_fragment, &f, 0);
	return f.verdict;
}

#endif
