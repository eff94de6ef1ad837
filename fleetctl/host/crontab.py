"""One line of this user's crontab that starts the supervisor at boot. Every other line stays as it is."""

import contextlib
import fcntl
import os
import pwd
import sys

from . import commands, proc

DAEMONS = ("cron", "crond", "fcron", "bcron-start")
PID_FILES = ("/run/crond.pid", "/run/cron.pid", "/run/fcron.pid", "/run/crond/crond.pid")


class Unusable(Exception):
    """Why the crontab can't be used."""


def write(script: str, root: str) -> None:
    if not commands.where("crontab") or not daemon_runs():
        raise Unusable("no cron")
    line = line_of(script, root)
    with alone():
        before = lines()
        if line not in before:
            put([kept for kept in before if not kept.endswith(mark(root))] + [line])


def drop(root: str) -> None:
    """Remove our line. Where that fails it stays, and does no harm: of two supervisors one finds the other's lock."""
    try:
        with alone():
            put([line for line in lines() if not line.endswith(mark(root))])
    except (Unusable, OSError):
        pass


@contextlib.contextmanager
def alone():
    """One of this user's roots at a time: else of two that read, add their line and write, one loses its.

    They meet at the home; where there is none, or none that can be locked, nowhere.
    """
    descriptor = -1
    try:
        descriptor = os.open(pwd.getpwuid(os.getuid()).pw_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (OSError, KeyError):
        pass
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def daemon_runs() -> bool:
    if any(os.path.exists(path) for path in PID_FILES):
        return True
    return any(commands.read("/proc/%d/comm" % pid).strip() in DAEMONS for pid in proc.every())


def mark(root: str) -> str:
    return "# fleetctl " + root


def line_of(script: str, root: str) -> str:
    words = [sys.executable, "-I", "-S", "-E", script]
    shell = " ".join("'%s'" % word.replace("'", "'\\''") for word in words)
    return "@reboot %s crontab %s" % (shell.replace("%", "\\%"), mark(root))


def lines():
    """Raises Unusable where they can't be read: nobody's lines may be lost."""
    status, told, complaint = commands.run([commands.where("crontab"), "-l"])
    if status == 0:
        return told.splitlines()
    if status == 1 and ("no crontab for" in complaint or "can't open" in complaint):
        return []
    raise Unusable("`crontab -l` says: %s" % (complaint.strip() or "exit %d" % status)[:200])


def put(wanted) -> None:
    status, _, complaint = commands.run([commands.where("crontab"), "-"], "".join(line + "\n" for line in wanted))
    if status:
        raise Unusable("`crontab -` says: %s" % (complaint.strip() or "exit %d" % status)[:200])
