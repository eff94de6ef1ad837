"""Commands of the machine that are asked, with a time limit: systemctl, crontab, busctl, loginctl.

Used by processes that end soon, and by children of the agent: it imports what the agent may not afford.
"""

import os
import pwd
import subprocess

COMMAND_S = 20.0
FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/run/current-system/sw/bin")


def login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def where(name: str) -> str:
    """The path of a command, or nothing: not every login has the folders of administration on its PATH."""
    for folder in FOLDERS:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    return ""


def run(argv, stdin: str = ""):
    """(exit status, what it printed, what it complained of). One that hangs is killed, and told as status 124."""
    variables = {"PATH": ":".join(FOLDERS), "LC_ALL": "C"}
    runtime = "/run/user/%d" % os.getuid()
    if os.getuid() and os.path.isdir(runtime):
        variables.update(XDG_RUNTIME_DIR=runtime)
    pipe = subprocess.PIPE
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=variables, cwd="/")
    try:
        told, complaint = child.communicate(stdin.encode("utf-8", "surrogateescape"), COMMAND_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return 124, "", "it hangs"
    return child.returncode, told.decode("utf-8", "surrogateescape"), complaint.decode("utf-8", "replace")


def systemctl(*arguments: str):
    """Asks our systemd: root's is the machine's, a user's their own. The answer is that of `run`."""
    return run([where("systemctl"), *(["--user"] if os.getuid() else []), *arguments])
