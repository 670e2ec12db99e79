"""Makes update bundles out of the image that was built, with the tools that built it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.lib.appliance import artefact

CACHE = Path(__file__).parents[2] / ".cache/image"
BUILDER = ("cert.pem", "key.pem")
STRANGER = ("stranger.pem", "stranger.key")
PRODUCT = "collector-amd64"

_MANIFEST = """\
[update]
compatible={product}
version={version}

[bundle]
format=verity

[image.root]
filename=root.img
"""


class Workshop:
    """A root with the build's tools, in `folder`; what is made lies in `folder`/tools/build, its /build."""

    def __init__(self, folder: Path) -> None:
        self._tools = folder / "tools"
        self._tools.mkdir()
        (packed,) = CACHE.glob("tools-*.tar")
        subprocess.run(["tar", "--extract", "--file", packed, "--directory", self._tools], check=True)
        self.build = self._tools / "build"
        self.build.mkdir()
        self.stick = self.build / "stick"
        self.stick.mkdir()
        shutil.copy(os.environ.get("SIGNING_CERT") or CACHE / "development.pem", self.build / BUILDER[0])
        shutil.copy(os.environ.get("SIGNING_KEY") or CACHE / "development.key", self.build / BUILDER[1])

    def run(self, *command: str) -> None:
        """RAUC needs /proc, which nobody else sees there."""
        inside = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
        full = ["unshare", "--mount", "sh", "-c", inside, "sh", str(self._tools), *command]
        done = subprocess.run(full, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"

    def root(self) -> Path:
        """The files of the image that was built."""
        root = self.build / "root"
        if not root.exists():
            shutil.copy(artefact("squashfs"), self.build / "image")
            self.run("unsquashfs", "-no-progress", "-dest", "/build/root", "/build/image")
        return root

    def image(self, version: str, change: Callable[[Path], None]) -> Path:
        """The built image as another version, with a change. Files are replaced in it, never written to."""
        root, changed, image = self.root(), self.build / "changed", self.build / "root.img"
        subprocess.run(["cp", "--archive", "--link", root, changed], check=True)
        release = changed / "usr/lib/os-release"
        text = re.sub(r"(?m)^IMAGE_VERSION=.*$", f"IMAGE_VERSION={version}", release.read_text())
        put(release, text.encode())
        change(changed)
        image.unlink(missing_ok=True)
        quick = ["-comp", "gzip", "-Xcompression-level", "1", "-noappend", "-no-progress", "-no-xattrs"]
        self.run("mksquashfs", "/build/changed", "/build/root.img", *quick)
        shutil.rmtree(changed)
        return image

    def bundle(
        self,
        name: str,
        version: str,
        image: Path,
        product: str = PRODUCT,
        signed_by: tuple[str, str] = BUILDER,
    ) -> None:
        """`name`.raucb, on the stick."""
        inside = self.build / "bundle"
        inside.mkdir()
        image.rename(inside / "root.img")
        (inside / "manifest.raucm").write_text(_MANIFEST.format(product=product, version=version))
        certificate, key = signed_by
        signature = [f"--cert=/build/{certificate}", f"--key=/build/{key}"]
        quick = "--mksquashfs-args=-comp gzip -noD -noF"
        self.run("rauc", "bundle", *signature, quick, "/build/bundle", f"/build/stick/{name}.raucb")
        shutil.rmtree(inside)

    def small_image(self) -> Path:
        """For a bundle that is refused before anybody looks into it."""
        image = self.build / "root.img"
        image.write_bytes(os.urandom(65536))
        return image

    def make_stranger(self) -> None:
        certificate, key = STRANGER
        self.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
                 "-batch", "-subj", "/CN=Somebody else", "-out", f"/build/{certificate}",
                 "-keyout", f"/build/{key}")  # fmt: skip

    def stick_image(self) -> Path:
        """A disk with the bundles on it, to be put into a machine."""
        disk = self.build / "stick.ext4"
        disk.unlink(missing_ok=True)
        kilobytes = sum(each.stat().st_size for each in self.stick.iterdir()) // 900 + 32768
        options = ["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0"]
        subprocess.run(["mke2fs", *options, "-d", self.stick, disk, f"{kilobytes}k"], check=True)
        return disk


def put(file: Path, content: bytes) -> None:
    """In place of the one that is there, which other roots share."""
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
