"""Single values of a job as the playbook writes them: signals, ports, constraints, names.

What is refused raises ValueError with a sentence that can stand behind the name of a key.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

from fleetctl.config.quantities import parse_duration, shown
from fleetctl.model.job import Constraint
from fleetctl.model.replica import JOB_NAME

_SIGNALS = ("ABRT", "ALRM", "HUP", "INT", "KILL", "PWR", "QUIT", "TERM", "USR1", "USR2", "WINCH")
_PORT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NOT_PORT_NAMES = frozenset(name for name in dir(dict) if not name.startswith("_"))  # `ports.items` is the dict's own
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PERCENT = re.compile(r"(0|[1-9][0-9]?|100)%")
_CONSTRAINT = re.compile(r"""\s*labels\.([A-Za-z_][A-Za-z0-9_-]*)\s*(==|!=)\s*(?:'([^']*)'|"([^"]*)")\s*""")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}(?:\{[!-~]{1,1000}\})?")
PAGE_TEXT_MAX, PAGE_PATH_MAX = 1000, 2000  # what hosts take
WORD_BYTES_MAX = 128_000  # a kernel passes on up to 128 KiB as one argument or variable, its name included
EXITS_MAX = 10_000
PIDS_MAX = 4_194_304  # the kernel has no more
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
    if isinstance(value, list) and value[:1] in ([], [""]):
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
    if value.endswith("_"):
        raise ValueError(f'"{value}" is not a name for a port: it ends with _')
    return value


def parse_port_reference(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be the name of one of the job's ports, not {shown(value)}")  # noqa: TRY004  (a file's error)
    return value


def parse_env_name(value: object) -> str:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for an environment variable')
    if value.startswith("FLEETCTL_") or value in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        raise ValueError("is set by fleetctl itself")
    return value


def parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {shown(value)}")  # noqa: TRY004  (a file's error)
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    if len(value.encode("utf-8", "surrogatepass")) > WORD_BYTES_MAX:
        raise ValueError(f"must have at most {WORD_BYTES_MAX} bytes: no program can be given more in one piece")
    return value


def parse_job_name(value: object) -> str:
    if not isinstance(value, str) or not JOB_NAME.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for a job: lower-case letters, digits, - and _, at most 63')
    return value


def parse_path(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]*", value):
        raise ValueError(f"must be a path such as /healthz, not {shown(value)}")
    if len(value) > PAGE_PATH_MAX:
        raise ValueError(f"must have at most {PAGE_PATH_MAX} characters")
    return value


def parse_tcp(value: object) -> bool:
    if value is not True:
        raise ValueError("must be true; the port's name goes into port")
    return True


def parse_notify(value: object) -> bool:
    if value is not True:
        raise ValueError("must be true: the program says READY=1 on NOTIFY_SOCKET")
    return True


def parse_status(value: object) -> tuple[int, int]:
    """The least and the most of `200` or `200-299`."""
    found = _STATUS.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if found is None:
        raise ValueError(f"must be a status such as 200 or a range such as 200-299, not {shown(value)}")
    least, most = int(found[1]), int(found[2] or found[1])
    if least > most:
        raise ValueError(f"must begin with the smaller number, as {most}-{least} does")
    return least, most


def parse_header_name(value: object) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise ValueError(f'"{value}" is not a name for a header')
    return value


def parse_page_text(value: object) -> str:
    text = parse_text(value)
    if not 0 < len(text) <= PAGE_TEXT_MAX:
        raise ValueError(f"must have 1 to {PAGE_TEXT_MAX} characters")
    return text


def parse_inner_path(value: object) -> str:
    """The path of a file below the working folder."""
    parts = value.split("/") if isinstance(value, str) else [""]
    if any(part in ("", ".", "..") for part in parts) or "\0" in str(value) or len(str(value)) > PAGE_TEXT_MAX:
        raise ValueError(f"must be a path below the working folder such as docs.count, not {shown(value)}")
    return str(value)


def parse_metric(value: object) -> str:
    if not isinstance(value, str) or not _METRIC.fullmatch(value):
        named = "the name of a metric, as its page has it: docs_total, or with its labels and without spaces"
        raise ValueError(f"must be {named}, not {shown(value)}")
    return value


def parse_backoff(value: object) -> tuple[float, float]:
    """Seconds of the shortest and the longest pause, `1s..5m`."""
    least, dots, most = value.partition("..") if isinstance(value, str) else ("", "", "")
    if not dots:
        raise ValueError(f"must be the shortest and the longest pause, such as 1s..5m, not {shown(value)}")
    return parse_duration(least.strip()), parse_duration(most.strip())


def parse_alarm(value: object) -> tuple[int, float]:
    """`5 in 10m`: exits, and the seconds within which they come."""
    count, word, window = value.partition(" in ") if isinstance(value, str) else ("", "", "")
    if not word or not re.fullmatch(r"[0-9]{1,5}", count.strip()) or not 1 <= int(count) <= EXITS_MAX:
        raise ValueError(f"must be how many exits, at most {EXITS_MAX}, in which time: 5 in 10m, not {shown(value)}")
    return int(count), parse_duration(window.strip())


def parse_when_full(value: object) -> Literal["drop", "block"]:
    match value:
        case "drop" | "block":
            return value
        case _:
            raise ValueError(f"must be drop or block, not {shown(value)}")
