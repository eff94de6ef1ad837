"""At most two virtual machines run on this machine at once, whoever's tests they are of."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

SEATS = 2
LONGEST_S = 45 * 60  # the others' tests end by then, or are ended
HELD: list[Seat] = []


class Seat:
    """One of the places. A process has one at a time: two that each wait for a second would wait for ever."""

    def __init__(self) -> None:
        if HELD:
            raise AssertionError("this process has a machine already: a test file takes `machine` or `fresh_machine`")
        end = time.monotonic() + LONGEST_S
        while (taken := _free()) is None:
            if time.monotonic() > end:
                raise AssertionError(f"no place for a virtual machine within {LONGEST_S / 60:.0f} minutes")
            time.sleep(0.2)
        self._file = taken
        HELD.append(self)

    def leave(self) -> None:
        if self in HELD:
            HELD.remove(self)
            self._file.close()


def _free() -> IO[str] | None:
    for number in range(SEATS):
        file = Path(tempfile.gettempdir(), f"fleetctl-test-vm.{os.getuid()}.{number}.lock").open("w")  # noqa: SIM115
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        file.close()
    return None
