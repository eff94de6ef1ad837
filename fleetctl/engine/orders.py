"""What is sent with an order: the start of an instance spelled out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fleetctl.errors import FleetctlError
from fleetctl.model.job import JobSpec
from fleetctl.model.plan import Start
from fleetctl.model.template import Template, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.job import AlivePolicy, Probe, Progress, Release
    from fleetctl.model.template import Text


def spec_of(action: Start, desired: Desired) -> dict[str, Any]:
    """What to start, by the releases that `desired` knows. Raises FleetctlError where a template fails there."""
    wanted = next(wanted for wanted in desired.jobs if wanted.name == action.instance.job)
    release = next(release for release in wanted.known if release.number == action.release)
    return start_spec(action, release, fleet=desired.fleet, replicas=wanted.replicas)


def start_spec(action: Start, release: Release, *, fleet: str, replicas: int) -> dict[str, Any]:
    """`release` as the agent of `action.host` runs it: the SPEC of the host program's protocol.

    Raises FleetctlError where a template fails for this placement: reading the playbook tries some, not all.
    """
    spec = release.spec
    text = _Placed(action, spec).text
    ports = dict(action.ports)
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
            "pids": spec.pids,
        },
        "ready": None if spec.ready is None else _probe(spec.ready, ports, text),
        "alive": None if spec.alive is None else _alive(spec.alive, ports, text),
        "min_healthy_s": spec.update.min_healthy_s,
        "stop": {"signal": spec.stop.signal, "timeout_s": spec.stop.timeout_s, "drain_s": spec.stop.drain_s},
        "log": {"size_bytes": spec.log.size, "keep": spec.log.keep, "when_full": spec.log.when_full},
        "restart": asdict(spec.restart),  # its words are those of hosts
        "core": spec.core,
    }


@dataclass(frozen=True, slots=True)
class _Placed:
    """A job's templates, finished for one placement."""

    action: Start
    spec: JobSpec

    def text(self, template: Text) -> str:
        action = self.action
        index = action.instance.replica.index
        try:
            return render(template, address=action.address, ports=dict(action.ports), index=index)
        except Exception as error:  # a template is a program of the user's: it may fail in any way
            source = template.source if isinstance(template, Template) else template
            raise FleetctlError(
                f"{action.instance.replica} on {action.host}: {source!r} can't be rendered: {error}",
                hint=f"mend the templates of {self.spec.name} in the playbook, then deploy",
            ) from error


def _probe(probe: Probe, ports: Mapping[str, int], text: Callable[[Text], str]) -> dict[str, Any]:
    rhythm = {name: getattr(probe, name) for name in ("interval_s", "timeout_s", "failures", "successes", "grace_s")}
    match probe.kind:
        case "http":
            port = {"port": ports[probe.port]}
            return {"kind": "http", **port, "path": probe.path, **_page(probe), **rhythm}
        case "tcp":
            return {"kind": "tcp", "port": ports[probe.port], **rhythm}
        case "command":
            return {"kind": "command", "argv": [text(word) for word in probe.command], **rhythm}
        case "notify":
            return {"kind": "notify", **rhythm}


def _page(probe: Probe) -> dict[str, Any]:
    return {"status": list(probe.status), "header": dict(probe.header), "body": probe.body}


def _alive(alive: AlivePolicy, ports: Mapping[str, int], text: Callable[[Text], str]) -> dict[str, Any]:
    return {
        "probe": None if alive.probe is None else _probe(alive.probe, ports, text),
        "heartbeat": None if alive.heartbeat_s is None else {"timeout_s": alive.heartbeat_s},
        "progress": None if alive.progress is None else _progress(alive.progress, ports),
    }


def _progress(progress: Progress, ports: Mapping[str, int]) -> dict[str, Any]:
    if progress.file is not None:
        return {"stalled_s": progress.stalled_s, "file": progress.file}
    port = ports[progress.port]
    return {"stalled_s": progress.stalled_s, "metric": progress.metric, "port": port, "path": progress.path}
