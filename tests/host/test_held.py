"""Sockets that outlive the agent: what is sent to one while nobody listens is there for the next agent."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from tests.host.driven import descriptors, lives, wait_until

# In the agent: one socket, bound once; whatever agent has it writes down what it hears, and that it is its.
LISTENING = """\
        self.guard.begin()
        if "web.0@1" not in self.take_held():
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.bind("test.sock")
            self.hold("web.0@1", made.detach())
        import fcntl
        mine = self.take_held()["web.0@1"]
        assert fcntl.fcntl(mine, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        def heard(_events):
            with open("heard", "a") as file:
                file.write("%d %s\\\\n" % (os.getpid(), os.read(mine, 100).decode()))
            if os.path.exists("forget"):
                self.drop_held("web.0@1")
        self.loop.watch(mine, heard)
"""


@pytest.fixture
def listening(host):
    host.edits = (("agent.py", "        self.guard.begin()\n", LISTENING.replace("\\\\n", "\\n")),)
    host.report()
    return host


def say(host, words: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        here = os.open(".", os.O_RDONLY)
        os.chdir(host.root)
        try:
            speaker.sendto(words.encode(), "test.sock")
        finally:
            os.fchdir(here)
            os.close(here)


def heard(host) -> list[list[str]]:
    path = host.root / "heard"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def until_heard(host, words: str) -> int:
    """Which agent heard it."""
    return int(wait_until(lambda: [pid for pid, word in heard(host) if word == words], words)[0])


def test_what_is_sent_while_no_agent_lives_is_heard_by_the_next(listening):
    say(listening, "first")
    agent, supervisor = listening.agent_pid(), listening.supervisor_pid()
    assert until_heard(listening, "first") == agent
    os.kill(supervisor, signal.SIGSTOP)  # so that no other agent comes
    try:
        listening.kill(agent)
        say(listening, "second")
        say(listening, "third")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    following = until_heard(listening, "third")
    assert following != agent
    assert heard(listening) == [[str(agent), "first"], [str(following), "second"], [str(following), "third"]]


def test_it_outlives_the_supervisor_and_an_upgrade_in_place(listening):
    supervisor = listening.supervisor_pid()
    listening.kill(supervisor)
    wait_until(lambda: listening.supervisor_pid() != supervisor and lives(listening.supervisor_pid()))
    say(listening, "after")
    until_heard(listening, "after")
    supervisor = listening.supervisor_pid()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        listening.kill_agent()
        say(listening, "between")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    listening.link_now = listening.connect(version="0.2.0", change="newer")
    until_heard(listening, "between")
    say(listening, "upgraded")
    assert until_heard(listening, "upgraded") == listening.agent_pid()
    assert listening.supervisor_pid() == supervisor
    assert listening.report()["program"]["version"] == "0.2.0"


def test_what_is_dropped_is_closed(listening):
    def sockets() -> int:
        return len([name for name in descriptors(listening.supervisor_pid()) if name.startswith("socket:")])

    wait_until(lambda: sockets() == 3, "the socket itself, what it came by, and the way to the nursery")
    (listening.root / "forget").touch()
    say(listening, "last")
    wait_until(lambda: sockets() == 2)
    agent = listening.agent_pid()
    listening.run("web.0@1", "exec sleep 1000")
    pid = listening.ready("web.0@1")["pid"]
    assert len(descriptors(pid)) == 3
    assert listening.agent_pid() == agent
