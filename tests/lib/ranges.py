"""A web server that answers range requests: python3 ranges.py FOLDER PORT"""

from __future__ import annotations

import re
import sys
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked or not file.is_file():
            super().do_GET()
            return
        size = file.stat().st_size
        first, last = int(asked[1]), min(int(asked[2] or size), size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        with file.open("rb") as content:
            content.seek(first)
            self.wfile.write(content.read(last - first + 1))


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2])), partial(Handler, directory=sys.argv[1])).serve_forever()
