"""status.json is replaced at once: whoever reads it, however often, has a whole one."""

from __future__ import annotations

import json
import time
from threading import Event, Thread
from typing import Self

import pytest

PERIOD_S = 0.001
TIGHT = {"backoff_min_s": 0.001, "backoff_max_s": 0.001, "reset_s": 600}


class Reader:
    """Reads a file a thousand times a second, and keeps which files it saw and what was not whole."""

    def __init__(self, path) -> None:
        self.path, self.over = path, Event()
        self.seen: set[int] = set()
        self.reads, self.broken = 0, []
        self.thread = Thread(target=self.run)

    def run(self) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            with self.path.open("rb") as file:  # it is there at any time
                content = file.read()
            try:
                assert json.loads(content)["state"]
            except (ValueError, KeyError):
                self.broken.append(content)
            self.seen.add(hash(content))
            self.reads += 1
            self.over.wait(max(0.0, PERIOD_S - (time.monotonic() - began)))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


@pytest.mark.parametrize("updates", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_a_thousand_readings_a_second_never_see_half_a_status(host, updates):
    """Every restart publishes several. A busy machine lets the reader see fewer of them: then it takes longer."""
    host.run("web.0@1", "exit 1", restart=TIGHT)
    path = host.folder("web.0@1") / "status.json"
    host.until("web.0@1", lambda row: row["restarts"] > 0)
    with Reader(path) as reader:
        end = time.monotonic() + 600
        first = json.loads(path.read_text())["run"]
        runs = updates // 4  # launched, ended, waiting, launching
        while json.loads(path.read_text())["run"] - first < runs or len(reader.seen) <= runs:
            assert time.monotonic() < end, f"{reader.reads} readings saw {len(reader.seen)} updates"
            time.sleep(0.05)
    assert reader.broken == []
