"""Which NIC a source means, and at which hook the program is attached there; and why not at a better one."""

from __future__ import annotations

from dataclasses import dataclass

from collector.control.host import Host
from collector.control.models import ByMac, Config, Source, SpanSource
from collector.datapath import nic
from collector.datapath.attach import Hook
from collector.datapath.nic import Nic

_VLAN_PARSE = "rx-vlan-hw-parse"


@dataclass(frozen=True)
class Choice:
    """The hook of a NIC, and why not a better one."""

    hook: Hook
    why: str = ""


def find_nic(interface: str | ByMac, host: Host) -> Nic | None:
    """By MAC address: not a port of a bridge or bond, which has the same one as the whole."""
    if isinstance(interface, ByMac):
        return next((each for each in host.nics if each.mac == interface.mac and not each.master), None)
    return next((each for each in host.nics if each.name == interface), None)


def source_nic(source: Source, host: Host) -> Nic | None:
    """The one that the file names; where it was renamed since, the one that was called so."""
    found = find_nic(source.interface, host)
    if found is None:
        for known in host.notes.sources:
            if (known.name, known.interface) == (source.name, in_words(source.interface)):
                return host.nic(known.ifindex)
    return found


def in_words(interface: str | ByMac) -> str:
    return interface.mac if isinstance(interface, ByMac) else interface


def source_nics(config: Config, host: Host) -> dict[int, list[Source]]:
    """The sources by ifindex; those whose NIC is not there are left out."""
    found: dict[int, list[Source]] = {}
    for source in config.sources:
        each = source_nic(source, host)
        if each:
            found.setdefault(each.ifindex, []).append(source)
    return found


def choose_hook(ifindex: int, sources: list[Source], host: Host) -> Choice:
    wish = sources[0].hook
    if wish == "tc":
        return Choice(Hook.TC, "the file says hook: tc")
    here, span = host.nic(ifindex), isinstance(sources[0], SpanSource)
    why = why_not_native(ifindex, host, span=span)
    if not why:
        return Choice(Hook.XDP_NATIVE)
    if hides_tags(ifindex, host) and span:
        return Choice(Hook.TC, why)
    # Generic XDP on a NIC that merges frames: the kernel warns of a bug of its own, and frames suffer.
    merging = here is not None and any(_is_fixed_on(here, name) for name in nic.MERGING)
    return Choice(Hook.XDP_GENERIC if wish == "xdp" and not merging else Hook.TC, why)


def why_not_native(ifindex: int, host: Host, *, span: bool) -> str:
    """`span`: the mirrored frames' own VLAN tags matter."""
    if span and hides_tags(ifindex, host):
        return f"the driver hides VLAN tags from XDP ({_VLAN_PARSE} is fixed on)"
    return refusal(ifindex, "source", host) or egress_refusal(ifindex, host)


def hides_tags(ifindex: int, host: Host) -> bool:
    here = host.nic(ifindex)
    return here is not None and _is_fixed_on(here, _VLAN_PARSE)


def _is_fixed_on(here: Nic, name: str) -> bool:
    feature = here.features.get(name)
    return feature is not None and feature.on and not feature.changeable


def refusal(ifindex: int, role: str, host: Host) -> str:
    """Why not native XDP here, by what the driver says of itself or has said when asked."""
    here = host.nic(ifindex)
    if here is None:
        return "the interface is not there"
    for each in host.notes.refusals:
        if (each.ifindex, each.role, each.mtu) == (ifindex, role, here.mtu):
            return each.words
    if here.xdp_features is not None and not here.xdp_features & nic.XDP_BASIC:
        return f"the driver {here.driver or 'of this interface'} has no native XDP"
    return ""


def egress_refusal(ifindex: int, host: Host) -> str:
    """Why the NIC towards the t-meter cannot take frames from XDP at `ifindex`."""
    if not host.route.ifindex:
        return ""
    words = refusal(host.route.ifindex, "egress", host)
    if not words and ifindex != host.route.ifindex:
        words = refusal(host.route.ifindex, "source", host)
    egress = host.nic(host.route.ifindex)
    return f"the egress NIC {egress.name}: {words}" if words and egress else words
