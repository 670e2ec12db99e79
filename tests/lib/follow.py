"""The appliance's program that follows what the collector needs, with its files elsewhere."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from collector.operate.lab import Namespace

ROOT = Path(__file__).parents[2] / "image/root"
PROGRAM = ROOT / "usr/lib/appliance/follow"


class Follow:
    """`folder`: in the place of /run, /etc and /sys. What would reload the network is counted instead."""

    def __init__(self, folder: Path) -> None:
        self.module = _loaded()
        self.needs, self.rules = folder / "needs.json", folder / "nftables.d/collector.nft"
        self.networks, self.nics = folder / "network", folder / "nics"
        self._reloads = folder / "reloads"
        for each in (self.rules.parent, self.networks, self.nics):
            each.mkdir()
        self._reloads.touch()
        for name, value in {
            "NEEDS": self.needs,
            "RULES": self.rules,
            "NETWORKS": self.networks,
            "NICS": self.nics,
            "RELOAD": ("sh", "-c", 'echo >> "$0"', str(self._reloads)),
        }.items():
            setattr(self.module, name, value)

    def nic(self, name: str, address: str, assigned: int) -> None:
        """`assigned`: 0 where it was made with that address."""
        (self.nics / name).mkdir()
        (self.nics / name / "address").write_text(f"{address}\n")
        (self.nics / name / "addr_assign_type").write_text(f"{assigned}\n")

    def __call__(self, **needs: Any) -> None:
        """What it does when the agent's file says this; without anything, with the file as it is."""
        if needs:
            self.needs.write_text(json.dumps(needs))
        self.module.main()

    @property
    def reloads(self) -> int:
        return len(self._reloads.read_text())

    def quiet(self) -> dict[str, str]:
        """What the network's files match, by name."""
        return {
            file.name: file.read_text().partition("[Match]\n")[2].partition("\n")[0]
            for file in self.networks.iterdir()
        }

    def start_filter(self, machine: Namespace) -> None:
        """As nftables.service does, at its start and when it is reloaded."""
        text = (ROOT / "etc/nftables.conf").read_text()
        assert '"/run/nftables.d/*.nft"' in text
        machine.run(["nft", "-f", "-"], text=text.replace("/run/nftables.d", str(self.rules.parent)))


def _loaded() -> ModuleType:
    loader = SourceFileLoader("follow", str(PROGRAM))
    spec = spec_from_loader("follow", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
