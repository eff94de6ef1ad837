"""One job of a play: its data becomes a JobSpec, or what is wrong with it becomes errors with their places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fleetctl.config.health import HealthReader
from fleetctl.config.possible import impossible
from fleetctl.config.program import check_program, find_artifact
from fleetctl.config.quantities import shown
from fleetctl.config.shapes import JobShape, check_shape, keys_of
from fleetctl.config.source import Document, Problems
from fleetctl.config.templates import Scope, compile_text, evaluate
from fleetctl.model.host import Inventory
from fleetctl.model.job import JobSpec, LogPolicy, PortRequest, RestartPolicy, StopPolicy, UpdatePolicy
from fleetctl.model.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.config.source import KeyPath
    from fleetctl.model.template import Text

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ReadJob:
    spec: JobSpec
    artifact: Path | None


@dataclass(frozen=True, slots=True)
class JobReader:
    """Reads the jobs of one play."""

    document: Document
    folder: Path
    inventory: Inventory
    scope: Scope
    problems: Problems

    def read(self, name: str, path: KeyPath, hosts: str, eligible: tuple[str, ...]) -> ReadJob | None:
        """The job at `path`; nothing where something is wrong with it."""
        data = self._at(path)
        if not isinstance(data, dict):
            self._wrong(path, f"must be a mapping with at least a command, not {shown(data)}")
            return None
        return _OneJob(self, name, path, hosts, eligible).read(data)

    def _at(self, path: KeyPath) -> object:
        data = self.document.data
        for part in path:
            data = data[part]  # type: ignore[index]  # the caller has seen that it is there
        return data

    def _wrong(self, path: KeyPath, message: str) -> None:
        self.problems.add(self.document.error(path, message))


_WRONG: object = object()  # what can't be evaluated: told, and left out of what is judged further
# Their templates may name what only a placement knows.
_COMMANDS: tuple[KeyPath, ...] = (("command",), ("ready", "command"), ("alive", "command"))
_FINISHED_LATER: frozenset[KeyPath] = frozenset({*_COMMANDS, ("env",)})


class _OneJob:
    def __init__(self, play: JobReader, name: str, path: KeyPath, hosts: str, eligible: tuple[str, ...]) -> None:
        self._play = play
        self._name = name
        self._path = path
        self._hosts = hosts
        self._eligible = eligible

    def read(self, data: dict[object, object]) -> ReadJob | None:
        before = self._play.problems.count()
        judged = self._judged(data)
        texts = self._texts(judged)
        shape = check_shape(JobShape, judged, self._play.document, self._path, self._play.problems)
        if shape is None or self._play.problems.count() > before:
            return None
        found = ReadJob(self._spec(shape, texts), self._artifact(shape))
        if self._play.problems.count() == before:
            self._check(found)
        return found if self._play.problems.count() == before else None

    def _judged(self, data: dict[object, object]) -> dict[object, object]:
        """The job's data with its templates evaluated where they must be by now; those that can't be are left out."""
        known = keys_of(JobShape)
        judged = {key: self._evaluated(value, (str(key),)) if key in known else value for key, value in data.items()}
        return {key: value for key, value in judged.items() if value is not _WRONG}

    def _check(self, job: ReadJob) -> None:
        hosts = [host for host in self._play.inventory.hosts if host.name in set(self._eligible)]
        if hosts:
            for where, message in impossible(job.spec, hosts):
                self._wrong(where, message)
        probes = (("ready", job.spec.ready), ("alive", job.spec.alive.probe if job.spec.alive else None))
        programs: dict[KeyPath, Text] = {("command", 0): job.spec.command[0]}
        programs |= {(key, "command", 0): probe.command[0] for key, probe in probes if probe and probe.command}
        for where, program in programs.items():
            self._try(where, partial(check_program, program, job.artifact), None)

    def _texts(self, judged: dict[object, object]) -> dict[KeyPath, Text]:
        """All of commands and `env` that is text, finished as far as can be, whatever else is wrong with the job."""
        env, ports, replicas = (judged.get(key) for key in ("env", "ports", "replicas"))
        sources: dict[KeyPath, str] = {}
        for where in _COMMANDS:
            command = _within(judged, where)
            if isinstance(command, list):
                sources |= {(*where, number): word for number, word in enumerate(command) if isinstance(word, str)}
        if isinstance(env, dict):
            sources |= {("env", str(name)): text for name, text in env.items() if isinstance(text, str)}
        names = tuple(str(name) for name in ports) if isinstance(ports, list | dict) else ()
        count = replicas if isinstance(replicas, int) else 1

        def finish(source: str) -> Text:
            return compile_text(source, self._play.scope, names, count)

        unfinished: Text = ""
        return {where: self._try(where, partial(finish, source), unfinished) for where, source in sources.items()}

    def _spec(self, shape: JobShape, texts: dict[KeyPath, Text]) -> JobSpec:
        ports = tuple(sorted(shape.ports))
        health = HealthReader(ports, texts, self._wrong)
        return JobSpec(
            name=self._name,
            hosts=self._hosts,
            command=tuple(texts["command", number] for number in range(len(shape.command))),
            replicas=shape.replicas,
            env=tuple((name, texts["env", name]) for name in sorted(shape.env)),
            ports=tuple(PortRequest(name, shape.ports[name]) for name in ports),
            resources=Resources(shape.resources.cpu, shape.resources.memory, shape.resources.disk),
            constraints=tuple(sorted(set(shape.constraints))),
            spread=None if shape.spread == "hosts" else shape.spread,
            ready=health.ready(shape.ready),
            alive=health.alive(shape.alive),
            restart=RestartPolicy(*shape.restart.backoff, shape.restart.reset, *shape.restart.alarm),
            stop=StopPolicy(shape.stop.signal, shape.stop.timeout, shape.stop.drain),
            update=UpdatePolicy(shape.update.max_unavailable, shape.update.min_healthy, shape.update.deadline),
            log=LogPolicy(shape.log.size, shape.log.keep, shape.log.when_full),
            pids=shape.resources.pids,
            core=shape.core,
        )

    def _artifact(self, shape: JobShape) -> Path | None:
        text = shape.artifact
        if text is None:
            return None
        return self._try(("artifact",), lambda: find_artifact(text, self._play.folder), None)

    def _as_written(self, value: object, where: KeyPath) -> object:
        """Arguments and environment are text: a number stands for what is written, `1.10` for `1.10`."""
        match value:
            case dict():
                return {key: self._as_written(item, (*where, key)) for key, item in value.items()}
            case list():
                return [self._as_written(item, (*where, number)) for number, item in enumerate(value)]
            case bool() | int() | float():
                return self._play.document.written.get((*self._path, *where), value)
            case _:
                return value

    def _evaluated(self, value: object, where: KeyPath) -> object:
        if where in _FINISHED_LATER:
            return self._as_written(value, where)
        match value:
            case dict():
                items = {key: self._evaluated(item, (*where, str(key))) for key, item in value.items()}
                return {key: item for key, item in items.items() if item is not _WRONG}
            case list():
                found = [self._evaluated(item, (*where, number)) for number, item in enumerate(value)]
                return [item for item in found if item is not _WRONG]
            case str():
                return self._try(where, lambda: evaluate(value, self._play.scope), _WRONG)
            case _:
                return value

    def _try(self, where: KeyPath, work: Callable[[], _Result], otherwise: _Result) -> _Result:
        try:
            return work()
        except ValueError as error:
            self._wrong(where, str(error))
            return otherwise

    def _wrong(self, where: KeyPath, message: str) -> None:
        self._play.problems.add(self._play.document.error((*self._path, *where), message))


def _within(data: object, where: KeyPath) -> object:
    """What is there; nothing where it can't be."""
    for part in where:
        data = data.get(part) if isinstance(data, dict) else None
    return data
