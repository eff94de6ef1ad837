"""The shapes of a play and a job: which keys there are, of which type, and what each stands for where it is left out.

Only what can be judged from one value alone is judged here. `check_shape` tells what is wrong in our own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fleetctl.config.job_values import (
    PIDS_MAX,
    REPLICAS_MAX,
    parse_alarm,
    parse_artifact,
    parse_backoff,
    parse_command,
    parse_constraint,
    parse_env_name,
    parse_header_name,
    parse_inner_path,
    parse_job_name,
    parse_kind,
    parse_max_unavailable,
    parse_metric,
    parse_notify,
    parse_page_text,
    parse_path,
    parse_port_name,
    parse_port_reference,
    parse_ports,
    parse_signal,
    parse_status,
    parse_tcp,
    parse_text,
    parse_when_full,
)
from fleetctl.config.quantities import parse_cpu, parse_duration, parse_size, shown
from fleetctl.config.ranges import parse_port
from fleetctl.config.suggest import did_you_mean
from fleetctl.model.job import Constraint, LogPolicy, Probe, Progress, RestartPolicy, StopPolicy, UpdatePolicy
from fleetctl.model.resources import Bytes, MilliCpu

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from fleetctl.config.source import Document, KeyPath, Problems

_PROBE, _PROGRESS, _RESTART = Probe("tcp"), Progress(), RestartPolicy()
_STOP, _UPDATE, _LOG = StopPolicy(), UpdatePolicy(), LogPolicy()

Duration = Annotated[float, BeforeValidator(parse_duration)]
Cpu = Annotated[MilliCpu, BeforeValidator(parse_cpu)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
Line = Annotated[str, BeforeValidator(parse_text)]
PortName = Annotated[str, BeforeValidator(parse_port_name)]
PortNumber = Annotated[int, BeforeValidator(parse_port)]
PortReference = Annotated[str, BeforeValidator(parse_port_reference)]
PagePath = Annotated[str, BeforeValidator(parse_path)]
PageText = Annotated[str, BeforeValidator(parse_page_text)]
Command = Annotated[list[Line], BeforeValidator(parse_command)]


class Shape(BaseModel):
    """A mapping with known keys. `later` are keys of features that are not built yet."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    later: ClassVar[frozenset[str]] = frozenset()


class ResourcesShape(Shape):
    later = frozenset({"gpu"})
    cpu: Cpu = MilliCpu(0)
    memory: Size = Bytes(0)
    disk: Size = Bytes(0)
    pids: int = Field(default=0, ge=0, le=PIDS_MAX)


class ProbeShape(Shape):
    """One question, of one kind. Which keys go with which is judged by `health`."""

    http: PagePath | None = None
    tcp: Annotated[bool, BeforeValidator(parse_tcp)] | None = None
    command: Command | None = None
    port: PortReference | None = None
    status: Annotated[tuple[int, int], BeforeValidator(parse_status)] = _PROBE.status
    header: dict[Annotated[str, BeforeValidator(parse_header_name)], PageText] = Field(default_factory=dict)
    body: PageText = _PROBE.body
    interval: Duration = _PROBE.interval_s
    timeout: Duration = _PROBE.timeout_s
    failures: int = Field(default=_PROBE.failures, ge=1, le=1000)
    successes: int = Field(default=_PROBE.successes, ge=1, le=1000)
    grace: Duration = _PROBE.grace_s


class ReadyShape(ProbeShape):
    notify: Annotated[bool, BeforeValidator(parse_notify)] | None = None


class ProgressShape(Shape):
    file: Annotated[str, BeforeValidator(parse_inner_path)] | None = None
    metric: Annotated[str, BeforeValidator(parse_metric)] | None = None
    port: PortReference | None = None
    path: PagePath = _PROGRESS.path
    stalled: Duration = _PROGRESS.stalled_s


class AliveShape(ProbeShape):
    heartbeat: Duration | None = None
    progress: ProgressShape | None = None


class RestartShape(Shape):
    backoff: Annotated[tuple[float, float], BeforeValidator(parse_backoff)] = (
        _RESTART.backoff_min_s,
        _RESTART.backoff_max_s,
    )
    reset: Duration = _RESTART.reset_s
    alarm: Annotated[tuple[int, float], BeforeValidator(parse_alarm)] = (_RESTART.alarm_exits, _RESTART.alarm_s)


