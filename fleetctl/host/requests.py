"""What comes in over the link: checked for shape and size, then done or refused. Nothing that is sent ends the agent.

Reading verbs work on an agent or on a look; orders only on an agent.
"""

import errno
import re

from . import probes, rows
from .guard import Refused
from .loop import complain
from .protocol import (
    EXISTS,
    INTERNAL,
    MALFORMED,
    NO_AGENT,
    NO_SPACE,
    ORDERS,
    READY,
    STOPPED,
    UNKNOWN_INSTANCE,
)
from .waits import PER_CHANNEL_MAX

INSTANCE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?\.\d+@\d+")
INCOMING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"[0-9a-f]{64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
NAME_MAX = 200
TEXT_MAX = 128 * 1024  # what the kernel takes as one argument
TARGETS_MAX = 1000
PEERS_MAX = 64
LINES_MAX = 10000
SECONDS_MAX = 7 * 86400.0
NUMBER_MAX = 2**63 - 1


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


def instance_name(request) -> str:
    return matching(request.get("instance"), "instance", INSTANCE, "a name like web.1@47")


def check_spec(spec) -> None:
    """Refuse a SPEC that could not be carried out as it stands. Keys it does not know are kept and left alone."""
    table_of(spec, "spec")
    for key in ("job", "fleet", "host", "address"):
        text(spec.get(key), "spec." + key, NAME_MAX)
    for key in ("release", "wish_replicas"):
        whole(spec.get(key), "spec." + key)
    argv = listed(spec.get("argv"), "spec.argv", 10000)
    if not argv or not argv[0]:
        raise malformed("spec.argv", "expected a program")
    for place, argument in enumerate(argv):
        text(argument, "spec.argv[%d]" % place)
    for name, value in table_of(spec.get("env"), "spec.env").items():
        matching(name, "spec.env", VARIABLE, "names of variables")
        text(value, "spec.env." + name)
    if spec.get("artifact") is not None:
        matching(spec["artifact"], "spec.artifact", DIGEST, "a digest")
    for name, number in table_of(spec.get("ports"), "spec.ports").items():
        matching(name, "spec.ports", PORT_NAME, "names of ports")
        port(number, "spec.ports." + name)
    for key in ("cpu_milli", "memory_bytes", "disk_bytes"):
        whole(table_of(spec.get("resources"), "spec.resources").get(key), "spec.resources." + key)
    if spec.get("ready") is not None:
        check_ready(spec)
    seconds(spec.get("min_healthy_s"), "spec.min_healthy_s")
    stop = table_of(spec.get("stop"), "spec.stop")
    if not rows.signal_number(text(stop.get("signal"), "spec.stop.signal", 20)):
        raise malformed("spec.stop.signal", "there is no signal %s" % stop["signal"])
    seconds(stop.get("timeout_s"), "spec.stop.timeout_s")
    seconds(stop.get("drain_s", 0.0), "spec.stop.drain_s")
    log = table_of(spec.get("log"), "spec.log")
    whole(log.get("size_bytes"), "spec.log.size_bytes", 1)
    whole(log.get("keep"), "spec.log.keep", 0, 10000)
    restart = table_of(spec.get("restart"), "spec.restart")
    for key in ("backoff_min_s", "backoff_max_s", "reset_s"):
        seconds(restart.get(key), "spec.restart." + key)


def check_ready(spec) -> None:
    ready = table_of(spec["ready"], "spec.ready")
    one_of(ready.get("kind"), "spec.ready.kind", ("http", "tcp"))
    port(ready.get("port"), "spec.ready.port")
    one_line(ready.get("path", "/"), "spec.ready.path")
    for key in ("interval_s", "timeout_s", "grace_s"):
        seconds(ready.get(key), "spec.ready." + key)
    for key in ("failures", "successes"):
        whole(ready.get(key), "spec.ready." + key, 1)
    if ready["interval_s"] < 0.01 or ready["timeout_s"] <= 0:
        raise malformed("spec.ready", "expected an interval of at least 10 ms and a timeout")
    if not spec["address"]:
        raise malformed("spec.address", "expected the address that the ready probe asks")


def one_line(value, path: str) -> str:
    """What goes into a line of HTTP must not bring lines of its own."""
    text(value, path, 2000)
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in value):
        raise malformed(path, "expected no spaces and no control characters")
    return str(value)


# Verbs: each gives its answer, or None when it answers later by `reply`


def observe(host, channel, _request):
    return {"report": host.report(channel.address)}


def probe(host, channel, request):
    targets = listed(request.get("targets"), "targets", TARGETS_MAX)
    for place, target in enumerate(targets):
        path = "targets[%d]" % place
        table_of(target, path)
        text(target.get("key"), path + ".key", 1000)
        one_of(target.get("kind"), path + ".kind", ("banner", "http", "tcp"))
        text(target.get("address"), path + ".address", NAME_MAX)
        port(target.get("port"), path + ".port")
        seconds(target.get("timeout_s"), path + ".timeout_s")
        one_line(target.get("path") or "/", path + ".path")

    def done(answers):
        found = [{"key": target["key"], "ok": ok, "detail": detail} for target, (ok, detail) in zip(targets, answers)]
        reply(channel, request, {"answers": found})

    probes.probe_all(host.loop, targets, done)


