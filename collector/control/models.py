"""The configuration's keys. Every model is frozen, and knows no key but its own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from collector.control.document import show
from collector.control.values import (
    Address,
    Flag,
    InterfaceName,
    Listen,
    Mac,
    Name,
    Port,
    Probe,
    Sender,
    TMeterAddress,
    VlanId,
    Vni,
    WholePath,
    endpoint,
)  # fmt: skip

MOST_VNIS = 1024
MOST_LISTENS = 16


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


class ByMac(_Model):
    mac: Mac = Field(description="the NIC's MAC address")


def _interface(value: object) -> object:
    if isinstance(value, dict):
        return ByMac.model_validate(value)
    return value if isinstance(value, ByMac) else _INTERFACE_NAME.validate_python(value)


class VniMap(_Model):
    """From the sender's VNI to the one sent, sorted; `default` is for all others, None drops them."""

    entries: tuple[tuple[Vni, Vni], ...]
    default: Vni | None = None


def _map_key(key: object) -> object:
    return key if key == "default" else _VNI.validate_python(key)


def _vni(value: object) -> object:
    if isinstance(value, dict):
        entries = _VNI_ENTRIES.validate_python(value)
        default = entries.pop("default", None)
        if not value or len(entries) > MOST_VNIS:
            raise ValueError(f"the map has {len(entries)} entries; use 1 to {MOST_VNIS}")
        return VniMap(entries=tuple(sorted(entries.items())), default=default)
    if isinstance(value, str) and value != "keep" and not value.isdecimal():
        raise ValueError(
            f"{show(value)} is not known; use keep, a number, or a map such as {{17: 101, default: 12}}"
        )
    return value if isinstance(value, VniMap) or value == "keep" else _VNI.validate_python(value)


_VNI = TypeAdapter[int](Vni)
_INTERFACE_NAME = TypeAdapter[str](InterfaceName)
_VNI_ENTRIES = TypeAdapter[dict[Any, int]](dict[Annotated[Any, BeforeValidator(_map_key)], Vni])
_VNI_MAP_SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": "^([0-9]{1,8}|default)$"},
    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": (1 << 24) - 1},
    "minProperties": 1,
}

Interface = Annotated[InterfaceName | ByMac, BeforeValidator(_interface)]
VniChoice = Annotated[
    Literal["keep"] | Vni | Annotated[VniMap, WithJsonSchema(_VNI_MAP_SCHEMA)], BeforeValidator(_vni)
]
Hook = Literal["auto", "xdp", "tc"]
Vlan = Literal["keep", "strip"]


class _Source(_Model):
    name: Name = Field(description="your word for it, in status and in metrics")
    interface: Interface = Field(description='the NIC: its name, or {mac: "00:15:5d:01:02:03"}')
    hook: Hook = Field("auto", description="where the program is attached; auto takes the fastest that works")
    vlan: Vlan = Field("keep", description="keep or strip the VLAN tags of the mirrored frame")


def _given(value: object) -> object:
    if value is None:
        raise ValueError("has no value")
    return value


def _sent_with(packets: str) -> BeforeValidator:
    """For packets that bring no VNI of their own, so that none can be kept or mapped."""

    def refuse(value: object) -> object:
        if value == "keep" or isinstance(value, dict):
            raise ValueError(f"{show(value)} cannot be: {packets} have no VNI; write a number, such as 12")
        return value

    return BeforeValidator(refuse)


_SENT_WITH = "the VNI that its frames are sent with"


class SpanSource(_Source):
    type: Literal["span"] = Field(description="everything this NIC receives is a mirrored frame")
    vni: Annotated[Vni, _sent_with("frames of a mirror port")] = Field(12, description=_SENT_WITH)
    shared: Flag = Field(False, description="whether the NIC also carries this host's own traffic")
    rspan_vlan: Annotated[VlanId | None, BeforeValidator(_given)] = Field(
        None, description="the RSPAN VLAN: its tag, outermost, is taken off"
    )


class _Tunnel(_Source):
    from_: tuple[Sender, ...] = Field(
        (), validation_alias="from", serialization_alias="from", max_length=64,
        description="the networks that senders may be in; none given means any",
    )  # fmt: skip


class _Numbered(_Tunnel):
    vni: VniChoice = Field("keep", description="keep the sender's VNI, or a number, or a map")


class VxlanSource(_Numbered):
    type: Literal["vxlan"] = Field(description="mirrored frames come wrapped in VXLAN")
    port: Port = Field(4789, description="the UDP port that they come to")


class GeneveSource(_Numbered):
    type: Literal["geneve"] = Field(description="mirrored frames come wrapped in GENEVE, as from AWS GWLB")
    port: Port = Field(6081, description="the UDP port that they come to")


class ErspanSource(_Numbered):
    type: Literal["erspan"] = Field(description="mirrored frames come by ERSPAN, type I, II or III")


class GreSource(_Tunnel):
    type: Literal["gre"] = Field(description="mirrored frames or IP packets come wrapped in GRE")
    vni: Annotated[Vni, _sent_with("GRE packets")] = Field(12, description=_SENT_WITH)


class TzspSource(_Tunnel):
    type: Literal["tzsp"] = Field(description="mirrored frames come by TZSP, as from MikroTik")
    port: Port = Field(37008, description="the UDP port that they come to")
    vni: Annotated[Vni, _sent_with("TZSP packets")] = Field(12, description=_SENT_WITH)


