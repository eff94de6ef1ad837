"""Makes the records that every later version must be able to read: `python -m tests.host.keep_records NAME [PROGRAM]`.

They are left in `fixtures/NAME/`, written by the real host program (this one's, or that in the folder given): instances
in every state that lasts, and all that a root keeps beside them. To be run, under a new name, before each release and
whenever what is written changes; what is there already is never made anew.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.host import driven
from tests.host.driven import Host, wait_until

FIXTURES = Path(__file__).parent / "fixtures"
LONG = {"backoff_min_s": 1000, "backoff_max_s": 1000, "reset_s": 600}


class Kept(Host):
    def fill(self) -> None:
        self.generation, self.author = 7, "ann@desk"
        serial = self.report()["serial"]
        self.order("claim", fleet="shop", serial=serial, wishes={"jobs": {"web": {"replicas": 2}}})
        self.ask("neighbours", peers=[{"host": "h2", "address": "127.0.0.1", "port": 1}])
        self.run("web.0@1", "echo serving; exec sleep 100000")
        self.ready("web.0@1")
        self.run("waits.0@1", "echo tried; exit 3", restart=LONG)
        self.run("stopped.0@2", "echo bye; exec sleep 100000", stop={"signal": "TERM", "timeout_s": 5.0})
        self.ready("stopped.0@2")
        self.stop("stopped.0@2", "release 2 replaces it")
        self.run("final.0@1", "echo no; exit 125")
        self.start("broken.0@1", ["/no/such/program"])
        self.run("talks.0@3", "seq 20000; exec sleep 100000", log={"size_bytes": 65536, "keep": 2})
        self.ready("talks.0@3")
        wait_until(lambda: "20000" in self.lines("talks.0@3", 1), "all lines")
        self.until("waits.0@1", lambda row: row["phase"] == "waiting")
        self.stopped("stopped.0@2")
        for name in ("final.0@1", "broken.0@1"):
            self.until(name, lambda row: row["phase"] == "failed")


def keep(name: str) -> None:
    into = FIXTURES / name
    root = Path(tempfile.mkdtemp(prefix="fleetctl-records-")) / "root"
    host = Kept(root, "/usr/bin/python3", "shop")
    try:
        host.fill()
        for pid in (host.supervisor_pid(), *host.role("agent")):
            os.kill(pid, signal.SIGKILL)  # as in a power cut, nothing is put in order
        shutil.copytree(root, into, ignore=left_out)
    finally:
        host.end()
        shutil.rmtree(root.parent)


def left_out(folder: str, names: list[str]) -> list[str]:
    """What is no record: the program, locks, FIFOs and sockets, room."""
    kept = ("program-", "agent.log", "ballast", "agent.lock")
    return [
        name
        for name in names
        if name.startswith(kept) or not (Path(folder, name).is_file() or Path(folder, name).is_dir())
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        driven.HERE = Path(sys.argv[2])
    keep(sys.argv[1])
