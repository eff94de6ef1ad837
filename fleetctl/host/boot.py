"""What brings the host program back after a reboot: a unit, a user's unit, a line in a crontab, or nothing, and why.

Runs as a process of its own (`main.py boot ROOT start|stop`) and in children of the agent. It changes what is named
after the root and is its own, and touches no instance.
"""

import json
import os
import pwd
import sys

from . import commands, crontab, files, going_down, names, proc, session, supervisor
from .comeback import ARRANGED_NAME, ASKED_NOT_TO, LINGER, lingers

SCRIPT_NAME, PROGRAM_NAME = "boot", "program"
SYSTEM_UNITS = "/etc/systemd/system"
OURS = "# Written by fleetctl, which replaces it when it is to say something else. Root: "
UNIT, USER_UNIT, CRONTAB = "unit", "user unit", "crontab"

# The script is the root's, not a program's: units and crontabs name it, so that no upgrade has to change them.
SCRIPT = '''\
"""Starts the host program of this root that ran last. fleetctl writes this file; a unit or a crontab names it."""

import os
import sys

root = os.path.dirname(os.path.abspath(__file__))
role = sys.argv[1]  # unit, crontab, stop


def programs():
    """The one that ran last, then the others, newest first."""
    try:
        with open(os.path.join(root, "program")) as file:
            yield file.read().strip()
    except (OSError, ValueError):
        pass
    found = [name for name in os.listdir(root) if name.startswith("program-") and not name.endswith(".new")]
    for name in sorted(found, key=lambda name: os.stat(os.path.join(root, name)).st_mtime, reverse=True):
        yield name


if role == "crontab":  # cron waits for what it started
    if os.fork():
        os._exit(0)
    os.setsid()
os.umask(0o077)
os.chdir("/")
variables = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
if role == "unit":
    variables["FLEETCTL_UNIT"] = "1"
arguments = ["boot", root, "stop"] if role == "stop" else ["supervisor", root, "-1", "-1"]
for name in programs():
    main_file = os.path.join(root, name, "fleetctl_host", "main.py")
    if name.startswith("program-") and os.path.isfile(main_file):
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-E", main_file] + arguments, variables)
sys.exit("there is no program in %s" % root)
'''

# KillMode=process: what stops or restarts this unit stops no program. No Delegate: systemd 252 could not start it again
# beside programs that live on in its group. `stop` does something only when the machine goes down. A user who no longer
# lingers has their systemd from login to log-out: what it started would end with each.
UNIT_TEXT = """\
{ours}{root}
[Unit]
Description=fleetctl, which runs the programs of {root}
{conditions}
RequiresMountsFor={mounts}
After=network.target remote-fs.target nss-user-lookup.target
StartLimitIntervalSec=0

[Service]
ExecStart={command} unit
ExecStop={command} stop
KillMode=process
Restart=always
RestartSec=0.1
TimeoutStopSec=5min
OOMPolicy=continue
TasksMax=infinity
UMask=0077

[Install]
WantedBy={target}
"""


class Impossible(Exception):
    """This way to come back is not there: why, and what would help."""


def main(root: str, mode: str) -> int:
    """`start`: arrange, and start the supervisor where systemd does that; one line says who does. `stop`: see there."""
    if mode == "stop":
        return stop(root)
    program = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    files.replace(os.path.join(root, PROGRAM_NAME), program.encode() + b"\n", durable=True)
    how = keep_arranged(root, proc.boot(), program)
    if how in (UNIT, USER_UNIT) and commands.systemctl("start", names.service(root))[0] == 0:
        word = {"by": how}
    elif how != ASKED_NOT_TO and session.would_end_us():
        message = "what %s starts would be killed when it logs out (KillUserProcesses=yes of logind)" % commands.login()
        word = {"error": message, "hint": "run `loginctl enable-linger %s` as root" % commands.login()}
    else:
        word = {"by": "fork"}
    sys.stdout.write(json.dumps(word) + "\n")
    return 0


def stop(root: str) -> int:
    """Before the unit is stopped: where the machine goes down, have the agent stop all programs and wait for that.

    Else they run on, as after any stop of the unit. Either way the agent is not to take the place of the supervisor.
    """
    if commands.systemctl("is-system-running")[1].strip() == "stopping":
        going_down.ask(root)
    files.replace(os.path.join(root, supervisor.RESTING), b"", durable=False)
    return 0


