"""Who drives this host: the newest generation it has seen and of whom, the fleet it belongs to, and the fleet's wishes.

What is raised here is on the disk before anyone is told. It looks at numbers and names only, never at instances.
"""

import os
import time

from . import files
from .protocol import CHANGED, FOREIGN, STALE


class Refused(Exception):
    """An order that is not carried out, and why."""

    def __init__(self, kind: str, message: str, **more) -> None:
        super().__init__(message)
        self.kind, self.message, self.more = kind, message, more

    def answer(self):
        return dict(self.more, kind=self.kind, message=self.message)


class Guard:
    def __init__(self, root: str) -> None:
        self.root = root
        kept = files.read_json(os.path.join(root, "guard.json"), {})
        self.generation = kept.get("generation", 0) if isinstance(kept.get("generation", 0), int) else 0
        self.author = str(kept.get("author", ""))
        self.at = kept.get("at", 0.0) if isinstance(kept.get("at", 0.0), float) else 0.0
        host = files.read_json(os.path.join(root, "host.json"), {})
        self.fleet = host.get("fleet") if isinstance(host.get("fleet"), str) else None
        self.host_id = str(host.get("id", ""))
        self.wishes = files.read_json(os.path.join(root, "fleet.json"), {}).get("wishes")
        self.base = 0
        self.count = 0

    def begin(self) -> None:
        """To be called once by an agent: the host gets its id, and no serial of an earlier agent means anything."""
        path = os.path.join(self.root, "serial.json")
        kept = files.read_json(path, {}).get("agents", 0)
        agents = (kept if isinstance(kept, int) else 0) + 1
        try:
            if not self.host_id:
                self.host_id = os.urandom(16).hex()
                self.write_host()
            files.replace_json(path, {"agents": agents}, durable=True)
        except OSError:  # a full disk must not keep the agent from stopping what fills it
            agents += 1 + int.from_bytes(os.urandom(2), "big")
        self.base = agents << 24

    @property
    def serial(self) -> int:
        return self.base + self.count

    def changed(self) -> None:
        self.count += 1

    def report(self):
        return {"generation": self.generation, "author": self.author, "at": self.at}

    def check(self, generation: int, author: str) -> None:
        """Refuse what is older than what was seen."""
        if generation < self.generation or (generation == self.generation and author != self.author):
            message = "generation %d by %s drives this host now" % (self.generation, self.author)
            raise Refused(STALE, message, **self.report())

    def admit(self, generation: int, author: str) -> None:
        """Let an order pass, and raise the guard to it."""
        self.check(generation, author)
        if generation > self.generation:
            self.raise_to(generation, author)

    def claim(self, generation: int, author: str, fleet: str, serial: int, wishes) -> int:
        """Make this author the one who drives, if nothing changed since it looked. Gives the serial after that."""
        if self.fleet is not None and self.fleet != fleet:
            message = "this root belongs to the fleet %s; give this fleet's hosts another fleet_root" % self.fleet
            raise Refused(FOREIGN, message, fleet=self.fleet)
        self.check(generation, author)
        if (generation, author) == (self.generation, self.author) and wishes == self.wishes and self.fleet == fleet:
            return self.serial  # asked twice
        if serial != self.serial:
            raise Refused(CHANGED, "the host changed since it was looked at", serial=self.serial)
        if self.fleet is None:
            self.fleet = fleet
            self.write_host()
        if wishes != self.wishes:
            files.replace_json(os.path.join(self.root, "fleet.json"), {"wishes": wishes}, durable=True)
            self.wishes = wishes
        if (generation, author) != (self.generation, self.author):
            self.raise_to(generation, author)
        return self.serial

    def raise_to(self, generation: int, author: str) -> None:
        value = {"generation": generation, "author": author, "at": time.time()}
        files.replace_json(os.path.join(self.root, "guard.json"), value, durable=True)
        self.generation, self.author, self.at = generation, author, value["at"]
        self.changed()

    def write_host(self) -> None:
        value = {"fleet": self.fleet, "id": self.host_id}
        files.replace_json(os.path.join(self.root, "host.json"), value, durable=True)
