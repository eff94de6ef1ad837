"""Questions put to an address over TCP, all at once, within the loop: does it accept, speak SSH, answer HTTP?

Each ends with a yes or a no and what was seen, no later than its time limit.
"""

import errno
import os
import socket

from .errands import Errand
from .loop import READ, WRITE, Loop

BANNER_BYTES_MAX = 8 * 1024
BODY_BYTES_MAX = 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024


class Probe:
    """One question. `done(ok, detail)` is called exactly once, never from within the constructor."""

    socket: socket.socket

    def __init__(self, loop: Loop, target, done) -> None:
        self.loop, self.done = loop, done
        self.kind, self.address, self.port = target["kind"], target["address"], target["port"]
        self.timeout_s = target["timeout_s"]
        self.path = target.get("path") or "/"
        self.content = b""
        self.unsent = b""
        self.opened = False
        self.errand: "Errand | None" = None
        self.timer = loop.after(self.timeout_s, self.late)
        self.begun = loop.after(0, self.begin)

    def cancel(self) -> None:
        self.timer.cancel()
        self.begun.cancel()
        if self.errand is not None:
            self.errand.cancel()
        self.close()

    def begin(self) -> None:
        try:
            self.connect(socket.getaddrinfo(self.address, self.port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
        except socket.gaierror:  # a name: asking for its address may hang
            self.errand = Errand(self.loop, lambda: resolve(self.address), self.resolved, self.timeout_s)

    def resolved(self, address, error: str) -> None:
        self.errand = None
        if error:
            self.end(False, "%s: %s" % (self.address, error))
        else:
            self.connect(socket.getaddrinfo(address, self.port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))

    def connect(self, places) -> None:
        family, kind, number, _, place = places[0]
        try:
            self.socket = socket.socket(family, kind, number)
            self.opened = True
            self.socket.setblocking(False)
            failure = self.socket.connect_ex(place)
        except OSError as error:
            self.end(False, "%s: %s" % (self.address, error))
            return
        if failure not in (0, errno.EINPROGRESS):
            self.end(False, os.strerror(failure))
            return
        self.loop.watch(self.socket.fileno(), self.connected, WRITE)

    def connected(self, _events: int) -> None:
        failure = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            self.end(False, os.strerror(failure))
        elif self.kind == "tcp":
            self.end(True, "connected")
        elif self.kind == "http":
            place = "[%s]" % self.address if ":" in self.address else self.address
            self.unsent = (
                "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: fleetctl\r\nAccept: */*\r\nConnection: close\r\n\r\n"
                % (self.path, place, self.port)
            ).encode("utf-8")
            self.send(WRITE)
        else:
            self.loop.watch(self.socket.fileno(), self.receive, READ)

    def send(self, _events: int) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(False, "connected, then %s" % error.strerror)
            return
        if self.unsent:
            self.loop.watch(self.socket.fileno(), self.send, WRITE)
        else:
            self.loop.watch(self.socket.fileno(), self.receive, READ)

    def receive(self, _events: int) -> None:
        try:
            part = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(False, "connected, then %s" % error.strerror)
            return
        self.content += part
        verdict = (banner if self.kind == "banner" else http)(self.content, not part)
        if verdict is not None:
            self.end(*verdict)

    def late(self) -> None:
        if not self.content:
            self.end(False, "no answer in %g s" % self.timeout_s)
        else:
            self.end(False, "no whole answer in %g s" % self.timeout_s)

    def end(self, ok: bool, detail: str) -> None:
        self.cancel()
        self.done(ok, detail)

    def close(self) -> None:
        if self.opened:
            self.opened = False
            self.loop.unwatch(self.socket.fileno())
            self.socket.close()


def resolve(name: str) -> str:
    return str(socket.getaddrinfo(name, 0, 0, socket.SOCK_STREAM)[0][4][0])


def banner(content: bytes, ended: bool):
    """(yes, what) once it is clear whether that is an SSH server, else None."""
    lines = content.split(b"\n")
    for line in lines[:-1]:
        if line.startswith(b"SSH-2.0"):
            return True, line[:200].decode("ascii", "replace").strip()
    if ended or len(content) > BANNER_BYTES_MAX:
        return False, "connected, but it does not speak SSH"
    return None


def http(content: bytes, ended: bool):
    """(yes, what) once a whole answer is there, status and body, else None."""
    head, found, body = content.partition(b"\r\n\r\n")
    if not found:
        if ended or len(content) > HEAD_BYTES_MAX:
            return False, "connected, but it does not speak HTTP"
        return None
    lines = head.split(b"\r\n")
    words = lines[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return False, "connected, but it does not speak HTTP"
    status = int(words[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    length = headers.get(b"content-length", b"")
    if status in (204, 304) or len(body) >= BODY_BYTES_MAX:
        whole = True
    elif headers.get(b"transfer-encoding", b"").endswith(b"chunked"):
        whole = body.endswith(b"0\r\n\r\n")
    elif length.isdigit():
        whole = len(body) >= int(length)
    else:
        whole = ended
    if whole:
        return 200 <= status <= 399, "answered %d" % status
    return (False, "answered %d, but not all of it" % status) if ended else None


def probe_all(loop: Loop, targets, done) -> None:
    """Put all questions at once; `done([(ok, detail)])` in their order when the last has ended."""
    answers: "list[tuple[bool, str]]" = [(False, "")] * len(targets)
    left = [len(targets)]
    if not targets:
        loop.after(0, lambda: done([]))

    def put(place):
        def heard(ok, detail):
            answers[place] = (ok, detail)
            left[0] -= 1
            if left[0] == 0:
                done(answers)

        Probe(loop, targets[place], heard)

    for place in range(len(targets)):
        put(place)