# Who does it


def keep_arranged(root: str, boot: str, program: str) -> str:
    """Arrange, and write down how, so that the next agent of this program need not look again."""
    how = arrange(root)
    if how != ASKED_NOT_TO:
        value = {"how": how, "boot": boot, "program": program, "lingers": lingers(commands.login())}
        files.replace_json(os.path.join(root, ARRANGED_NAME), value, durable=False)
    return how


def arrange(root: str) -> str:
    """See to it that something starts the supervisor after a reboot: `unit`, `user unit`, `crontab` or `none: WHY`."""
    if os.environ.get("FLEETCTL_BOOT") == "none":
        return ASKED_NOT_TO
    reasons = []
    for way in (by_unit, by_crontab):
        try:
            if "\n" in root:
                raise Impossible("its root's name has a line feed")
            files.replace(os.path.join(root, SCRIPT_NAME), SCRIPT.encode("ascii"), durable=True)
            return way(root)
        except (Impossible, crontab.Unusable) as impossible:
            reasons.append(str(impossible))
        except OSError as error:
            reasons.append("%s: %s" % (error.filename or root, error.strerror))
    hint = ""
    if os.getuid() and has_systemd() and not lingers(commands.login()):
        hint = ": run `loginctl enable-linger %s` as root" % commands.login()
    return "none: " + ", ".join(reasons) + hint


def has_systemd() -> bool:
    return os.path.isdir("/run/systemd/system") and bool(commands.where("systemctl"))


# systemd


def by_unit(root: str) -> str:
    if not has_systemd():
        raise Impossible("no systemd")
    if os.getuid() == 0:
        write_unit(root, SYSTEM_UNITS, "multi-user.target")
    else:
        user = commands.login()
        if not lingers(user) and commands.where("loginctl"):
            commands.run([commands.where("loginctl"), "--no-ask-password", "enable-linger"])
        if not lingers(user):
            raise Impossible("user %s does not linger" % user)
        home = pwd.getpwuid(os.getuid()).pw_dir
        write_unit(root, os.path.join(home, ".config/systemd/user"), "default.target")
    if files.read_json(os.path.join(root, ARRANGED_NAME), {}).get("how") == CRONTAB:
        crontab.drop(root)  # the unit does it now
    return USER_UNIT if os.getuid() else UNIT


def write_unit(root: str, folder: str, target: str) -> None:
    """First the link that enables it, then the unit: a unit without its link was disabled by someone, and stays so."""
    name = names.service(root)
    path, link = os.path.join(folder, name), os.path.join(folder, target + ".wants", name)
    before, wanted = commands.read(path), unit_text(root, target)
    if os.path.lexists(path) and not before.startswith(OURS):
        raise Impossible("%s is somebody else's" % path)
    if before and not os.path.lexists(link):
        raise Impossible("%s was disabled: `systemctl %senable %s`" % (name, "--user " if os.getuid() else "", name))
    if before == wanted:
        return
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if not os.path.lexists(link):
        os.symlink(path, link)
        files.sync_folder(os.path.dirname(link))
    files.replace(path, wanted.encode("utf-8", "surrogateescape"), durable=True)
    os.chmod(path, 0o644)
    commands.systemctl("daemon-reload")


def unit_text(root: str, target: str) -> str:
    script = os.path.join(root, SCRIPT_NAME)
    words = [sys.executable, "-I", "-S", "-E", script]
    needed = [script, *([LINGER + commands.login()] if os.getuid() else [])]
    return UNIT_TEXT.format(
        ours=OURS,
        root=root.replace("%", "%%"),
        conditions="\n".join("ConditionPathExists=" + path.replace("%", "%%") for path in needed),
        mounts=quoted(root),
        command=" ".join(quoted(word).replace("$", "$$") for word in words),
        target=target,
    )


def quoted(word: str) -> str:
    """As systemd reads it: nothing in it means anything."""
    return '"%s"' % word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def by_crontab(root: str) -> str:
    crontab.write(os.path.join(root, SCRIPT_NAME), root)
    return CRONTAB
