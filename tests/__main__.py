"""`python -m tests [--long]`: the whole suite, in two processes of pytest.

Virtual machines run beside the rest, on the CPU time that it leaves: it waits a lot, but watches the clock.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LOG = Path(__file__).parents[1] / ".cache" / "machines.log"
PYTEST = (sys.executable, "-m", "pytest")
# Each machine keeps a CPU busy, and each test that starts some is given to who is free.
MACHINES = ("--verbose", "--numprocesses=2", "--dist=load", "--maxschedchunk=1")


def main(arguments: Sequence[str]) -> int:
    some = "" if "--long" in arguments else " and not long"
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        # If this process is killed, that one is interrupted, and cleans up.
        command = ["setpriv", "--pdeathsig=INT", *PYTEST, *MACHINES, "-m", f"vm{some}"]
        machines = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
    try:
        rest = subprocess.run([*PYTEST, "-m", f"not vm{some}"], check=False).returncode
        print("\nThe tests that start machines, which have been running beside these:\n", flush=True)
        _show(machines)
    except KeyboardInterrupt:
        return 130
    else:
        return rest or machines.returncode
    finally:
        if machines.poll() is None:
            machines.send_signal(signal.SIGINT)
            machines.wait()


def _show(machines: subprocess.Popen[bytes]) -> None:
    with LOG.open() as said:
        while machines.poll() is None:
            print(said.read(), end="", flush=True)
            with suppress(subprocess.TimeoutExpired):
                machines.wait(1)
        print(said.read(), end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
