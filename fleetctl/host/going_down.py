"""The machine goes down in good order: programs are stopped as their jobs want it, and started again after the boot.

No wish changes: an instance that is `stopped` while it is wanted to run was stopped by this. It is asked for over the
agent's socket, by the unit that is being stopped (see boot.py), never by fleetctl.
"""

import json
import os
import socket
import time

from . import table
from .guard import Refused
from .protocol import INTERNAL

GLANCE_S = 0.1
ASK_AGAIN_S = 0.5
PATIENCE_S = 30.0  # an agent that was killed is back by then
WHY = "the machine goes down"


class GoingDown:
    """Of one agent."""

    def __init__(self, agent) -> None:
        self.agent = agent
        self.begun = False
        self.answers: "list" = []  # who wants to be told when all is over

    def begin(self, answer) -> None:
        """Stop everything; `answer()` once nothing of it runs any more, or all that still does can't be killed."""
        self.answers.append(answer)
        if self.begun:
            return
        self.begun = True
        self.agent.say("%s: stopping all programs" % WHY)
        for found in list(self.agent.instances.values()):
            if found.state not in table.OVER and found.state not in table.ENDING:
                found.order = dict(found.order, reason=WHY)  # in memory alone: what is written down stays
                self.agent.loop.guarded(found.feed, "stop")
        self.agent.loop.after(0, self.look)

    def look(self) -> None:
        states = [found.state for found in self.agent.instances.values()]
        if not all(state in table.OVER or state == table.STUCK for state in states):
            self.agent.loop.after(GLANCE_S, self.look)
            return
        if table.STUCK not in states:
            self.agent.loop.guarded(self.agent.doubts.shut_down)
        self.agent.say("%s: %d programs are stopped" % (WHY, len([state for state in states if state in table.OVER])))
        for answer in self.answers:
            answer()
        self.answers = []

    def refuse_starts(self) -> None:
        if self.begun:
            raise Refused(INTERNAL, WHY)


def ask(root: str, patience_s: float = PATIENCE_S) -> None:
    """Have the agent stop all, and return when it has. Asks again where an agent died over it; systemd has a limit.

    Where no agent is to be reached for so long, the machine is not kept from going down.
    """
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.chdir(root)  # a socket's path may not be longer than 107 bytes
        try:
            connection.connect("agent.sock")
            connection.sendall(b'{"id":"down","do":"go_down"}\n')
            with connection.makefile("rb") as lines:
                for line in lines:
                    if json.loads(line.decode()).get("id") == "down":
                        return
            end = time.monotonic() + patience_s
        except (OSError, ValueError):
            pass
        finally:
            connection.close()
        time.sleep(ASK_AGAIN_S)
