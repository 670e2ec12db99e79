"""The questions of `collector setup` as they stand on the screen, and where the answers lead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from collector.errors import HostError
from collector.operate.setup.dialogue import Dialogue, complaint, pages, prompt, screen
from collector.operate.setup.facts import Address, Facts, NicFacts
from collector.operate.setup.nics import Count, table
from collector.operate.setup.questions import steps
from collector.operate.setup.terminal import BACK

OWN = NicFacts("eth0", "02:00:00:00:00:01", "virtio_net", ("192.0.2.1/24",), link=True)
MIRROR = NicFacts("eth1", "02:00:00:00:00:02", "virtio_net", link=True)
SPARE = NicFacts("eth2", "02:00:00:00:00:03", "virtio_net")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
NAMES = {"meter.example.net": "198.51.100.7", "inside.example.net": "10.0.0.7"}


def look_up(name: str) -> list[Address]:
    if name == "nowhere.example.net":
        raise HostError("the name cannot be resolved")
    return [ip_address(NAMES.get(name, name))]


def facts(*nics: NicFacts, **more: Any) -> Facts:
    return Facts(nics or (OWN, MIRROR, SPARE), look_up, **{"default_nic": "eth0", **more})


def transcript(here: Facts, typed: Sequence[str]) -> tuple[Dialogue, str]:
    """What the console shows, with what was typed, as the terminal would go about it."""
    dialogue, lines = Dialogue(steps(here)), []
    shown = None
    for text in typed:
        asked = dialogue.question
        assert asked is not None, text
        if asked.key != shown:
            lines += screen(asked, dialogue.number).splitlines()
        lines.append(f"{prompt(asked)}{text}".rstrip())
        shown = None
        if text == BACK:
            dialogue.back()
            continue
        try:
            dialogue.answer(text)
        except ValueError as error:
            lines += complaint(error).splitlines()
            shown = asked.key
    return dialogue, "\n".join(lines)


WHOLE = """\

-- 1 ----------------------- back: to the question before   Ctrl-C: leave --
How do the copies of the phone system's traffic arrive?

  1  on a NIC of their own: a mirror port (SPAN) of a switch, or of Hyper-V
  2  wrapped in packets, from a cloud (AWS, Azure, Oracle), router or switch
  3  on this machine's only NIC, beside its own traffic (Hyper-V, Google)
Number [1]: 4
  answer with a number from 1 to 3
Number [1]:

-- 2 ----------------------- back: to the question before   Ctrl-C: leave --
Which NIC is plugged into the mirror port?

Plug the cable in or out now, or make a call: the counts show which it is.
Number:
  an answer is needed here
Number: 1
  eth0 carries this machine's own traffic (192.0.2.1/24), and nobody would
  reach it any more; use another NIC, or go back and say that the copies
  arrive beside it
Number: 2

-- 3 ----------------------- back: to the question before   Ctrl-C: leave --
Where is the t-meter?

Its IP address, such as 203.0.113.10, or its host name.
Address: 203.0.113
  '203.0.113' is neither an IP address nor a host name; write one such as
  203.0.113.10
Address: 203.0.113.10

-- 4 ----------------------- back: to the question before   Ctrl-C: leave --
May it be sent there?

203.0.113.10 is not in a private network. What arrives at eth1, all of it,
will be sent there: the phone calls, with who calls whom and every word that
is said; and a small test packet every few seconds.

VXLAN does not hide it: whoever is on the way can listen. Where that must
not be, use a VPN between this network and the t-meter's.
yes or no [no]:

-- 3 ----------------------- back: to the question before   Ctrl-C: leave --
Where is the t-meter?

Its IP address, such as 203.0.113.10, or its host name.
Address [203.0.113.10]: 10.1.2.3

-- 4 ----------------------- back: to the question before   Ctrl-C: leave --
Which VNI does the t-meter expect?

The VNI is a number that goes with every frame; the t-meter tells its
senders apart by it. Take 12 unless the t-meter's owner names another.
VNI [12]: 20000000
  20000000 is too large; use at most 16777215
VNI [12]: twelve
  'twelve' is not a whole number; write digits only
VNI [12]:

-- 5 ----------------------- back: to the question before   Ctrl-C: leave --
How shall the collector find out whether the t-meter is up?

Frames are sent to it in any case.

  1  a ping
  2  a TCP connection to a port of it
  3  not at all
Number [1]: 2

-- 6 ----------------------- back: to the question before   Ctrl-C: leave --
Which TCP port of the t-meter answers?
Port [443]: back

-- 5 ----------------------- back: to the question before   Ctrl-C: leave --
How shall the collector find out whether the t-meter is up?

Frames are sent to it in any case.

  1  a ping
  2  a TCP connection to a port of it
  3  not at all
