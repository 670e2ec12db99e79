"""A NIC's address as systemd-networkd reads it: .network files (systemd.network(5)), written and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from pathlib import Path

NETWORK, NETWORK_ON_TRIAL = Path("/etc/systemd/network"), Path("/run/systemd/network")
OURS = "collector-"
MANAGEMENT, MIRROR = f"{OURS}management.network", f"{OURS}mirror.network"
# Of several files for one NIC networkd takes the first by name, in whatever folder it is.
TRIAL, FINAL = "04-", "05-"

_HEADER = "# Written by collector setup.\n"


@dataclass(frozen=True)
class Static:
    address: str  # with prefix length
    gateway: str = ""
    dns: tuple[str, ...] = ()


def management_file(nic: str, static: Static | None) -> str:
    """None: by DHCP, and by router advertisements, as the network offers it."""
    lines = ["[Match]", f"Name={nic}", "", "[Network]"]
    if static is None:
        return _HEADER + "\n".join([*lines, "DHCP=yes", "", "[DHCPv4]", "ClientIdentifier=mac"]) + "\n"
    lines += ["DHCP=no", f"Address={static.address}"]
    lines += [f"Gateway={static.gateway}"] if static.gateway else []
    lines += [f"DNS={each}" for each in static.dns]
    return _HEADER + "\n".join(lines) + "\n"


def mirror_file(nic: str) -> str:
    """A mirror port's NIC says nothing, and wants no address."""
    quiet = ["DHCP=no", "LinkLocalAddressing=no", "IPv6AcceptRA=no", "LLDP=no"]
    lines = ["[Match]", f"Name={nic}", "", "[Link]", "RequiredForOnline=no", "", "[Network]", *quiet]
    return _HEADER + "\n".join(lines) + "\n"


def by_dhcp(text: str) -> bool:
    return any(value.lower() in ("yes", "ipv4", "true", "both", "v4") for value in _values(text, "DHCP"))


def read_static(text: str) -> Static | None:
    addresses, gateways = _values(text, "Address"), _values(text, "Gateway")
    if not addresses or by_dhcp(text):
        return None
    dns = [each for value in _values(text, "DNS") for each in value.split()]
    return Static(addresses[0], gateways[0] if gateways else "", tuple(dns))


def _values(text: str, key: str) -> list[str]:
    return [found.strip() for found in re.findall(rf"(?m)^[ \t]*{key}[ \t]*=[ \t]*(\S.*)$", text)]


def parse_address(text: str) -> str:
    """ValueError in words, as all of these."""
    example = "write one such as 192.0.2.10/24"
    if "/" not in text:
        raise ValueError(f"the length of the network is missing; {example}")
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address with the length of its network; {example}") from None
    _require_usable(interface)
    return str(interface)


def _require_usable(interface: IPv4Interface | IPv6Interface) -> None:
    address, network = interface.ip, interface.network
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved:
        raise ValueError(f"{address} cannot be a machine's address; ask who looks after the network")
    if network.prefixlen >= network.max_prefixlen - 1:
        return
    if address == network.network_address:
        raise ValueError(f"{address} is the network itself; use an address in it, such as {address + 1}")
    if address.version == 4 and address == network.broadcast_address:
        raise ValueError(f"{address} is the broadcast address of {network}; use another")


def parse_gateway(text: str, address: str) -> str:
    """ "none" where there is no gateway."""
    if text.lower() == "none":
        return "none"
    interface = ip_interface(address)
    gateway = _address(text, "the router's, such as 192.0.2.1, or none")
    if gateway == interface.ip:
        raise ValueError(f"{gateway} is this machine's own address; write the router's")
    if gateway.version != interface.version:
        raise ValueError(f"{gateway} and {interface.ip} are not of the same IP version; write another")
    if gateway not in interface.network and not gateway.is_link_local:
        raise ValueError(f"{gateway} is not in {interface.network}; write an address that is")
    return str(gateway)


def parse_dns(text: str) -> str:
    if text.lower() == "none":
        return "none"
    found = re.split(r"[\s,;]+", text.strip(" ,;"))
    return " ".join(str(_address(each, "name servers' addresses, or none")) for each in found)


def _address(text: str, what: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IP address; write {what}") from None
