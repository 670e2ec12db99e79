"""The command line as a user meets it: wrong files, hosts that are not ready, JSON, help."""

from __future__ import annotations

import json
import re
import resource
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import click
import pytest

from collector.cli import main_group
from collector.operate.lab import Lab
from tests.lib.box import SPAN, Box, let_all_in, new_box
from tests.lib.fault import Faulty
from tests.lib.snapshot import changed

NOBODY = "65534"
COMMANDS = (
    "apply", "check", "confirm", "demo", "interfaces", "metrics", "plan", "remove", "run", "setup", "sink",
    "status", "top", "update",
)  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, faulty: Faulty) -> Iterator[Box]:
    """A box where SPAN is applied: for the commands that must change nothing, so that all can share it."""
    with new_box(tmp_path_factory.mktemp("running"), faulty) as box:
        box.cable()
        assert box.quick("apply").code == 0
        yield box


@pytest.fixture
def unchanged(running: Box) -> Iterator[Box]:
    """Asserts afterwards that everything is as before, and that frames are forwarded."""
    before = running.snapshot()
    running.write()
    yield running
    assert changed(before, running.snapshot()) == {}
    assert running.forwarded() == 12


def both(box: Box, *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    done = box.run(*arguments, prefix=prefix)
    assert done.stdout == ""
    return done.returncode, done.stderr


# Exit 2: the file is wrong, and what runs runs on


def by_mac(box: Box) -> str:
    other = f'\n  - {{name: aws, type: span, interface: {{mac: "{box.host.mac("eth1")}"}}}}'
    return SPAN.replace("vni: 12}", "vni: 12}" + other)


def two_vxlan(_box: Box) -> str:
    both_here = """\
  - {name: one, type: vxlan, interface: eth0, hook: tc}
  - {name: two, type: vxlan, interface: eth0, port: 4790, hook: xdp}
"""
    return SPAN.replace("t_meters", both_here + "t_meters")


def edit(old: str, new: str) -> Callable[[Box], str]:
    return lambda _box: SPAN.replace(old, new)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"


@dataclass(frozen=True)
class Wrong:
    """A file, where it is wrong (line:column), and what is said there, or how that begins."""

    file: Callable[[Box], str]
    place: str
    words: str


WRONG = {
    "no such interface": Wrong(
        edit("eth1", "eth7"),
        "3:40",
        "sources[0].interface: there is no interface with the name eth7; this host has eth1 (",
    ),
    "no such MAC": Wrong(
        edit("eth1", '{mac: "00:15:5d:01:02:03"}'),
        "3:40",
        "sources[0].interface: there is no interface with the MAC address 00:15:5d:01:02:03; this host has",
    ),
    "the t-meter is this host": Wrong(
        edit("192.0.2.2", "192.0.2.1"),
        "5:27",
        "t_meters[0].address: 192.0.2.1 is an address of this host; write the t-meter's own address",
    ),
    "a NIC by name and by MAC": Wrong(
        by_mac,
        "4:40",
        "sources[1].interface: source 'pbx' takes everything that this interface receives; give each its own",
    ),
    "a span NIC with an address": Wrong(
        edit("eth1", "eth0"),
        "3:40",
        (
            "sources[0].interface: eth0 has the address 192.0.2.1/24, by which this host would no longer be "
            "reached; use a NIC without an address, or write shared: true"
        ),
    ),
    "hooks that differ on one NIC": Wrong(
        two_vxlan,
        "5:65",
        "sources[2].hook: source 'one' on eth0 says tc; one NIC has one hook: use the same",
    ),
    "an unknown key": Wrong(edit("vni:", "vin:"), "3:46", "sources[0].vin: unknown key; did you mean 'vni'?"),
    "a wrong type": Wrong(
        edit("vni: 12", "vni: x"), "3:51", "sources[0].vni: 'x' is not a whole number; write digits only"
    ),
    "a range": Wrong(
        edit("vni: 12", "vni: 16777216"),
        "3:51",
        "sources[0].vni: 16777216 is too large; use at most 16777215",
    ),
    "a Python tag": Wrong(
        edit("pbx", "!!python/name:os.system x"),
        "3:12",
        "sources[0].name: the tag '!!python/name:os.system' is not supported; remove it",
    ),
    "an alias bomb": Wrong(
        lambda _box: BOMB + SPAN,
        "1:1",
        "a: unknown key; the keys here are version, sources, t_meters, telephony, metrics",
    ),
    "broken YAML": Wrong(edit("}", ""), "3:5", "a ',' or the closing '}' of this map is missing; add it"),
    "an empty file": Wrong(
        lambda _box: "",
        "1:1",
        "the file is empty; a blank appliance needs no file, or one with 'version: 1'",
    ),
}


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", ["apply", "plan", "check"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_told_where_and_changes_nothing(unchanged: Box, name: str, command: str) -> None:
    wrong = WRONG[name]
    unchanged.file.write_text(wrong.file(unchanged))

    done = unchanged.quick(command)
    assert (done.code, done.out, "Traceback" in done.err) == (2, "", False)
    found = re.match(rf"{re.escape(str(unchanged.file))}:(\d+:\d+): (.*)", one_line(done.err))
    assert found, done.err
    assert found[1] == wrong.place
    assert found[2].startswith(wrong.words)


def test_no_file(unchanged: Box) -> None:
    unchanged.file.unlink()
    code, error = both(unchanged, "apply")
    assert (code, "Traceback" in error) == (2, False)
    assert error.startswith((f"{unchanged.file}", "collector: "))
    assert str(unchanged.file) in error


def test_the_way_to_the_t_meter_is_no_mirror_port(box: Box) -> None:
    box.host.ipr.addr("del", index=box.host.index("eth0"), address="192.0.2.1", prefixlen=24)
    box.host.address("lo", "192.0.2.1/32")
    box.host.run(["ip", "route", "add", "192.0.2.2", "dev", "eth1", "src", "192.0.2.1"])
    assert both(box, "check") == (
        2,
        (
            f"{box.file}:3:40: sources[0].interface: eth1 is also the way to the t-meter; use another NIC, "
            "or write shared: true\n"
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aply"], "No such command 'aply'"),
        (["status", "--jsn"], "No such option"),
        (["status", "--interval", "x"], "is not a valid float range"),
    ],
)
def test_wrong_arguments(unchanged: Box, arguments: list[str], words: str) -> None:
    code, error = both(unchanged, *arguments)
    assert (code, words in error, "Traceback" in error) == (2, True, False)


@pytest.mark.parametrize("name", ["../etc", "", "a b", "-x", "x" * 64])
def test_an_instance_is_a_plain_name(running: Box, name: str) -> None:
    command = [sys.executable, "-m", "collector", "--instance", name, "status"]
    done = running.host.run(command, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a name; use letters, digits, - and _, at most 63" in done.stderr


# Exit 1: the host is not ready

PRIVATE = ("unshare", "--mount", "sh", "-c")


def in_private_mounts(script: str) -> tuple[str, ...]:
    return *PRIVATE, f'{script} && exec "$@"', "sh"


def libbpf_hidden() -> str:
    paths = [str(path) for path in Path("/usr/lib").rglob("libbpf.so.1*")]
    assert paths
    return " && ".join(f"mount --bind /dev/null {shlex.quote(path)}" for path in paths)


NEEDS_HOST = ["apply", "check", "plan", "remove", "status", "interfaces", "metrics"]


@pytest.mark.parametrize("command", NEEDS_HOST)
def test_without_root(unchanged: Box, command: str) -> None:
    unchanged.file.chmod(0o644)
    let_all_in(unchanged.file.parent)
    nobody = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups")
    assert both(unchanged, command, prefix=nobody) == (
        1,
        "collector: this command needs root\n  run it again with sudo\n",
    )


@pytest.mark.parametrize(
    "script",
    ["umount -l /sys/fs/bpf", "mount -t tmpfs tmpfs /sys/fs/bpf", "umount -l /sys/fs/bpf; umount -l /sys"],
    ids=["unmounted", "covered", "without-sys"],
)
def test_without_bpffs(unchanged: Box, script: str) -> None:
    assert both(unchanged, "apply", prefix=in_private_mounts(script)) == (
        1,
        "collector: no BPF file system is mounted on /sys/fs/bpf\n  mount it: mount -t bpf bpf /sys/fs/bpf\n",
    )


@pytest.mark.parametrize("command", NEEDS_HOST)
def test_on_an_old_kernel(unchanged: Box, command: str) -> None:
    code, error = both(unchanged, command, prefix=("setarch", "--uname-2.6"))
    assert code == 1
    assert re.fullmatch(
        r"collector: the kernel 2\.6\.\S+ is too old\n  Linux 6\.1 or newer is needed \(Debian 12\)\n", error
    )


@pytest.mark.parametrize("command", ["apply", "remove", "status"])
def test_without_libbpf(unchanged: Box, command: str) -> None:
    assert both(unchanged, command, prefix=in_private_mounts(libbpf_hidden())) == (
        1,
        "collector: libbpf.so.1 is not installed\n  install it: apt install libbpf1\n",
    )


def test_without_a_route_to_the_t_meter(unchanged: Box) -> None:
    unchanged.write(("192.0.2.2", "198.51.100.9"))
    assert both(unchanged, "apply") == (
        1,
        (
            "collector: the t-meter 'ohio' (198.51.100.9) cannot be reached: this host has no route to it\n"
            "  Give this host an address and a route to it, or correct the address.\n"
        ),
    )


@pytest.mark.parametrize("command", ["apply", "plan", "remove", "status", "interfaces", "metrics"])
def test_an_instance_of_another_namespace_is_left_alone(unchanged: Box, command: str) -> None:
    with Lab() as lab:
        here, unchanged.host = unchanged.host, lab.namespace("elsewhere")
        done = unchanged.run(command)
        unchanged.host = here
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        (
            f"collector: instance {unchanged.instance} runs in another network namespace\n"
            "  Choose another name with --instance, or enter that namespace first. If it is gone, "
            f"remove what is left: rm -r /sys/fs/bpf/collector/{unchanged.instance}\n"
        ),
    )


# status says what is wrong, and leaves with 1


def problems(box: Box) -> list[str]:
    text, raw = box.run("status", "--interval", "0"), box.quick("status", "--json")
    told = json.loads(raw.out)
    assert (text.returncode, raw.code, told["healthy"]) == (1, 1, False)
    assert "NOT healthy" in text.stdout or not told["sources"]
    said: list[str] = told["problems"]
    assert all(one_line(f"! {words}") in one_line(text.stdout) for words in said)
    return said


def test_status_of_a_healthy_one(box: Box) -> None:
    box.good("apply")
    assert box.run("status", "--interval", "0").returncode == 0
    assert json.loads(box.good("status", "--json"))["problems"] == []


def detach(box: Box, kind: str) -> None:
    pin = box.pins / f"{kind}_{box.host.index('eth1')}"
    box.host.run(["bpftool", "link", "detach", "pinned", str(pin)])


def test_status_when_tc_was_detached(box: Box) -> None:
    box.good("apply")
    detach(box, "tc")
    assert problems(box) == ["somebody took the program away from eth1 at tc; run: collector apply"]


def test_status_when_xdp_was_detached(box: Box) -> None:
    """Frames still flow, by tc; but it is not as it was applied."""
    box.good("apply")
    detach(box, "xdp")
    assert box.forwarded() == 12
    assert problems(box) == ["somebody took the program away from eth1 at xdp-native; run: collector apply"]


def test_status_when_everything_was_detached(box: Box) -> None:
    box.good("apply")
    for pin in [*box.pins.glob("tc_*"), *box.pins.glob("xdp_*")]:
        box.host.run(["bpftool", "link", "detach", "pinned", str(pin)])
    assert problems(box) == ["the program is not attached any more; run: collector apply"]


def test_status_when_the_nic_is_down(box: Box) -> None:
    box.good("apply")
    box.host.down("eth1")
    assert problems(box) == ["source pbx: eth1 is down"]


def test_status_when_the_cable_is_out(box: Box) -> None:
    box.good("apply")
    box.switch.down("span0")
    assert problems(box) == ["source pbx: eth1 has no link; is the cable in?"]


def test_status_when_the_nic_is_gone(box: Box) -> None:
    box.good("apply")
    box.host.run(["ip", "link", "del", "eth1"])
    assert problems(box) == ["source pbx: its interface is gone"]


def test_status_when_the_splitter_is_gone(box: Box) -> None:
    box.good("apply")
    box.host.run(["ip", "link", "del", "collector-tx"])
    assert problems(box) == [
        "the splitter (collector-tx, collector-rx) is not as it should be; run: collector apply"
    ]


def test_status_of_a_blank_one_is_healthy(box: Box) -> None:
    assert box.good("status") == "not configured: nothing is forwarded\n"
    told = json.loads(box.good("status", "--json"))
    assert told == {
        "instance": box.instance, "healthy": True, "configured": False, "problems": [], "sources": [],
        "t_meters": [], "detached": [], "waiting": [], "notices": [], "agent": False,
    }  # fmt: skip


# JSON, for programs

SOURCE_KEYS = {
    "name", "type", "interface", "hook", "frames", "bytes", "passed_frames", "drops", "last_frame_age_seconds"
}  # fmt: skip
STATUS_KEYS = {
    "instance", "healthy", "sources", "t_meters", "configured", "problems", "detached", "waiting", "notices",
    "agent",
}  # fmt: skip
T_METER_KEYS = {"name", "address", "up", "frames", "bytes", "path_mtu"}
REASONS = {
    "malformed", "loop", "unknown_vni", "oversize", "outer_fragment", "no_route", "neighbour", "egress",
    "no_memory", "unsupported",
}  # fmt: skip


def document(done: CompletedProcess[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_keys_of_status(box: Box) -> None:
    box.good("apply")
    assert box.forwarded(200) == 12
    told = document(box.run("status", "--json"))
    assert told.keys() == STATUS_KEYS
    ((source,), (t_meter,)) = told["sources"], told["t_meters"]
    assert source.keys() == SOURCE_KEYS | {"why", "vni", "last_sip_age_seconds", "last_rtp_age_seconds", "up"}
    assert t_meter.keys() == T_METER_KEYS | {
        "port", "why", "oversize_frames", "hint", "round_trip_seconds", "path_errors"
    }  # fmt: skip
    assert source["drops"].keys() == REASONS
    age = source.pop("last_frame_age_seconds")
    assert 0 <= age < 60
    assert source == {
        "name": "pbx", "type": "span", "interface": "eth1", "hook": "xdp-native", "why": "", "vni": "12",
        "frames": 1, "bytes": 200, "passed_frames": 0, "drops": dict.fromkeys(REASONS, 0),
        "last_sip_age_seconds": None, "last_rtp_age_seconds": None, "up": True,
    }  # fmt: skip
    assert t_meter == {
        "name": "ohio", "address": "192.0.2.2", "port": 4789, "up": True, "why": "", "frames": 1,
        "bytes": 200, "path_mtu": 1500, "oversize_frames": 0, "hint": "", "round_trip_seconds": None,
        "path_errors": {},
    }  # fmt: skip


def test_rates_in_json_when_asked_for(box: Box) -> None:
    box.good("apply")
    (source,) = document(box.run("status", "--json", "--interval", "0.01"))["sources"]
    assert (source["frames_per_second"], source["bits_per_second"]) == (0.0, 0.0)


def test_the_keys_of_plan_and_check(box: Box) -> None:
    told = document(box.run("plan", "--json"))
    assert told.keys() == {"changes", "warnings"}
    assert told["changes"] == box.good("plan").splitlines()
    checked = document(box.run("check", "--json"))
    assert checked == {"file": str(box.file), "warnings": told["warnings"]}
    box.good("apply")
    assert document(box.run("plan", "--json"))["changes"] == []


def test_the_keys_of_interfaces(box: Box) -> None:
    box.good("apply")
    told = document(box.run("interfaces", "--json"))
    assert told.keys() == {"interfaces"}
    assert [each["name"] for each in told["interfaces"]] == ["eth1", "eth0"]
    assert told["interfaces"][0] == {
        "name": "eth1", "mac": box.host.mac("eth1"), "driver": "veth", "up": True, "carrier": True,
        "mtu": 1500, "addresses": [], "hook": "xdp-native", "attached": True, "why": "",
    }  # fmt: skip


# Help


def cpu_seconds() -> float:
    """Of the processes that have ended: other work on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_narrow_and_has_an_example(running: Box, command: str) -> None:
    began = cpu_seconds()
    done = running.run(command, "--help")
    assert cpu_seconds() - began < 0.5
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert examples(done.stdout)


def test_every_command_is_known_here(running: Box) -> None:
    listed = running.good("--help").partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == list(COMMANDS)


def examples(text: str) -> list[list[str]]:
    """The arguments of each call of `collector` after the word Example."""
    after = text[text.index("Example") :]
    calls = re.findall(r"(?:^ *|[:&] +|sudo )collector +([^|&\n]+)", after, re.MULTILINE)
    return [shlex.split(call) for call in calls]


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_typed(command: str) -> None:
    found = main_group.get_command(click.Context(main_group), command)
    assert found
    help_text = found.get_help(click.Context(found, info_name=command))
    for arguments in examples(help_text):
        name = next(word for word in arguments if word in COMMANDS)
        before, after = arguments[: arguments.index(name)], arguments[arguments.index(name) + 1 :]
        group = main_group.make_context("collector", [*before, name])
        called = main_group.get_command(group, name)
        assert called
        called.make_context(name, after, parent=group)
