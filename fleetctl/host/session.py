"""Whether what this login starts would be killed when it ends, by logind's KillUserProcesses. Reads and asks only."""

import os

from . import commands

ASK = ("get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
NAMES = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
CONFIGURATIONS = ("/usr/lib/systemd/logind.conf", "/etc/systemd/logind.conf")
FOLDERS = ("/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d")


def would_end_us() -> bool:
    """We are in a session's scope, and logind kills what is left there at its end."""
    if not in_session(commands.read("/proc/self/cgroup")):
        return False
    return kills(asked() or configured(), commands.login())


def in_session(groups: str) -> bool:
    """By the text of /proc/self/cgroup: `0::/user.slice/user-1000.slice/session-3.scope`."""
    return any("/session-" in line and ".scope" in line for line in groups.splitlines())


def kills(settings, user: str) -> bool:
    """What logind decides for a user by its settings: {name: words}."""
    if settings.get("KillUserProcesses", ["no"])[-1:] not in (["yes"], ["true"], ["1"], ["on"]):
        return False
    if user in settings.get("KillExcludeUsers", ["root"]):
        return False
    only = settings.get("KillOnlyUsers", [])
    return not only or user in only


def asked():
    """Of logind itself: three lines such as `b true` and `as 1 "root"`. Nothing where it can't be asked."""
    if not commands.where("busctl"):
        return {}
    status, told, _ = commands.run([commands.where("busctl"), *ASK, *NAMES])
    lines = told.splitlines()
    if status or len(lines) != len(NAMES):
        return {}
    return dict(zip(NAMES, [[word.strip('"') for word in words_of(line)] for line in lines]))


def words_of(line: str):
    words = line.split()
    return words[2:] if words[:1] == ["as"] else words[1:]


def configured():
    """By its files: later ones win, names before others in a folder."""
    paths = list(CONFIGURATIONS)
    for folder in FOLDERS:
        try:
            paths += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".conf")]
        except OSError:
            continue
    found = {}
    for path in paths:
        for line in commands.read(path).splitlines():
            name, assigned, value = line.strip().partition("=")
            if assigned and name.strip() in NAMES:
                found[name.strip()] = value.split()
    return found
