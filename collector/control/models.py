"""The configuration's keys. Every model is frozen, and knows no key but its own."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from collector.control.document import show
from collector.control.values import (
    InterfaceName,
    Listen,
    Mac,
    Name,
    Port,
    Probe,
    Sender,
    Shared,
    TMeterAddress,
    Vni,
    endpoint,
)

MOST_VNIS = 1024


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


class SpanSource(_Source):
    type: Literal["span"] = Field(description="everything this NIC receives is a mirrored frame")
    vni: Vni = Field(12, description="the VNI that its frames are sent with")
    shared: Shared = Field(False, description="whether the NIC also carries this host's own traffic")


class VxlanSource(_Source):
    type: Literal["vxlan"] = Field(description="mirrored frames come wrapped in VXLAN")
    port: Port = Field(4789, description="the UDP port that they come to")
    from_: tuple[Sender, ...] = Field(
        (), validation_alias="from", serialization_alias="from", max_length=64,
        description="the networks that senders may be in; none given means any",
    )  # fmt: skip
    vni: VniChoice = Field("keep", description="keep the sender's VNI, or a number, or a map")


Source = Annotated[SpanSource | VxlanSource, Field(discriminator="type")]


class TMeter(_Model):
    name: Name = Field(description="your word for it, in status and in metrics")
    address: TMeterAddress = Field(description="its IPv4 address")
    port: Port = Field(4789, description="the UDP port that it listens on")
    oversize: Literal["fragment", "slice", "drop"] = Field(
        "fragment", description="what happens to a frame whose outer packet exceeds the path"
    )
    probe: Probe = Field("icmp", description="how its health is tested: icmp, tcp:PORT or none")


class Metrics(_Model):
    listen: Listen = Field("127.0.0.1:9747", description="the address and port of /metrics")

    @property
    def endpoint(self) -> tuple[str, int]:
        return endpoint(self.listen)


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
    metrics: Metrics = Field(Metrics(), description="where Prometheus reads")

    @property
    def t_meter_address(self) -> IPv4Address | None:
        return self.t_meters[0].address if self.t_meters else None
