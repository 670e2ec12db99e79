"""The whole path on one machine: telephone calls, a switch with a mirror port, a collector, a t-meter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, TracebackType
from typing import Any

import click
from pyroute2.netlink.exceptions import NetlinkError

from collector.errors import HostError
from collector.operate.calls import (
    SECONDS_BETWEEN_CALLS,
    CallCount,
    PhoneSystem,
    require_sipp,
    wait_until_quiet,
)
from collector.operate.lab import BPFFS, Lab, Namespace, ensure_bpffs, stop, wait_for
from collector.operate.stage import PICTURE, T_METER, VNI, Stage, build

VXLAN_PORT = 4789

CONFIGURATION = """\
version: 1
sources:
  - name: pbx
    type: span
    interface: eth1
    vni: {vni}
    hook: {hook}
t_meters:
  - name: demo
    address: {t_meter}
"""


@click.command(epilog="Example: sudo collector demo --calls 3 --pcap /tmp/calls.pcap")
@click.option("--calls", type=click.IntRange(1, 20), default=5, show_default=True, help="Calls to place.")
@click.option(
    "--hook",
    type=click.Choice(["auto", "xdp", "tc"]),
    default="auto",
    show_default=True,
    help="Where in the kernel the frames are taken.",
)
@click.option(
    "--pcap",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    help="Keep what the t-meter received, for Wireshark.",
)
def demo(calls: int, hook: str, pcap: Path | None) -> None:
    """Show the whole path on this machine.

    Real telephone calls cross a switch, all inside network namespaces. The switch's mirror port feeds a
    collector, and a stand-in t-meter counts what arrives. Needs root; touches nothing outside, and leaves
    nothing behind.
    """
    _require_root()
    require_sipp()
    with _stoppable() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="collector-demo-")))
        _say("Building five machines, each a network namespace:")
        stage = _build_stage(stack.enter_context(Lab()))
        click.echo(PICTURE)
        stack.callback(_unmount_bpffs, ensure_bpffs())
        collector = _set_up_collector(stage, scratch, hook, stack)
        sink = Sink(stage.tmeter, scratch, pcap)
        count = _place_calls(stage, scratch, calls, collector)
        shortfalls = _report(calls, count, collector, sink.finish())
        _say("Taking everything down again.")
    if shortfalls:
        raise HostError(f"The demonstration failed: {'; '.join(shortfalls)}")
    _say("Proved: every frame out of the mirror port has reached the t-meter.")
    _say("Nothing is left behind.")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise HostError("The demonstration builds network namespaces and needs root", "sudo collector demo")


@contextmanager
def _stoppable() -> Iterator[ExitStack]:
    """SIGTERM ends the demo as Ctrl-C does; neither interrupts the clearing up once it has begun."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _interrupt) for number in signals}
    try:
        with ExitStack() as stack:
            try:
                yield stack
            except KeyboardInterrupt:
                _say("Stopped. Taking everything down.")
                raise
            finally:
                for number in signals:
                    signal.signal(number, signal.SIG_IGN)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _build_stage(lab: Lab) -> Stage:
    try:
        return build(lab)
    except NetlinkError as error:
        raise HostError(
            f"The kernel refuses to build the network of the demonstration: {error}",
            "it needs veth, bridge, sch_ingress, cls_u32 and act_mirred",
        ) from error


def _unmount_bpffs(mounted_here: bool) -> None:
    if mounted_here and not any(BPFFS.iterdir()):
        subprocess.run(["umount", str(BPFFS)], check=True)


@dataclass(frozen=True)
class Figures:
    """Frames at one moment: out of the mirror port, and what the collector did with them."""

    mirrored: int
    taken: int
    sent: int
    passed: int
    dropped: int


