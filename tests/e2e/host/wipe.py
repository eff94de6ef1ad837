"""Run inside a host as root: it is as it was first booted. Every process but init, its sleep and sshd has ended,
no packet is dropped, sshd listens, login shells are as before, and nothing of fleetctl is on disk.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

DEADLINE = time.monotonic() + 50


def running():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def kept():
    """PID 1, what it was told to run, sshd's listener, and ourselves with the shell that may hold us."""
    stay = {1, os.getpid(), os.getppid()}
    stay |= {pid for pid in running() if read(f"/proc/{pid}/cmdline") == "sleep\0infinity\0"}
    listener = read("/run/sshd.pid").strip()
    if listener and read(f"/proc/{listener}/comm").strip() == "sshd":
        stay.add(int(listener))
    return stay


def dead(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] in (["Z"], [])


while left := [pid for pid in running() - kept() if not dead(pid)]:
    if time.monotonic() > DEADLINE:
        sys.exit(f"these processes can't be ended: {left}")
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.005)

subprocess.run(["iptables", "-F"], check=True)
for path in [*sys.argv[1:], *(f"/tmp/{name}" for name in os.listdir("/tmp"))]:
    shutil.rmtree(path, ignore_errors=True)
    if os.path.isfile(path) and path.startswith("/tmp/"):
        os.remove(path)
    if os.path.lexists(path):
        sys.exit(f"{path} can't be removed")
if os.path.exists("/etc/ssh/authorized_keys.away"):
    os.rename("/etc/ssh/authorized_keys.away", "/etc/ssh/authorized_keys")
shell = [line for line in read("/root/.bashrc").splitlines(True) if not line.endswith("  # greeting\n")]
with open("/root/.bashrc", "w") as file:
    file.writelines(shell)
listener = read("/run/sshd.pid").strip()
if listener and os.path.exists(f"/proc/{listener}"):
    os.kill(int(listener), signal.SIGCONT)
else:
    subprocess.run(["/usr/sbin/sshd"], check=True)
