"""The file that `collector setup` writes where there was none."""

from __future__ import annotations


def written(t_meter: str) -> str:
    return f"""\
# Written by collector setup. All keys are in the manual, page Configuration.
version: 1

# Where the copies of the phone system's traffic arrive
sources:
  - name: pbx
    type: span               # a mirror port: all that arrives is a copy
    interface: eth1
    vni: 12

# Where they are sent, each frame wrapped in VXLAN
t_meters:
  - name: t-meter
    address: {t_meter}
"""
