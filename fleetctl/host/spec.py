"""The shapes of what comes in over the link: each value is checked for type and size before anything is done with it.

It looks at values alone, never at the disk. What is refused is named by its path.
"""

import re

from . import rows
from .guard import Refused
from .protocol import MALFORMED

DIGEST = re.compile(r"[0-9a-f]{64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
NAME_MAX = 200
TEXT_MAX = 128 * 1024  # what the kernel takes as one argument
SECONDS_MAX = 7 * 86400.0
INSTANT_MAX = 1e11  # of the wall clock
NUMBER_MAX = 2**63 - 1
PROBES = ("http", "tcp", "command")


# Shapes


def malformed(path: str, message: str) -> Refused:
    return Refused(MALFORMED, "%s: %s" % (path, message))


def text(value, path: str, limit: int = TEXT_MAX) -> str:
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise malformed(path, "expected a text of at most %d characters" % limit)
    return value


def whole(value, path: str, least: int = 0, most: int = NUMBER_MAX) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise malformed(path, "expected a whole number from %d to %d" % (least, most))
    return value


def seconds(value, path: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= SECONDS_MAX:
        raise malformed(path, "expected seconds from 0 to %d" % SECONDS_MAX)
    return float(value)


def instant(value, path: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= INSTANT_MAX:
        raise malformed(path, "expected seconds since the epoch")
    return float(value)


def matching(value, path: str, pattern, what: str) -> str:
    if not isinstance(value, str) or len(value) > NAME_MAX or not pattern.fullmatch(value):
        raise malformed(path, "expected %s" % what)
    return value


def one_of(value, path: str, choices) -> str:
    if value not in choices:
        raise malformed(path, "expected one of %s" % ", ".join(choices))
    return str(value)


def listed(value, path: str, most: int):
    if not isinstance(value, list) or len(value) > most:
        raise malformed(path, "expected a list of at most %d" % most)
    return value


def table_of(value, path: str):
    if not isinstance(value, dict):
        raise malformed(path, "expected an object")
    return value


def port(value, path: str) -> int:
    return whole(value, path, 1, 65535)


def one_line(value, path: str) -> str:
    """What goes into a line of HTTP must not bring lines of its own."""
    text(value, path, 2000)
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in value):
        raise malformed(path, "expected no spaces and no control characters")
    return str(value)


# Specs


def check_spec(spec) -> None:
    """Refuse a SPEC that could not be carried out as it stands. Keys it does not know are kept and left alone.

    What a spec may lack is what one of an older version lacks.
    """
    table_of(spec, "spec")
    for key in ("job", "fleet", "host", "address"):
        text(spec.get(key), "spec." + key, NAME_MAX)
    for key in ("release", "wish_replicas"):
        whole(spec.get(key), "spec." + key)
    check_program(spec)
    for name, number in table_of(spec.get("ports"), "spec.ports").items():
        matching(name, "spec.ports", PORT_NAME, "names of ports")
        port(number, "spec.ports." + name)
    resources = table_of(spec.get("resources"), "spec.resources")
    for key in ("cpu_milli", "memory_bytes", "disk_bytes"):
        whole(resources.get(key), "spec.resources." + key)
    whole(resources.get("pids", 0), "spec.resources.pids")
    if spec.get("ready") is not None:
        check_probe(spec["ready"], "spec.ready", spec["address"], (*PROBES, "notify"))
    if spec.get("alive") is not None:
        check_alive(spec["alive"], spec["address"])
    seconds(spec.get("min_healthy_s"), "spec.min_healthy_s")
    check_keeping(spec)


def check_program(spec) -> None:
    arguments(spec.get("argv"), "spec.argv")
    for name, value in table_of(spec.get("env"), "spec.env").items():
        matching(name, "spec.env", VARIABLE, "names of variables")
        text(value, "spec.env." + name)
    if spec.get("artifact") is not None:
        matching(spec["artifact"], "spec.artifact", DIGEST, "a digest")
    if not isinstance(spec.get("core", False), bool):
        raise malformed("spec.core", "expected true or false")


def arguments(value, path: str) -> None:
    argv = listed(value, path, 10000)
    if not argv or not argv[0]:
        raise malformed(path, "expected a program")
    for place, argument in enumerate(argv):
        text(argument, "%s[%d]" % (path, place))


def check_keeping(spec) -> None:
    """How it is stopped, restarted, and what is kept of its output."""
    stop = table_of(spec.get("stop"), "spec.stop")
    if not rows.signal_number(text(stop.get("signal"), "spec.stop.signal", 20)):
        raise malformed("spec.stop.signal", "there is no signal %s" % stop["signal"])
    seconds(stop.get("timeout_s"), "spec.stop.timeout_s")
    seconds(stop.get("drain_s", 0.0), "spec.stop.drain_s")
    log = table_of(spec.get("log"), "spec.log")
    whole(log.get("size_bytes"), "spec.log.size_bytes", 1)
    whole(log.get("keep"), "spec.log.keep", 0, 10000)
    one_of(log.get("when_full", "drop"), "spec.log.when_full", ("drop", "block"))
    restart = table_of(spec.get("restart"), "spec.restart")
    for key in ("backoff_min_s", "backoff_max_s", "reset_s"):
        seconds(restart.get(key), "spec.restart." + key)
    whole(restart.get("alarm_exits", 5), "spec.restart.alarm_exits", 1, 10000)
    seconds(restart.get("alarm_s", 600.0), "spec.restart.alarm_s")


def check_probe(probe, path: str, address: str, kinds) -> None:
    table_of(probe, path)
    kind = one_of(probe.get("kind"), path + ".kind", kinds)
    for key in ("interval_s", "timeout_s", "grace_s"):
        seconds(probe.get(key), "%s.%s" % (path, key))
    for key in ("failures", "successes"):
        whole(probe.get(key), "%s.%s" % (path, key), 1)
    if probe["interval_s"] < 0.01 or probe["timeout_s"] <= 0:
        raise malformed(path, "expected an interval of at least 10 ms and a timeout")
    if kind == "command":
        arguments(probe.get("argv"), path + ".argv")
    elif kind in ("http", "tcp"):
        port(probe.get("port"), path + ".port")
        if not address:
            raise malformed("spec.address", "expected the address that %s asks" % path)
    if kind == "http":
        check_page(probe, path)


def check_page(probe, path: str) -> None:
    """What is asked of a page."""
    one_line(probe.get("path", "/"), path + ".path")
    status = listed(probe.get("status", [200, 399]), path + ".status", 2)
    if len(status) != 2:
        raise malformed(path + ".status", "expected the least and the most")
    for number in status:
        whole(number, path + ".status", 100, 599)
    for name, value in table_of(probe.get("header") or {}, path + ".header").items():
        matching(name, path + ".header", HEADER, "names of headers")
        text(value, path + ".header." + name, 1000)
    text(probe.get("body") or "", path + ".body", 1000)


def check_alive(alive, address: str) -> None:
    table_of(alive, "spec.alive")
    if alive.get("probe") is not None:
        check_probe(alive["probe"], "spec.alive.probe", address, PROBES)
    if alive.get("heartbeat") is not None:
        at_least_a_moment(table_of(alive["heartbeat"], "spec.alive.heartbeat"), "timeout_s", "spec.alive.heartbeat")
    if alive.get("progress") is None:
        return
    progress, path = table_of(alive["progress"], "spec.alive.progress"), "spec.alive.progress"
    at_least_a_moment(progress, "stalled_s", path)
    if (progress.get("file") is None) == (progress.get("metric") is None):
        raise malformed(path, "expected one of file and metric")
    if progress.get("file") is not None:
        within(progress["file"], path + ".file")
        return
    one_line(progress["metric"], path + ".metric")
    one_line(progress.get("path", "/"), path + ".path")
    port(progress.get("port"), path + ".port")
    if not address:
        raise malformed("spec.address", "expected the address that %s asks" % path)


def at_least_a_moment(table, key: str, path: str) -> None:
    if seconds(table.get(key), "%s.%s" % (path, key)) < 0.1:
        raise malformed("%s.%s" % (path, key), "expected at least 100 ms")


def within(value, path: str) -> None:
    """A relative path that stays below its folder."""
    parts = text(value, path, 1000).split("/")
    if not value or any(part in ("", ".", "..") for part in parts):
        raise malformed(path, "expected a path below the working folder")
