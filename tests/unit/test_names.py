"""A t-meter by its host name becomes the address that is sent to, or an error in words."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Event

import pytest

from collector.control import names
from collector.control.config import Config, parse
from collector.control.names import Resolver, resolve
from collector.errors import HostError


def config(address: str) -> Config:
    return parse(f"version: 1\nt_meters: [{{name: ohio, address: '{address}'}}]", "f")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the resolver says, whatever it is asked; nothing is sent."""
    said: list[str] = []

    def answer(name: str, port: None, *, type: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:  # noqa: A002
        assert (name, port, type) == ("tm.example.net", None, socket.SOCK_DGRAM)
        if not said:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_UNSPEC, type, 17, "", (each, 0)) for each in said]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return said


def test_what_needs_no_resolver(answers: list[str]) -> None:
    assert resolve(Config(), None) is None
    assert resolve(config("203.0.113.10"), None) == IPv4Address("203.0.113.10")
    assert resolve(config("2001:db8::1"), None) == IPv6Address("2001:db8::1")
    assert answers == []


def test_the_first_that_a_t_meter_can_have(answers: list[str]) -> None:
    answers += ["2001:db8::1", "203.0.113.10"]
    assert resolve(config("TM.example.net."), None) == IPv6Address("2001:db8::1")
    answers[:] = ["fe80::1%eth0", "127.0.1.1", "203.0.113.10"]
    assert resolve(config("tm.example.net"), None) == IPv4Address("203.0.113.10")


@pytest.mark.parametrize("only", ["127.0.1.1", "::1", "fe80::1%2", "0.0.0.0", "::ffff:203.0.113.10"])
def test_none_that_a_t_meter_can_have(answers: list[str], only: str) -> None:
    answers.append(only)
    with pytest.raises(HostError) as refusal:
        resolve(config("tm.example.net"), None)
    leads = f"the t-meter's name tm.example.net leads to {ip_address(only)}, "
    assert refusal.value.what == f"{leads}which cannot be the t-meter's address"
    assert refusal.value.hint.startswith("Look at /etc/hosts")


@pytest.mark.usefixtures("answers")
def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(HostError) as refusal:
        resolve(config("tm.example.net"), None)
    assert refusal.value.what == (
        "the t-meter's name tm.example.net cannot be resolved: Name or service not known"
    )
    assert refusal.value.hint == (
        "Look at this host's DNS (/etc/resolv.conf), or write the t-meter's address in the file."
    )


# The agent's own, which never waits


def settled(news: Event) -> None:
    assert news.wait(10)
    news.clear()


def test_the_resolver_keeps_what_it_knew_while_nobody_answers(
    answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "AGAIN", 0.01)
    monkeypatch.setattr(names, "RETRY", 0.01)
    news, wanted = Event(), config("tm.example.net")
    resolver = Resolver(news.set)
    with pytest.raises(HostError, match=r"tm\.example\.net is being resolved"):
        resolver.address(wanted, None)
    assert resolver.address(wanted, IPv4Address("192.0.2.7")) == IPv4Address("192.0.2.7")

    resolver.follow("tm.example.net")
    settled(news)
    with pytest.raises(HostError, match="cannot be resolved: Name or service not known"):
        resolver.address(wanted, None)
    answers.append("203.0.113.10")
    settled(news)
    assert (resolver.address(wanted, None), resolver.trouble) == (IPv4Address("203.0.113.10"), "")
    answers.clear()
    settled(news)
    assert resolver.address(wanted, None) == IPv4Address("203.0.113.10")
    assert resolver.trouble.startswith("the t-meter's name tm.example.net cannot be resolved")
    resolver.follow(None)
    assert resolver.trouble == ""
