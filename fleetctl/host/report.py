"""One message that says all there is to know about a host."""

import os
import re
import time

from . import facts
from .loop import boottime

DIGEST = re.compile("[0-9a-f]{64}")


def seen_on_disk(root: str):
    """The parts of a report for which the root is touched."""
    return {"facts": facts.facts(root), "artifacts": artifacts(root)}


def assemble(seen, guard, listed, reach, address: str, program, boot: str, notes):
    """The REPORT of protocol.py; nothing but /proc is touched. `seen`: see seen_on_disk; `listed`: the ROWs."""
    return {
        "serial": guard.serial,
        "boot": boot,
        "boottime_s": boottime(),
        "wallclock_s": time.time(),
        "address": address,
        "host_id": guard.host_id,
        "fleet": guard.fleet,
        "program": program,
        "guard": guard.report(),
        "ports_in_use": facts.ports_in_use(address),
        "instances": listed,
        "reach": reach.report(),
        "notes": list(notes),
        **seen,
    }


def artifacts(root: str):
    try:
        return sorted(name for name in os.listdir(os.path.join(root, "artifacts")) if DIGEST.fullmatch(name))
    except OSError:
        return []
