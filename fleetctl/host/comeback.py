"""What the agent knows of how it comes back after a reboot. Arranging it takes commands: a child does that."""

import os

from . import files
from .errands import Errand

ARRANGED_NAME = "arranged"
ASKED_NOT_TO = "none: asked not to"
DEADLINE_S = 120.0
LINGER = "/var/lib/systemd/linger/"  # logind's, with a file for each user who lingers


class Comeback:
    """Of one agent. `how`: what facts.boot of a report says."""

    def __init__(self, agent) -> None:
        self.agent = agent
        self.how = "none: it is being arranged"
        self.arranging = False
        self.lingered = False

    def begin(self) -> None:
        """What was arranged in this boot by this program holds; else it is arranged now."""
        if os.environ.get("FLEETCTL_BOOT") == "none":
            self.how = ASKED_NOT_TO
            return
        kept = files.read_json(ARRANGED_NAME, {})
        self.lingered = lingers(self.agent.login["USER"])
        mine = {"boot": self.agent.boot, "program": "program-" + self.agent.digest, "lingers": self.lingered}
        if all(kept.get(name) == value for name, value in mine.items()):
            self.how = str(kept.get("how"))
        else:
            self.arrange()

    def look(self) -> None:
        """Somebody asks for a report: root may have let this user linger meanwhile, or no longer."""
        if os.getuid() and self.how != ASKED_NOT_TO and self.lingered != lingers(self.agent.login["USER"]):
            self.arrange()

    def arrange(self) -> None:
        if self.arranging:
            return
        self.arranging = True
        self.lingered = lingers(self.agent.login["USER"])
        root, boot, program = self.agent.root, self.agent.boot, "program-" + self.agent.digest
        Errand(self.agent.loop, lambda: arrange(root, boot, program), self.arranged, DEADLINE_S)

    def arranged(self, how, error: str) -> None:
        self.arranging = False
        self.how = how or "none: arranging it failed: %s" % error


def arrange(root: str, boot: str, program: str) -> str:
    """In a child."""
    from . import boot as arranging  # here: it brings what costs an agent memory

    return str(arranging.keep_arranged(root, boot, program))


def lingers(user: str) -> bool:
    """logind starts this user's systemd at boot, and keeps it when they log out."""
    return os.path.exists(LINGER + user)
