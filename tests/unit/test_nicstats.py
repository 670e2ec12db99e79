"""A driver's own counters, as ethtool's ioctl gives them."""

from __future__ import annotations

import struct

from collector.datapath import nicstats

ENA = {
    "tx_timeout": 0,
    "bw_in_allowance_exceeded": 12,
    "bw_out_allowance_exceeded": 0,
    "pps_allowance_exceeded": 7,
    "conntrack_allowance_exceeded": 0,
    "conntrack_allowance_available": 9000,
    "linklocal_allowance_exceeded": 1,
    "queue_0_tx_cnt": 99,
}


def test_allowances_of_an_aws_nic() -> None:
    assert nicstats.select_allowances(ENA) == {
        "bw_in": 12, "bw_out": 0, "pps": 7, "conntrack": 0, "linklocal": 1,
    }  # fmt: skip


def test_other_drivers_have_none() -> None:
    assert nicstats.select_allowances({"rx_drops": 3, "peer_ifindex": 2}) == {}


def test_names_and_numbers_in_the_kernels_layout() -> None:
    names = b"".join(name.encode().ljust(32, b"\0") for name in ENA) + bytes(320)
    values = struct.pack(f"={len(ENA)}Q", *ENA.values()) + bytes(80)
    assert nicstats.decode(len(ENA), names, values) == ENA


def test_a_name_that_fills_its_field_or_is_no_text() -> None:
    names = b"n" * 32 + b"bad\xff".ljust(32, b"\0")
    assert nicstats.decode(2, names, struct.pack("=2Q", 1, 1 << 63)) == {"n" * 32: 1, "bad\ufffd": 1 << 63}
