"""The types of the compiled BPF object, as its BTF has them, read with bpftool."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Btf:
    types: dict[int, dict[str, Any]]

    def struct(self, name: str) -> dict[str, Any]:
        (found,) = (t for t in self.types.values() if t["kind"] == "STRUCT" and t["name"] == name)
        return found

    def size(self, type_id: int) -> int:
        kind = self.resolve(type_id)
        if kind["kind"] == "ARRAY":
            return int(kind["nr_elems"]) * self.size(kind["type_id"])
        return int(kind["size"])

    def resolve(self, type_id: int) -> dict[str, Any]:
        """Behind typedefs and qualifiers."""
        found = self.types[type_id]
        return self.resolve(found["type_id"]) if found["kind"] in {"TYPEDEF", "CONST", "VOLATILE"} else found

    def decode(self, type_id: int, raw: bytes) -> Any:
        """The bytes as this type: a dict, a list, bytes for a character array, or a little-endian number."""
        kind = self.resolve(type_id)
        if kind["kind"] == "STRUCT":
            return {
                m["name"]: self.decode(m["type_id"], raw[m["bits_offset"] // 8 :]) for m in kind["members"]
            }
        if kind["kind"] != "ARRAY":
            return int.from_bytes(raw[: kind["size"]], "little")
        size, count = self.size(kind["type_id"]), kind["nr_elems"]
        if size == 1:
            return raw[:count]
        return [self.decode(kind["type_id"], raw[i * size :]) for i in range(count)]


def read_btf(path: Path) -> Btf:
    done = subprocess.run(["bpftool", "-j", "btf", "dump", "file", path], capture_output=True, check=True)
    return Btf({each["id"]: each for each in json.loads(done.stdout)["types"]})
