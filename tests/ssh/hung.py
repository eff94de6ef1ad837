"""fleetctl in a process that hangs a host's root right before an order is sent there.

Run as a program, with one JSON object as its argument: argv, the host, the verb, and the pid of the file system's
daemon.
"""

import json
import os
import signal
import sys


def main() -> int:
    asked = json.loads(sys.argv[1])
    from fleetctl.cli.main import main as fleetctl
    from fleetctl.ssh.channel import Conversation

    ask = Conversation.ask

    async def hanging_ask(self, verb, *rest):
        if (self._host, verb) == (asked["host"], asked["verb"]):
            os.kill(asked["daemon"], signal.SIGSTOP)
        return await ask(self, verb, *rest)

    Conversation.ask = hanging_ask
    return fleetctl(asked["argv"])


if __name__ == "__main__":
    sys.exit(main())
