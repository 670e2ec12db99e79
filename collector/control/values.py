"""What single values in the configuration may be. Errors say what is wrong; what to do."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from collector.control.document import show

_NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"
_MAC = r"^[0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}$"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_PROBE = f"^(icmp|none|tcp:{_PORT})$"
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}\.?"
_IPV4_LIKE = r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)"  # what resolvers read as an IPv4 address
_LISTEN = rf"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):{_PORT}$"
_WHOLE_PATH = r"^/[^/].*$"

ADVICE = {
    _NAME: "use 1 to 31 of a-z, 0-9, '-' and '_', and begin with a letter or a digit",
    _MAC: 'write the MAC address of one NIC, such as "00:15:5d:01:02:03"',
    _PROBE: "use 'icmp', 'none', or 'tcp:PORT' such as tcp:443",
    _LISTEN: 'write an IP address and a port, such as "127.0.0.1:9747" or "[::1]:9747"',
    _WHOLE_PATH: "write the whole path, such as /etc/collector/web.yml",
}

_HERE, _ITS_OWN = "{} cannot be another machine", "the t-meter's own address"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122, 3.2.1.3: never a destination
_BROADCAST = IPv4Address("255.255.255.255")
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2: IPv4 addresses as IPv6 ones


def _mac(text: str) -> str:
    return text.replace("-", ":").lower()


def _interface(text: str) -> str:
    if re.match(_MAC, text):
        raise ValueError(f'{show(text)} is a MAC address; write {{mac: "{text}"}} to name a NIC by it')
    # The kernel's own rules (dev_valid_name).
    if not 1 <= len(text.encode()) <= 15 or text in (".", "..") or re.search(r"[\s/:]", text):
        raise ValueError(
            f"{show(text)} cannot be an interface's name; use one that `collector interfaces` lists"
        )
    return text


def _listen(text: str) -> str:
    endpoint(text)
    return text


def endpoint(listen: str) -> tuple[str, int]:
    """`[::1]:9747` as its address, without brackets, and its port."""
    host, _, port = listen.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise ValueError(f"{show(host)} is not an IP address; {ADVICE[_LISTEN]}") from None


def _sender(value: object) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        interface = ipaddress.ip_interface(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{show(value)} is not a network; write one such as 198.51.100.0/24") from None
    network = interface.network
    if isinstance(network, IPv6Network) and network.network_address.scope_id:
        raise ValueError(f"{show(value)} names an interface; leave out %{network.network_address.scope_id}")
    if interface.ip != network.network_address:
        raise ValueError(f"{show(value)} is an address within a network; write the network: {network}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError(f"{show(value)} is an IPv4 network in disguise; write {_unmapped(network)}")
    return network


def _unmapped(network: IPv6Network) -> IPv4Network:
    return IPv4Network((network.network_address.packed[12:], network.prefixlen - _MAPPED.prefixlen))


def _t_meter_address(value: object) -> Address | str:
    try:
        address = ipaddress.ip_address(value if isinstance(value, str | Address) else "")
    except ValueError:
        if isinstance(value, str) and _is_host_name(value):
            return value.lower().rstrip(".")
        raise ValueError(
            f"{show(value)} is neither an IP address nor a host name; write one such as 203.0.113.10"
        ) from None
    if found := unfit(address):
        raise ValueError("; write ".join(found))
    return address


def _is_host_name(text: str) -> bool:
    return bool(re.fullmatch(_HOST, text)) and not re.fullmatch(_IPV4_LIKE, text.rstrip("."))


def unfit(address: Address) -> tuple[str, str] | None:
    """Why no t-meter can have this address, and what to write instead."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return "this is an IPv4 address in disguise", str(address.ipv4_mapped)
        if address.is_link_local:
            return f"{address} is only good on one cable", "an address that can be routed"
        if address.scope_id:
            return f"{address} names an interface", str(address).partition("%")[0]
    elif address == _BROADCAST or address in _THIS_NETWORK:
        return _HERE.format(address), _ITS_OWN
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return _HERE.format(address), _ITS_OWN
    return None


Vni = Annotated[int, Field(strict=True, ge=0, le=(1 << 24) - 1)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Name = Annotated[str, Field(strict=True, pattern=_NAME)]
Mac = Annotated[str, Field(strict=True, pattern=_MAC), AfterValidator(_mac)]
InterfaceName = Annotated[
    str, Field(strict=True, json_schema_extra={"minLength": 1, "maxLength": 15}), AfterValidator(_interface)
]
Flag = Annotated[bool, Field(strict=True)]
VlanId = Annotated[int, Field(strict=True, ge=1, le=4094)]
Probe = Annotated[str, Field(strict=True, pattern=_PROBE)]
Listen = Annotated[str, Field(strict=True, pattern=_LISTEN), AfterValidator(_listen)]
WholePath = Annotated[str, Field(strict=True, pattern=_WHOLE_PATH)]
Sender = Annotated[Network, BeforeValidator(_sender)]
TMeterAddress = Annotated[Address | str, BeforeValidator(_t_meter_address)]
