"""Those who wait for an instance to be ready or stopped: answered when it is, when it can't be, or when time is up."""

from . import table
from .loop import Timer
from .protocol import FAILED_WAIT, READY, STOPPED, STUCK, TIMEOUT

LOG_LINES = 20
PER_CHANNEL_MAX = 4096


class Wait:
    def __init__(self, channel, request, found) -> None:
        self.channel, self.request, self.found = channel, request, found
        self.deadline = self.again = Timer()

    def cancel(self) -> None:
        self.deadline.cancel()
        self.again.cancel()


class Waits:
    def __init__(self, agent) -> None:
        self.agent = agent
        self.waits: "dict[str, list[Wait]]" = {}

    def add(self, channel, request, found) -> None:
        wait = Wait(channel, request, found)
        self.waits.setdefault(found.name, []).append(wait)
        wait.deadline = self.agent.loop.after(request["timeout_s"], lambda: self.late(wait))
        self.check(wait)

    def count(self, channel) -> int:
        return sum(1 for waits in self.waits.values() for wait in waits if wait.channel is channel)

    def look(self, found) -> None:
        """Something happened to this instance."""
        for wait in list(self.waits.get(found.name, [])):
            self.check(wait)

    def check(self, wait) -> None:
        if wait not in self.waits.get(wait.found.name, []):
            return
        row = wait.found.row()
        if wait.request["until"] == STOPPED:
            if row["phase"] == STOPPED:
                self.answer(wait, {"instance": row})
            elif row["phase"] == STUCK:
                self.fail(wait, FAILED_WAIT, "%s is stuck: it can't be killed" % wait.found.name)
        elif row["phase"] == READY:
            rest = wait.request["for_s"] - row["ready_for_s"]
            if rest <= 0:
                self.answer(wait, {"instance": row})
                return
            wait.again.cancel()
            wait.again = self.agent.loop.after(rest, lambda: self.check(wait))
        elif hopeless(wait.found):
            self.fail(wait, FAILED_WAIT, "%s will not be ready: %s" % (wait.found.name, why(row)))

    def late(self, wait) -> None:
        row = wait.found.row()
        message = "%s was not %s within %g s: it is %s" % (
            wait.found.name,
            wait.request["until"],
            wait.request["timeout_s"],
            why(row),
        )
        self.fail(wait, TIMEOUT, message)

    def fail(self, wait, kind: str, message: str) -> None:
        error = {
            "kind": kind,
            "message": message,
            "instance": wait.found.row(),
            "log": wait.found.last_lines(LOG_LINES),
        }
        self.drop(wait)
        wait.channel.send({"id": wait.request["id"], "ok": False, "error": error})

    def answer(self, wait, content) -> None:
        self.drop(wait)
        wait.channel.send(dict(content, id=wait.request["id"], ok=True))

    def drop(self, wait) -> None:
        wait.cancel()
        left = self.waits.get(wait.found.name, [])
        if wait in left:
            left.remove(wait)
        if not left:
            self.waits.pop(wait.found.name, None)

    def forget(self, channel) -> None:
        for waits in list(self.waits.values()):
            for wait in list(waits):
                if wait.channel is channel:
                    self.drop(wait)


def hopeless(found) -> bool:
    """Nothing but a new order makes it ready."""
    if found.order["wanted"] == "stop" or found.state in (*table.OVER, table.STUCK, table.JAMMED):
        return True
    problem = found.status["problem"]
    return problem is not None and problem["kind"] in ("port_taken", "daemonized")


def why(row) -> str:
    parts = [row["phase"]]
    if row["problem"] is not None:
        parts.append(row["problem"]["detail"])
    if row["last_exit"]:
        parts.append("its last run: " + row["last_exit"])
    if row["reason"]:
        parts.append(row["reason"])
    return ", ".join(parts)
