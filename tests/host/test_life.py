"""Start, ready, stop: what a program's life is like on a host."""

from __future__ import annotations

import os
import signal
import time

from tests.host.driven import lives, wait_until


def test_a_program_is_started_becomes_ready_and_stops(host):
    host.run("web.0@1", "echo hello; exec sleep 1000")
    row = host.ready("web.0@1")
    assert row["phase"] == "ready"
    assert row["ever_ready"]
    assert lives(row["pid"])
    assert host.lines("web.0@1") == ["hello"]
    host.stop("web.0@1", "the test is over")
    ended = host.stopped("web.0@1")
    assert (ended["phase"], ended["wanted"], ended["pid"]) == ("stopped", "stop", None)
    assert ended["last_exit"] == "killed by SIGTERM"
    assert ended["reason"] == "the test is over"
    assert not lives(row["pid"])
