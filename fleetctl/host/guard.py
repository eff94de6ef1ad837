"""Who drives this host: the newest generation it has seen and of whom, the fleet it belongs to, and the fleet's wishes.

What is raised here is on the disk before anyone is told. It looks at numbers and names only, never at instances.
Where a file is there and can't be understood, nobody can tell who drives: every order is refused until it is seen to.
"""

import json
import os
import time

from . import files
from .protocol import CHANGED, FOREIGN, INTERNAL, STALE

SHAPES = {
    "guard.json": {"generation": int, "author": str, "at": float},
    "host.json": {"fleet": (str, type(None)), "id": str},
    "fleet.json": {},
}


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
        self.base = 0
        self.count = 0
        self.read()

    def read(self) -> None:
        """From the files. What is missing was never written."""
        self.damaged: "dict[str, str]" = {}  # {file: what is wrong with it}
        kept, host = self.content("guard.json"), self.content("host.json")
        self.generation, self.author = int(kept.get("generation", 0)), str(kept.get("author", ""))
        self.at = float(kept.get("at", 0.0))
        self.fleet = host.get("fleet")
        self.host_id = str(host.get("id", ""))
        self.wishes = self.content("fleet.json").get("wishes")

    def content(self, name: str):
        """What is in a file; {} where there is none, and where it is damaged."""
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                value = json.loads(file.read().decode("utf-8"))
            for key, shape in SHAPES[name].items():
                if key in value and (not isinstance(value[key], shape) or isinstance(value[key], bool)):
                    raise ValueError("its %s is %r" % (key, value[key]))
            if not isinstance(value, dict):
                raise ValueError("it is no table")
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.damaged[name] = error.strerror or str(error)
        except (ValueError, TypeError) as error:
            self.damaged[name] = str(error)
        else:
            return value
        return {}

    def notes(self):
        return ["%s/%s can't be read: %s" % (self.root, name, why) for name, why in sorted(self.damaged.items())]

    def begin(self) -> None:
        """To be called once by an agent: the host gets its id, and no serial of an earlier agent means anything."""
        path = os.path.join(self.root, "serial.json")
        kept = files.read_json(path, {}).get("agents", 0)
        agents = (kept if isinstance(kept, int) else 0) + 1
        try:
            if not self.host_id and "host.json" not in self.damaged:
                self.host_id = os.urandom(16).hex()
                self.write_host()
            files.write_down_json(self.root, path, {"agents": agents})
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
        if self.who_is_unknown():
            self.read()  # somebody may have mended or removed it
        if self.who_is_unknown():
            name = "guard.json" if "guard.json" in self.damaged else "host.json"
            path = os.path.join(self.root, name)
            message = "%s is damaged (%s), so nobody can tell who drives this host" % (path, self.damaged[name])
            raise Refused(INTERNAL, message + "; if no other controller does, remove that file")
        if generation < self.generation or (generation == self.generation and author != self.author):
            message = "generation %d by %s drives this host now" % (self.generation, self.author)
            raise Refused(STALE, message, **self.report())

    def who_is_unknown(self) -> bool:
        return "guard.json" in self.damaged or "host.json" in self.damaged

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
            files.write_down_json(self.root, os.path.join(self.root, "fleet.json"), {"wishes": wishes})
            self.wishes = wishes
        if (generation, author) != (self.generation, self.author):
            self.raise_to(generation, author)
        return self.serial

    def raise_to(self, generation: int, author: str) -> None:
        value = {"generation": generation, "author": author, "at": time.time()}
        files.write_down_json(self.root, os.path.join(self.root, "guard.json"), value)
        self.generation, self.author, self.at = generation, author, value["at"]
        self.changed()

    def write_host(self) -> None:
        value = {"fleet": self.fleet, "id": self.host_id}
        files.write_down_json(self.root, os.path.join(self.root, "host.json"), value)
