"""What is sent with an order: the start of an instance spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.errors import FleetctlError
from fleetctl.model.template import Template, render

if TYPE_CHECKING:
    from fleetctl.model.desired import Desired
    from fleetctl.model.job import Probe, Release
    from fleetctl.model.plan import Start
    from fleetctl.model.template import Text

# Not yet keys of the playbook: DESIGN section 4's defaults, 1 s doubling to 5 min, back to 1 s after 10 min.
BACKOFF_MIN_S, BACKOFF_MAX_S, BACKOFF_RESET_S = 1.0, 300.0, 600.0


def spec_of(action: Start, desired: Desired) -> dict[str, Any]:
    """What to start, by the releases that `desired` knows. Raises FleetctlError where a template fails there."""
    wanted = next(wanted for wanted in desired.jobs if wanted.name == action.instance.job)
    release = next(release for release in wanted.known if release.number == action.release)
    return start_spec(action, release, fleet=desired.fleet, replicas=wanted.replicas)


def start_spec(action: Start, release: Release, *, fleet: str, replicas: int) -> dict[str, Any]:
    """`release` as the agent of `action.host` runs it: the SPEC of the host program's protocol.

    Raises FleetctlError where a template fails for this placement: reading the playbook tries some, not all.
    """
    spec, ports = release.spec, dict(action.ports)
    index = action.instance.replica.index

    def text(template: Text) -> str:
        try:
            return render(template, address=action.address, ports=ports, index=index)
        except Exception as error:  # a template is a program of the user's: it may fail in any way
            source = template.source if isinstance(template, Template) else template
            raise FleetctlError(
                f"{action.instance.replica} on {action.host}: {source!r} can't be rendered: {error}",
                hint=f"mend command or env of {spec.name} in the playbook, then deploy",
            ) from error

    return {
        "job": spec.name,
        "release": release.number,
        "fleet": fleet,
        "host": action.host,
        "address": action.address,
        "wish_replicas": replicas,
        "argv": [text(word) for word in spec.command],
        "env": {name: text(value) for name, value in spec.env},
        "artifact": release.artifact,
        "ports": ports,
        "resources": {
            "cpu_milli": spec.resources.cpu,
            "memory_bytes": spec.resources.memory,
            "disk_bytes": spec.resources.disk,
        },
        "ready": None if spec.ready is None else _probe(spec.ready, ports[spec.ready.port]),
        "min_healthy_s": spec.update.min_healthy_s,
        "stop": {"signal": spec.stop.signal, "timeout_s": spec.stop.timeout_s, "drain_s": spec.stop.drain_s},
        "log": {"size_bytes": spec.log.size, "keep": spec.log.keep},
        "restart": {"backoff_min_s": BACKOFF_MIN_S, "backoff_max_s": BACKOFF_MAX_S, "reset_s": BACKOFF_RESET_S},
    }


def _probe(ready: Probe, port: int) -> dict[str, Any]:
    return {
        "kind": ready.kind,
        "port": port,
        "path": ready.path,
        "interval_s": ready.interval_s,
        "timeout_s": ready.timeout_s,
        "failures": ready.failures,
        "successes": ready.successes,
        "grace_s": ready.grace_s,
    }
