"""The benchmark: `make bench`, or as root `python -m tests.bench`.

    generator            collector              t-meter
    tap ---------- source NIC | uplink ---------- NIC
    CPU 0              CPU 1                     CPU 0

An XDP program makes live frames (BPF_F_TEST_XDP_LIVE_FRAMES) and redirects them into the source NIC, as
many as CPU 0 gives. What is measured forwards them on CPU 1, where the source NIC's threaded NAPI runs.
An XDP program at the t-meter counts the frames that arrive right, keeps a sample of them, and drops them.
Frames that arrive are counted, not frames that were offered. `CPU ns` is the time that CPU 1 worked for each:
the t-meter's end bounds the fastest ways, and leaves their CPU 1 idle for a part.

All ways run in the same namespaces, one after the other, round after round. Only one is ever in place: the
collector's loss tracepoints see the whole host, and would slow the others.
"""
