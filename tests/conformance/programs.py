"""Real programs for hosts that run them, from nothing but a shell and python3: what `hosts.Program` names."""

from __future__ import annotations

from typing import Any

from tests.conformance.hosts import Program

HELLO = "hello from web.0"

_SAYS = "echo hello from $FLEETCTL_REPLICA; "
_SERVES = 'exec python3 -m http.server "$FLEETCTL_PORT_HTTP" --bind "$FLEETCTL_ADDRESS" > /dev/null 2>&1'
_SCRIPTS = {
    Program.SERVES: _SAYS + _SERVES,
    Program.SERVES_LATE: f"{_SAYS}sleep 5; {_SERVES}",
    Program.NEVER_READY: f"{_SAYS}exec sleep 1000",
}


def program(which: Program) -> dict[str, Any]:
    """`argv` and `artifact` of a SPEC."""
    script = _SCRIPTS.get(which)
    return {"argv": ["/bin/sh", "-c", script] if script else ["/no/such/program"], "artifact": None}