def wait(host, channel, request):
    found = known(host, request)
    one_of(request.get("until"), "until", (READY, STOPPED))
    checked = dict(
        request,
        for_s=seconds(request.get("for_s", 0), "for_s"),
        timeout_s=seconds(request.get("timeout_s"), "timeout_s"),
    )
    if host.waits.count(channel) >= PER_CHANNEL_MAX:
        raise Refused(MALFORMED, "more than %d waits on one link" % PER_CHANNEL_MAX)
    host.waits.add(channel, checked, found)


def read_logs(host, _channel, request):
    found = known(host, request)
    lines = whole(request.get("lines"), "lines", 0, LINES_MAX)
    return {"lines": found.last_lines(lines), "dropped_bytes": found.row()["dropped_bytes"]}


def wishes(host, _channel, _request):
    return {"wishes": host.guard.wishes}


def neighbours(host, channel, request):
    peers = listed(request.get("peers"), "peers", PEERS_MAX)
    for place, peer in enumerate(peers):
        path = "peers[%d]" % place
        table_of(peer, path)
        text(peer.get("host"), path + ".host", NAME_MAX)
        text(peer.get("address"), path + ".address", NAME_MAX)
        port(peer.get("port"), path + ".port")
    host.reach.try_all(host.loop, peers, lambda found: reply(channel, request, {"reach": found}))


def claim(host, _channel, request):
    fleet = text(request.get("fleet"), "fleet", NAME_MAX)
    serial = whole(request.get("serial"), "serial")
    if "wishes" not in request:
        raise malformed("wishes", "missing")
    return {"serial": host.guard.claim(request["generation"], request["author"], fleet, serial, request["wishes"])}


def start(host, _channel, request):
    name, spec = instance_name(request), request.get("spec")
    check_spec(spec)
    if spec["job"] != name.partition(".")[0]:
        raise malformed("spec.job", "%s is not an instance of %s" % (name, spec["job"]))
    host.guard.admit(request["generation"], request["author"])
    found = host.find(name)
    if found is None:
        found = host.add(name, spec, text(request.get("reason", ""), "reason", 2000))
    elif found.order["wanted"] == "stop":
        raise Refused(EXISTS, "%s was stopped before: a new start takes a new epoch" % name, instance=found.row())
    elif found.spec != spec:
        raise Refused(EXISTS, "%s is there with another spec" % name, instance=found.row())
    return {"instance": found.row()}


def stop(host, _channel, request):
    reason = text(request.get("reason"), "reason", 2000)
    found = known(host, request)
    host.guard.admit(request["generation"], request["author"])
    host.stop(found, reason)
    return {"instance": found.row()}


def adopt(host, channel, request):
    digest = matching(request.get("digest"), "digest", DIGEST, "a digest")
    incoming = matching(request.get("incoming"), "incoming", INCOMING, "the name of an upload")
    host.guard.admit(request["generation"], request["author"])
    host.uploads.adopt(digest, incoming, lambda outcome: conclude(channel, request, outcome))


def discard(host, channel, request):
    incoming = matching(request.get("incoming"), "incoming", INCOMING, "the name of an upload")
    host.guard.admit(request["generation"], request["author"])
    host.uploads.discard(incoming, lambda outcome: conclude(channel, request, outcome))


def known(host, request):
    name = instance_name(request)
    found = host.find(name)
    if found is None:
        raise Refused(UNKNOWN_INSTANCE, "there is no %s on this host" % name)
    return found


VERBS = {
    "observe": observe,
    "probe": probe,
    "await": wait,
    "logs": read_logs,
    "wishes": wishes,
    "neighbours": neighbours,
    "claim": claim,
    "start": start,
    "stop": stop,
    "adopt": adopt,
    "discard": discard,
}
LOOK_VERBS = ("observe", "probe", "logs", "wishes")


# Answering


def handle(host, channel, request, allowed=tuple(VERBS)) -> None:
    """One request, whatever it holds, and one answer to it, now or later."""
    verb = request.get("do")
    try:
        if verb == "arrive":  # the first words of entry.py: where sshd saw this link arrive
            channel.address = text(request.get("address"), "address", NAME_MAX)
            return
        if not isinstance(request.get("id"), (str, int)):
            raise malformed("id", "missing")
        if not isinstance(verb, str) or verb not in VERBS:
            raise malformed("do", "expected one of %s" % ", ".join(VERBS))
        if verb not in allowed:
            raise Refused(NO_AGENT, "no agent runs on this host, and this link only reads")
        if verb in ORDERS:
            whole(request.get("generation"), "generation")
            text(request.get("author"), "author", 1000)
        answer = VERBS[verb](host, channel, request)
    except Exception as error:
        conclude(channel, request, error)
        return
    if answer is not None:
        reply(channel, request, answer)


def reply(channel, request, answer) -> None:
    channel.send(dict(answer, id=request["id"], ok=True))


def conclude(channel, request, outcome) -> None:
    """Answer `{}` for None, else with what went wrong."""
    if outcome is None:
        reply(channel, request, {})
        return
    if isinstance(outcome, Refused):
        error = outcome.answer()
    elif isinstance(outcome, OSError):
        kind = NO_SPACE if outcome.errno in (errno.ENOSPC, errno.EDQUOT) else INTERNAL
        error = {"kind": kind, "message": str(outcome)}
    else:
        complain()
        error = {"kind": INTERNAL, "message": "%s: %s" % (type(outcome).__name__, outcome)}
    identity = request.get("id")
    channel.send({"id": identity if isinstance(identity, (str, int)) else None, "ok": False, "error": error})
