// The benchmark's three programs: generate frames, redirect them (the limit), and count them.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FLOWS 256
#define RESTORED_BYTES 112
#define MIN_FRAME 64
#define SAMPLES 64
// A power of two: the verifier follows a mask where it loses a comparison.
#define SAMPLE_BYTES 2048
// A prime, so that samples come from all flows.
#define SAMPLE_EVERY 1021

#define IPV4_PROTOCOL_OFFSET 23
#define IPV6_PROTOCOL_OFFSET 20
#define IPV4_UDP_OFFSET 34
#define IPV6_UDP_OFFSET 54
#define UDP_HEADER 8
#define VXLAN_HEADER 8

struct settings {
	__u32 generator_ifindex;
	__u32 uplink_ifindex;
	__u32 expected_length;
	// The VXLAN header's two words in network order; zero: expect a bare frame.
	__u32 vxlan_flags;
	__u32 vxlan_vni;
};

struct received {
	__u64 right;
	__u64 wrong;
	__u32 until_sample;
	__u32 samples;
};

struct sample {
	__u32 length;
	__u8 bytes[SAMPLE_BYTES];
};

struct frame_head {
	__u64 words[RESTORED_BYTES / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, struct frame_head);
} flow_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sequence_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct received);
} received_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SAMPLES);
	__type(key, __u32);
	__type(value, struct sample);
} sample_map SEC(".maps");

static const __u32 FIRST = 0;

static void restore(void *data, void *end, const struct frame_head *head)
{
	__u64 *words = data;

#pragma unroll
	for (int i = 0; i < MIN_FRAME / 8; i++)
		words[i] = head->words[i];
	if (data + RESTORED_BYTES > end)
		return;
#pragma unroll
	for (int i = MIN_FRAME / 8; i < RESTORED_BYTES / 8; i++)
		words[i] = head->words[i];
}

// Live frames recycle their pages and whoever had one before may have written to its headers.
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct settings *settings = bpf_map_lookup_elem(&settings_map, &FIRST);
	__u32 *sequence = bpf_map_lookup_elem(&sequence_map, &FIRST);

	if (!settings || !sequence || data + MIN_FRAME > end)
		return XDP_ABORTED;
	__u32 flow = (*sequence)++ % FLOWS;
	const struct frame_head *head = bpf_map_lookup_elem(&flow_map, &flow);

	if (!head)
		return XDP_ABORTED;
	restore(data, end, head);
	return bpf_redirect(settings->generator_ifindex, 0);
}

// What every forwarder has to do at least: give the frame new MAC addresses, here the old ones swapped.
SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	const struct settings *settings = bpf_map_lookup_elem(&settings_map, &FIRST);
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	__u8 former[ETH_ALEN];

	if (!settings || (void *)(ethernet + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(former, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, former, ETH_ALEN);
	return bpf_redirect(settings->uplink_ifindex, 0);
}

// Where the UDP header is, or 0.
static __u32 find_udp(const void *data)
{
	const struct ethhdr *ethernet = data;

	if (ethernet->h_proto == bpf_htons(ETH_P_IP) &&
	    *(const __u8 *)(data + IPV4_PROTOCOL_OFFSET) == IPPROTO_UDP)
		return IPV4_UDP_OFFSET;
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6) &&
	    *(const __u8 *)(data + IPV6_PROTOCOL_OFFSET) == IPPROTO_UDP)
		return IPV6_UDP_OFFSET;
	return 0;
}

static int is_right(const void *udp, __u32 length, const struct settings *settings)
{
	const __u32 *vxlan = udp + UDP_HEADER;

	if (length != settings->expected_length)
		return 0;
	if (!settings->vxlan_flags)
		return 1;
	return ((const __u16 *)udp)[1] == bpf_htons(4789) && vxlan[0] == settings->vxlan_flags &&
	       vxlan[1] == settings->vxlan_vni;
}

static void take_sample(struct xdp_md *ctx, __u32 length, struct received *received)
{
	__u32 slot = received->samples++ % SAMPLES;
	struct sample *sample = bpf_map_lookup_elem(&sample_map, &slot);

	length &= SAMPLE_BYTES - 1;
	if (!sample || !length)
		return;
	sample->length = length;
	bpf_xdp_load_bytes(ctx, 0, sample->bytes, length);
}

// One receive queue, hence one CPU at a time: the counters need no atomics.
SEC("xdp")
int receive(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct settings *settings = bpf_map_lookup_elem(&settings_map, &FIRST);
	struct received *received = bpf_map_lookup_elem(&received_map, &FIRST);
	__u32 length = end - data;
	__u32 udp;

	if (!settings || !received)
		return XDP_ABORTED;
	if (data + IPV4_UDP_OFFSET > end)
		return XDP_PASS;
	udp = find_udp(data);
	if (!udp || data + udp + UDP_HEADER + VXLAN_HEADER > end)
		return XDP_PASS;
	if (!is_right(data + udp, length, settings)) {
		received->wrong++;
		return XDP_DROP;
	}
	received->right++;
	if (received->until_sample-- == 0) {
		received->until_sample = SAMPLE_EVERY;
		take_sample(ctx, length, received);
	}
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
