"""What both AWS templates are given in tests, and what of their user data is the collector's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MAC = "02:00:5e:00:53:01"

PARAMETERS: dict[str, Any] = {
    "ImageId": "ami-0123456789abcdef0",
    "KeyName": "administrator",
    "VpcId": "vpc-0123456789abcdef0",
    "SubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "MirrorRange": "10.0.0.0/16",
    "SshRange": "192.0.2.0/25",
    "MetricsRange": "192.0.2.128/25",
    "TMeterAddress": "203.0.113.10",
    "TMeterRange": "203.0.113.10/32",
    "PbxInterfaces": ["eni-0123456789abcdef0", "eni-0123456789abcdef1"],
    "PbxInstances": ["i-0123456789abcdef0"],
    "AlarmTopic": "arn:aws:sns:eu-central-1:123456789012:operators",
}


def configuration(user_data: str) -> str:
    """As cloud-init gives it on: it fills in the MAC address, because the first line says so."""
    assert user_data.startswith("## template: jinja\n#cloud-config\n")
    filled = user_data.replace("{{ ds.meta_data.mac }}", MAC)
    assert "{{" not in filled
    return yaml.safe_dump(yaml.safe_load(filled)["collector"])
