"""The Terraform module, planned without an AWS account: by the real provider, which is told to ask nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "deploy/aws/terraform"
PLUGINS = Path(os.environ.get("TF_PLUGIN_DIR", "/opt/tf-plugins"))
NOBODY = {
    "provider": {
        "aws": {
            "region": "eu-central-1",
            "access_key": "testing",
            "secret_key": "testing",
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "skip_requesting_account_id": True,
        }
    }
}

Resource = tuple[str, dict[str, Any]]


class Terraform:
    def __init__(self, folder: Path) -> None:
        """A copy of the module in a folder of its own."""
        if shutil.which("terraform") is None or not PLUGINS.is_dir():
            pytest.skip("there is no terraform, or no folder of its plugins (TF_PLUGIN_DIR)")
        self.folder = folder / "module"
        shutil.copytree(MODULE, self.folder)
        (self.folder / "nobody.tf.json").write_text(json.dumps(NOBODY))
        self.run("init", "-backend=false", f"-plugin-dir={PLUGINS}")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["terraform", arguments[0], *arguments[1:]],
            cwd=self.folder,
            env={
                **os.environ,
                "TF_CLI_CONFIG_FILE": os.devnull,
                "TF_IN_AUTOMATION": "1",
                "CHECKPOINT_DISABLE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def plan(self, variables: dict[str, Any]) -> list[Resource]:
        """Every resource that would be made: its type, and what is known of it beforehand."""
        (self.folder / "given.auto.tfvars.json").write_text(json.dumps(variables))
        self.run("plan", "-out=plan", "-lock=false", "-refresh=false")
        changes = json.loads(self.run("show", "-json", "plan"))["resource_changes"]
        return [(each["type"], each["change"]["after"]) for each in changes]
