"""What single values in the configuration may be. Errors say what is wrong; what to do."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from collector.control.document import show

_NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"
_MAC = r"^[0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}$"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_PROBE = f"^(icmp|none|tcp:{_PORT})$"
_LISTEN = rf"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):{_PORT}$"

ADVICE = {
    _NAME: "use 1 to 31 of a-z, 0-9, '-' and '_', and begin with a letter or a digit",
    _MAC: 'write the MAC address of one NIC, such as "00:15:5d:01:02:03"',
    _PROBE: "use 'icmp', 'none', or 'tcp:PORT' such as tcp:443",
    _LISTEN: 'write an IP address and a port, such as "127.0.0.1:9747" or "[::1]:9747"',
}

_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122, 3.2.1.3: never a destination
_BROADCAST = IPv4Address("255.255.255.255")


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


def _sender(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    try:
        interface = ipaddress.ip_interface(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{show(value)} is not a network; write one such as 198.51.100.0/24") from None
    if isinstance(interface, ipaddress.IPv6Interface):
        raise ValueError("IPv6 senders are not supported by this version; write an IPv4 network")
    if interface.ip != interface.network.network_address:
        raise ValueError(
            f"{show(value)} is an address within a network; write the network: {interface.network}"
        )
    return interface.network


def _t_meter_address(value: object) -> IPv4Address:
    try:
        address = ipaddress.ip_address(value if isinstance(value, str | IPv4Address) else "")
    except ValueError:
        name = isinstance(value, str) and re.fullmatch(r"[\w.-]*[A-Za-z][\w.-]*", value)
        what = "is a host name, which is not supported by this version" if name else "is not an IPv4 address"
        raise ValueError(f"{show(value)} {what}; write an address such as 203.0.113.10") from None
    if not isinstance(address, IPv4Address):
        raise ValueError("an IPv6 t-meter is not supported by this version; write an IPv4 address")
    special = address.is_loopback or address.is_multicast or address in _THIS_NETWORK or address == _BROADCAST
    if special:
        raise ValueError(f"{address} cannot be another machine; write the t-meter's own address")
    return address


def _not_shared(value: bool) -> bool:
    if value:
        raise ValueError(
            "true is not supported by this version; use a NIC that receives mirrored frames only"
        )
    return value


Vni = Annotated[int, Field(strict=True, ge=0, le=(1 << 24) - 1)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Name = Annotated[str, Field(strict=True, pattern=_NAME)]
Mac = Annotated[str, Field(strict=True, pattern=_MAC), AfterValidator(_mac)]
InterfaceName = Annotated[
    str, Field(strict=True, json_schema_extra={"minLength": 1, "maxLength": 15}), AfterValidator(_interface)
]
Shared = Annotated[bool, Field(strict=True, json_schema_extra={"const": False}), AfterValidator(_not_shared)]
Probe = Annotated[str, Field(strict=True, pattern=_PROBE)]
Listen = Annotated[str, Field(strict=True, pattern=_LISTEN), AfterValidator(_listen)]
Sender = Annotated[IPv4Network, BeforeValidator(_sender)]
TMeterAddress = Annotated[IPv4Address, BeforeValidator(_t_meter_address)]
