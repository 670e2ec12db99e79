"""The version is written once, in pyproject.toml; the installed package carries it."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    return metadata.version("collector")
