"""How a job says that it is well: `ready` and `alive` become probes and policies, or complaints with their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fleetctl.config.source import KeyPath
from fleetctl.config.suggest import did_you_mean
from fleetctl.model.job import AlivePolicy, Probe, Progress
from fleetctl.model.template import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetctl.config.shapes import AliveShape, ProbeShape, ProgressShape, ReadyShape

Kind = Literal["http", "tcp", "command", "notify"]

_KINDS: tuple[Kind, ...] = ("http", "tcp", "command", "notify")
_RHYTHM = ("interval", "timeout", "failures", "successes", "grace")
_GOES_WITH: dict[str, tuple[Kind, ...]] = {
    "port": ("http", "tcp"),
    **dict.fromkeys(("status", "header", "body"), ("http",)),
    **dict.fromkeys(_RHYTHM, ("http", "tcp", "command")),
}


@dataclass(frozen=True, slots=True)
class HealthReader:
    """Reads what one job says. `texts` has the words of its commands, finished as far as can be."""

    ports: tuple[str, ...]
    texts: Mapping[KeyPath, Text]
    wrong: Callable[[KeyPath, str], None]

    def ready(self, shape: ReadyShape | None) -> Probe | None:
        return None if shape is None else self._probe("ready", shape, needed="http, tcp, command and notify")

    def alive(self, shape: AliveShape | None) -> AlivePolicy | None:
        if shape is None:
            return None
        others = shape.heartbeat is not None or shape.progress is not None
        needed = "" if others else "http, tcp, command, heartbeat and progress"
        probe = self._probe("alive", shape, needed=needed)
        return AlivePolicy(probe, shape.heartbeat, self._progress(shape.progress) if shape.progress else None)

    def _probe(self, where: str, shape: ProbeShape, *, needed: str) -> Probe | None:
        """`needed`: what there has to be one of, where there has to be a probe."""
        kinds = [kind for kind in _KINDS if getattr(shape, kind, None) is not None]
        if len(kinds) > 1:
            self.wrong((where,), f"has both {kinds[0]} and {kinds[1]}")
            return None
        if not kinds and needed:
            self.wrong((where,), f"needs one of {needed}")
            return None
        misplaced = [key for key in _GOES_WITH if key in shape.model_fields_set and not set(kinds) & {*_GOES_WITH[key]}]
        for key in misplaced:
            self.wrong((where, key), f"goes with {_listed(_GOES_WITH[key])} only")
        return self._of_kind(where, kinds[0], shape) if kinds and not misplaced else None

    def _of_kind(self, where: str, kind: Kind, shape: ProbeShape) -> Probe | None:
        port = self._port((where,), shape.port) if kind in _GOES_WITH["port"] else ""
        if port is None:
            return None
        words = range(len(shape.command or ()))
        return Probe(
            kind=kind,
            port=port,
            path=shape.http or "/",
            interval_s=shape.interval,
            timeout_s=shape.timeout,
            failures=shape.failures,
            successes=shape.successes,
            grace_s=shape.grace,
            status=shape.status,
            header=tuple(sorted(shape.header.items())),
            body=shape.body,
            command=tuple(self.texts[where, "command", number] for number in words),
        )

    def _progress(self, shape: ProgressShape) -> Progress | None:
        where: KeyPath = ("alive", "progress")
        if (shape.file is None) == (shape.metric is None):
            self.wrong(where, "needs one of file and metric" if shape.file is None else "has both file and metric")
            return None
        misplaced = shape.model_fields_set & {"port", "path"} if shape.metric is None else frozenset()
        for key in sorted(misplaced):
            self.wrong((*where, key), "goes with metric only")
        port = "" if shape.metric is None else self._port(where, shape.port)
        if port is None or misplaced:
            return None
        return Progress(shape.stalled, shape.file, shape.metric, port, shape.path)

    def _port(self, where: KeyPath, named: str | None) -> str | None:
        """The named one, or the job's only one."""
        ports = self.ports
        port = ports[0] if named is None and len(ports) == 1 else named
        if port is None:
            known = f": one of {', '.join(ports)}" if ports else ", and the job has none"
            self.wrong(where, f"needs a port{known}")
        elif port not in ports:
            known = did_you_mean(port, ports) or f": its ports are {', '.join(ports) or 'none'}"
            self.wrong((*where, "port"), f'the job has no port "{port}"{known}')
            return None
        return port


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
