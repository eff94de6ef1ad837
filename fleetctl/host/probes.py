"""Questions put to a program or an address, all at once, within the loop: does it accept, speak SSH, answer HTTP?

Each ends with a yes, a no, or neither (None: it could not be asked, which is nobody's fault but ours), and with what
was seen, no later than its time limit. What runs a command is in command.py.
"""

import errno
import os
import socket
import time

from .errands import Errand
from .loop import READ, WRITE, Loop, complain
from .page import Malformed, Page, judge

BANNER_BYTES_MAX = 8 * 1024
SLICES = 4  # a time limit is waited for in parts, each of which notices that we did not run
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EPERM)


class Question:
    """One question. `done(ok, detail)` is called exactly once, never from within the constructor."""

    def __init__(self, loop: Loop, timeout_s: float, done) -> None:
        self.loop, self.done, self.timeout_s = loop, done, timeout_s
        self.over = False
        self.slices = 0
        self.asked_at = time.monotonic()
        self.timer = loop.after(timeout_s / SLICES, self.safely(self.wait_on))
        self.begun = loop.after(0, self.safely(self.begin))

    def begin(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what was opened."""

    def gone(self) -> bool:
        """Nothing is left of it."""
        return self.over

    def late_detail(self) -> str:
        return "no answer in %g s" % self.timeout_s

    def safely(self, call):
        """A call for the loop: if it fails, the question could not be put."""

        def run(*arguments) -> None:
            try:
                call(*arguments)
            except Exception as error:
                complain()
                self.end(None, "it could not be asked: %s" % (error or type(error).__name__))

        return run

    def wait_on(self) -> None:
        self.slices += 1
        if self.slices < SLICES:
            self.timer = self.loop.after(self.timeout_s / SLICES, self.safely(self.wait_on))
        elif self.loop.lapsed_at > self.asked_at:
            self.end(None, "it could not be asked: we did not run meanwhile")
        else:
            self.end(False, self.late_detail())

    def failed(self, error: OSError, before: str = "") -> None:
        """An error of the network is a no, one of ours is neither."""
        text = before + (error.strerror or str(error))
        if error.errno in OURS:
            self.end(None, "it could not be asked: " + text)
        else:
            self.end(False, text)

    def end(self, ok, detail: str) -> None:
        if not self.over:
            self.cancel()
            self.done(ok, detail)

    def cancel(self) -> None:
        self.over = True
        self.timer.cancel()
        self.begun.cancel()
        self.close()


class Probe(Question):
    """Asks an address over TCP. Of http, `page` is what was answered, once that is a yes."""

    socket: socket.socket

    def __init__(self, loop: Loop, target, done) -> None:
        self.target = target
        self.kind, self.address, self.port = target["kind"], target["address"], target["port"]
        self.content = b""
        self.page = Page()
        self.unsent = b""
        self.heard = False
        self.opened = False
        self.errand: "Errand | None" = None
        super().__init__(loop, target["timeout_s"], done)

    def begin(self) -> None:
        try:
            self.connect(socket.getaddrinfo(self.address, self.port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
        except socket.gaierror:  # a name: asking for its address may hang
            self.errand = Errand(self.loop, lambda: resolve(self.address), self.safely(self.resolved), self.timeout_s)

    def resolved(self, address, error: str) -> None:
        self.errand = None
        if self.over:
            return
        if error:
            self.end(None, "%s: %s" % (self.address, error))
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
            self.failed(error, self.address + ": ")
            return
        if failure not in (0, errno.EINPROGRESS):
            self.failed(OSError(failure, os.strerror(failure)))
            return
        self.loop.watch(self.socket.fileno(), self.safely(self.connected), WRITE)

    def connected(self, _events: int) -> None:
        failure = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            self.failed(OSError(failure, os.strerror(failure)))
        elif self.kind == "tcp":
            self.end(True, "connected")
        elif self.kind == "http":
            self.unsent = request(self.address, self.port, self.target.get("path") or "/")
            self.send(WRITE)
        else:
            self.loop.watch(self.socket.fileno(), self.safely(self.receive), READ)

    def send(self, _events: int) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(False, "connected, then %s" % error.strerror)
            return
        if self.unsent:
            self.loop.watch(self.socket.fileno(), self.safely(self.send), WRITE)
        else:
            self.loop.watch(self.socket.fileno(), self.safely(self.receive), READ)

    def receive(self, _events: int) -> None:
        try:
            part = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(False, "connected, then %s" % error.strerror)
            return
        self.heard = self.heard or bool(part)
        try:
            verdict = self.hear_page(part) if self.kind == "http" else self.hear_banner(part)
        except Malformed as malformed:
            verdict = False, str(malformed)
        if verdict is not None:
            self.end(*verdict)

    def hear_page(self, part: bytes):
        """(yes, what) once the whole answer is there, else None."""
        self.page.feed(part)
        if not part:
            self.page.end()
        if self.page.whole:
            return judge(self.page, self.target)
        return None if part else (False, "answered %d, but not all of it" % self.page.status)

    def hear_banner(self, part: bytes):
        self.content += part
        return banner(self.content, not part)

    def late_detail(self) -> str:
        return "no %s in %g s" % ("whole answer" if self.heard else "answer", self.timeout_s)

    def close(self) -> None:
        if self.errand is not None:
            self.errand.cancel()
            self.errand = None
        if self.opened:
            self.opened = False
            self.loop.unwatch(self.socket.fileno())
            self.socket.close()


def request(address: str, port: int, path: str) -> bytes:
    place = "[%s]" % address if ":" in address else address
    return (
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: fleetctl\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n" % (path, place, port)
    ).encode("utf-8")


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


def probe_all(loop: Loop, targets, done) -> None:
    """Put all questions at once; `done([(ok, detail)])` in their order when the last has ended."""
    answers: "list[tuple[bool, str]]" = [(False, "")] * len(targets)
    left = [len(targets)]
    if not targets:
        loop.after(0, lambda: done([]))

    def put(place):
        def heard(ok, detail):
            answers[place] = (ok is True, detail)
            left[0] -= 1
            if left[0] == 0:
                done(answers)

        Probe(loop, targets[place], heard)

    for place in range(len(targets)):
        put(place)
