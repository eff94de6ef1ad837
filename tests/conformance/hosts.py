"""What the conformance suite stands on: hosts that are dialled, what befalls them, and programs that behave as named.

Each kind of fleet has an adapter beside this file. A host is as new for every promise: nothing of fleetctl is there.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleetctl.engine.links import HostLink
    from fleetctl.model.job import Digest

FLEET = "conformance"
LIMIT_S = 200.0  # a promise that takes longer hangs, on a busy machine too


class Fault(Enum):
    """What befalls a host, by its name."""

    KILLED = "the power is gone"
    PAUSED = "it hangs: its kernel accepts, nothing answers"
    CUT = "every packet is dropped"
    REFUSED = "its sshd is gone"
    LOCKED = "it lets nobody log in"
    REBOOTED = "it was switched off and on again"


class Program(Enum):
    """What is run. Each that can be says a line first, and nothing after it."""

    SERVES = "answers HTTP at its port"
    SERVES_LATE = "answers HTTP at its port, five seconds after it began"
    NEVER_READY = "runs and does not listen"
    CAN_NOT_RUN = "can't be executed"


class Hosts(Protocol):
    names: tuple[str, ...]  # at least three
    hello: str  # what every program says first, in a line of its own
    faults: frozenset[Fault]  # that can be had here
    pauses_programs: bool  # a paused host's programs stand still with it
    artifact: Path  # a folder
    digest: Digest  # of that

    async def dial(self, host: str, on_banner: Callable[[], None] = ...) -> HostLink: ...

    def place(self, host: str) -> tuple[str, int]:
        """The address and port at which its peers find its sshd."""
        ...

    def program(self, program: Program, port: int) -> dict[str, Any]:
        """`argv` and `artifact` of a SPEC."""
        ...

    async def befall(self, fault: Fault, host: str) -> None: ...

    async def mend(self, host: str) -> None: ...

    async def kill_agent(self, host: str) -> None:
        """kill -9 of the agent: its heir takes over by itself."""
        ...


def an_artifact(folder: Path) -> Path:
    """A small artifact with what one may hold, in a new folder below `folder`."""
    made = folder / "artifact"
    (made / "deep").mkdir(parents=True)
    (made / "run").write_text("#!/bin/sh\nexec sleep 1000\n")
    (made / "run").chmod(0o755)
    (made / "deep" / "data").write_bytes(bytes(range(256)) * 400)
    (made / "current").symlink_to("deep/data")
    return made
