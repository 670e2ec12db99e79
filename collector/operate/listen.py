"""The sink's UDP socket."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import click

from collector.errors import CollectorError, HostError, InputError

RECEIVE_BUFFER = 64 << 20
EXAMPLES = "for example 0.0.0.0:4789, 192.0.2.10:4789 or [::]:4789"

# Linux's numbers that Python's socket module does not name.
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8
UDP_NO_CHECK6_RX = 102


class ListenType(click.ParamType[tuple[str, int]]):
    """HOST:PORT, an IPv6 address in brackets."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
        if not host or (":" in host and not bracketed):
            self.fail(f"{value} is not HOST:PORT; {EXAMPLES}", param, ctx)
        if not 0 <= number <= 65535:
            self.fail(f"{value}: the port is not a number from 0 to 65535; {EXAMPLES}", param, ctx)
        return host[1:-1] if bracketed else host, number


LISTEN = ListenType()


def address_text(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_socket(listen: tuple[str, int]) -> socket.socket:
    """Bound, non-blocking, with a large buffer, and stamping each datagram with its time of arrival."""
    family, address = _resolve(listen)
    try:
        receiving = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise _refused(listen, error) from error
    try:
        _set_options(receiving, family)
        receiving.bind(address)
    except OSError as error:
        receiving.close()
        raise _refused(listen, error) from error
    return receiving


def socket_drops(receiving: socket.socket) -> int:
    """Datagrams that the kernel had for this socket and dropped, up to now."""
    numbers = struct.Struct("=9I")
    values = numbers.unpack(receiving.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, numbers.size))
    return int(values[SK_MEMINFO_DROPS])


def _resolve(listen: tuple[str, int]) -> tuple[socket.AddressFamily, Any]:
    host, port = listen
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(
            f"--listen {address_text(listen)}: {host} is not an address or a known name",
            f"Give an address of this host, {EXAMPLES}.",
        ) from error
    return found[0][0], found[0][4]


def _set_options(receiving: socket.socket, family: socket.AddressFamily) -> None:
    try:
        receiving.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        # Without root the system's own limit (net.core.rmem_max) holds; losses are counted and shown.
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    receiving.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    if family == socket.AF_INET6:
        receiving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # An analyser that captures packets sees those without a UDP checksum (RFC 6935) too.
        receiving.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    receiving.setblocking(False)


def _refused(listen: tuple[str, int], error: OSError) -> CollectorError:
    where = address_text(listen)
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"UDP port {listen[1]} on {listen[0]} is taken by another program or a vxlan device",
            f"See which with: ss -ulnp 'sport = :{listen[1]}'. Stop it, or choose another port:"
            f" --listen {address_text((listen[0], 14789))}",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InputError(
            f"--listen {where}: this host has no address {listen[0]}",
            "See its addresses with: ip address. Or receive on all of them: --listen 0.0.0.0:4789",
        )
    if error.errno == errno.EACCES:
        return HostError(
            f"No permission to listen on {where}",
            "Run it as root, or choose a port above 1023 with --listen.",
        )
    return HostError(f"Cannot listen on {where}: {error.strerror}", f"Try another --listen, {EXAMPLES}.")
