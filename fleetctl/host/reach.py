"""Which neighbours this host has reached over SSH: what makes it a witness for them.

What is kept is the newest success; a try that fails later takes nothing away, or no host could witness a death.
"""

import time

from . import files, probes
from .loop import Loop

TRY_S = 2.0
KEPT_MAX = 256


class Reach:
    def __init__(self, path: str) -> None:
        self.path = path
        self.kept = [row for row in files.read_json(path, []) if well_formed(row)]

    def report(self):
        now = time.time()
        return [told(row, now) for row in self.kept]

    def try_all(self, loop: Loop, peers, done) -> None:
        """Look for each peer's SSH banner; `done([REACH])` with what was seen just now."""
        targets = [
            {"kind": "banner", "address": peer["address"], "port": peer["port"], "timeout_s": TRY_S} for peer in peers
        ]

        def heard(answers):
            rows = [
                {"host": peer["host"], "address": peer["address"], "port": peer["port"], "ok": ok, "at": time.time()}
                for peer, (ok, _) in zip(peers, answers)
            ]
            self.keep(rows)
            done([told(row, row["at"]) for row in rows])

        probes.probe_all(loop, targets, heard)

    def keep(self, rows) -> None:
        known = {place(row): row for row in self.kept}
        for row in rows:
            before = known.pop(place(row), None)
            known[place(row)] = before if before is not None and before["ok"] and not row["ok"] else row
        self.kept = list(known.values())[-KEPT_MAX:]
        files.replace_json(self.path, self.kept, durable=False)


def told(row, now: float):
    """The REACH of protocol.py. Its age is for people: nothing is decided by it."""
    return {
        "host": row["host"],
        "address": row["address"],
        "port": row["port"],
        "ok": row["ok"],
        "age_s": round(max(0.0, now - row["at"]), 3),
    }


def place(row):
    return row["host"], row["address"], row["port"]


def well_formed(row) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("host"), str)
        and isinstance(row.get("address"), str)
        and isinstance(row.get("port"), int)
        and isinstance(row.get("ok"), bool)
        and isinstance(row.get("at"), (int, float))
    )