Number [2]:

-- 6 ----------------------- back: to the question before   Ctrl-C: leave --
Which TCP port of the t-meter answers?
Port [443]: 99999
  99999 is too large; use at most 65535
Port [443]: 8443

-- 7 ----------------------- back: to the question before   Ctrl-C: leave --
An SSH key for the user admin?

Paste the one line of your public key (its file ends in .pub), or - for
none.
Key [-]:"""


def test_a_whole_dialogue_with_wrong_answers_and_a_step_back() -> None:
    typed = ["4", "", "", "1", "2", "203.0.113", "203.0.113.10", "", "10.1.2.3", "20000000", "twelve", "",
             "2", BACK, "", "99999", "8443", ""]  # fmt: skip
    dialogue, shown = transcript(facts(admin="admin"), typed)
    assert shown == WHOLE
    assert dialogue.question is None
    assert dialogue.answers == {
        "how": "span", "nic": "eth1", "t_meter": "10.1.2.3", "vni": "12", "probe": "tcp", "tcp_port": "8443",
        "key": "-",
    }  # fmt: skip


def test_back_at_the_first_question_leads_nowhere() -> None:
    assert Dialogue(steps(facts())).back() is False


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("10.0.0.1", False), ("172.31.255.255", False), ("172.32.0.1", True), ("192.168.1.1", False),
        ("100.64.0.1", False), ("100.128.0.1", True), ("169.254.1.1", False), ("203.0.113.10", True),
        ("fd00::1", False), ("2001:db8::1", True), ("inside.example.net", False),
        ("meter.example.net", True), ("nowhere.example.net", True),
    ],
)  # fmt: skip
def test_consent_is_asked_for_outside_private_networks(address: str, asked: bool) -> None:
    dialogue, _ = transcript(facts(), ["1", "2", address])
    assert dialogue.question is not None
    assert dialogue.question.key == ("consent" if asked else "vni")
    assert dialogue.question.default == ("no" if asked else "12")


def test_consent_names_the_address_behind_a_name() -> None:
    dialogue, _ = transcript(facts(), ["1", "2", "meter.example.net"])
    assert dialogue.question is not None
    assert dialogue.question.words[0].startswith("meter.example.net (198.51.100.7) is not in a private")


def test_a_file_that_names_the_address_is_consent() -> None:
    data = {
        "version": 1,
        "sources": [{"name": "lab", "type": "span", "interface": "eth1", "vni": 100}],
        "t_meters": [{"name": "ohio", "address": "203.0.113.10", "probe": "tcp:5001"}],
    }
    dialogue, _ = transcript(facts(data=data), ["", "", "", "", "", ""])
    assert dialogue.question is None
    assert dialogue.answers == {
        "how": "span", "nic": "eth1", "t_meter": "203.0.113.10", "vni": "100", "probe": "tcp",
        "tcp_port": "5001",
    }  # fmt: skip


def test_a_refused_consent_is_not_the_next_ones_default() -> None:
    dialogue, _ = transcript(facts(), ["1", "2", "203.0.113.10", "yes", BACK])
    assert dialogue.question is not None
    assert (dialogue.question.key, dialogue.question.default) == ("consent", "no")


@pytest.mark.parametrize(("driver", "way"), [("ena", "tunnel"), ("hv_netvsc", "shared"), ("gve", "shared")])
def test_one_nic_makes_a_likely_way(driver: str, way: str) -> None:
    dialogue = Dialogue(steps(facts(NicFacts("eth0", driver=driver))))
    assert dialogue.question is not None
    assert dialogue.question.default == way


def test_tunnels_may_keep_the_vni_and_one_nic_is_not_asked_for() -> None:
    dialogue, _ = transcript(facts(OWN), ["", "2", "10.0.0.9", "keep", ""])
    assert dialogue.answers == {
        "how": "tunnel", "tunnel": "geneve", "t_meter": "10.0.0.9", "vni": "keep", "probe": "icmp"
    }  # fmt: skip


def test_which_of_several_sources_is_asked_first() -> None:
    data = {
        "version": 1,
        "sources": [
            {"name": "one", "type": "span", "interface": "eth1"},
            {"name": "two", "type": "vxlan", "interface": "eth0", "vni": {17: 101}},
        ],
        "t_meters": [{"name": "ohio", "address": "10.0.0.9"}],
    }
    dialogue, shown = transcript(facts(data=data), ["2", "", "", "", "", "", ""])
    assert "  1  one, span on eth1\n  2  two, vxlan on eth0\n" in shown
    assert dialogue.answers == {
        "source": "1", "how": "tunnel", "tunnel": "vxlan", "nic": "eth0", "t_meter": "10.0.0.9", "vni": "map",
        "probe": "icmp",
    }  # fmt: skip


STATIC = "[Network]\nAddress=192.0.2.1/24\nGateway=192.0.2.9\nDNS=192.0.2.53\nDNS=192.0.2.54\n"


def managed(settings: str) -> Facts:
    own = NicFacts("eth0", addresses=("192.0.2.1/24",), network_file="80-dhcp.network", settings=settings)
    return facts(own, MIRROR, over_ssh=True)


def test_a_fixed_address_with_wrong_answers() -> None:
    typed = ["1", "2", "2", "192.0.2.10", "192.0.2.0/24", "192.0.2.10/24", "192.0.3.1", "", "dns", "none"]
    dialogue, shown = transcript(managed("[Network]\nDHCP=yes\n"), typed)
    assert {key: dialogue.answers[key] for key in ("method", "address", "gateway", "dns")} == {
        "method": "static", "address": "192.0.2.10/24", "gateway": "192.0.2.1", "dns": "none",
    }  # fmt: skip
    assert [line for line in shown.splitlines() if line.startswith("  ") and line[2].isascii()][-4:] == [
        "  the length of the network is missing; write one such as 192.0.2.10/24",
        "  192.0.2.0 is the network itself; use an address in it, such as 192.0.2.1",
        "  192.0.3.1 is not in 192.0.2.0/24; write an address that is",
        "  'dns' is no IP address; write name servers' addresses, or none",
    ]
    assert "eth0 has 192.0.2.1/24 by DHCP." in shown


def test_a_fixed_address_is_its_own_default_and_dhcp_can_be_chosen() -> None:
    dialogue, _ = transcript(managed(STATIC), ["1", "2", "static", "", "", ""])
    answers = dialogue.answers
    assert (answers["gateway"], answers["dns"]) == ("192.0.2.9", "192.0.2.53 192.0.2.54")
    dialogue, _ = transcript(managed(STATIC), ["1", "2", "dhcp"])
    assert dialogue.answers["method"] == "dhcp"


def test_where_networkd_leaves_the_nic_alone_nothing_is_asked_about_its_address() -> None:
    dialogue, _ = transcript(facts(OWN, MIRROR), ["1", "2"])
    assert dialogue.question is not None
    assert dialogue.question.key == "t_meter"


def test_without_any_address_it_is_asked_which_nic_is_the_machines_own() -> None:
    nics = [NicFacts(f"eth{number}", f"02:00:00:00:00:0{number}", network_file="x") for number in range(3)]
    dialogue, _ = transcript(facts(*nics, default_nic=""), ["1", "2"])
    assert dialogue.question is not None
    assert [each.value for each in dialogue.question.choices] == ["eth0", "eth2"]


def test_no_line_of_any_question_is_wider_than_80_columns() -> None:
    data = {"sources": [{"name": "a" * 31, "type": "erspan", "interface": "n" * 15}] * 2}
    _, shown = transcript(facts(data=data), ["1", "2", "3", "1", "203.0.113.10", "yes", "", ""])
    asked = [line for line in shown.splitlines() if not line.startswith("  ")]
    assert max(map(len, asked)) <= 80


def test_the_table_of_nics_marks_where_frames_arrive() -> None:
    first = {"eth0": Count(100, link=True), "eth1": Count(5, link=True), "eth2": Count(0, link=False)}
    before = {**first, "eth1": Count(1_000_005, link=True)}
    now = {**before, "eth0": Count(900, link=True), "eth1": Count(1_000_405, link=True)}
    assert (
        "\n".join(table(facts(), first, before, now, 2.0))
        == """\
     NIC              link            frames   a second
  1  eth0             yes                800        400  this machine's own
  2  eth1             yes          1,000,400        200  <- here
  3  eth2             no cable             0          0"""
    )


def test_text_longer_than_the_screen_comes_in_pages() -> None:
    assert pages("a\nb\nc", 24) == ["a\nb\nc"]
    assert [page.count("\n") + 1 for page in pages("x\n" * 50, 24)] == [22, 22, 6]


IN_A_FINALISER = """
import signal
from collector.operate.setup.terminal import leave_on, read_keys

class Finalised:
    def __del__(self):
        signal.raise_signal(signal.SIGHUP)

leave_on(signal.SIGHUP)
Finalised()
print("went on", flush=True)
read_keys(60)
print("went on for long")
"""


def test_a_signal_that_falls_into_a_finaliser_is_not_lost() -> None:
    program = [sys.executable, "-c", IN_A_FINALISER]
    ours, theirs = os.pipe()  # a keyboard at which nobody presses a key
    try:
        done = subprocess.run(program, check=False, stdin=ours, capture_output=True, text=True, timeout=50)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout) == (1, "went on\n"), done.stderr
