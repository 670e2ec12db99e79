"""The agent under load: frames flow whatever becomes of it, and swarms of events cost little."""

from __future__ import annotations

import json
import socket
import time

from collector.operate.lab import wait_for
from tests.lib.agent import agent_of, agent_of_rig
from tests.lib.box import Box
from tests.lib.fault import Faulty
from tests.lib.mirrored import complete
from tests.lib.rig import T_METER, VNI, on_link
from tests.lib.tap import Tap, is_outer
from tests.netns.test_accounting import background_load
from tests.netns.test_names import KNOWN, PRIVATE


def test_stopped_killed_and_upgraded_under_load_nothing_is_lost_and_nothing_sent_twice(
    faulty: Faulty,
) -> None:
    """With a source at each hook: the NIC eth1 at XDP, eth2 at tc."""
    with (
        on_link("xdp") as rig,
        Tap(rig.t_meter, "eth0", is_outer) as wire,
        agent_of_rig(rig, faulty) as agent,
    ):
        rig.switch.link("span1", rig.collector, "eth2")
        sources = [rig.span(), rig.span(name="other", interface="eth2", hook="tc", vni=VNI + 1)]
        t_meters = [{"name": "tm", "address": T_METER, "probe": "none"}]
        rig.tool.file.write_text(json.dumps({"version": 1, "sources": sources, "t_meters": t_meters}))
        agent.start()
        with background_load(rig, "span0", "span1") as sent:
            assert agent.stop() == 0
            agent.start()
            agent.kill()
            agent.start("upgraded")
            agent.says("replace the program: pbx, other to tm (192.0.2.2)")
        wait_for(lambda: rig.t_meter.stats("eth0")["rx_packets"] >= len(sent), "all frames")
        wait_for(lambda: len(complete(wire.frames())) >= len(sent), "all frames")
        assert sorted(complete(wire.frames())) == sent
        status = rig.tool.status()
        assert [each["hook"] for each in status.raw["sources"]] == ["xdp-native", "tc"]
        assert (status.frames, status.sent, status.drops) == (len(sent), len(sent), {})
        counted = [
            agent.metric(f'collector_source_frames_total{{source="{name}"}}') for name in ("pbx", "other")
        ]
        assert sum(counted) == len(sent)
        assert agent.metric("collector_drift_repairs_total") == 0


def test_events_in_swarms_are_looked_at_together(box: Box) -> None:
    with agent_of(box, "tells-looks") as agent:
        agent.start()
        began, before = time.monotonic(), agent.log().count("look")
        address = "198.51.100.{}/32 dev eth0"
        changes = [f"addr {verb} {address.format(n)}" for n in range(1, 251) for verb in ("add", "del")]
        box.host.run(["ip", "-batch", "-"], text="\n".join(changes * 2))
        box.host.run(["ip", "link", "set", "eth0", "mtu", "1400"])
        agent.becomes(lambda status: status["t_meters"][0]["path_mtu"] == 1400, "the end of the swarm")
        looks = agent.log().count("look") - before
        assert looks <= 5 * (time.monotonic() - began) + 1
        assert box.forwarded() == 12


def test_a_name_server_that_never_answers_keeps_the_agent_from_nothing(box: Box) -> None:
    folder = box.file.parent / "etc"
    folder.mkdir()
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "resolv.conf").write_text("nameserver 192.0.2.2\noptions timeout:30 attempts:5\n")
    with box.tmeter.enter():
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with silent, agent_of(
        box, prefix=("unshare", "--mount", "sh", "-e", "-c", PRIVATE, str(folder))
    ) as agent:  # fmt: skip
        silent.bind(("192.0.2.2", 53))
        silent.settimeout(30)
        box.write(*KNOWN)
        agent.start()
        assert silent.recv(512)  # the question
        agent.says(f"the t-meter's name {KNOWN[0][1]} is being resolved")
        box.write()
        agent.hang_up()
        agent.says("load the program: pbx to ohio (192.0.2.2)")
        assert box.forwarded() == 12

        box.write(*KNOWN)
        agent.hang_up()
        agent.says(f"the t-meter's name {KNOWN[0][1]} is being resolved")
        assert box.forwarded() == 12
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 3
