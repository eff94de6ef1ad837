"""Where control groups of version 2 can be made for programs: found by trying, never by names alone.

`find` asks systemd and may hang: it runs in a child with a deadline (errands.py). It starts nothing but the holder, a
process that does nothing and so keeps the scope alive while no program runs.
"""

import errno
import os
import select
import signal
import time

from . import comeback, complaints, group, names, proc

MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")  # version 2 alone, and beside version 1
WANTED = ("memory", "cpu", "pids")
SCOPE, BARE = "scope", "bare"
HOLD = "hold"  # the group of the holder: a group with processes of its own can't hand out controllers
WAIT_FOR_EVER = "exec sleep 2147483647 </dev/null >/dev/null 2>&1"
SPARE_THE_OTHERS = (
    "--property=OOMPolicy=continue"  # else systemd ends the scope when the kernel killed one program in it
)
ENDING_WAIT_S = 4.0
SCOPE_WAIT_S = 20.0  # systemd of a busy machine; one that hangs is given up
FIND_WAIT_S = 60.0  # all of it


class Unusable(Exception):
    """Why a place is none."""


def pointless() -> str:
    """Why there is no need to look; "" where there is."""
    if os.environ.get("FLEETCTL_BOOT") == "none":
        return "asked not to (FLEETCTL_BOOT=none)"
    if not mount():
        return "no control groups of version 2 are mounted here"
    return ""


def mount() -> str:
    return next((place for place in MOUNTS if os.path.exists(place + "/cgroup.controllers")), "")


def nowhere(why: str):
    return {"kind": "", "folder": "", "controllers": [], "why": why}


def find(root: str, known):
    """{"kind": "scope"|"bare"|"", "folder": str, "controllers": [those its groups have], "why": str, if any lack}.

    `known`: what it gave before, in this boot.
    """
    offers = [(SCOPE, scope), (BARE, bare)]
    if known.get("kind"):
        offers.insert(0, (known["kind"], lambda _root, _base: known["folder"]))
    reasons = []
    for kind, offer in offers:
        try:
            return settle(kind, offer(root, mount()))
        except (Unusable, OSError) as error:
            reasons.append(complaints.in_words(error))
    return nowhere("; ".join(reasons[-2:]))


def settle(kind: str, folder: str):
    """Make the place ready, try it, and say what it is."""
    if not os.path.isdir(folder):
        raise Unusable("%s is gone" % folder)
    try:
        if kind == SCOPE:
            keep_held(folder)
        why = hand_out(folder)
        try_out(folder)
    except (Unusable, OSError):
        let_go(folder)
        raise
    controllers = [name for name in WANTED if name in words(folder, "cgroup.subtree_control")]
    return {"kind": kind, "folder": folder, "controllers": controllers, "why": why}


# What is offered


def scope(root: str, base: str) -> str:
    """The group of our scope, which is made if need be."""
    from . import commands  # here: it brings what costs an agent memory

    runner, user = commands.where("systemd-run"), commands.login()
    if not os.path.isdir("/run/systemd/system") or not runner:
        raise Unusable("systemd does not run here")
    if os.getuid() and not comeback.lingers(user):
        raise Unusable("the systemd of user %s ends with its last session (`loginctl enable-linger %s`)" % (user, user))
    unit, end = names.work_scope(root), time.monotonic() + ENDING_WAIT_S
    while True:
        path, said = start_scope(runner, unit, names.service(root))
        if path:
            return base + path
        shown = commands.systemctl("show", "--property=ActiveState", "--property=ControlGroup", unit)[1].split("\n")
        path = next((line.partition("=")[2] for line in shown if line.startswith("ControlGroup=/")), "")
        if path and "ActiveState=active" in shown:
            return base + path
        if time.monotonic() > end or not (path or "already" in said):  # else someone stops it right now
            raise Unusable("systemd makes no scope: %s" % said)
        time.sleep(0.2)


def start_scope(runner: str, unit: str, service: str):
    """(path of its group, ""), or ("", why not).

    It begins before the service, so it ends after it. Said here and not by the service: what another unit names stays
    loaded when it ends, and can't be made again.
    """
    whose = ["--user"] if os.getuid() else ["--system"]
    words = ["--scope", "--collect", "--quiet", "--unit=" + unit, "--property=Delegate=yes"]
    words.append("--property=Before=" + service)
    holder = ["--description=the programs of fleetctl", "sh", "-c", "echo held; " + WAIT_FOR_EVER]
    pid, said = run([runner, *whose, *words, SPARE_THE_OTHERS, *holder])
    if "OOMPolicy" in said:  # it is older, knows no such thing for scopes, and spares them
        pid, said = run([runner, *whose, *words, *holder])
    if said != "held\n":
        return "", said.strip().rpartition("\n")[2] or "it says nothing"
    return group_of(pid), ""


