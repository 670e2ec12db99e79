"""Finds out what the questions need to know of this machine."""

from __future__ import annotations

import os
import pwd
import re
import sys
from pathlib import Path

from pyroute2.iproute import IPRoute

from collector.control.config import ConfigFile, load_file
from collector.control.host import Host
from collector.control.names import look_up
from collector.datapath.nic import Nic
from collector.errors import HostError
from collector.operate.setup.facts import Address, Facts, NicFacts
from collector.operate.setup.network import FINAL, NETWORK, OURS, TRIAL

_ADMINS = ("admin", "ec2-user")
_LINKS = Path("/run/systemd/netif/links")  # what networkd tells sd-network(3) of each link


def read_facts(netlink: IPRoute, host: Host, file: Path, present: ConfigFile | None) -> Facts:
    nics = tuple(_nic(each, host) for each in host.nics if each.ethernet and not each.lower)
    if not nics:
        raise HostError("this machine has no network card", "Add one, then run: collector setup")
    data = present.document.data if present else None
    return Facts(
        nics=nics,
        look_up=find,
        default_nic=_default_nic(netlink, host),
        file=file,
        data=data if isinstance(data, dict) else None,
        text=present.document.text if present else "",
        admin=_admin(),
        over_ssh=os.ttyname(sys.stdin.fileno()).startswith("/dev/pts/"),
    )


def read_present(file: Path) -> ConfigFile | None:
    """InputError: there is one, and it cannot be used."""
    return load_file(file) if file.exists() else None


def find(name: str) -> list[Address]:
    """An address is its own name's answer."""
    return look_up(name)


def _nic(here: Nic, host: Host) -> NicFacts:
    file = _network_file(here, host)
    settings = Path(file).read_text() if file and Path(file).exists() else ""
    return NicFacts(here.name, here.mac, here.driver, here.addresses, file, settings, here.carrier)


def _network_file(here: Nic, host: Host, links: Path = _LINKS) -> str | None:
    """None: networkd leaves the NIC alone, or has a file for it that comes before ours."""
    state = links / str(here.ifindex)
    if not state.exists() or not _in_networkds_namespace(host):
        return None
    found = dict(re.findall("(?m)^([A-Z_]+)=(.*)$", state.read_text()))
    file = Path(str(found.get("NETWORK_FILE", "")))
    if file.name.startswith(TRIAL + OURS):  # it was kept, and networkd has not read its files anew since
        file = NETWORK / (FINAL + file.name.removeprefix(TRIAL))
    if found.get("ADMIN_STATE", "unmanaged") == "unmanaged" or file.name[: len(FINAL)] < FINAL:
        return None
    return str(file)


def _in_networkds_namespace(host: Host) -> bool:
    """Elsewhere the same number is another NIC's."""
    try:
        return Path("/proc/1/ns/net").stat().st_ino == host.netns
    except PermissionError:  # in a container of somebody else's
        return False


def _default_nic(netlink: IPRoute, host: Host) -> str:
    routes = sorted(netlink.get_default_routes(), key=lambda route: route.get_attr("RTA_PRIORITY") or 0)
    ifindexes = [route.get_attr("RTA_OIF") for route in routes]
    nics = (host.nic(ifindex) for ifindex in ifindexes if ifindex)
    return next((each.name for each in nics if each), "")


def _admin() -> str:
    """Who came by sudo; else the user that the appliance has for this."""
    users = {each.pw_name: each for each in pwd.getpwall() if each.pw_uid != 0}
    wanted = (os.environ.get("SUDO_USER", ""), *_ADMINS)
    return next((name for name in wanted if name in users and Path(users[name].pw_dir).is_dir()), "")
