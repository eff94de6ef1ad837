"""A channel: JSON objects, one a line, in and out of descriptors, within the loop. Bounded both ways."""

import json
import os

from .loop import READ, WRITE, Loop
from .protocol import LINE_BYTES_MAX, MALFORMED

UNSENT_BYTES_MAX = 4 * LINE_BYTES_MAX  # a reader that leaves more than this lying is let go


class Channel:
    def __init__(self, loop: Loop, incoming: int, outgoing: int, handle, gone) -> None:
        """`handle(channel, request)` for each object that comes; `gone(channel)` once, when either side has ended."""
        self.loop, self.incoming, self.outgoing = loop, incoming, outgoing
        self.handle, self.gone = handle, gone
        self.parts: "list[bytes]" = []
        self.length = 0
        self.unsent = bytearray()
        self.open = True
        self.address = ""  # where sshd saw the other side arrive
        for descriptor in (incoming, outgoing):
            os.set_blocking(descriptor, False)
        self.watch()

    def watch(self) -> None:
        if self.incoming == self.outgoing:
            self.loop.watch(self.incoming, self.ready, READ | WRITE if self.unsent else READ)
            return
        self.loop.watch(self.incoming, self.ready, READ)
        if self.unsent:
            self.loop.watch(self.outgoing, self.ready, WRITE)
        else:
            self.loop.unwatch(self.outgoing)

    def ready(self, events: int) -> None:
        if events & WRITE and self.open:
            self.flush()
        if events & READ and self.open:
            self.receive()

    def receive(self) -> None:
        try:
            part = os.read(self.incoming, 256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self.close()
            return
        self.length += len(part)
        if b"\n" in part:
            lines = (b"".join(self.parts) + part).split(b"\n")
            rest = lines.pop()
            self.parts, self.length = [rest], len(rest)
            for line in lines:
                if line.strip() and self.open:
                    self.take(line)
        else:
            self.parts.append(part)
        if self.length > LINE_BYTES_MAX:
            self.refuse("a line of more than %d bytes" % LINE_BYTES_MAX)
            self.close()

    def take(self, line: bytes) -> None:
        try:
            request = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            self.refuse("a line that is not JSON")
            return
        if not isinstance(request, dict):
            self.refuse("a line that is not a JSON object")
            return
        self.handle(self, request)

    def refuse(self, message: str) -> None:
        self.send({"id": None, "ok": False, "error": {"kind": MALFORMED, "message": message}})

    def send(self, value) -> None:
        if not self.open:
            return
        self.unsent += json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self.unsent:
                sent = os.write(self.outgoing, memoryview(self.unsent)[: 256 * 1024].tobytes())
                del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if len(self.unsent) > UNSENT_BYTES_MAX:
            self.close()
            return
        self.watch()

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        for descriptor in {self.incoming, self.outgoing}:
            self.loop.unwatch(descriptor)
            os.close(descriptor)
        self.gone(self)
