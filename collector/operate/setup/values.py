"""Single answers, checked by the configuration's own models; ValueError in the same words."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

from pydantic import TypeAdapter, ValidationError

from collector.control.document import explain
from collector.control.values import ADVICE, Network, Port, TMeterAddress, Vni
from collector.operate.setup.facts import Address

_VNI, _PORT = TypeAdapter[int](Vni), TypeAdapter[int](Port)
_T_METER = TypeAdapter[Address | str](TMeterAddress)

# RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291
PRIVATE: tuple[Network, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")),
    *map(IPv6Network, ("fc00::/7", "fe80::/10")),
)


def is_private(address: Address) -> bool:
    return any(address.version == network.version and address in network for network in PRIVATE)


def parse_t_meter(text: str) -> str:
    return str(_checked(_T_METER, text))


def parse_vni(text: str) -> str:
    return str(_checked(_VNI, _number(text)))


def parse_vni_or_keep(text: str) -> str:
    return "keep" if text.lower() == "keep" else parse_vni(text)


def parse_tcp_port(text: str) -> str:
    return str(_checked(_PORT, _number(text)))


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _checked(adapter: TypeAdapter[Any], value: object) -> object:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(explain(error.errors(include_url=False)[0], (), ADVICE)) from None
