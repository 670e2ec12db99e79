"""What stops an installation."""

from __future__ import annotations


class InstallError(Exception):
    """Its text is for the person in front of the machine: what, where, and what to do."""
