"""What exactly is executed for an instance: which file, with which arguments, in which environment.

It looks at what is on the disk and starts nothing.
"""

import os
import pwd

from . import shim

DAMAGED = "damaged-"  # in incoming/: what doubts.py moved away, until it is tidied up
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOCKET_PATH_BYTES = 107


class Unfit(Exception):
    """The program can't be started here, now or later: (kind of problem, detail)."""


def pack(root: str, name: str, spec, login, run: int, cgroup: str) -> bytes:
    """The launch file of one run: see child.Launch. `cgroup`: the folder of its control group, or "". Raises Unfit."""
    program, arguments, variables, folder = command(root, name, spec, login, spec["argv"])
    groups = [(os.fsencode(cgroup), False)] if cgroup else []
    return shim.pack_launch(run, program, folder, arguments, variables, core=bool(spec.get("core")), groups=groups)


def command(root: str, name: str, spec, login, argv):
    """(file, arguments, environment, folder) of what is run as the program is, or beside it. Raises Unfit."""
    folder = os.path.join(root, "instances", name)
    variables = environment(root, name, spec, login)
    program = executable(root, folder, dict(spec, argv=argv), variables["PATH"])
    first = program if "/" in argv[0] else argv[0]
    return (
        os.fsencode(program),
        [encoded(argument) for argument in [first, *argv[1:]]],
        {encoded(key): encoded(value) for key, value in variables.items()},
        os.fsencode(run_folder(folder)),
    )


def encoded(text: str) -> bytes:
    """Paths as they are on the disk, whatever their bytes; what no path can hold is passed on as it came."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def artifact_folder(root: str, spec) -> str:
    return os.path.join(root, "artifacts", spec["artifact"]) if spec["artifact"] else ""


def executable(root: str, folder: str, spec, path: str) -> str:
    """argv[0] with a slash is taken from the artifact (without one, from run/), else looked for on PATH."""
    name, base = spec["argv"][0], artifact_folder(root, spec)
    if base and not os.path.isdir(base):
        aside = os.path.join(root, "incoming", DAMAGED + spec["artifact"])
        what = "is damaged: its content changed" if os.path.isdir(aside) else "is not on this host"
        raise Unfit("artifact_missing", "artifact %s %s" % (spec["artifact"], what))
    if os.path.isabs(name):
        return str(name)
    if "/" in name:
        base = base or os.path.join(folder, "run")
        found = os.path.normpath(os.path.join(base, name))
        if not found.startswith(base + "/"):
            raise Unfit("not_executable", "%s leads out of the artifact" % name)
        return found
    for place in path.split(":"):
        found = os.path.join(place, name)
        if os.path.isabs(found) and os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    raise Unfit("not_executable", "%s is not on PATH (%s)" % (name, path))


def environment(root: str, name: str, spec, login):
    """What the program finds: a plain login's variables, the job's own, and who it is, which the job can't change."""
    folder = os.path.join(root, "instances", name)
    job, _, rest = name.partition(".")
    index, _, epoch = rest.partition("@")
    found = dict(login)
    found.update(spec["env"])
    found.update(
        FLEETCTL_FLEET=spec["fleet"],
        FLEETCTL_JOB=job,
        FLEETCTL_REPLICA="%s.%s" % (job, index),
        FLEETCTL_INDEX=index,
        FLEETCTL_COUNT=str(spec["wish_replicas"]),
        FLEETCTL_RELEASE=str(spec["release"]),
        FLEETCTL_EPOCH=epoch,
        FLEETCTL_HOST=spec["host"],
        FLEETCTL_ADDRESS=spec["address"],
        FLEETCTL_NOTICE=os.path.join(folder, "notice"),
        FLEETCTL_RUN=run_folder(folder),
        NOTIFY_SOCKET=notify_address(folder),
    )
    heartbeat = (spec.get("alive") or {}).get("heartbeat")
    if heartbeat is not None:
        found["FLEETCTL_HEARTBEAT"] = heartbeat_file(folder)
        found["WATCHDOG_USEC"] = str(int(heartbeat["timeout_s"] * 1000000))
    if spec["artifact"]:
        found["FLEETCTL_ARTIFACT"] = artifact_folder(root, spec)
    for port, number in spec["ports"].items():
        found["FLEETCTL_PORT_" + port.upper().replace("-", "_")] = str(number)
    return found


def run_folder(folder: str) -> str:
    return os.path.join(folder, "run")


def heartbeat_file(folder: str) -> str:
    return os.path.join(run_folder(folder), "heartbeat")


def notify_address(folder: str) -> str:
    """What NOTIFY_SOCKET holds: `notify` in the instance's folder; where that is longer than a socket's path may be,
    the abstract name `@fleetctl/<digest of the folder's path>`."""
    path = os.path.join(folder, "notify")
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    import hashlib  # see artifacts.py

    return "@fleetctl/" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]


def mark(folder: str) -> bytes:
    """What the environment of every process of an instance holds, unless it was cleared."""
    return os.fsencode("FLEETCTL_RUN=" + run_folder(folder))


def plain_login():
    """The variables of a plain login: what a program may expect without anybody having said so."""
    try:
        entry = pwd.getpwuid(os.getuid())
        name, home, shell = entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh"
    except KeyError:
        name, home, shell = str(os.getuid()), "/", "/bin/sh"
    return {"PATH": PATH, "HOME": home, "USER": name, "LOGNAME": name, "SHELL": shell, "LANG": "C.UTF-8"}
