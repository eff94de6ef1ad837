"""Reads along on an exec channel: tells the messages that change a host from the rest, and lets them be held.

It changes no byte. What is not the link's handshake passes through unread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGING = frozenset({"claim", "start", "stop", "adopt", "discard", "neighbours"})  # and the bundle: `install`
INSTALL = "install"
_LINE_BYTES_MAX = 1024 * 1024


class Watch(Protocol):
    """A test's or demo's hand on the wire of one host."""

    async def order(self, host: str, verb: str) -> bool:
        """Called before a message that changes the host is passed on; False loses it."""
        ...

    async def answer(self, host: str, verb: str) -> bool:
        """Called before the answer to such a message is passed back; False loses it."""
        ...


class Unwatched:
    async def order(self, _host: str, _verb: str) -> bool:
        return True

    async def answer(self, _host: str, _verb: str) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to pass on. `verb` names the message that changes the host, if they are one, or the answer to it."""

    data: bytes
    verb: str | None = None


@dataclass(slots=True)
class Tap:
    """Follows one channel's conversation (see the handshake in `host/entry.py`) in both directions.

    What is no such conversation becomes opaque at its first overlong line and passes unread.
    """

    _state: Literal["bootstrap", "asked", "bundle", "linked", "opaque"] = "bootstrap"
    _outward: bytearray = field(default_factory=bytearray)  # the unfinished line towards the host
    _inward: bytearray = field(default_factory=bytearray)  # the unfinished line from the host
    _bundle_bytes: int = 0
    _bundle: str | None = INSTALL  # who only looks leaves nothing of it there
    _unanswered: dict[Any, str] = field(default_factory=dict)  # operation -> verb
    _installing: bool = False

    def outward(self, data: bytes) -> Iterator[Piece]:
        """What to pass on to the host, now that `data` came for it: orders whole, all else as it comes."""
        if self._state == "bundle":
            yield Piece(data[: self._bundle_bytes], None if self._installing else self._bundle)
            self._installing = self._bundle is not None
            data, self._bundle_bytes = data[self._bundle_bytes :], max(0, self._bundle_bytes - len(data))
            if self._bundle_bytes == 0:
                self._state = "linked"
        if self._state == "linked":
            for line in _lines(self._outward, data):
                yield Piece(line, self._order(line))
            return
        if self._state == "bootstrap":
            for line in _lines(self._outward, data):
                self._look_for_request(line)
            if len(self._outward) > _LINE_BYTES_MAX:
                self._state = "opaque"
                self._outward.clear()
        if data:
            yield Piece(data)

    def inward(self, data: bytes) -> Iterator[Piece]:
        """What to pass back from the host, now that `data` came from it: answers whole, all else as it comes."""
        while data and self._state == "asked":
            head, end, data = data.partition(b"\n")
            yield Piece(head + end)
            self._inward += head
            if end:
                self._look_for_hello(bytes(self._inward))
            if end or len(self._inward) > _LINE_BYTES_MAX:
                self._inward.clear()
        if self._state == "linked":
            for line in _lines(self._inward, data):
                yield Piece(line, self._answer(line))
        elif data:
            yield Piece(data)

    def rest_outward(self) -> bytes:
        """What is left when no more comes for the host."""
        return bytes(self._outward) if self._state == "linked" else b""

    def rest_inward(self) -> bytes:
        """What is left when no more comes from the host."""
        return bytes(self._inward) if self._state == "linked" else b""

    def _look_for_request(self, line: bytes) -> None:
        request = _json_object(line)
        if "mode" in request and "program" in request:
            self._bundle_bytes = int(request["program"]["bytes"])
            self._bundle = INSTALL if request["mode"] == "drive" else None
            self._state = "asked"

    def _look_for_hello(self, line: bytes) -> None:
        hello = _json_object(line)
        if "hello" in hello:
            self._state = "bundle" if hello.get("send") else "linked"

    def _order(self, line: bytes) -> str | None:
        message = _json_object(line)
        verb = message.get("do")
        if verb not in CHANGING:
            return None
        self._unanswered[message.get("id")] = verb
        return str(verb)

    def _answer(self, line: bytes) -> str | None:
        if self._installing:
            self._installing = False
            return INSTALL
        return self._unanswered.pop(_json_object(line).get("id"), None) if self._unanswered else None


def _lines(unfinished: bytearray, data: bytes) -> Iterator[bytes]:
    unfinished += data
    while (end := unfinished.find(b"\n")) >= 0:
        line = bytes(unfinished[: end + 1])
        del unfinished[: end + 1]
        yield line


def _json_object(line: bytes) -> dict[str, Any]:
    """The object on this line; empty where there is none."""
    if not line.startswith(b"{"):
        return {}
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
