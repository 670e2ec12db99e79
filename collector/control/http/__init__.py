"""The HTTP server of `metrics.listen`, with TLS and passwords by a web configuration file."""

from collector.control.http.exchange import Page
from collector.control.http.server import Server

__all__ = ["Page", "Server"]
