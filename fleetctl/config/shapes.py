"""The shapes of a play and a job: which keys there are, of which type, and what each stands for where it is left out.

Only what can be judged from one value alone is judged here. `check_shape` tells what is wrong in our own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fleetctl.config.job_values import (
    REPLICAS_MAX,
    parse_artifact,
    parse_command,
    parse_constraint,
    parse_env_name,
    parse_job_name,
    parse_kind,
    parse_max_unavailable,
    parse_path,
    parse_port_name,
    parse_port_reference,
    parse_ports,
    parse_signal,
    parse_tcp,
    parse_text,
    parse_when_full,
)
from fleetctl.config.quantities import parse_cpu, parse_duration, parse_size, shown
from fleetctl.config.ranges import parse_port
from fleetctl.config.suggest import did_you_mean
from fleetctl.model.job import Constraint, LogPolicy, Probe, StopPolicy, UpdatePolicy
from fleetctl.model.resources import Bytes, MilliCpu

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from fleetctl.config.source import Document, KeyPath, Problems

_READY, _STOP, _UPDATE, _LOG = Probe("tcp", ""), StopPolicy(), UpdatePolicy(), LogPolicy()

Duration = Annotated[float, BeforeValidator(parse_duration)]
Cpu = Annotated[MilliCpu, BeforeValidator(parse_cpu)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
Line = Annotated[str, BeforeValidator(parse_text)]
PortName = Annotated[str, BeforeValidator(parse_port_name)]
PortNumber = Annotated[int, BeforeValidator(parse_port)]


class Shape(BaseModel):
    """A mapping with known keys. `later` are keys of features that are not built yet."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    later: ClassVar[frozenset[str]] = frozenset()


class ResourcesShape(Shape):
    later = frozenset({"pids", "gpu"})
    cpu: Cpu = MilliCpu(0)
    memory: Size = Bytes(0)
    disk: Size = Bytes(0)


class ReadyShape(Shape):
    later = frozenset({"command"})
    http: Annotated[str, BeforeValidator(parse_path)] | None = None
    tcp: Annotated[bool, BeforeValidator(parse_tcp)] | None = None
    port: Annotated[str, BeforeValidator(parse_port_reference)] | None = None
    interval: Duration = _READY.interval_s
    timeout: Duration = _READY.timeout_s
    failures: int = Field(default=_READY.failures, ge=1, le=1000)
    successes: int = Field(default=_READY.successes, ge=1, le=1000)
    grace: Duration = _READY.grace_s


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
    when_full: Annotated[str, BeforeValidator(parse_when_full)] = "drop"


class JobShape(Shape):
    later = frozenset(
        {"secrets", "priority", "alive", "restart", "reschedule", "evict", "data", "exclusive", "shell", "core"}
    )
    kind: Annotated[Literal["service"], BeforeValidator(parse_kind)] = "service"
    replicas: int = Field(default=1, ge=1, le=REPLICAS_MAX)
    artifact: Annotated[str, BeforeValidator(parse_artifact)] | None = None
    command: Annotated[list[Line], BeforeValidator(parse_command)]
    env: dict[Annotated[str, BeforeValidator(parse_env_name)], Line] = Field(default_factory=dict)
    ports: Annotated[dict[PortName, PortNumber | None], BeforeValidator(parse_ports)] = Field(default_factory=dict)
    resources: ResourcesShape = ResourcesShape()
    constraints: list[Annotated[Constraint, BeforeValidator(parse_constraint)]] = Field(default_factory=list)
    spread: str | None = None
    ready: ReadyShape | None = None
    stop: StopShape = StopShape()
    update: UpdateShape = UpdateShape()
    log: LogShape = LogShape()


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
    where = tuple(part for part in error["loc"] if part != "[key]")
    kind, context = error["type"], error.get("ctx", {})
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