class StopShape(Shape):
    signal: Annotated[str, BeforeValidator(parse_signal)] = _STOP.signal
    drain: Duration = _STOP.drain_s
    timeout: Duration = _STOP.timeout_s


class UpdateShape(Shape):
    later = frozenset({"canary", "auto_revert"})
    max_unavailable: Annotated[int | str, BeforeValidator(parse_max_unavailable)] = _UPDATE.max_unavailable
    min_healthy: Duration = _UPDATE.min_healthy_s
    deadline: Duration = _UPDATE.deadline_s


class LogShape(Shape):
    size: Size = _LOG.size
    keep: int = Field(default=_LOG.keep, ge=1, le=1000)
    when_full: Annotated[Literal["drop", "block"], BeforeValidator(parse_when_full)] = _LOG.when_full


class JobShape(Shape):
    later = frozenset({"secrets", "priority", "reschedule", "evict", "data", "exclusive", "shell"})
    kind: Annotated[Literal["service"], BeforeValidator(parse_kind)] = "service"
    replicas: int = Field(default=1, ge=1, le=REPLICAS_MAX)
    artifact: Annotated[str, BeforeValidator(parse_artifact)] | None = None
    command: Command
    env: dict[Annotated[str, BeforeValidator(parse_env_name)], Line] = Field(default_factory=dict)
    ports: Annotated[dict[PortName, PortNumber | None], BeforeValidator(parse_ports)] = Field(default_factory=dict)
    resources: ResourcesShape = ResourcesShape()
    constraints: list[Annotated[Constraint, BeforeValidator(parse_constraint)]] = Field(default_factory=list)
    spread: str | None = None
    ready: ReadyShape | None = None
    alive: AliveShape | None = None
    restart: RestartShape = RestartShape()
    stop: StopShape = StopShape()
    update: UpdateShape = UpdateShape()
    log: LogShape = LogShape()
    core: bool = False


class PlayShape(Shape):
    later = frozenset({"tasks", "include"})
    name: str = ""
    hosts: str
    vars: dict[str, Any] = Field(default_factory=dict)
    jobs: dict[Annotated[str, BeforeValidator(parse_job_name)], Any]


_Shape = TypeVar("_Shape", bound=Shape)


def check_shape(
    shape: type[_Shape], data: object, document: Document, path: KeyPath, problems: Problems
) -> _Shape | None:
    """`data` as a `shape`; absent where it is none. Then `problems` has each reason, with its place below `path`."""
    try:
        return shape.model_validate(data)
    except ValidationError as errors:
        for error in errors.errors(include_url=False):
            where, message = _complaint(error, shape)
            problems.add(document.error((*path, *where), message))
        return None


def keys_of(shape: type[Shape]) -> frozenset[str]:
    return frozenset(shape.model_fields)


def _complaint(error: ErrorDetails, shape: type[Shape]) -> tuple[KeyPath, str]:
    kind, context = error["type"], error.get("ctx", {})
    where = tuple(
        part for part in error["loc"] if part != "[key]" or kind == "extra_forbidden"
    )  # then it is the user's
    match kind:
        case "extra_forbidden":
            return where, _unknown(str(where[-1]), _shape_at(shape, where[:-1]))
        case "missing":
            return where[:-1], f'missing key "{where[-1]}"'
        case "value_error":
            return where, str(context["error"])
        case "greater_than_equal":
            return where, f"must be at least {context['ge']}, not {error['input']}"
        case "less_than_equal":
            return where, f"must be at most {context['le']}, not {error['input']}"
        case "int_type" if isinstance(error["input"], str) and error["input"].isdecimal():
            return where, "must be a whole number, not text: no quotes, or | int in the template"
        case "int_from_float":
            return where, f"must be a whole number, not {shown(error['input'])}"
        case _:
            wanted = _WANTED.get(kind)
            return where, f"must be {wanted}, not {shown(error['input'])}" if wanted else error["msg"]


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _unknown(key: str, shape: type[Shape]) -> str:
    if key in shape.later:
        return f"not supported yet: {key}"
    known = keys_of(shape) | shape.later
    return f"unknown key{did_you_mean(key, known) or ': known are ' + ', '.join(sorted(keys_of(shape)))}"


def _shape_at(shape: type[Shape], path: KeyPath) -> type[Shape]:
    for part in path:
        annotation = shape.model_fields[str(part)].annotation
        shape = next(
            kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, Shape)
        )
    return shape
