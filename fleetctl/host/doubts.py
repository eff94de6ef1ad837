"""Artifacts that a power cut may have damaged: each is hashed again, by a child, before anything of it is started.

`boot.json` says which boot the newest agent saw, whether it ended in good order, and what is still in doubt.
"""

import os
import re

from . import artifacts, files, table
from .errands import Errand
from .launch import DAMAGED
from .loop import boottime

NAME = "boot.json"
DIGEST = re.compile("[0-9a-f]{64}")
DEADLINE_S = 3600.0  # a hundred gigabytes of a slow disk
NOTE = "its artifact is read again: the machine lost its power"


class Doubts:
    """Of one agent."""

    def __init__(self, agent) -> None:
        self.agent = agent
        self.digests: "list[str]" = []
        self.calls: "dict[str, list]" = {}  # what waits for an artifact
        self.reading = ""
        self.in_order = False  # how the boot before this one ended, if this agent is the first of its boot

    def begin(self) -> None:
        """Before any instance is adopted."""
        kept = files.read_json(NAME, {})
        there = artifacts_here()
        self.in_order = kept.get("clean") is True
        if kept.get("boot") == self.agent.boot:
            listed = kept.get("doubted")
            self.digests = [digest for digest in there if isinstance(listed, list) and digest in listed]
        elif not self.in_order and not self.seen_this_boot():
            self.digests = there
        self.save(clean=False)

    def seen_this_boot(self) -> bool:
        """An agent too old to leave a boot.json was here since the boot."""
        for name in os.listdir("instances"):
            status = files.read_json(os.path.join("instances", name, "status.json"), {})
            if status.get("boot") == self.agent.boot:
                return True
        return False

    def save(self, clean: bool) -> None:
        value = {"boot": self.agent.boot, "clean": clean, "doubted": self.digests}
        try:
            files.replace_json(NAME, value, durable=True)
        except OSError as error:
            self.agent.say("%s can't be written: %s" % (NAME, error))

    def shut_down(self) -> None:
        """All is stopped and on the disk: the next boot need not doubt anything more than this one does."""
        os.sync()
        self.save(clean=not self.digests)

    def about(self, spec) -> bool:
        return spec["artifact"] in self.digests

    def settle(self, digest: str, call) -> None:
        """`call()` when it is known whether the artifact is whole: one that is not was moved away."""
        self.calls.setdefault(digest, []).append(call)
        self.read_next()

    def read_next(self) -> None:
        """One after the other: they share a disk."""
        if self.reading or not self.calls:
            return
        digest = self.reading = min(self.calls)
        Errand(
            self.agent.loop,
            lambda: artifacts.digest_of(os.path.join("artifacts", digest)),
            lambda found, error: self.read(digest, found, error),
            DEADLINE_S,
        )

    def read(self, digest: str, found, error: str) -> None:
        self.reading = ""
        if found != digest:
            self.agent.say("artifact %s is damaged: %s" % (digest, error or "its digest is now %s" % found))
            self.agent.loop.guarded(set_aside, digest)
        self.digests = [kept for kept in self.digests if kept != digest]
        self.save(clean=False)
        self.agent.guard.changed()
        for call in self.calls.pop(digest, ()):
            self.agent.loop.guarded(call)
        self.read_next()


def artifacts_here():
    return sorted(name for name in os.listdir("artifacts") if DIGEST.fullmatch(name))


def set_aside(digest: str) -> None:
    target = os.path.join("incoming", DAMAGED + digest)
    artifacts.remove(target)
    os.chmod(os.path.join("artifacts", digest), 0o700)  # without its write bit only root could rename it
    os.rename(os.path.join("artifacts", digest), target)
    os.utime(target)
    files.sync_folder("artifacts")


def start_when_sound(instance, rest_s: float = 0.0) -> None:
    """The instance waits: it is due after `rest_s`, and not before its artifact was found whole, or damaged."""
    doubts, due = instance.agent.doubts, boottime() + rest_s
    if not doubts.about(instance.spec):
        instance.arm(rest_s, "due")
        return
    instance.status["note"] = NOTE

    def settled() -> None:
        if instance.state == table.WAITING:
            instance.arm(due - boottime(), "due")

    doubts.settle(instance.spec["artifact"], settled)
