"""Single values of a job as the playbook writes them: signals, ports, constraints, names.

What is refused raises ValueError with a sentence that can stand behind the name of a key.
"""

from __future__ import annotations

import re
import shlex

from fleetctl.config.quantities import shown
from fleetctl.model.job import Constraint
from fleetctl.model.replica import JOB_NAME

_SIGNALS = ("ABRT", "ALRM", "HUP", "INT", "KILL", "PWR", "QUIT", "TERM", "USR1", "USR2", "WINCH")
_PORT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NOT_PORT_NAMES = frozenset(name for name in dir(dict) if not name.startswith("_"))  # `ports.items` is the dict's own
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PERCENT = re.compile(r"(0|[1-9][0-9]?|100)%")
_CONSTRAINT = re.compile(r"""\s*labels\.([A-Za-z_][A-Za-z0-9_-]*)\s*(==|!=)\s*(?:'([^']*)'|"([^"]*)")\s*""")
REPLICAS_MAX = 1_000_000  # a replica's number has at most six digits


def parse_signal(value: object) -> str:
    """`TERM` of `TERM` or `SIGTERM`."""
    name = value.upper().removeprefix("SIG") if isinstance(value, str) else None
    if name not in _SIGNALS:
        raise ValueError(f"must be a signal such as TERM, INT or QUIT, not {shown(value)}")
    return str(name)


def parse_max_unavailable(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= REPLICAS_MAX:
        return value
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    raise ValueError(f"must be a count of replicas or a percentage such as 25%, not {shown(value)}")


def parse_constraint(value: object) -> Constraint:
    """`labels.zone != 'c'`."""
    found = _CONSTRAINT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be like labels.zone == 'a' or labels.zone != 'a', not {shown(value)}")
    return Constraint(found[1], "==" if found[2] == "==" else "!=", found[3] if found[3] is not None else found[4])


def parse_kind(value: object) -> str:
    if value in ("batch", "daemon"):
        raise ValueError(f"not supported yet: kind {value}")
    if value != "service":
        raise ValueError(f"must be service, not {shown(value)}")
    return "service"


def parse_artifact(value: object) -> str:
    if isinstance(value, dict) and set(value) & {"url", "sha256"}:
        raise ValueError("not supported yet: url")
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be the path of a file or folder, not {shown(value)}")
    if re.search(r"\.(?:tar(?:\.\w+)?|tgz|txz|tbz2?|zip)$", value):
        raise ValueError("not supported yet: archive (unpack it and name the folder)")
    return value


def parse_command(value: object) -> object:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        shape = ", ".join(f'"{word}"' if re.search(r"[^\w./:=-]", word) else word for word in words)
        raise ValueError(f"must be a list of arguments, no shell runs it: [{shape}]")  # noqa: TRY004  (a file's error)
    if value == []:
        raise ValueError("must name at least the program to run")
    return value


def parse_ports(value: object) -> object:
    """A list of names is a mapping in which none has a number."""
    if not isinstance(value, list):
        return value
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"must be a list of names, or a mapping from names to numbers; {shown(name)} is no name")  # noqa: TRY004  (a file's error)
        if value.count(name) > 1:
            raise ValueError(f'has "{name}" twice')
    return dict.fromkeys(value)


def parse_port_name(value: object) -> str:
    if value in _NOT_PORT_NAMES:
        raise ValueError(f"is no name for a port: ports.{value} means something else in a template")
    if not isinstance(value, str) or not _PORT_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for a port: lower-case letters, digits and _, such as http')
    return value


def parse_port_reference(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be the name of one of the job's ports, not {shown(value)}")  # noqa: TRY004  (a file's error)
    return value


def parse_env_name(value: object) -> str:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for an environment variable')
    if value.startswith("FLEETCTL_") or value == "NOTIFY_SOCKET":
        raise ValueError("is set by fleetctl itself")
    return value


def parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {shown(value)}")  # noqa: TRY004  (a file's error)
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def parse_job_name(value: object) -> str:
    if not isinstance(value, str) or not JOB_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for a job: lower-case letters, digits, - and _, at most 63')
    return value


def parse_path(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]*", value):
        raise ValueError(f"must be a path such as /healthz, not {shown(value)}")
    return value


def parse_tcp(value: object) -> bool:
    if value is not True:
        raise ValueError("must be true; the port's name goes into port")
    return True


def parse_when_full(value: object) -> str:
    if value == "block":
        raise ValueError("not supported yet: when_full block")
    if value != "drop":
        raise ValueError(f"must be drop, not {shown(value)}")
    return "drop"
