/* SPDX-License-Identifier: GPL-2.0 */
/* The next hop, the slower ways, and the one place where frames are counted. */
#ifndef COLLECTOR_SEND_H
#define COLLECTOR_SEND_H

#include "encap.h"
#include "shared_nic.h"

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
#define SUM_STEP 448 /* bytes; bpf_csum_diff() takes 512 at most */

/*
 * One buffer a CPU for an outer packet's payload, to be summed up or sent in fragments. Twice the
 * size that is used, so that an offset below SCRATCH_SIZE and a length up to it are always inside.
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

static __always_inline __u8 *this_scratch(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&scratch, &cpu);
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

static __always_inline long look_up_hop(void *ctx, struct bpf_fib_lookup *fib)
{
	fib->l4_protocol = IPPROTO_UDP;
	fib->dport = config.tmeter.port;
	fib->tot_len = 1; /* else the frame itself is held against the egress NIC's MTU */
	fib->ifindex = LOOPBACK_IFINDEX;
	if (config.tmeter.ipv6) {
		fib->family = AF_INET6;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			fib->ipv6_src[i] = config.tmeter.saddr[i];
			fib->ipv6_dst[i] = config.tmeter.daddr[i];
		}
	} else {
		fib->family = AF_INET;
		fib->ipv4_src = config.tmeter.saddr[3];
		fib->ipv4_dst = config.tmeter.daddr[3];
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

static __noinline enum hop ask_for_hop(void *ctx, struct cpu_state *cpu, __u64 now)
{
	struct bpf_fib_lookup fib = {};

	if (!cpu)
		return HOP_NONE;
	cpu->tick = 0;
	switch (look_up_hop(ctx, &fib)) {
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

/*
 * Asks the routing and neighbour tables as a socket of this host would (input device lo), at most
 * once a tick on each CPU: a gateway that changes its address is followed, at no cost a frame.
 */
static __always_inline enum hop find_hop(void *ctx, struct cpu_state *cpu, __u64 now)
{
	return cpu->tick == now ? HOP_KNOWN : ask_for_hop(ctx, cpu, now);
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
	if (frame->telephony == TELEPHONY_SIP)
		source->last_sip_ns = now;
	else if (frame->telephony == TELEPHONY_RTP)
		source->last_rtp_ns = now;
	tmeter->oversize_frames += frame->oversize;
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

/* The same length, so that verifiers from Linux 6.1 on see that it is 1 to SCRATCH_SIZE. */
static __always_inline __u32 bounded(__u32 len)
{
	barrier_var(len);
	return ((len - 1) & (SCRATCH_SIZE - 1)) + 1;
}

struct summing {
	__u8 *bytes;
	__u32 len;
	__s64 sum;
};

static long sum_step(__u32 i, struct summing *s)
{
	__u32 at = i * SUM_STEP;
	__u32 left = s->len - at;

	if (at >= SCRATCH_SIZE || at >= s->len)
		return 1;
	if (left > SUM_STEP)
		left = SUM_STEP;
	left = (left + 3) & 0x1fc;
	s->sum = bpf_csum_diff(NULL, 0, (__be32 *)(s->bytes + at), left, s->sum);
	return 0;
}

/*
 * The checksum of a UDP packet that lies in this CPU's scratch buffer (RFC 8200 section 8.1: over
 * IPv6 a receiver refuses none).
 */
static __noinline __u16 udp_checksum(__u8 *bytes, __u32 len)
{
	struct summing s = { .bytes = bytes, .len = len };
	__u64 sum;

	if (!bytes || !len || len > SCRATCH_SIZE)
		return 0;
	len = bounded(len);
	__builtin_memset(bytes + len, 0, 4); /* sums go by four bytes */
	bpf_loop(SCRATCH_SIZE / SUM_STEP + 1, sum_step, &s, 0);
	sum = (__u32)s.sum;
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)config.tmeter.saddr[i] + config.tmeter.daddr[i];
	sum += bpf_htonl(len);
	sum += bpf_htonl(IPPROTO_UDP);
	sum = (__u16)~fold_checksum(sum);
	return sum ? sum : 0xffff;
}

#define MORE_FRAGMENTS 0x2000

struct fragments {
	struct __sk_buff *skb;
	__u32 ifindex;
	__u32 payload; /* bytes of all fragments together */
	__u32 size; /* bytes of each but the last */
	__u32 id;
	int verdict;
};

static __always_inline int write_ipv4_fragment(struct fragments *f, __u32 done, __u32 piece,
					       bool more)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(f->skb, sizeof(struct ethhdr), &ip, sizeof(ip)))
		return DROP_NO_MEMORY;
	ip.tot_len = bpf_htons(sizeof(ip) + piece);
	ip.frag_off = bpf_htons(done / 8 | (more ? MORE_FRAGMENTS : 0));
	ip.check = 0;
	ip.check = ipv4_checksum(&ip);
	return bpf_skb_store_bytes(f->skb, sizeof(struct ethhdr), &ip, sizeof(ip), 0);
}

static __always_inline int write_ipv6_fragment(struct fragments *f, __u32 done, __u32 piece,
					       bool more)
{
	struct {
		__be16 payload_len;
		__u8 nexthdr;
	} __attribute__((packed)) changed = {
		.payload_len = bpf_htons(sizeof(struct ipv6_fragment) + piece),
		.nexthdr = IPPROTO_FRAGMENT,
	};
	struct ipv6_fragment fragment = {
		.nexthdr = IPPROTO_UDP,
		.offset = bpf_htons(done | (more ? 1 : 0)),
		.id = bpf_htonl(f->id),
	};

	if (bpf_skb_store_bytes(f->skb, sizeof(struct ethhdr) + 4, &changed, sizeof(changed), 0))
		return DROP_NO_MEMORY;
	return bpf_skb_store_bytes(f->skb, sizeof(struct ethhdr) + sizeof(struct ipv6hdr),
				   &fragment, sizeof(fragment), 0);
}

/* Bytes in front of a fragment's payload. */
static __always_inline __u32 fragment_start(void)
{
	return sizeof(struct ethhdr) + network_header_len() +
	       (config.tmeter.ipv6 ? sizeof(struct ipv6_fragment) : 0);
}

static __always_inline int write_fragment(struct fragments *f, __u32 done, __u32 piece, bool more)
{
	__u8 *bytes = this_scratch();
	int err;

	if (!bytes || !piece || piece > SCRATCH_SIZE)
		return DROP_NO_MEMORY;
	piece = bounded(piece);
	if (bpf_skb_change_tail(f->skb, fragment_start() + piece, 0) ||
	    bpf_skb_store_bytes(f->skb, fragment_start(), bytes + (done % SCRATCH_SIZE), piece, 0))
		return DROP_NO_MEMORY;
	err = config.tmeter.ipv6 ? write_ipv6_fragment(f, done, piece, more)
				 : write_ipv4_fragment(f, done, piece, more);
	return err ? DROP_NO_MEMORY : SENT;
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
 * Sends an outer packet, whose payload lies in the scratch buffer, in IP fragments (RFC 791, RFC
 * 8200 section 4.5), all but the last, which it leaves in `skb`. They are of equal size, because
 * the kernel refuses to trim a packet to less than the mirrored frame's own headers.
 */
static __noinline int send_fragments(struct __sk_buff *skb, __u32 ifindex, __u32 payload, __u32 id)
{
	__u32 headers = fragment_start() - sizeof(struct ethhdr);
	__u32 room = (config.tmeter.path_mtu - headers) & ~7U;
	struct fragments f = { .skb = skb, .ifindex = ifindex, .payload = payload, .id = id };
	__u32 pieces;

	if (!room)
		return DROP_OVERSIZE;
	pieces = (payload + room - 1) / room;
	f.size = ((payload + pieces - 1) / (pieces ? pieces : 1) + 7) & ~7U;
	skb->mark = MARK_PART;
	f.verdict = DROP_OVERSIZE;
	bpf_loop(MAX_FRAGMENTS, send_fragment, &f, 0);
	return f.verdict;
}

#endif
