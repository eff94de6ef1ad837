"""What is told of an instance: its status as it is kept on disk, and the row of a report made from that.

Agent and look.py make the same rows from the same files.
"""

import signal
import time

from . import files, proc, table
from .loop import boottime

STORY_KEPT = 20


def blank_status():
    """What status.json holds. Instants are seconds of CLOCK_BOOTTIME and mean something only in the boot named here."""
    return {
        "state": table.LAUNCHING,
        "boot": "",
        "run": 0,  # which start this is, counted from 1
        "seen": 0,  # the run whose end was noted
        "pid": None,
        "began": 0.0,
        "ended_at": 0.0,
        "ready_since": None,
        "was_ready_since": None,  # of the newest run that was ready
        "ready_run": 0,  # and its number
        "ever_ready": False,
        "stopping_since": 0.0,  # the notice, then the signal
        "due": None,  # when the backoff is over
        "failures": 0,  # starts in a row that were not ready for long enough
        "exits": [],
        "last_exit": None,
        "note": "",
        "problem": None,
        "stuck": [],
        "hung": "",  # why the watchdog ended the newest run that it did, until one is ready
        "leaving": 0,  # the run that said STOPPING=1
        "interval": [],  # run, and the seconds between heartbeats that it asked for
        "extended": 0.0,  # no grace or heartbeat of the run is over before: it asked for that
        "said": "",  # the program's newest STATUS=
        "limits": "",  # what binds its processes, or why nothing does
        "story": [],  # its newest events: see tell
    }


def read_status(path: str):
    """What is kept there; what is missing or of another kind, as in a blank one."""
    found = blank_status()
    kept = files.read_json(path, {})
    for key, blank in found.items():
        value = kept.get(key, blank)
        if blank is None or isinstance(value, type(blank)) or (isinstance(blank, float) and isinstance(value, int)):
            found[key] = value
    if found["state"] not in table.STATES:
        found["state"] = table.LAUNCHING
    return found


def tell(status, what: str) -> None:
    """Another event of its life, for people: the newest STORY_KEPT are kept."""
    event = {"at": round(time.time(), 3), "run": status["run"], "what": what}
    status["story"] = [*status["story"], event][-STORY_KEPT:]


def problem(kind: str, detail: str, port=None, pid=None):
    return {"kind": kind, "detail": detail, "port": port, "pid": pid}


def new_order(spec, reason: str, boot: str):
    """What spec.json holds: an order, durable before it is carried out."""
    return {
        "spec": spec,
        "wanted": "run",
        "reason": reason,
        "made_at": time.time(),
        "made_boot": boot,
        "made_boottime": boottime(),
    }


def age_s(order, boot: str):
    """Since it was ordered. Within a boot no jump of the wall clock changes it."""
    if order["made_boot"] == boot:
        return max(0.0, boottime() - order["made_boottime"])
    return max(0.0, time.time() - order["made_at"])


def row(name: str, order, status, dropped_bytes: int, usage=None):
    """The ROW of protocol.py."""
    spec = order["spec"]
    now = boottime()
    since = status["ready_since"]
    ready = status["state"] == table.READY and since is not None
    hung = "killed: " + status["hung"] if status["hung"] else ""
    reason = "; ".join(part for part in (order["reason"], status["note"], hung) if part)
    return {
        "instance": name,
        "job": spec["job"],
        "release": spec["release"],
        "phase": table.phase(status["state"]),
        "wanted": order["wanted"],
        "pid": status["pid"],
        "ready_for_s": round(max(0.0, now - since), 3) if ready else None,
        "ever_ready": status["ever_ready"],
        "restarts": max(0, status["run"] - 1),
        "last_exit": status["last_exit"],
        "reason": reason,
        "problem": status["problem"],
        "age_s": round(age_s(order, status["boot"]), 3),
        "ports": spec["ports"],
        "address": spec["address"],
        "artifact": spec["artifact"],
        "resources": spec["resources"],
        "dropped_bytes": dropped_bytes,
        "stuck": status["stuck"],
        "said": status["said"],
        "limits": status["limits"],
        "usage": usage,
        "story": status["story"],
    }


def drain_s(spec) -> float:
    """Between notice and signal. Specs of older orders know none."""
    return float(spec["stop"].get("drain_s", 0.0))


def stuck(pid: int):
    state = proc.stat_of(pid)[0]
    why = "it sleeps in the kernel" if state == "D" else "SIGKILL was sent"
    try:
        with open("/proc/%d/wchan" % pid) as file:
            place = file.read()
        if place not in ("", "0"):
            why += " in " + place
    except OSError:
        pass
    return {"pid": pid, "state": state, "why": why}


def signal_number(name: str) -> int:
    """TERM, SIGTERM or 15; 0 where there is no such signal."""
    if name.isdigit():
        return int(name) if 0 < int(name) < signal.NSIG else 0
    found = getattr(signal, name if name.startswith("SIG") else "SIG" + name, 0)
    return int(found) if isinstance(found, signal.Signals) else 0