class IpipSource(_Tunnel):
    type: Literal["ipip"] = Field(description="mirrored IP packets come wrapped in IP")
    vni: Annotated[Vni, _sent_with("IP-in-IP packets")] = Field(12, description=_SENT_WITH)


TunnelSource = VxlanSource | GeneveSource | ErspanSource | GreSource | TzspSource | IpipSource
AnySource = SpanSource | TunnelSource
Source = Annotated[AnySource, Field(discriminator="type")]
SOURCE_CLASSES: dict[str, type[BaseModel]] = {
    "span": SpanSource,
    "vxlan": VxlanSource,
    "geneve": GeneveSource,
    "erspan": ErspanSource,
    "gre": GreSource,
    "tzsp": TzspSource,
    "ipip": IpipSource,
}
# Keys that only some types of source have, and why not this one.
MISPLACED = {
    "from": "a source of type {} takes every frame, whoever sent it",
    "port": "a source of type {} has no port",
    "rspan_vlan": "a source of type {} has no RSPAN tag",
    "shared": "the NIC of a source of type {} is this host's too in any case",
}


class TMeter(_Model):
    name: Name = Field(description="your word for it, in status and in metrics")
    address: TMeterAddress = Field(description="its IPv4 or IPv6 address, or its host name")
    port: Port = Field(4789, description="the UDP port that it listens on")
    oversize: Literal["fragment", "slice", "drop"] = Field(
        "fragment", description="what happens to a frame whose outer packet exceeds the path"
    )
    udp_checksum: Flag = Field(True, description="over IPv6, whether outer packets have a UDP checksum")
    probe: Probe = Field("icmp", description="how its health is tested: icmp, tcp:PORT or none")


def _listen(value: object) -> object:
    if not isinstance(value, list | tuple):
        return _LISTEN.validate_python(value)
    found = _LISTENS.validate_python(tuple(value))
    if not 1 <= len(found) <= MOST_LISTENS:
        raise ValueError(f"the list has {len(found)} addresses; use 1 to {MOST_LISTENS}")
    for index, each in enumerate(found):
        if endpoint(each) in map(endpoint, found[:index]):
            raise ValueError(f"{show(each)} is there twice; remove one of the two")
    return found


_LISTEN = TypeAdapter[str](Listen)
_LISTENS = TypeAdapter[tuple[str, ...]](tuple[Listen, ...])
_ListenList = Annotated[
    tuple[Listen, ...], Field(json_schema_extra={"minItems": 1, "maxItems": MOST_LISTENS})
]


class Metrics(_Model):
    listen: Annotated[Listen | _ListenList, BeforeValidator(_listen)] = Field(
        "127.0.0.1:9747", description="the address and port of /metrics, or a list of them"
    )
    web_config: Annotated[WholePath | None, BeforeValidator(_given)] = Field(
        None, description="a web configuration file of the Prometheus exporters' kind: TLS and passwords"
    )

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        return tuple(map(endpoint, (self.listen,) if isinstance(self.listen, str) else self.listen))


def _port_range(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value)):
        first, last = (_PORT.validate_python(int(each)) for each in found.groups())
        if first > last:
            raise ValueError(f"{show(value)} ends before it begins; write the lower port first")
        return first, last
    if isinstance(value, str):
        raise ValueError(f'{show(value)} is no range of ports; write a port, or a range such as "9000-10999"')
    return value if isinstance(value, tuple) else (_PORT.validate_python(value),) * 2


_PORT = TypeAdapter[int](Port)
_PORT_RANGE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"},
    ]
}
PortRange = Annotated[tuple[int, int], BeforeValidator(_port_range), WithJsonSchema(_PORT_RANGE_SCHEMA)]


class Telephony(_Model):
    """Only told apart to say when the last of them came: every frame is sent, whatever it is."""

    sip: tuple[PortRange, ...] = Field(
        ((5060, 5061),), max_length=16, description="UDP and TCP ports of SIP, or ranges of them",
        json_schema_extra={"default": ["5060-5061"]},
    )  # fmt: skip
    rtp: tuple[PortRange, ...] = Field(
        ((9000, 20000),), max_length=16, description="UDP ports of RTP, or ranges of them",
        json_schema_extra={"default": ["9000-20000"]},
    )  # fmt: skip


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise ValueError(f"{show(value)} is not a version that this program knows; write version: 1")
    return value


class Config(_Model):
    """Config() is a blank appliance: it forwards nothing, and is healthy."""

    model_config = ConfigDict(
        title="The collector's configuration", json_schema_extra={"required": ["version"]}
    )

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(1, description="always 1")
    sources: tuple[Source, ...] = Field((), max_length=64, description="where mirrored frames come from")
    t_meters: tuple[TMeter, ...] = Field(
        (), description="where they are sent", json_schema_extra={"maxItems": 1}
    )
    telephony: Telephony = Field(
        Telephony(), description="which ports the phone system uses",
        json_schema_extra={"default": {"sip": ["5060-5061"], "rtp": ["9000-20000"]}},
    )  # fmt: skip
    metrics: Metrics = Field(Metrics(), description="where Prometheus reads")

    @property
    def t_meter_address(self) -> Address | str | None:
        """An address, or a host name that is still to be resolved."""
        return self.t_meters[0].address if self.t_meters else None
