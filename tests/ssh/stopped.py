"""fleetctl in a process that stops itself (SIGSTOP) right before one of its orders, with a run lock of a short lease.

Run as a program, with one JSON object as its argument: argv, the verb and number of the order, and where to stop: at
the last look at the lease, or between that and the message.
"""

import json
import os
import signal
import sys

LEASE_S, MARGIN_S, RENEW_EVERY_S = 6.0, 0.5, 0.5  # a busy machine keeps it from its renewal for seconds


def shorten_the_lease() -> None:
    from fleetctl.engine import lease
    from fleetctl.state import lock

    lock.LEASE_S, lock.MARGIN_S, lease.RENEW_EVERY_S = LEASE_S, MARGIN_S, RENEW_EVERY_S


def stop_at(verb: str, number: int, where: str) -> None:
    from fleetctl.engine import execute
    from fleetctl.ssh.channel import Conversation

    kinds = {"start": "Start", "stop": "Stop", "adopt": "Upload"}
    seen = 0

    def stop_here(name: str) -> None:
        nonlocal seen
        seen += name == verb
        if seen == number and name == verb:
            os.kill(os.getpid(), signal.SIGSTOP)

    perform, ask = execute._perform, Conversation.ask

    async def stopping_perform(action, *rest):
        stop_here(next((name for name, kind in kinds.items() if type(action).__name__ == kind), ""))
        return await perform(action, *rest)

    async def stopping_ask(self, asked, *rest):
        stop_here(asked)
        return await ask(self, asked, *rest)

    if where == "before the lease is looked at":
        execute._perform = stopping_perform
    else:
        Conversation.ask = stopping_ask


def main() -> int:
    asked = json.loads(sys.argv[1])
    if "verb" in asked:
        shorten_the_lease()
        stop_at(asked["verb"], asked["number"], asked["where"])
    from fleetctl.cli.main import main as fleetctl

    return fleetctl(asked["argv"])


if __name__ == "__main__":
    sys.exit(main())