def bare(root: str, base: str) -> str:
    """A group right below the mount, which root alone may make."""
    if os.getuid():
        raise Unusable("only root may make control groups outside of systemd's")
    folder = os.path.join(base, names.bare_group(root))
    os.makedirs(folder, exist_ok=True)
    hand_out(base)
    return folder


# Making it ready


def keep_held(folder: str) -> None:
    """Nobody is in the group itself, and somebody in its `hold`."""
    hold = os.path.join(folder, HOLD)
    os.makedirs(hold, exist_ok=True)
    for word in words(folder, "cgroup.procs"):
        write(hold, "cgroup.procs", word)
    if not group.populated(os.fsencode(hold)):
        pid = os.fork()
        if pid == 0:
            become_holder(hold)
        if os.waitpid(pid, 0)[1]:
            raise Unusable("nothing can be moved to %s" % hold)


def become_holder(hold: str) -> None:
    """In a child: let a child of its own go there and stay. Never returns."""
    try:
        os.setsid()
        write(hold, "cgroup.procs", "0")
        if os.fork() == 0:
            proc.close_descriptors((0, 1, 2))
            os.execvpe("sh", ("sh", "-c", WAIT_FOR_EVER), surroundings())
        os._exit(0)
    finally:
        os._exit(1)


def let_go(folder: str) -> None:
    """A scope that is of no use goes with its holder."""
    for pid, start in group.members(os.fsencode(os.path.join(folder, HOLD))):
        proc.send(pid, start, signal.SIGKILL)


def hand_out(folder: str) -> str:
    """Give the groups below the controllers there are. "" or why some are not given."""
    there = words(folder, "cgroup.controllers")
    missing = [name for name in WANTED if name not in there]
    why = "no controller for %s in %s" % (", ".join(missing), folder) if missing else ""
    for name in WANTED:
        if name in there:
            try:
                write(folder, "cgroup.subtree_control", "+" + name)
            except OSError as error:
                why = "%s can't be handed out by %s: %s" % (name, folder, error.strerror)
    return why


def try_out(folder: str) -> None:
    """Make a group there, move a process into it, and remove it again: OSError or Unusable where that fails."""
    trial = os.path.join(folder, "trial-%d" % os.getpid())
    os.mkdir(trial)
    try:
        pid = os.fork()
        if pid == 0:
            number = errno.EIO
            try:
                write(trial, "cgroup.procs", "0")
                number = 0
            except OSError as error:
                number = error.errno or errno.EIO
            finally:
                os._exit(number)
        number = os.waitpid(pid, 0)[1] >> 8
        if number:
            raise Unusable("no process can be moved to %s: %s" % (folder, os.strerror(number)))
    finally:
        remove(trial)


def remove(folder: str) -> bool:
    """Remove a group in which nobody is, and those below it. False: somebody is."""
    try:
        for name in os.listdir(folder):
            if os.path.isdir(os.path.join(folder, name)):
                remove(os.path.join(folder, name))
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


# Small things


def words(folder: str, name: str):
    return [word.decode("ascii", "replace") for word in group.read(os.fsencode(folder), os.fsencode(name)).split()]


def write(folder: str, name: str, text: str) -> None:
    """Into a file of a control group, as one write."""
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def group_of(pid: int) -> str:
    """The path of a process's group of version 2 below the mount; "" where it can't be told."""
    try:
        with open("/proc/%d/cgroup" % pid) as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "")
    except OSError:
        return ""


def surroundings():
    """The environment that systemd's own programs need. A login's bus is not asked: it may be gone tomorrow."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": path, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": "/run/user/%d" % os.getuid()}


def run(argv):
    """(pid, all it said) of a program that lives on and has closed its output, or was killed for saying nothing."""
    read, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDWR), 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            proc.close_descriptors((0, 1, 2))
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(argv[0], argv, surroundings())
        finally:
            os._exit(127)
    os.close(out)
    content, end = b"", time.monotonic() + SCOPE_WAIT_S
    while select.select([read], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(read, 65536)
        content += part
        if not part:
            break
    else:
        os.kill(pid, signal.SIGKILL)
        content = b"it does not answer"
    os.close(read)
    return pid, content.decode("utf-8", "replace")
