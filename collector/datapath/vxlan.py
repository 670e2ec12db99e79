"""VXLAN (RFC 7348): the sizes that everything else is reckoned with."""

from __future__ import annotations

ETHERNET_HEADER = 14
IPV4_HEADER = 20
UDP_HEADER = 8
VXLAN_HEADER = 8

IPV6_HEADER = 40

# From the inner Ethernet header on, what an outer packet adds to a frame.
OUTER_OVERHEAD = ETHERNET_HEADER + IPV4_HEADER + UDP_HEADER + VXLAN_HEADER
# The same, counted as the path's MTU counts: from the outer IP header on.
OUTER_IP_OVERHEAD = OUTER_OVERHEAD - ETHERNET_HEADER
OUTER_IPV6_OVERHEAD = OUTER_IP_OVERHEAD - IPV4_HEADER + IPV6_HEADER
