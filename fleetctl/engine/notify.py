"""Runs the command that tells a human, beside the run and after it: whatever it does delays nothing and harms nothing.

`Hook.send` starts this same file as a small watcher, a process of its own session, and returns. The watcher runs the
command with the message on its standard input, gives it a minute, kills it with its process group if it takes longer,
throws its output away but for the last of standard error, and writes down how it ended. Standard library alone, and
nothing of ours: the watcher starts in a few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
STDERR_KEPT = 2048
READ_AT_ONCE = 65536
FIELDS_MAX = 4096  # of the file that says how it ended, which somebody else may have written


_watchers: set[int] = set()  # of this process, not yet waited for


@dataclass(frozen=True, slots=True)
class NotifyFailure:
    """How the last call of the command failed: `exit 3`, `not found: ./tell`, `killed after 60 s`."""

    at_wall: float
    how: str
    stderr: str

    def __str__(self) -> str:
        said = " ".join(self.stderr.split())
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at_wall))
        return f"the notify command failed at {at}: {self.how}{f': {said[-200:]}' if said else ''}"


@dataclass(frozen=True, slots=True)
class Hook:
    """A command that tells a human. It is run in `folder`; how it ended is kept in `state`."""

    fleet: str
    command: tuple[str, ...]
    folder: Path
    state: Path
    limit_s: float = LIMIT_S

    def send(self, message: str) -> bool:
        """Hands the message over; whether it could be. It waits for nothing: how the command fares is told later.

        What is sent goes by a file without a name, so that no message shows in a list of processes, and a watcher
        that is slow to read keeps nobody waiting.
        """
        _reap()
        task = {
            "fleet": self.fleet,
            "command": list(self.command),
            "folder": str(self.folder),
            "ending": str(_ending(self.state, self.fleet)),
            "limit_s": self.limit_s,
            "message": message,
        }
        try:
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(task).encode())
                file.seek(0)
                pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-I", "-S", __file__],
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, file.fileno(), 0),
                        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    ],
                    setsigmask=(),
                )
        except OSError as error:
            _write_ending(_ending(self.state, self.fleet), f"could not be started: {error}", b"")
            return False
        _watchers.add(pid)
        return True


def _reap() -> None:
    """A controller that lives long keeps no dead watchers."""
    for pid in tuple(_watchers):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:
            ended = pid
        if ended:
            _watchers.discard(pid)


def last_failure(state: Path, fleet: str) -> NotifyFailure | None:
    """How the last call for this fleet failed; nothing where it worked, or there was none."""
    try:
        found = json.loads(_ending(state, fleet).read_bytes()[: 2 * FIELDS_MAX])
        if found["ok"] is not False:
            return None
        return NotifyFailure(float(found["at_wall"]), str(found["how"])[:FIELDS_MAX], str(found["stderr"])[:FIELDS_MAX])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ending(state: Path, fleet: str) -> Path:
    return state / f"notify-{fleet}.json"


def _write_ending(path: Path, how: str, stderr: bytes, *, ok: bool = False) -> None:
    """Whole or not at all. A disk that takes nothing is told by others."""
    told = {
        "version": 1,
        "at_wall": time.time(),
        "ok": ok,
        "how": how[:STDERR_KEPT],
        "stderr": stderr.decode(errors="replace"),
    }
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(told))
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()


# What follows runs in the watcher.


def _watch(task: dict[str, Any]) -> None:
    command, ending = task["command"], Path(task["ending"])
    deadline = time.monotonic() + task["limit_s"]
    with tempfile.TemporaryFile() as message:
        message.write(task["message"].encode())
        message.seek(0)
        try:
            child = subprocess.Popen(
                command,
                stdin=message,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=task["folder"],
                env={**os.environ, "FLEETCTL_FLEET": task["fleet"]},
                start_new_session=True,
            )
        except OSError as error:
            _write_ending(ending, _why_not_started(command, error), b"")
            return
    _see_it_end(child, ending, deadline, task["limit_s"])


def _why_not_started(command: list[str], error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"not found: {error.filename or command[0]}"
    if isinstance(error, PermissionError):
        return f"not executable: {command[0]}"
    return f"could not be started: {command[0]}: {error}"


def _see_it_end(child: subprocess.Popen[bytes], ending: Path, deadline: float, limit_s: float) -> None:
    """Writes down how it ended, as soon as it did. What it leaves behind has until the deadline as well.

    The child is left a zombie until the group is dealt with, so that its number can't be anybody else's.
    """
    assert child.stderr is not None
    os.set_blocking(child.stderr.fileno(), False)
    said, is_open, ended = b"", True, False
    with selectors.DefaultSelector() as selector:
        selector.register(child.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline and (is_open or not ended):
            if is_open and selector.select(min(0.05, max(0.0, deadline - time.monotonic()))):
                chunk = os.read(child.stderr.fileno(), READ_AT_ONCE)
                said, is_open = (said + chunk)[-STDERR_KEPT:], bool(chunk)
            elif not is_open:
                time.sleep(0.05)
            if not ended and (ended := _has_ended(child.pid)):
                said = _rest(child.stderr.fileno(), said) if is_open else said
                _tell_end(child.pid, ending, said)
    if not ended:
        _write_ending(ending, f"killed after {limit_s:g} s", said)
    if is_open or not ended:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tell_end(pid: int, ending: Path, said: bytes) -> None:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    exited = found.si_code == os.CLD_EXITED
    how = f"exit {found.si_status}" if exited else f"killed by signal {found.si_status}"
    _write_ending(ending, how, said, ok=exited and found.si_status == 0)


def _rest(descriptor: int, said: bytes) -> bytes:
    """What it had said when it ended, at most a pipe full and not what a child of it goes on to say."""
    for _ in range(2):
        try:
            chunk = os.read(descriptor, READ_AT_ONCE)
        except BlockingIOError:
            break
        if not chunk:
            break
        said = (said + chunk)[-STDERR_KEPT:]
    return said


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):  # it has a session of its own already
        os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _watch(json.loads(sys.stdin.buffer.read()))