@dataclass(frozen=True)
class Collector:
    """The real command line, run on the collector's machine."""

    stage: Stage
    file: Path
    instance: str

    def __call__(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "collector", "-c", str(self.file), "--instance", self.instance]
        done = self.stage.collector.run([*command, *arguments], check=check)
        if not check and not done.stdout:
            raise HostError(f"`collector {' '.join(arguments)}` said nothing but: {done.stderr.strip()}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Whatever the exit code, which only tells whether the collector is healthy."""
        return dict(json.loads(self("status", "--json", check=False)))

    def figures(self) -> Figures:
        status = self.status()
        mirrored = self.stage.switch.stats("span")["tx_packets"]
        source, t_meter = status["sources"][0], status["t_meters"][0]
        return Figures(
            mirrored,
            source["frames"],
            t_meter["frames"],
            source["passed_frames"],
            sum(source["drops"].values()),
        )

    def take_down(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Its own failure must not hide the `error` that ended the demo."""
        try:
            self("remove")
            if (BPFFS / "collector" / self.instance).exists():
                raise HostError(f"`collector remove` left {BPFFS}/collector/{self.instance} behind")
        except HostError as fault:
            if error is None:
                raise
            click.echo(f"While taking down: {fault}", err=True)


def _set_up_collector(stage: Stage, scratch: Path, hook: str, stack: ExitStack) -> Collector:
    collector = Collector(stage, scratch / "collector.yaml", f"demo-{os.getpid()}")
    collector.file.write_text(CONFIGURATION.format(vni=VNI, hook=hook, t_meter=T_METER))
    _say("Setting the collector up with this file:")
    _quote(collector.file.read_text())
    collector("check")
    _say("What `collector plan` says it will do:")
    _quote(collector("plan"))
    stack.push(collector.take_down)
    collector("apply")
    _say("`collector apply` has done it.")
    return collector


class Sink:
    """The stand-in t-meter: `collector sink` on the t-meter's machine."""

    def __init__(self, tmeter: Namespace, scratch: Path, pcap: Path | None) -> None:
        self._tmeter = tmeter
        self._result, self._words = scratch / "sink.json", scratch / "sink.err"
        command = [sys.executable, "-m", "collector", "sink", "--json", "--listen", f"{T_METER}:{VXLAN_PORT}"]
        keep = ["--pcap", str(pcap)] if pcap else []
        with self._result.open("w") as result, self._words.open("w") as words:
            self._process = tmeter.start([*command, *keep], stdout=result, stderr=words)
        wait_for(self._is_listening, "the sink to listen")

    def _is_listening(self) -> bool:
        if self._process.poll() is not None:
            raise HostError(f"collector sink ended at once: {self._words.read_text().strip()}")
        return "listening on" in self._words.read_text()

    def finish(self) -> dict[str, Any]:
        wait_for(lambda: not any(self._tmeter.udp_queues(VXLAN_PORT)), "the sink to read what has arrived")
        stop(self._process)
        if self._process.returncode != 0:
            words = self._words.read_text().strip()
            raise HostError(f"collector sink ended with {self._process.returncode}: {words}")
        return dict(json.loads(self._result.read_text()))


def _place_calls(stage: Stage, scratch: Path, calls: int, collector: Collector) -> CallCount:
    _say(f"Placing {calls} calls, {SECONDS_BETWEEN_CALLS} seconds apart, seven seconds of speech each:")
    system = PhoneSystem(stage.phone, stage.pbx, scratch)
    began = time.monotonic()
    click.echo("   time   calls  mirrored     taken      sent   dropped")

    def show(count: CallCount) -> None:
        now = collector.figures()
        click.echo(
            f"   {time.monotonic() - began:2.0f} s {count.placed:7} {now.mirrored:9} {now.taken:9}"
            f" {now.sent:9} {now.dropped:9}"
        )

    system.call(calls, show)
    wait_until_quiet(stage.switch, "span")
    return system.count()


def _report(calls: int, count: CallCount, collector: Collector, arrived: dict[str, Any]) -> list[str]:
    """Prints what was counted where; returns the lines that are not as they must be."""
    now, source = collector.figures(), collector.status()["sources"][0]
    received = arrived["vnis"].get(str(VNI), {}).get("frames", 0)
    _say("What was counted:")
    click.echo(f"       {'':32} {'counted':>9} {'wanted':>9}")
    found = [
        _compare("calls completed by the phone", count.completed, calls),
        _compare("calls seen by the t-meter", arrived["sip"]["calls"], count.placed),
        _compare("calls it saw answered", arrived["sip"]["answered"], count.completed),
        _compare("frames taken by the collector", now.taken, now.mirrored),
        _compare("frames sent by the collector", now.sent, now.mirrored),
        _compare("frames received by the t-meter", received, now.mirrored),
        _compare("frames lost on the way", now.mirrored - received, 0),
        _compare("frames dropped by the collector", now.dropped, 0),
        _compare("frames passed to its own host", now.passed, 0),
    ]
    click.echo(f"   Of these frames {arrived['rtp_frames']} were speech (RTP).")
    for reason, number in source["drops"].items():
        if number:
            click.echo(f"   Dropped for the reason {reason}: {number}")
    _explain_hook(source, collector)
    return [line for line in found if line]


def _compare(what: str, counted: int, wanted: int) -> str:
    """Prints one line; returns it as a sentence if the numbers differ, else nothing."""
    equal = counted == wanted
    verdict = click.style("ok", fg="green") if equal else click.style("NO", fg="red", bold=True)
    click.echo(f"   {verdict}  {what:32} {counted:9} {wanted:9}")
    return "" if equal else f"{what}: {counted} instead of {wanted}"


def _explain_hook(source: dict[str, Any], collector: Collector) -> None:
    _say(f"The collector took the frames of {source['interface']} at hook {source['hook']}.")
    _say("What `collector interfaces` says of the hooks:")
    _quote(collector("interfaces"))


def _say(sentence: str) -> None:
    click.secho(sentence, bold=True)


def _quote(text: str) -> None:
    for line in text.rstrip().splitlines():
        click.echo(f"   | {line}")
