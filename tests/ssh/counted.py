"""fleetctl in processes of its own that count their actions and end themselves by SIGKILL at a given one.

An action is a message that changes a host, or a store transaction. Run as a program it reads one request a line
(argv, and where to be killed), forks a process with everything imported for it, and answers how that ended.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tally:
    """Counts actions, writes each down, and ends the process right before or right after the one it was given."""

    path: str
    kill_at: int
    moment: str
    count: int = 0
    open: dict = field(default_factory=dict)

    def before(self, action: str) -> int:
        self.count += 1
        with Path(self.path).open("a") as tally:
            tally.write(f"{action}\n")
        if (self.count, self.moment) == (self.kill_at, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count

    def after(self, number: int) -> None:
        if (number, self.moment) == (self.kill_at, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    def transaction(self, name: str, moment: str) -> None:
        if moment == "before":
            self.open[name] = self.before(f"transaction {name}")
        else:
            self.after(self.open.pop(name))


def watch(tally: Tally) -> None:
    """Counts in this process: the one place where messages leave, and the hook of the store."""
    from fleetctl.embedded.tap import CHANGING
    from fleetctl.ssh.channel import Conversation
    from fleetctl.state.store import Store

    ask, open_store = Conversation.ask, Store.open

    async def counted_ask(self, verb, *rest):
        if verb not in CHANGING:
            return await ask(self, verb, *rest)
        number = tally.before(f"message {verb}")
        answer = await ask(self, verb, *rest)
        tally.after(number)
        return answer

    Conversation.ask = counted_ask
    Store.open = classmethod(
        lambda _cls, folder, *, clock: open_store(folder, clock=clock, on_commit=tally.transaction)
    )


def run_forked(request: dict) -> int:
    """The forked process's end: its exit status, or minus the signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        watch(Tally(request["tally"], request["kill_at"], request["moment"]))
        from fleetctl.cli.main import main

        code = main(request["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def serve() -> None:
    # Imported once, for every fork.
    import fleetctl.cli.commands
    import fleetctl.cli.main
    import fleetctl.cli.wiring
    import fleetctl.engine.run  # noqa: F401

    for line in sys.stdin:
        print(run_forked(json.loads(line)), flush=True)


if __name__ == "__main__":
    serve()
