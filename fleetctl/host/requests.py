"""What comes in over the link: checked for shape and size, then done or refused. Nothing that is sent ends the agent.

Reading verbs work on an agent or on a look; orders only on an agent.
"""

import errno
import re
import time

from . import probes
from .complaints import in_words
from .guard import Refused
from .loop import complain
from .protocol import (
    EXISTS,
    INTERNAL,
    LOG_LINES_MAX,
    MALFORMED,
    NO_AGENT,
    NO_SPACE,
    ORDERS,
    READY,
    STOPPED,
    UNKNOWN_INSTANCE,
)
from .spec import DIGEST, NAME_MAX, check_page, check_spec, instant, listed, malformed, matching, one_of, port, seconds
from .spec import table_of, text, whole
from .waits import PER_CHANNEL_MAX

INSTANCE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?\.\d+@\d+")
CURSOR = re.compile(r"(\d{1,10}:\d{1,18}:\d{1,18})?")
INCOMING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TARGETS_MAX = 1000
PEERS_MAX = 64


def instance_name(request) -> str:
    return matching(request.get("instance"), "instance", INSTANCE, "a name like web.1@47")


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
        check_page(target, path)

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
    lines = whole(request.get("lines"), "lines", 0, LOG_LINES_MAX)
    run = whole(request.get("run", 0), "run", -1)
    after = request.get("after")
    if after is not None:
        matching(after, "after", CURSOR, "the `next` of an earlier answer, or nothing")
    answer = found.read_log(lines, run, instant(request.get("since", 0), "since"), after)
    return dict(answer, run=found.status["run"], wallclock_s=round(time.time(), 3))


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


def go_down(host, channel, request):
    """The machine goes down, says the unit that is being stopped: no order of fleetctl's."""
    host.going_down.begin(lambda: conclude(channel, request, None))


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
    "go_down": go_down,
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
        error = {"kind": kind, "message": in_words(outcome)}
    else:
        complain()
        error = {"kind": INTERNAL, "message": "%s: %s" % (type(outcome).__name__, outcome)}
    identity = request.get("id")
    channel.send({"id": identity if isinstance(identity, (str, int)) else None, "ok": False, "error": error})
