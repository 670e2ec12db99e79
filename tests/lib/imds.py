"""AWS's instance metadata, in its second version only: who has no token learns nothing.

QEMU starts this program for each connection of the machine's, which is then its standard input.
"""

from __future__ import annotations

import json
import socket
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer

TOKEN = "a-token-of-the-test"  # noqa: S105 - it opens nothing
ADDRESS = "169.254.169.254"


class Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_PUT(self) -> None:
        if self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers:
            self._answer(200, TOKEN)
        else:
            self._answer(400)

    def do_GET(self) -> None:
        answers = json.loads((self.folder / "answers.json").read_text())
        _, _version, path = self.path.split("/", 2)
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401)
        elif path in answers:
            self._answer(200, answers[path])
        else:
            self._answer(404)

    def _answer(self, code: int, text: str = "") -> None:
        with (self.folder / "requests").open("a") as file:
            file.write(f"{self.command} {self.path} {code}\n")
        self.send_response(code)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: object) -> None:
        """Standard error is the connection, too."""


def nic(folder: Path, answers: dict[str, str]) -> tuple[str, ...]:
    """QEMU's arguments for a NIC on whose cable there are DHCP and this service."""
    folder.mkdir()
    (folder / "answers.json").write_text(json.dumps(answers))
    serve = f"{sys.executable} {Path(__file__)} {folder}"
    options = f"user,id=imds,restrict=on,net=169.254.169.0/24,guestfwd=tcp:{ADDRESS}:80-cmd:{serve}"
    return ("-netdev", options, "-device", "virtio-net-pci,netdev=imds,mac=52:54:00:00:00:0f,romfile=")


def requests(folder: Path) -> list[tuple[str, str, int]]:
    lines = [line.split() for line in (folder / "requests").read_text().splitlines()]
    return [(method, path, int(code)) for method, path, code in lines]


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    Handler(socket.socket(fileno=0), ("the machine", 0), BaseServer(("", 0), Handler))
