"""A real Prometheus reads the agent by the example in deploy/, knows the alerts, and answers every query of
the dashboard."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from collector.operate.lab import wait_for
from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box
from tests.lib.call import call
from tests.lib.dashboard import queries
from tests.lib.prometheus import Prometheus, prometheus, promtool
from tests.lib.receiver import listening
from tests.lib.tap import send

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
ALERTS = DEPLOY / "alerts.yml"
ENOUGH = 40.0  # seconds: two scrapes, and what starts before them
# What has nothing to show while all is well, and on a NIC that is not AWS's.
EMPTY_WHEN_WELL = {
    "Dropped, by reason", "Lost by NICs", "ICMP errors from the way to the t-meter",
}  # fmt: skip


def example(target: str, *, tls: str = "") -> dict[str, str]:
    """The files of deploy/, read more often, with these targets."""
    scrape = (DEPLOY / "scrape.yml").read_text()
    for old, new in (
        ("192.0.2.1:9747", target),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ):
        assert old in scrape
        scrape = scrape.replace(old, new)
    targets = (DEPLOY / "targets.yml").read_text().replace("collector.example.net:9747", tls or target)
    return {"scrape.yml": scrape, "alerts.yml": ALERTS.read_text(), "targets.yml": targets}


@dataclass
class Watched:
    box: Box
    agent: Agent
    prometheus: Prometheus

    def health(self, job: str) -> tuple[str, str]:
        """Of its only target."""
        targets = self.prometheus.get("targets")["activeTargets"]
        found = [(each["health"], each["lastError"]) for each in targets if each["labels"]["job"] == job]
        return found[0] if len(found) == 1 else ("unknown", "")

    def becomes(self, condition: Callable[[], object], what: str) -> None:
        wait_for(condition, what, ENOUGH)


@contextmanager
def watched(box: Box, folder: Path, files: dict[str, str]) -> Iterator[Watched]:
    with agent_of(box) as agent:
        agent.start()
        with prometheus(box.host, folder / "prometheus", files) as server:
            yield Watched(box, agent, server)


@pytest.fixture
def plain(box: Box, tmp_path: Path) -> Iterator[Watched]:
    """The target that needs TLS is another port, where nothing listens."""
    certificate(tmp_path)
    files = example("127.0.0.1:9747", tls="127.0.0.1:9748")
    with watched(box, tmp_path, files | secrets(tmp_path)) as found:
        yield found


def certificate(folder: Path) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1"]
    out = ["-noenc", "-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run([*new, *names, *out], check=True, capture_output=True)


def secrets(folder: Path) -> dict[str, str]:
    return {"ca.crt": (folder / "server.crt").read_text(), "password": "secret"}


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    tests = [DEPLOY / name for name in ("alerts_test.yml", "alerts_week_test.yml")]
    assert promtool("check", "rules", ALERTS).count("SUCCESS") == 1
    assert promtool("test", "rules", *tests).count("SUCCESS") == 2


def test_the_example_is_a_right_configuration(tmp_path: Path) -> None:
    certificate(tmp_path)
    for name, text in (example("192.0.2.1:9747") | secrets(tmp_path)).items():
        (tmp_path / name).write_text(text)
    assert "SUCCESS" in promtool("check", "config", tmp_path / "scrape.yml")


def test_it_is_read_its_rules_are_loaded_and_nothing_fires(plain: Watched) -> None:
    plain.becomes(lambda: plain.health("collector") == ("up", ""), "the first scrape")
    plain.becomes(lambda: plain.health("collector-tls")[0] == "down", "the one that nobody answers for")
    (group,) = plain.prometheus.get("rules")["groups"]
    plain.becomes(
        lambda: {each["health"] for each in plain.prometheus.get("rules")["groups"][0]["rules"]} == {"ok"},
        "the first look at the rules",
    )
    assert [each["name"] for each in group["rules"]] == names_of_alerts()
    firing = [each for each in plain.prometheus.get("alerts")["alerts"] if each["state"] == "firing"]
    assert firing == []


def names_of_alerts() -> list[str]:
    lines = ALERTS.read_text().splitlines()
    return [line.split()[-1] for line in lines if line.strip().startswith("- alert:")]


def test_every_query_of_the_dashboard_has_its_answer(plain: Watched) -> None:
    server = plain.prometheus
    began = time.time()
    with listening(plain.box.tmeter):
        for wanted in (1, 2, 3):
            send(plain.box.switch, "span0", call())
            seen = f"sum(collector_source_frames_total) == {wanted * len(call())}"
            plain.becomes(lambda seen=seen: server.query(seen), "the frames")  # type: ignore[misc]
    empty = set()
    for query in queries():
        now = server.query(query.expression)
        over_time = server.query_range(query.expression, began, time.time(), 1)
        if not (now and over_time):
            empty.add(query.panel)
    assert empty == EMPTY_WHEN_WELL
    (rtp,) = server.query("time() - collector_source_last_rtp_timestamp_seconds")
    assert 0 <= float(rtp["value"][1]) < ENOUGH


def test_what_is_lost_is_on_the_dashboard(plain: Watched) -> None:
    """The panels that are empty while all is well."""
    plain.box.write(("address: 192.0.2.2", "address: 192.0.2.2, oversize: drop"))
    plain.agent.hang_up()
    plain.agent.says("replace the program")
    large = bytes.fromhex("020000000002 020000000001 88b5").ljust(1514, b"\0")
    (drops,) = [each.expression for each in queries() if each.panel == "Dropped, by reason"]

    def shown() -> bool:
        send(plain.box.switch, "span0", [large])
        return bool(plain.prometheus.query(drops))

    plain.becomes(shown, "the drops")
    ((labels, _),) = [(each["metric"], each["value"]) for each in plain.prometheus.query(drops)]
    assert labels == {"instance": "127.0.0.1:9747", "source": "pbx", "reason": "oversize"}


def test_over_tls_and_with_a_password(box: Box, tmp_path: Path) -> None:
    certificate(tmp_path)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f'basic_auth_users: {{prometheus: "{hashed}"}}\n'
    )
    box.file.write_text(f"{box.file.read_text()}metrics: {{web_config: {web}}}\n")
    with watched(box, tmp_path, example("127.0.0.1:9747") | secrets(tmp_path)) as found:
        found.becomes(lambda: found.health("collector-tls") == ("up", ""), "the first scrape over TLS")
        found.becomes(lambda: found.health("collector")[0] == "down", "the refusal without TLS")
        (one,) = found.prometheus.query('up{job="collector-tls"}')
        assert one["metric"]["site"] == "main"
