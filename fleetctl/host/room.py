"""What an agent does about a full disk: it keeps the ballast, refuses starts, and says so in its report."""

from . import ballast
from .guard import Refused
from .loop import Timer
from .protocol import NO_SPACE

AGAIN_S = 30.0


class Room:
    """Of one agent."""

    def __init__(self, agent) -> None:
        self.agent = agent
        self.whole = True  # the ballast, when it was looked at last
        self.timer = Timer()

    def look(self) -> None:
        """Make the ballast whole, and write down what could not be; again later where there is no room for that."""
        self.timer.cancel()
        self.whole = ballast.make(self.agent.root)
        if self.whole:
            self.agent.write_down_stops()
        if not self.whole or self.agent.unwritten:
            self.timer = self.agent.loop.after(AGAIN_S, self.look)

    def refuse_start(self) -> None:
        """Room for records alone is no room for a program."""
        self.look()
        if not self.whole:
            hint = "make room there, or keep new work away from this host: fleetctl cordon"
            raise Refused(NO_SPACE, "no space left on the disk of %s" % self.agent.root, hint=hint)

    def notes(self):
        """By the newest look, without another one."""
        if self.whole:
            return []
        return [
            "the disk of %s is full: nothing is started there; stops work, from a reserve of 1 MiB" % self.agent.root
        ]
