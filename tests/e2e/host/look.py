"""Run inside a host: what fleetctl left there, as /proc and the disk show it. Prints one JSON object.

A program is a process whose executable or working folder lies under fleetctl's root; the host program itself is not,
nor is what a program forked while it lives (a web server's child for one request). What outlives its program is one.
"""

import hashlib
import json
import os
import sys

ROOT = os.path.realpath(sys.argv[1])


def text(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def link(path):
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""


def process(pid):
    stat = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not stat or stat[0] in "ZX":
        return None
    environ = dict(item.split("=", 1) for item in text(f"/proc/{pid}/environ").split("\0") if "=" in item)
    return {
        "pid": pid,
        "parent": int(stat[1]),
        "started": int(stat[19]),
        "argv": text(f"/proc/{pid}/cmdline").split("\0")[:-1],
        "exe": link(f"/proc/{pid}/exe"),
        "cwd": link(f"/proc/{pid}/cwd"),
        "identity": {name: value for name, value in environ.items() if name.startswith("FLEETCTL_")},
    }


def runs_under_the_root(row):
    if row["exe"].startswith(f"{ROOT}/artifacts/"):
        return True
    of_the_host_program = any(f"{ROOT}/program-" in word for word in row["argv"])
    return row["cwd"].startswith(f"{ROOT}/instances/") and not of_the_host_program


def programs(rows):
    found = {row["pid"]: row for row in rows if runs_under_the_root(row)}
    return [row for row in found.values() if row["parent"] not in found]


def orders():
    """Everything an order would change: guard, wishes, specs and artifacts; not status, logs and readings."""
    found = {}
    for name in ("host.json", "guard.json", "fleet.json"):
        found[name] = text(f"{ROOT}/{name}")
    for instance in folders("instances"):
        spec = text(f"{ROOT}/instances/{instance}/spec.json")
        found[f"instances/{instance}"] = hashlib.sha256(spec.encode()).hexdigest()
    for artifact in folders("artifacts"):
        found[f"artifacts/{artifact}"] = ""
    return found


def folders(name):
    try:
        return sorted(os.listdir(f"{ROOT}/{name}"))
    except OSError:
        return []


rows = [row for row in (process(int(name)) for name in os.listdir("/proc") if name.isdigit()) if row]
json.dump(
    {
        "programs": programs(rows),
        "of_fleetctl": [row for row in rows if any(f"{ROOT}/program-" in word for word in row["argv"])],
        "orders": orders(),
    },
    sys.stdout,
)
