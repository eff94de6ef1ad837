"""`logs`: each line with its time, host and instance; what is missing, and who could not be asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from fleetctl.cli.screen import DOUBTFUL, Line
from fleetctl.cli.text import count
from fleetctl.engine.logs import EnoughError, HostBack, HostGone, LogsFound, NotRead, Said, Shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fleetctl.cli.screen import Screen
    from fleetctl.engine.logs import LogEvent
    from fleetctl.model.replica import InstanceName

NO_TIME = "-".ljust(len("2026-03-01T02:00:00.000"))


class LogTeller:
    """Says each event as it comes: lines to the screen, troubles to `complain`. Knows whether all was read."""

    def __init__(self, screen: Screen, complain: Callable[[Iterable[str]], None], *, as_json: bool) -> None:
        self._screen, self._complain, self._as_json = screen, complain, as_json
        self._hosts = self._names = 0  # how wide they are
        self.found: LogsFound | None = None
        self.said = 0
        self.all_read = True

    def tell(self, event: LogEvent) -> None:
        """Raises EnoughError once nobody reads any more."""
        match event:
            case LogsFound():
                self._begin(event)
            case Said():
                self._say(event)
            case NotRead():
                self.all_read = False
                self._complain([f"{event.instance} on {event.host}: not read: {event.error}"])
            case Shortened():
                why = f"only its last {count(event.lines, 'line')}: more do not fit into one answer; see --since"
                self._complain([f"{event.instance} on {event.host}: {why}"])
            case HostGone():
                self._complain([f"{event.host} can't be asked: {event.error}"])
            case HostBack():
                self._complain([f"{event.host} answers again"])
            case _:
                assert_never(event)

    def _begin(self, found: LogsFound) -> None:
        self.found, self.all_read = found, not found.unreachable
        self._hosts = max((len(host) for _, host in found.instances), default=0)
        self._names = max((len(str(instance)) for instance, _ in found.instances), default=0)
        self._complain(f"{host} can't be asked: {seen.error}" for host, seen in found.unreachable.items())

    def _say(self, said: Said) -> None:
        self.said += 1
        self._hosts, self._names = max(self._hosts, len(said.host)), max(self._names, len(str(said.instance)))
        if self._as_json:
            self._screen.record(log_json(said))
        else:
            self._screen.say(log_line(said, self._hosts, self._names))
        if self._screen.reader_gone:
            raise EnoughError


def log_line(said: Said, hosts: int = 0, names: int = 0) -> Line:
    """`2026-03-01T02:14:07.123 h3 web.1@47 | its line`, in local time."""
    at = datetime.fromtimestamp(said.at).isoformat(timespec="milliseconds") if said.at else NO_TIME  # noqa: DTZ006
    who = f"{at} {said.host.ljust(hosts)} {str(said.instance).ljust(names)}"
    if said.text is not None:
        return Line(f"{who} | {said.text}".rstrip(" "))
    if said.dropped_bytes is None:
        return Line(f"{who} ... lines were rotated away here, before they were read", DOUBTFUL)
    lost = count(said.dropped_bytes, "byte")
    return Line(f"{who} ... {lost} were dropped here: the disk was full, or too slow", DOUBTFUL)


def log_json(said: Said) -> dict[str, Any]:
    """`{"version": 1, "at", "host", "instance", "run", "line"}`, `at` in UTC and null where it is not known.

    Where something is missing, there is "dropped_bytes" in place of "line": null where it was rotated away before it
    was read.
    """
    at = datetime.fromtimestamp(said.at, UTC).isoformat(timespec="milliseconds") if said.at else None
    what = {"line": said.text} if said.text is not None else {"dropped_bytes": said.dropped_bytes}
    return {"version": 1, "at": at, "host": said.host, "instance": str(said.instance), "run": said.run or None, **what}


def nothing_line(instances: tuple[tuple[InstanceName, str], ...], which: str) -> str:
    """`nothing was said: web.0@1 on h1, web.1@1 on h2`"""
    if not instances:
        return "no host has an instance of it"
    who = ", ".join(f"{instance} on {host}" for instance, host in instances)
    return f"nothing was said{which}: {who}"
