"""Real telephone calls for the demo: sipp is the phone and the PBX, with recorded speech both ways."""

from __future__ import annotations

import csv
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from collector.errors import HostError
from collector.operate.lab import NOWHERE, Namespace, Process, ended_within, wait_for
from collector.operate.stage import PBX, PHONE

SCENARIOS = Path(__file__).with_name("scenarios")
SPEECH = Path("/usr/share/sip-tester/g711a.pcap")  # phone.xml plays it, for seven seconds
SIP_PORT = 5060
PBX_MEDIA_PORT, PHONE_MEDIA_PORT = 9000, 10000
SECONDS_BETWEEN_CALLS = 2


@dataclass(frozen=True)
class CallCount:
    """Calls as sipp counts them at the phone."""

    placed: int = 0
    completed: int = 0


def require_sipp() -> None:
    if shutil.which("sipp") is None or not SPEECH.exists():
        raise HostError(
            "The demonstration places its calls with sipp, which is not installed", "apt install sip-tester"
        )


class PhoneSystem:
    """A phone and a PBX, on machines with the addresses PHONE and PBX."""

    def __init__(self, phone: Namespace, pbx: Namespace, scratch: Path) -> None:
        self._phone, self._pbx, self._scratch = phone, pbx, scratch
        self._counts = scratch / "calls.csv"

    def call(self, number: int, progress: Callable[[CallCount], None]) -> None:
        """Places `number` calls and returns when the last has ended; `progress` is called now and then."""
        with ExitStack() as stack:
            self._open_media_ports(number, stack)
            self._answer()
            caller = self._dial(number)
            while caller.poll() is None:
                progress(self.count())
                ended_within(caller, seconds=1.5)
        if caller.returncode not in (0, 1):  # 1: some calls failed, which the count tells
            raise HostError(f"sipp ended with {caller.returncode}: {self._words(self._phone)}")

    def count(self) -> CallCount:
        """From the last whole line of sipp's statistics."""
        if not self._counts.exists():
            return CallCount()
        rows = csv.DictReader(self._counts.read_text().splitlines(), delimiter=";")
        counts = [(row["TotalCallCreated"], row["SuccessfulCall(C)"]) for row in rows]
        placed, completed = next((pair for pair in reversed(counts) if all(pair)), ("0", "0"))
        return CallCount(int(placed), int(completed))

    def _open_media_ports(self, number: int, stack: ExitStack) -> None:
        """sipp plays RTP without opening its ports; closed ones answer the PBX's voice with ICMP errors."""
        for call in range(1, number):  # the first call's port is opened by sipp itself
            with self._phone.enter():
                port = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            port.bind((PHONE, PHONE_MEDIA_PORT + 4 * call))

    def _answer(self) -> None:
        process = self._sipp(self._pbx, "pbx.xml", PBX, PBX_MEDIA_PORT, ["-rtp_echo"])

        def listens() -> bool:
            if process.poll() is not None:
                raise HostError(f"sipp, as the PBX, ended at once: {self._words(self._pbx)}")
            return bool(self._pbx.udp_queues(SIP_PORT))

        wait_for(listens, "the PBX to listen for calls")

    def _dial(self, number: int) -> Process:
        limit = 20 + SECONDS_BETWEEN_CALLS * number
        rate = ["-m", str(number), "-r", "1", "-rp", f"{SECONDS_BETWEEN_CALLS}s", "-timeout", f"{limit}s"]
        statistics = ["-trace_stat", "-stf", str(self._counts), "-fd", "1"]
        return self._sipp(
            self._phone,
            "phone.xml",
            PHONE,
            PHONE_MEDIA_PORT,
            ["-s", "200", *rate, *statistics, f"{PBX}:{SIP_PORT}"],
        )

    def _sipp(
        self, machine: Namespace, scenario: str, address: str, media_port: int, options: Sequence[str]
    ) -> Process:
        command = [
            "sipp",
            "-sf",
            str(SCENARIOS / scenario),
            "-i",
            address,
            "-p",
            str(SIP_PORT),
            "-mi",
            address,
            "-mp",
            str(media_port),
            "-nostdin",
            *options,
        ]
        with self._words_file(machine).open("w") as words:
            return machine.start(command, stdin=NOWHERE, stdout=NOWHERE, stderr=words)

    def _words(self, machine: Namespace) -> str:
        return self._words_file(machine).read_text().strip()

    def _words_file(self, machine: Namespace) -> Path:
        return self._scratch / f"{machine.name}.err"


def wait_until_quiet(machine: Namespace, ifname: str, seconds: float = 0.5) -> None:
    """Until `ifname` has sent nothing for `seconds`."""
    seen, since = -1, 0.0

    def quiet() -> bool:
        nonlocal seen, since
        sent = machine.stats(ifname)["tx_packets"]
        if sent != seen:
            seen, since = sent, time.monotonic()
        return time.monotonic() - since > seconds

    wait_for(quiet, f"{ifname} in {machine.name} to fall quiet")
