"""Descriptors that outlive an agent: it gives them to the supervisor by name, and the next agent begins with them.

Both ends are here. They cross a pair of sockets, one message each: `hold NAME` with the descriptor, `drop NAME`. Over
an execution they are inherited, and named in the environment. What they are for is nobody's affair here.
"""

import os
import sys

import _socket

WRITE = 2  # selectors.EVENT_WRITE, which the supervisor does not import

VARIABLE = "FLEETCTL_HELD"  # "web.0@47:12 web.1@47:13"
MESSAGE_BYTES = 512
INT_BYTES = 4


def pair():
    """(the supervisor's end, the agent's end), as descriptors. Messages stay whole."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return ours.detach(), theirs.detach()


def inherited():
    """{name: descriptor} of what whoever executed this program held."""
    found = {}
    for item in os.environ.pop(VARIABLE, "").split():
        name, _, number = item.rpartition(":")
        try:
            os.set_inheritable(int(number), False)
        except (ValueError, OSError):
            continue
        found[name] = int(number)
    return found


def handed_on(held):
    """The environment for a program to be executed next; from now on the descriptors outlive an execution."""
    for descriptor in held.values():
        os.set_inheritable(descriptor, True)
    return {VARIABLE: " ".join("%s:%d" % item for item in sorted(held.items()))} if held else {}


def receive(end: int, held) -> bool:
    """The supervisor's side: whatever has come. False when the other end is closed."""
    peer = _socket.socket(fileno=end)
    try:
        while True:
            room = _socket.CMSG_SPACE(4)
            content, more, _, _ = peer.recvmsg(MESSAGE_BYTES, room, _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC)
            if not content:
                return False
            obey(content.decode().split(), descriptors_in(more), held)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        peer.detach()


def descriptors_in(more):
    found = []
    for level, kind, content in more:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            whole = len(content) - len(content) % INT_BYTES
            found += [int.from_bytes(content[at : at + INT_BYTES], sys.byteorder) for at in range(0, whole, INT_BYTES)]
    return found


def obey(words, descriptors, held) -> None:
    if len(words) == 2 and words[0] in ("hold", "drop"):
        if words[1] in held:
            os.close(held.pop(words[1]))
        if words[0] == "hold" and descriptors:
            held[words[1]] = descriptors.pop(0)
    for descriptor in descriptors:
        os.close(descriptor)


class Giver:
    """The agent's side. `held` is what it has itself, by name: the same files as the supervisor's."""

    def __init__(self, loop, end: int, held) -> None:
        self.loop, self.end, self.held = loop, end, held
        self.waiting: "list[tuple[str, int]]" = []  # (words, descriptor or -1) that the supervisor has no room for yet

    def hold(self, name: str, descriptor: int) -> None:
        """From now on this descriptor is there for the next agent, under this name. It stays open here."""
        self.held[name] = descriptor
        self.tell("hold " + name, descriptor)

    def drop(self, name: str) -> None:
        """The next agent gets no such descriptor. The one here is its owner's to close."""
        if self.held.pop(name, None) is not None:
            self.waiting = [item for item in self.waiting if item[0] != "hold " + name]
            self.tell("drop " + name, -1)

    def tell(self, words: str, descriptor: int) -> None:
        self.waiting.append((words, descriptor))
        self.send()

    def send(self, _events: int = 0) -> None:
        peer = _socket.socket(fileno=self.end)
        try:
            while self.waiting:
                try:
                    give(peer, *self.waiting[0])
                except BlockingIOError:
                    self.loop.watch(self.end, self.send, WRITE)
                    return
                except OSError:
                    pass  # the supervisor is gone: what is held is handed on when this agent takes its place
                self.waiting.pop(0)
        finally:
            peer.detach()
        self.loop.unwatch(self.end)


def give(peer, words: str, descriptor: int) -> None:
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(INT_BYTES, sys.byteorder, signed=True))
    flags = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
    peer.sendmsg([words.encode()], [rights] if descriptor >= 0 else [], flags)
