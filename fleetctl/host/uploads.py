"""Uploads that become artifacts: verified by a child, renamed once, and everyone who asked is answered."""

import os
import stat
from collections.abc import Callable  # noqa: TC003 (typing costs memory in every process)

from . import artifacts, files
from .errands import Errand
from .guard import Refused
from .protocol import MALFORMED, MISMATCH

DEADLINE_S = 3600.0  # a hundred gigabytes at the speed of a slow disk's fsync


class Uploads:
    def __init__(self, agent) -> None:
        self.agent = agent
        self.asked: "dict[tuple[str, str], list[Callable[[Exception | None], None]]]" = {}

    def adopt(self, digest: str, incoming: str, answer) -> None:
        """`answer(None or Refused)` when artifacts/<digest> is there, or why it is not."""
        source = os.path.join("incoming", incoming)
        target = os.path.join("artifacts", digest)
        if os.path.isdir(target):
            self.discard(incoming, answer)
            return
        if not is_folder(source):
            answer(Refused(MALFORMED, "nothing was uploaded to %s" % os.path.join(self.agent.root, source)))
            return
        waiting = self.asked.setdefault((digest, incoming), [])
        waiting.append(answer)
        if len(waiting) == 1:
            Errand(
                self.agent.loop,
                lambda: artifacts.settle(source),
                lambda found, error: self.settled(digest, incoming, found, error),
                DEADLINE_S,
            )

    def settled(self, digest: str, incoming: str, found, error: str) -> None:
        outcome: "Exception | None" = None
        if error:
            outcome = Refused(MISMATCH, "the upload can't be read whole: %s" % error, found="")
        elif found != digest:
            outcome = Refused(MISMATCH, "the upload's content has the digest %s" % found, found=found)
        else:
            try:
                move(os.path.join("incoming", incoming), os.path.join("artifacts", digest))
            except OSError as failure:
                outcome = failure
        for answer in self.asked.pop((digest, incoming)):
            answer(outcome)

    def discard(self, incoming: str, answer) -> None:
        """Remove an upload; one that is not there is removed."""

        def done(_value, error):
            answer(OSError(0, error) if error else None)

        if os.path.lexists(os.path.join("incoming", incoming)):
            Errand(self.agent.loop, lambda: artifacts.remove(os.path.join("incoming", incoming)), done, DEADLINE_S)
        else:
            answer(None)


def move(source: str, target: str) -> None:
    if os.path.isdir(target):
        artifacts.remove(source)  # two uploads of one content: the first stays
        return
    os.rename(source, target)
    os.chmod(target, 0o555)
    files.sync_folder(target)
    files.sync_folder("artifacts")


def is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
